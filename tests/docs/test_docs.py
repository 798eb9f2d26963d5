"""The documentation says what the code does: links, tables, and the options of every command shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from claude_flow_dagger import errors
from claude_flow_dagger.cli.main import run_cli
from claude_flow_dagger.job import AgentJob, Limits
from claude_flow_dagger.result import EXIT_CODES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    named = re.findall(r"`((?:docs|schemas|tests|benchmarks|scripts|examples|src)/[\w./-]+)`", text)
    missing = [name for name in links if not (page.parent / name).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "verdicts.md"], ids=lambda page: page.name)
def test_the_table_of_verdicts_is_the_codes(page: Path) -> None:
    rows = re.findall(r"^\| (?:`?(\w+)`?) \| (?:`?(\w+)`?) \|", page.read_text(), re.MULTILINE)
    told = {}
    for first, second in rows:
        name, code = (second, first) if first.isdecimal() else (first, second)
        if code.isdecimal():
            told[name] = int(code)
    assert told == {verdict.value: code for verdict, code in EXIT_CODES.items()}


def test_the_commands_of_the_readme_have_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^\$ \./claude-flow-dagger (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(shown) >= 8
    for line in shown:
        words = shlex.split(line)
        words = words[: words.index("--")] if "--" in words else words
        assert run_cli([words[0], "--help"]) == 0
        said = capsys.readouterr().out
        assert not [word for word in words if word.startswith("--") and word not in said], line


def test_every_field_of_a_job_is_described() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    assert not [name for name in (*AgentJob.model_fields, *Limits.model_fields) if name not in page]


def test_the_tree_of_errors_is_drawn_whole() -> None:
    classes = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert not [name for name in classes if name not in (errors.__doc__ or "")]

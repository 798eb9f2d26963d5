"""The documentation says what the code does: links, tables, and the options of every command shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from claude_flow_dagger import errors
from claude_flow_dagger.cli.main import run_cli
from claude_flow_dagger.gateway.wire import Endpoint
from claude_flow_dagger.job import JOB, Limits, parse_duration, parse_size
from claude_flow_dagger.result import EXIT_CODES, LedgerEntry, Refusal
from claude_flow_dagger.runtime.install import Runtime

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


def shown_commands(page: Path) -> list[str]:
    """What the `console` blocks of a page type after the program's name."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ \./claude-flow-dagger (.*)$", block, re.MULTILINE)]


@pytest.mark.parametrize("page", [page for page in PAGES if shown_commands(page)], ids=lambda page: page.name)
def test_the_commands_that_are_shown_have_their_options(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in shown_commands(page):
        words = shlex.split(line)
        words = words[: words.index("--")] if "--" in words else words
        command = words[:2] if words[0] in ("image", "runtime") else words[:1]
        assert run_cli([*command, "--help"]) == 0
        said = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
        assert not [word for word in words if word.startswith("--") and word not in said], line


def test_the_readme_shows_every_command_that_runs_something() -> None:
    first = {line.split()[0] for line in shown_commands(ROOT / "README.md")}
    assert {"run", "exec", "gateway", "doctor", "commands"} <= first


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index.read_text()))
    assert linked == {page.name for page in index.parent.glob("*.md")} - {index.name}


def properties(schema: Any) -> Iterator[str]:
    """Iterates over the name of every field in a JSON Schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from properties(inner)


def choices(schema: Any) -> Iterator[str]:
    """Iterates over every text that an `enum` or `const` of a JSON Schema allows."""
    if isinstance(schema, dict):
        yield from (value for value in (*schema.get("enum", ()), schema.get("const")) if isinstance(value, str))
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from choices(inner)


def rows(page: str) -> dict[str, str]:
    """The first column of a page's tables: each code word in it, with the rest of its row."""
    found = re.findall(r"^\| (`[^|]*`)[^|]* \|(.*)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {word: rest for first, rest in found for word in re.findall(r"`([^`]+)`", first)}


def test_the_rows_are_the_fields_of_the_job_schema() -> None:
    # A field of tools and pins is written with its place, since its name alone says little.
    told = {name.rpartition(".")[2] for name in rows("jobs.md")}
    fields = set(properties(JOB.json_schema()))
    assert len(fields) > 30
    assert (sorted(fields - told), sorted(told - fields)) == ([], [])


def test_every_choice_of_the_job_schema_is_named() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    assert sorted({value for value in choices(JOB.json_schema()) if f"`{value}`" not in page}) == []


def test_the_job_files_that_are_shown_are_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "jobs.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [JOB.validate_python(yaml.safe_load(block)).kind for block in blocks] == ["agent", "command"]


def test_the_defaults_of_the_limits_are_told() -> None:
    told, limits = rows("jobs.md"), Limits()
    shown = {name: told[name].split("|")[0].strip() for name in Limits.model_fields}
    assert parse_duration(shown.pop("wall").removesuffix("in").replace(" ", "")) == limits.wall
    assert parse_size(shown.pop("memory").replace(" ", "")) == limits.memory
    assert {name: None if text == "none" else float(text) for name, text in shown.items()} == {
        name: getattr(limits, name) for name in shown
    }


def test_the_ledger_is_described_whole() -> None:
    assert sorted({*LedgerEntry.model_fields, *Refusal} - rows("gateway.md").keys()) == []


def test_what_the_gateway_answers_is_what_is_told() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text()
    told = set(re.findall(r"`((?:GET|HEAD|POST|PUT) /[^`]*)`", page))
    assert told == {f"{known.value[0]} {known.path}" for known in Endpoint}


def test_every_variable_that_is_read_is_named() -> None:
    # Only config.py reads the environment, and names what it reads in capitals.
    source = (ROOT / "src" / "claude_flow_dagger" / "config.py").read_text()
    names = set(re.findall(r'"([A-Z][A-Z_]{2,}[A-Z])"', source))
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert {"MODEL", "MEMORY", "TMPDIR", "NO_PROXY"} <= names
    assert sorted(name for name in names if f"`{name}`" not in page and f"_{name}`" not in page) == []


@pytest.mark.sandbox
def test_the_program_in_the_library_page_runs(runtime: Runtime, cache_dir: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (output,) = re.findall(r"^```\n(succeeded .*)\n^```", page, re.MULTILINE)
    # The installed runtime and the example, at the places that the program names.
    (tmp_path / "cache").symlink_to(cache_dir)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == output
    assert runtime.versions["claude-flow"] in (ROOT / "README.md").read_text()


def test_the_tree_of_errors_is_drawn_whole() -> None:
    classes = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert not [name for name in classes if name not in (errors.__doc__ or "")]

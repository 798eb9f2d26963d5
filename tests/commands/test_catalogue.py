"""The catalogue as data, and the page that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_flow_dagger.catalogue.table import page
from claude_flow_dagger.commands import Answers, Line, catalogue

_PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_page_is_current() -> None:
    assert _PAGE.read_text("utf-8") == page(), "write it again: see CONTRIBUTING, or call catalogue.table.page()"


def test_the_lines_hold_what_their_packages_have() -> None:
    new, old = catalogue(Line.V3_43), catalogue(Line.V2_7)
    assert (new.version, old.version) == ("3.43.0", "2.7.47")
    assert len(list(new.walk())) > 400
    for name in ("sparc", "github", "automation", "batch", "stream-chain"):
        assert name in old.commands
        assert name not in new.commands
    assert new.command("hooks", "transfer", "store", "list") is not None
    assert new.command("hooks", "nope") is None


@pytest.mark.parametrize(
    ("path", "answers"),
    [
        ("memory list", Answers.CLEAN),
        ("memory search", Answers.AFTER_LOG),
        ("memory store", Answers.TEXT),
        ("agent spawn", Answers.AFTER_LOG),
        ("swarm status", Answers.CLEAN),
        ("route stats", Answers.CLEAN),
    ],
)
def test_how_commands_answer(path: str, answers: Answers) -> None:
    command = catalogue(Line.V3_43).command(*path.split())
    assert command is not None
    assert command.answers is answers


def test_every_command_of_3_43_was_run() -> None:
    assert [command.name for command in catalogue(Line.V3_43).walk() if not command.measured] == []

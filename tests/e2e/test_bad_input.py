"""Inputs at their worst: taken as they are, or refused with one error; the user's files stay as they were."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import GREETER, Cli, command, contents, environment

pytestmark = [pytest.mark.real, pytest.mark.sandbox, pytest.mark.usefixtures("runtime")]

Script = Callable[[str], Path]
TALK = "turns: [{text: I could do that.}]"


def bash(*lines: str) -> str:
    turns = [f"{{tools: [{{name: Bash, input: {{command: {json.dumps(line)}}}}}]}}" for line in lines]
    return f"turns: [{', '.join(turns)}, {{text: Done.}}]"


def test_a_workspace_of_every_kind(cli: Cli, script: Script, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("TOP SECRET")
    source = tmp_path / "source"
    (source / "many").mkdir(parents=True)
    for number in range(10_000):
        (source / "many" / f"f{number}").touch()
    (source / "out").symlink_to(outside)
    (source / "two\nlines").write_text("a\n")
    (source / os.fsdecode(b"latin-\xe9")).write_text("b\n")
    with (source / "large").open("wb") as file:
        file.truncate(1 << 30)
    # A repository whose own configuration would run commands, if anybody outside of the sandbox ran git in it.
    witness = tmp_path / "witness"
    subprocess.run(["git", "init", "-q", str(source)], check=True, timeout=30)
    with (source / ".git" / "config").open("a") as file:
        file.write(f'[core]\n\tfsmonitor = "touch {witness}; false"\n[filter "x"]\n\tclean = "touch {witness}; cat"\n')
    (source / ".gitattributes").write_text("* filter=x\n")

    lines = ("printf '\\000\\001\\377' > b.bin; echo c >> 'two\nlines'; cat out; ls many | wc -l",)
    words = ("x", "--strategy", "direct", "--source", source, "--model-script", script(bash(*lines)))
    before = (source / "two\nlines").read_bytes()
    # No git on this PATH: nothing of ours needs it.
    ran = cli("run", *words, "--output", "json", env={"PATH": str(tmp_path / "none")})
    result = ran.json
    assert result["verdict"] == "succeeded", ran.out[-1500:]
    assert "TOP SECRET" not in ran.out
    assert any("out" in notice["message"] for notice in result["notices"])
    assert {change["status"] for change in result["changes"]} == {"added", "modified"}
    assert len(result["changes"]) == 2
    assert (source / "two\nlines").read_bytes() == before
    assert not witness.exists()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "two\nlines").write_bytes(before)
    subprocess.run(["git", "apply"], cwd=plain, input=result["patch"], text=True, check=True, timeout=30)
    assert (plain / "b.bin").read_bytes() == b"\x00\x01\xff"
    assert (plain / "two\nlines").read_text() == "a\nc\n"


@pytest.mark.parametrize("objective", ["--help $(id) 'x' \"y\"\nsecond line ${{ z }}", "x" * 100_000])
def test_objectives_reach_the_model_as_they_are(cli: Cli, script: Script, objective: str) -> None:
    ran = cli("run", "--model-script", script(TALK), "--output", "json", "--expect", "answer", "--", objective)
    assert ran.json["verdict"] == "succeeded", ran.out[-1500:]
    assert ran.json["job"]["objective"] == objective


def test_a_model_without_a_price(cli: Cli, script: Script) -> None:
    words = ("x", "--strategy", "direct", "--model", "some-other-model", "--model-script", script(TALK), "-o", "json")
    refused = cli("run", *words, "--budget-usd", "1")
    assert (refused.code, refused.json["error"]["code"]) == (2, "unknown_price")
    assert "some-other-model" in refused.json["error"]["message"]
    ran = cli("run", *words)
    assert (ran.json["verdict"], ran.json["ledger"]["cost_usd"]) == ("succeeded", None)


def test_a_source_that_changes_meanwhile_is_not_written_to(greeter: Path) -> None:
    options = ("--source", greeter, "--output", "ndjson", "--model-script", GREETER / "french.yaml")
    process = subprocess.Popen(
        command("run", "x", "--apply", "--strategy", "direct", *options),
        env=environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "tool":
            (greeter / "greet.js").write_text("// somebody else was here\n")
            break
    before = contents(greeter)
    out, _ = process.communicate(timeout=120)
    result = json.loads(out.splitlines()[-1])["result"]
    assert (process.returncode, result["reason"], result["applied"]) == (1, "apply_conflict", False)
    assert "greet.js" in result["message"]
    assert contents(greeter) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root to be mounted")
def test_a_full_disk(greeter: Path, tmp_path: Path, cache_dir: Path) -> None:
    (greeter / "large").write_bytes(os.urandom(8 << 20))
    before = contents(greeter)
    mount = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    words = ("run", "x", "--source", greeter, "--model-script", GREETER / "french.yaml", "--output", "json")
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            mount,
            str(cache_dir / "runs"),
            *command(*words),
        ],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "out_of_space"
    assert contents(greeter) == before

"""Inputs at their worst: taken as they are, or refused with one error; the user's files stay as they were."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import GREETER, Cli, command, contents, environment

Script = Callable[[str], Path]
TALK = "turns: [{text: I could do that.}]"


def bash(*lines: str) -> str:
    turns = [f"{{tools: [{{name: Bash, input: {{command: {json.dumps(line)}}}}}]}}" for line in lines]
    return f"turns: [{', '.join(turns)}, {{text: Done.}}]"


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
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


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("objective", ["--help $(id) 'x' \"y\"\nsecond line ${{ z }}", "x" * 100_000])
def test_objectives_reach_the_model_as_they_are(cli: Cli, script: Script, objective: str) -> None:
    ran = cli("run", "--model-script", script(TALK), "--output", "json", "--expect", "answer", "--", objective)
    assert ran.json["verdict"] == "succeeded", ran.out[-1500:]
    assert ran.json["job"]["objective"] == objective


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_a_model_without_a_price(cli: Cli, script: Script) -> None:
    words = ("x", "--strategy", "direct", "--model", "some-other-model", "--model-script", script(TALK), "-o", "json")
    refused = cli("run", *words, "--budget-usd", "1")
    assert (refused.code, refused.json["error"]["code"]) == (2, "unknown_price")
    assert "some-other-model" in refused.json["error"]["message"]
    ran = cli("run", *words)
    assert (ran.json["verdict"], ran.json["ledger"]["cost_usd"]) == ("succeeded", None)


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
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


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
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


def refused(cli: Cli, *words: object) -> dict[str, str]:
    """The error of a run that is refused."""
    ran = cli("run", *words, "--output", "json")
    assert ran.code == 2, ran.out
    error: dict[str, str] = ran.json["error"]
    return error


def test_a_source_that_is_no_directory(cli: Cli, script: Script, tmp_path: Path) -> None:
    file = script(TALK)
    for path, why in ((tmp_path / "missing", "no such directory"), (file, "is not a directory")):
        error = refused(cli, "x", "--source", path, "--model-script", file)
        assert (error["code"], error["message"]) == ("invalid_source", f"{path}: {why}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective: x\nlimits: {wall: [\n", ":3:1: not valid YAML"),
        ("objective: x\nfoo: 1\n", ":2:1: foo: unknown field"),
        ("objective: x\nenv: {ANTHROPIC_API_KEY: sk-ant-in-a-file}\n", "ANTHROPIC_API_KEY"),
    ],
)
def test_a_job_file_that_is_none(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(text)
    error = refused(cli, "--file", job)
    assert error["code"] == "invalid_job"
    assert error["message"].startswith(f"{job}:")
    assert message in error["message"]
    assert "sk-ant-in-a-file" not in json.dumps(error)


@pytest.mark.parametrize("budget", ["-1", "NaN", "inf", "much"])
def test_a_budget_that_is_none(cli: Cli, budget: str) -> None:
    error = refused(cli, "x", "--budget-usd", budget)
    assert (error["code"], error["message"].split(":")[0]) == ("invalid_job", "limits.usd")


def test_a_script_that_is_no_yaml(cli: Cli, script: Script, greeter: Path) -> None:
    file = script("turns: [")
    error = refused(cli, "x", "--source", greeter, "--model-script", file)
    assert error["code"] == "invalid_script"
    assert error["message"].startswith(f"{file}:3:1: ")


def test_a_patch_into_a_missing_directory(cli: Cli, script: Script, greeter: Path, tmp_path: Path) -> None:
    patch = tmp_path / "missing" / "out.patch"
    error = refused(cli, "x", "--source", greeter, "--model-script", script(TALK), "--patch", patch)
    assert str(patch.parent) in error["message"]
    assert not patch.parent.exists()


def test_neither_key_nor_script_and_an_unknown_option(cli: Cli, greeter: Path) -> None:
    assert refused(cli, "x", "--source", greeter)["code"] == "missing_key"
    error = refused(cli, "x", "--nope")
    assert error["code"] == "usage"
    assert "--nope" in error["message"]

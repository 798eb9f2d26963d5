"""`--runner dagger`: the pipeline that reaches an engine, and how its answers are read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from schema_server import SchemaServer

import dagger
from claude_flow_dagger.cli.dagger_engine import choose_cli, session
from claude_flow_dagger.errors import RefusedInput, SandboxError
from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Plan, Step
from claude_flow_dagger.result import Ending, Outcome
from claude_flow_dagger.runners.base import Sandbox
from claude_flow_dagger.runners.dagger import DaggerRunner
from claude_flow_dagger.runners.dagger_sandbox import read_outcome
from claude_flow_dagger.runners.frames import Exited, Frame, StepEnded

pytestmark = pytest.mark.go
FRAMES = '{"frame":"end","step":"main","code":3}\n{"frame":"exit","code":3}\n'
PLAN = Plan(cwd="/workspace", env={}, steps=(Step(name="main", argv=("true",)),))


def sandbox(tmp_path: Path, **changes: object) -> Sandbox:
    (tmp_path / "workspace").mkdir()
    given = {"run_id": "r1", "purpose": "agent", "plan": PLAN, "workspace": tmp_path / "workspace"}
    rest = {"control": tmp_path, "limits": Limits(wall=90), "network": Network.MODEL}
    return Sandbox(**{**given, **rest, **changes})  # type: ignore[arg-type]


def run(box: Sandbox) -> tuple[Outcome, list[Frame]]:
    heard: list[Frame] = []

    async def main() -> Outcome:
        async with dagger.connection(dagger.Config(retry=None)):
            image = dagger.dag.container().from_("agent:1")
            return await DaggerRunner(dagger.dag, image).run(box, heard.append)

    return asyncio.run(main()), heard


@pytest.fixture
def engine(server: SchemaServer) -> SchemaServer:
    def export(_made: object, args: dict[str, str]) -> str:
        path = Path(args["path"])
        path.mkdir()
        (path / "made.txt").write_text("by the agent")
        return str(path)

    server.answers |= {"Container.exitCode": 3, "Container.stdout": FRAMES, "Directory.export": export}
    return server


def test_the_whole_pipeline(engine: SchemaServer, tmp_path: Path) -> None:
    box = sandbox(tmp_path, gateway=tmp_path / "gw.sock", mounts=(tmp_path,))
    outcome, heard = run(box)
    assert outcome == Outcome(ending=Ending.EXITED, exit_code=3)
    assert heard == [StepEnded("main", 3), Exited(3)]
    assert (tmp_path / "workspace/made.txt").read_text() == "by the agent"
    plan = PLAN.model_dump_json().replace('"', '\\"')
    assert str(engine.find("sync")[0]) == (
        'container.from(address="agent:1").withUser(name="1001:1001").withWorkdir(path="/")'
        '.withEnvVariable(name="CLAUDE_FLOW_DAGGER_RUN", value="r1-agent")'
        f'.withMountedDirectory(path="/workspace", source=<host.directory(path="{tmp_path}/workspace", noCache=true)>, '
        'owner="1001:1001")'
        f'.withMountedDirectory(path="/run/cfd", source=<directory.withNewFile(path="plan.json", contents="{plan}", '
        'permissions=384)>, owner="1001:1001")'
        f'.withMountedDirectory(path="{tmp_path}", source=<host.directory(path="{tmp_path}")>, readOnly=true)'
        f'.withUnixSocket(path="/run/cfd/gateway.sock", source=<host.unixSocket(path="{tmp_path}/gw.sock")>, '
        'owner="1001:1001")'
        '.withExec(args=["timeout", "-s", "TERM", "-k", "5", "90", "/opt/claude-flow-dagger/node/bin/node", '
        '"/opt/claude-flow-dagger/entrypoint.mjs", "/run/cfd/plan.json"], expect="ANY").sync'
    )


def test_privileges_are_never_asked_for(engine: SchemaServer, tmp_path: Path) -> None:
    run(sandbox(tmp_path))
    for call in engine.find("sync")[0].called("withExec"):
        assert not {"experimentalPrivilegedNesting", "insecureRootCapabilities"} & call.args.keys()


def test_an_engine_that_fails_is_infrastructure(server: SchemaServer, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        from graphql import GraphQLError

        raise GraphQLError("no space left on device")

    server.answers["Container.sync"] = broken
    with pytest.raises(SandboxError, match="no space left"):
        run(sandbox(tmp_path))
    server.mistakes.clear()


def test_a_run_in_place_is_refused(server: SchemaServer, tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match=r"\.git cannot be protected"):
        run(sandbox(tmp_path, protected=(".git",)))


@pytest.mark.parametrize(
    ("code", "frames", "elapsed", "ending"),
    [
        (0, (Exited(0),), 1, Ending.EXITED),
        (124, (Exited(143),), 91, Ending.TIMED_OUT),
        (137, (), 99, Ending.TIMED_OUT),
        (124, (Exited(124),), 5, Ending.EXITED),
        (137, (), 5, Ending.BROKEN),
        (70, (StepEnded("main", 1),), 5, Ending.BROKEN),
    ],
)
def test_endings(code: int, frames: tuple[Frame, ...], elapsed: float, ending: Ending) -> None:
    assert read_outcome(code, frames, elapsed_s=elapsed, wall_s=90).ending is ending


def test_without_a_dagger_the_cure_is_named() -> None:
    with pytest.raises(SandboxError, match="no `dagger` on the PATH") as caught:
        choose_cli({"PATH": "/nonexistent"})
    assert "docs.dagger.io/install" in str(caught.value.cure)


def fake_cli(tmp_path: Path, script: str) -> dict[str, str]:
    (tmp_path / "dagger").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "dagger").chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def test_the_dagger_of_the_path_opens_the_session(tmp_path: Path) -> None:
    environ = fake_cli(tmp_path, """echo '{"port": 4711, "session_token": "t"}'; cat > /dev/null""")
    seen: dict[str, str] = {}

    async def main() -> None:
        async with session(environ, asyncio.Event(), 20):
            seen.update(environ)

    asyncio.run(main())
    assert seen["_EXPERIMENTAL_DAGGER_CLI_BIN"] == str(tmp_path / "dagger")
    assert (seen["DAGGER_SESSION_PORT"], seen["DAGGER_SESSION_TOKEN"]) == ("4711", "t")
    assert "DAGGER_SESSION_PORT" not in environ


@pytest.mark.parametrize(
    ("script", "stop", "said"),
    [
        ("echo cannot connect >&2; exit 1", False, "gave up: cannot connect"),
        ("exec sleep 60", False, "waited 0.3 s"),
        ("exec sleep 60", True, "stopped while waiting"),
    ],
)
def test_an_engine_that_does_not_answer(tmp_path: Path, script: str, stop: bool, said: str) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()
        if stop:
            cancelled.set()
        async with session(fake_cli(tmp_path, script), cancelled, 0.3):
            pass

    with pytest.raises(SandboxError, match=said):
        asyncio.run(main())

"""What is around the images, without a daemon: reports, lists, names, and what the client is told and never told.

The client here is a recorder: a small program named docker that writes down its arguments, its standard input and the
credentials file that it is pointed to. The daemon's own part is in `test_images.py`.
"""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.cli.main import run_cli
from claude_flow_dagger.errors import ClaudeFlowDaggerError, InfrastructureError, OutOfSpace, RefusedInput
from claude_flow_dagger.image.engine import Done, Engine, failure, find_engine
from claude_flow_dagger.image.prune import prune
from claude_flow_dagger.image.push import Login, check_publishable, push, references, registry_of
from claude_flow_dagger.image.report import (
    Report,
    Severity,
    Source,
    State,
    merge,
    parse_grype,
    parse_npm_audit,
    parse_trivy,
)
from claude_flow_dagger.image.sbom import compose, debian_components, npm_components, python_components
from claude_flow_dagger.image.scan import scan_system
from claude_flow_dagger.image.spec import BuildRequest, Target, build_arguments, check_request, release_tags, stand_ins
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.recipes import LOCKS

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "src" / "claude_flow_dagger" / "runtime"
IMAGE_ID = "sha256:" + "a" * 64

CLIENT = f"""#!{sys.executable}
import json, os, pathlib, sys
home = pathlib.Path(os.environ["HOME"])
argv = sys.argv[1:]
said = {{"argv": argv, "env": dict(os.environ)}}
if "--password-stdin" in argv:
    said["stdin"] = sys.stdin.read()
    said["config"] = pathlib.Path(os.environ["DOCKER_CONFIG"], "config.json").read_text()
with (home / "calls").open("a") as file:
    file.write(json.dumps(said) + "\\n")
answers = json.loads((home / "answers").read_text())
for words, answer in answers:
    if " ".join(argv).startswith(words):
        sys.stderr.write(answer.get("err", ""))
        print(answer.get("out", ""))
        sys.exit(answer.get("code", 0))
if argv[0] == "version":
    print("20.10.24 20.10.24")
elif argv[0] == "buildx":
    sys.exit(1)
"""


@dataclass
class Client:
    """The recorder."""

    home: Path
    environ: dict[str, str]

    @property
    def engine(self) -> Engine:
        return find_engine(self.environ)

    def answer(self, words: str, **answer: Any) -> None:
        """What it says to a command line that begins with these words."""
        answers = json.loads((self.home / "answers").read_text())
        (self.home / "answers").write_text(json.dumps([*answers, [words, answer]]))

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "calls").read_text().splitlines()]

    def argvs(self, word: str) -> list[list[str]]:
        return [call["argv"] for call in self.calls if call["argv"][0] == word]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "docker"
    program.write_text(CLIENT)
    program.chmod(0o755)
    (home / "answers").write_text("[]")
    inspected = {"Id": IMAGE_ID, "Size": 7, "Config": {"Labels": {}}, "RepoDigests": ["r.example/t/x@sha256:beef"]}
    found = Client(home, {"HOME": str(home), "PATH": str(home / "bin"), "ANTHROPIC_API_KEY": "k" * 30})
    found.answer("image inspect --format", code=1)
    found.answer("image inspect", out=json.dumps([inspected]))
    return found


def request(**more: Any) -> BuildRequest:
    return BuildRequest(**{"target": Target.CLAUDE_FLOW, "version": "1.2.3", **more})


# ---- reports --------------------------------------------------------------------------------------------------------

AUDIT = {
    "auditReportVersion": 2,
    "vulnerabilities": {
        "left": {
            "severity": "high",
            "via": [
                {"url": "https://x/advisories/GHSA-1", "dependency": "left", "severity": "moderate", "title": "t"},
                "right",
            ],
            "fixAvailable": {"version": "2.0.0"},
        },
        "right": {"severity": "low", "via": [{"source": 12, "range": "<3"}], "fixAvailable": True},
    },
}


def test_npm_s_audit_is_read() -> None:
    one, two = parse_npm_audit(json.dumps(AUDIT), {"left": "1.0.0"}, "npm")
    assert (one.id, one.package, one.version, one.severity, one.fixed) == (
        "GHSA-1",
        "left",
        "1.0.0",
        Severity.MEDIUM,
        "2.0.0",
    )
    assert (two.id, two.version, two.severity, two.fixed) == ("12", "<3", Severity.LOW, "")
    with pytest.raises(ValueError, match="no route"):
        parse_npm_audit(json.dumps({"message": "no route"}), {}, "npm")
    with pytest.raises(ValueError, match="ENOAUDIT"):
        parse_npm_audit(json.dumps({"error": {"summary": "ENOAUDIT"}}), {}, "npm")


def test_grype_and_trivy_are_read() -> None:
    match = {
        "vulnerability": {"id": "CVE-1", "severity": "Negligible", "fix": {"versions": ["2", "3"]}},
        "artifact": {"name": "libc6", "version": "1"},
    }
    (found,) = parse_grype(json.dumps({"matches": [match]}))
    assert (found.id, found.severity, found.fixed) == ("CVE-1", Severity.LOW, "2, 3")
    item = {"VulnerabilityID": "CVE-2", "PkgName": "a", "InstalledVersion": "1", "Severity": "CRITICAL"}
    (found,) = parse_trivy(json.dumps({"SchemaVersion": 2, "Results": [{"Vulnerabilities": [item]}, {}]}))
    assert (found.id, found.severity) == ("CVE-2", Severity.CRITICAL)
    with pytest.raises(ValueError, match="no report"):
        parse_trivy("{}")


def test_a_report_is_clean_only_when_everything_was_looked_at() -> None:
    asked = Source(name="npm", covers="npm")
    silent = Source(name="system", covers="system", why="not installed")
    found = tuple(parse_npm_audit(json.dumps(AUDIT), {}, "npm"))
    assert Report(image="i", sources=(asked,), findings=()).state is State.CLEAN
    assert Report(image="i", sources=(asked,), findings=found).state is State.FINDINGS
    assert Report(image="i", sources=(asked, silent), findings=()).state is State.INCOMPLETE
    assert Report(image="i", sources=(), findings=()).state is State.INCOMPLETE
    report = Report(image="i", sources=(asked, silent), findings=found)
    assert [finding.package for finding in report.reaching(Severity.MEDIUM)] == ["left"]
    data = report.as_dict()
    assert data["counts"] == {"critical": 0, "high": 0, "medium": 1, "low": 1, "unknown": 0}
    assert [source["answered"] for source in data["sources"]] == [True, False]


def test_doubles_are_merged_the_worse_severity_wins() -> None:
    one = parse_npm_audit(json.dumps(AUDIT), {}, "npm")[0]
    from dataclasses import replace

    worse = replace(one, severity=Severity.CRITICAL)
    assert merge([one, worse, one]) == (worse,)


@pytest.mark.parametrize(
    ("script", "why", "findings"),
    [
        ("echo '{\"matches\": []}'", "", 0),
        ("echo broken >&2; exit 3", "no report: exit status 3: broken", 0),
        ("echo '{}'", "no report: 'matches'", 0),
    ],
)
def test_a_scanner_is_asked_and_believed_only_with_a_report(
    client: Client, script: str, why: str, findings: int
) -> None:
    grype = client.home / "bin" / "grype"
    grype.write_text(f"#!/bin/sh\n{script}\n")
    grype.chmod(0o755)
    source, found = scan_system(client.engine, "image:tag")
    assert (source.name, source.why, len(found)) == ("grype", why, findings)


def test_without_a_scanner_the_system_was_not_looked_at(client: Client) -> None:
    source, found = scan_system(client.engine, "image:tag")
    assert (source.why, found) == ("neither grype nor trivy is installed", [])


# ---- bills of materials ---------------------------------------------------------------------------------------------


def test_every_package_of_the_lock_is_listed_with_its_hash() -> None:
    lock = LOCKS / "claude-flow-3.43.0" / "package-lock.json"
    entries = {path: entry for path, entry in json.loads(lock.read_text())["packages"].items() if path}
    components = npm_components(lock)
    assert 150 < len(components) <= len(entries)
    # What a package brings inside of itself has no hash of its own: the outer one covers it.
    inside = {path.rpartition("node_modules/")[2] for path, entry in entries.items() if entry.get("inBundle")}
    bare = {f"{component.group}/{component.name}" for component in components if not component.hashes}
    assert bare == inside
    assert {component.hashes[0][0] for component in components if component.hashes} == {"SHA-512"}
    assert all(re.fullmatch(r"pkg:npm/(%40[\w.-]+/)?[\w.-]+@[\w.%-]+", component.purl) for component in components)


def test_an_old_lock_is_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "package-lock.json"
    file.write_text('{"lockfileVersion": 1}')
    with pytest.raises(ValueError, match="lockfileVersion 1 is not known"):
        npm_components(file)


def test_installed_debian_packages_and_no_others() -> None:
    status = (
        "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2+b\nDescription: x\n y: z\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: distroless\nVersion: 3\n"
    )
    assert [component.purl for component in debian_components(status)] == [
        "pkg:deb/debian/a@1%3A2%2Bb?arch=amd64&distro=debian-bookworm",
        "pkg:deb/debian/distroless@3?arch=all&distro=debian-bookworm",
    ]


def test_the_document_has_the_shape_of_cyclonedx() -> None:
    components = python_components("a==1 \\\n  --hash=sha256:0\nb==2\n", frozenset({"b"}))
    made = compose(
        image="i", image_id=IMAGE_ID, version="1", components=[*components, *components], created="2026-01-01T00:00:00Z"
    )
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    assert [component["purl"] for component in made["components"]] == ["pkg:pypi/a@1"]
    assert made["dependencies"][0]["dependsOn"] == ["pkg:pypi/a@1"]
    assert made["compositions"][0]["aggregate"] == "complete"
    partly = compose(image="i", image_id="", version="1", components=[], created="x", incomplete="no list")
    assert partly["compositions"][0]["aggregate"] == "incomplete"
    assert partly["metadata"]["properties"][0]["value"] == "no list"


# ---- names, requests, arguments -------------------------------------------------------------------------------------


def test_tags_promise_what_they_hold() -> None:
    pins = Pins()
    assert release_tags(Target.CLAUDE_FLOW, pins, "1.2.3") == (
        "1.2.3-cf3.43.0-claude-flow",
        "1.2-cf3.43.0-claude-flow",
        "1-cf3.43.0-claude-flow",
    )
    assert release_tags(Target.CLI, pins, "0.1.0") == ("0.1.0-cli", "0.1-cli")
    assert release_tags(Target.CLI, pins, "1.0.0rc1") == ("1.0.0rc1-cli",)


def test_no_build_argument_is_a_secret(tmp_path: Path) -> None:
    npmrc = tmp_path / "npmrc"
    npmrc.write_text("//r/:_authToken=npm_secretsecret")
    asked = request(target=Target.AGENT, with_claude=True, npmrc=npmrc, npm_registry="https://r", bases=stand_ins())
    arguments = build_arguments(asked, "d1")
    assert arguments["CLAUDE_CODE"] == "2.1.330"
    assert (arguments["NPM_REGISTRY"], arguments["CA_SHA256"]) == ("https://r", "d1")
    assert "secretsecret" not in json.dumps(arguments)
    assert "CLAUDE_CODE" not in build_arguments(request(), "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"with_claude": True}, "has no Claude Code"),
        ({"target": Target.DISTROLESS, "pins": Pins(claude_flow="2.7.47")}, "is not offered"),
        ({"platforms": ("vax",)}, "--platform vax"),
        ({"tag": "--privileged"}, "is not the name of an image"),
        ({"ca": Path("/none")}, "--ca /none is not a file"),
    ],
)
def test_what_cannot_be_built_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedInput) as caught:
        check_request(request(**fields))
    assert said in caught.value.message


# ---- pushing --------------------------------------------------------------------------------------------------------


def test_registries_are_read_as_docker_reads_them() -> None:
    assert [registry_of(name) for name in ("user/x", "x", "localhost/x", "r.example/x", "r:5000/x")] == [
        "docker.io",
        "docker.io",
        "localhost",
        "r.example",
        "r:5000",
    ]
    assert references("r:5000/x", ["a", "b"]) == ["r:5000/x:a", "r:5000/x:b"]
    for wrong in ("r/x:tag", "r/x@sha256:0"):
        with pytest.raises(RefusedInput, match="without a tag"):
            references(wrong, ["a"])


def test_claude_code_is_never_published() -> None:
    labels = {"dev.claude-flow-dagger.claude-code": "2.1.330"}
    for repository, private in (("user/x", True), ("r.example/x", False)):
        with pytest.raises(RefusedInput, match="holds Claude Code"):
            check_publishable(labels, repository, private=private)
    check_publishable(labels, "r.example/x", private=True)
    check_publishable({}, "user/x", private=False)


def test_a_password_goes_through_standard_input_and_leaves_nothing(client: Client) -> None:
    store = client.home / ".docker"
    store.mkdir()
    (store / "config.json").write_text(json.dumps({"credsStore": "x", "auths": {"r": {}}, "proxies": {"default": {}}}))
    login = Login(username="me", password=b"hunter2-hunter2")
    steps: list[str] = []
    pushed = push(client.engine, request(), "r.example/t/x", tags=["one"], login=login, on_step=steps.append)
    assert pushed == {"r.example/t/x:one": "sha256:beef"}
    assert "hunter2" not in json.dumps([(call["argv"], call["env"]) for call in client.calls])
    (said,) = [call for call in client.calls if call["argv"][0] == "login"]
    assert said["argv"] == ["login", "--username", "me", "--password-stdin", "r.example"]
    assert said["stdin"] == "hunter2-hunter2"
    # The user's store is neither used nor written to; the rest of the settings goes along.
    assert json.loads(said["config"]) == {"proxies": {"default": {}}}
    assert not Path(said["env"]["DOCKER_CONFIG"]).exists()
    assert "hunter2" not in "".join(file.read_text() for file in store.rglob("*") if file.is_file())
    assert client.argvs("push") == [["push", "r.example/t/x:one"]]
    assert client.argvs("tag") == [["tag", "claude-flow-dagger:claude-flow-3.43.0", "r.example/t/x:one"]]


def test_the_client_sees_no_key_of_the_model(client: Client) -> None:
    client.engine  # noqa: B018 - it is asked for its version
    assert client.calls
    assert not [call for call in client.calls if "ANTHROPIC_API_KEY" in call["env"]]


def test_what_a_registry_says_comes_with_a_cure(client: Client) -> None:
    client.answer("login", code=1, err="Error: unauthorized: incorrect username or password\n")
    with pytest.raises(InfrastructureError) as caught:
        push(
            client.engine,
            request(),
            "r.example/x",
            login=Login(username="me", password=b"wrong-password"),
            on_step=lambda _: None,
        )
    assert "r.example refused me" in caught.value.message
    client.answer("push", code=1, err="denied: requested access to the resource is denied\n")
    with pytest.raises(InfrastructureError) as caught:
        push(client.engine, request(), "r.example/x", on_step=lambda _: None)
    assert "docker login" in (caught.value.cure or "")


def test_several_platforms_need_buildx(client: Client) -> None:
    asked = request(platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(InfrastructureError, match="one platform at a time"):
        push(client.engine, asked, "r.example/x", on_step=lambda _: None)
    client.answer("buildx", out="v0.1")
    pushed = push(client.engine, asked, "r.example/x", tags=["one", "two"], on_step=lambda _: None)
    assert pushed == {"r.example/x:one": "", "r.example/x:two": ""}
    argv = client.argvs("buildx")[-1]
    assert argv[argv.index("--platform") + 1] == "linux/amd64,linux/arm64"
    assert argv[-3:-1] == ["r.example/x:two", "--push"]


# ---- pruning and failing --------------------------------------------------------------------------------------------


def test_pruning_keeps_what_is_used(client: Client) -> None:
    rows = [{"ID": "sha256:1", "Tag": "<none>"}, {"ID": "sha256:2", "Tag": "layered-ab"}]
    client.answer("image ls", out="\n".join(json.dumps(row) for row in rows))
    client.answer("image rm sha256:1", code=1, err="in use")
    client.answer("builder prune", out="Total: 3GB")
    pruned = prune(client.engine, layered=True, cache=True)
    assert (pruned.kept, pruned.removed) == (("sha256:1",), ("claude-flow-dagger:layered-ab",))
    assert pruned.cache == "Total: 3GB"
    client.answer("image ls", code=1)


@pytest.mark.parametrize(
    ("said", "kind", "cure"),
    [
        ("write /x: no space left on device", OutOfSpace, "image prune --cache"),
        ("Got permission denied while trying to connect to /var/run/docker.sock", InfrastructureError, "usermod"),
        ("Cannot connect to the Docker daemon at unix:///x", InfrastructureError, "DOCKER_HOST"),
        ("manifest for node:99 not found: manifest unknown", InfrastructureError, "scripts/make-base-images"),
        ("x509: certificate signed by unknown authority", InfrastructureError, "--ca FILE"),
        ("#7 error: no lock\n#7   cure: use a version that has one", InfrastructureError, "use a version that has one"),
        ("", InfrastructureError, "see the lines above"),
    ],
)
def test_what_a_daemon_says_comes_with_a_cure(said: str, kind: type[ClaudeFlowDaggerError], cure: str) -> None:
    error = failure("it", Done(1, b"", said))
    assert type(error) is kind
    assert cure in (error.cure or "")


def test_a_client_that_cannot_build_or_is_missing(client: Client, tmp_path: Path) -> None:
    client.answer("version", out="28.2.2 20.10.24")
    with pytest.raises(InfrastructureError, match="has no buildx plugin"):
        find_engine(client.environ)
    assert find_engine(client.environ, building=False).version == "28.2.2"
    with pytest.raises(InfrastructureError, match="neither docker nor podman is installed"):
        find_engine({"PATH": str(tmp_path)})
    with pytest.raises(RefusedInput, match="nerdctl is not installed"):
        find_engine(client.environ, named="nerdctl")


def test_a_daemon_that_does_not_answer(client: Client) -> None:
    client.answer(
        "version", code=1, err="Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
    )
    with pytest.raises(InfrastructureError, match="does not reach its daemon") as caught:
        find_engine(client.environ)
    assert "start the daemon" in (caught.value.cure or "")


# ---- the command line -----------------------------------------------------------------------------------------------

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    for name in ("PATH", "HOME"):
        monkeypatch.setenv(name, client.environ[name])
    for name in ("DOCKER_HOST", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: object) -> tuple[int, str, str]:
        code = run_cli(["image", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_build_in_words_and_in_json(say: Say, client: Client) -> None:
    code, out, _ = say("build", "--target", "agent", "--stand-ins", "--base", "PYTHON_IMAGE=r/python:3", "--no-cache")
    assert code == 0
    assert out.splitlines()[0] == f"claude-flow-dagger:agent-3.43.0  0 MB  {IMAGE_ID}"
    (argv,) = client.argvs("build")
    assert {"CLAUDE_CODE=2.1.330", "PYTHON_IMAGE=r/python:3", "--no-cache"} <= set(argv)
    assert json.loads(say("build", "--output", "json")[1])["id"] == IMAGE_ID
    code, out, _ = say("build", "--base", "WINE=x", "--output", "json")
    assert (code, json.loads(out)["error"]["message"]) == (2, "--base WINE=x")
    client.answer("build", code=1, err="#5 error: it broke\n")
    code, _, err = say("build")
    assert code == 75
    assert "it broke" in err


def test_scan_fails_on_what_it_is_told_to(say: Say, client: Client) -> None:
    item = {
        "vulnerability": {"id": "CVE-1", "severity": "High"},
        "artifact": {"name": "libc6", "version": "1"},
    }
    grype = client.home / "bin" / "grype"
    grype.write_text(f"#!/bin/sh\necho '{json.dumps({'matches': [item]})}'\n")
    grype.chmod(0o755)
    code, out, _ = say("scan", "i:t")
    assert code == 0
    assert "CVE-1" in out
    assert out.rstrip().endswith("i:t: findings, 1 findings")
    assert say("scan", "i:t", "--fail-on", "high")[0] == 1
    assert say("scan", "i:t", "--fail-on", "critical")[0] == 0
    grype.unlink()
    assert json.loads(say("scan", "i:t", "-o", "json")[1])["state"] == "incomplete"
    assert say("scan", "i:t", "--fail-on", "low")[0] == 75
    assert say("scan", "i:t", "--fail-on", "low", "--allow-incomplete")[0] == 0


def test_push_and_prune_on_the_command_line(say: Say, client: Client, tmp_path: Path) -> None:
    code, out, _ = say("push", "r.example/t/x", "--push-tag", "one", "-o", "json")
    assert (code, json.loads(out)) == (0, {"pushed": {"r.example/t/x:one": "sha256:beef"}})
    assert say("push", "r.example/t/x", "--push-tag", "one")[1] == "r.example/t/x:one  sha256:beef\n"
    assert say("push", "r.example/t/x", "--username", "me")[0] == 2
    assert json.loads(say("prune", "-o", "json")[1]) == {"removed": [], "kept": [], "cache": ""}
    assert say("prune")[1] == "0 removed\n"
    missing = tmp_path / "list.json"
    client.answer("create", out="c1")
    client.answer("cp", code=1)
    code, out, _ = say("sbom", "i:t", "--to", missing, "-o", "json")
    assert (code, json.loads(out)["file"]) == (0, str(missing))
    assert json.loads(missing.read_text())["bomFormat"] == "CycloneDX"
    assert ["rm", "--force", "--volumes", "c1"] in client.argvs("rm")


# ---- the Dockerfile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Dockerfile", "layer.Dockerfile"])
def test_the_dockerfiles_keep_the_rules(name: str) -> None:
    text = (RUNTIME / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "# syntax=" not in text.lower()
    assert not [line for line in lines if line.startswith("ADD ")]
    assert ":latest" not in text
    for line in lines:
        if line.startswith("RUN "):
            command = re.sub(r"^RUN (--\S+ +)*", "", line).strip()
            assert command.startswith("set -eu;"), line
        if match := re.match(r"FROM (\S+)", line):
            assert match[1].startswith("${") or match[1] in re.findall(r" AS (\S+)", text), line


def test_every_final_target_runs_as_the_user_with_a_health_check() -> None:
    text = (RUNTIME / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S))
    bodies = {name: body + stages.get("slim", "") for name, body in stages.items()}
    for target in Target:
        assert target.value in stages
    for target in (Target.ALPINE, Target.DISTROLESS, Target.CLI):
        for word in ("USER 1001:1001", "HEALTHCHECK", "STOPSIGNAL SIGTERM", "/opt/claude-flow-dagger/tini"):
            assert word in bodies[target.value], (target, word)


def test_what_is_copied_into_images_can_be_run() -> None:
    for script in (RUNTIME / "container").glob("*.sh"):
        assert script.read_text().startswith("#!/bin/sh")
        assert "set -eu" in script.read_text()
    assert stat.S_IMODE((ROOT / "scripts" / "ci-docker").stat().st_mode) & 0o111

"""`image build|scan|sbom|push|prune`: container images of the runtime."""

from __future__ import annotations

import datetime
import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from claude_flow_dagger import __version__
from claude_flow_dagger.cli.options import Output, OutputOption
from claude_flow_dagger.cli.runtime import Version, parse_pins
from claude_flow_dagger.cli.show import make_view
from claude_flow_dagger.config import take_settings
from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.image.engine import Engine, find_engine
from claude_flow_dagger.image.spec import DEFAULT_NODE, BaseImage, BuildRequest, Target, stand_ins
from claude_flow_dagger.job import DEFAULT_CLAUDE_FLOW

image = typer.Typer(
    help="Container images of the runtime: build, scan, list, push, remove. Needs docker or podman.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Threshold(StrEnum):
    """From which severity on a scan fails."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


TargetOption = Annotated[Target, typer.Option("--target", help="Which image.")]
Client = Annotated[str | None, typer.Option("--engine", help="docker, podman, or a client's path.", metavar="CLIENT")]
Tag = Annotated[str | None, typer.Option("--tag", help="Its name here, instead of the usual one.", metavar="NAME:TAG")]
Claude = Annotated[
    bool, typer.Option("--claude/--no-claude", help="Claude Code in the agent's image. Not to be published then.")
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file of your site's certificates, trusted in the image.", metavar="FILE"),
]
Npmrc = Annotated[
    Path | None, typer.Option("--npmrc", help="npm's settings with a token; a secret of the build.", metavar="FILE")
]
NpmRegistry = Annotated[str | None, typer.Option("--npm-registry", help="Instead of npm's own.", metavar="URL")]
PipIndex = Annotated[str | None, typer.Option("--pip-index", help="Instead of PyPI, for --target cli.", metavar="URL")]
Base = Annotated[
    list[str] | None,
    typer.Option(
        "--base", help="NODE_IMAGE=…, BASE_IMAGE=… and so on; docs/image.md lists them.", metavar="NAME=IMAGE"
    ),
]
StandIns = Annotated[
    bool, typer.Option("--stand-ins", help="The base images that scripts/make-base-images made: no image registry.")
]
NodeVersion = Annotated[str, typer.Option("--node", help="The version of the Node image.", metavar="VERSION")]
Platform = Annotated[
    list[str] | None, typer.Option("--platform", help="linux/amd64 or linux/arm64. Repeatable.", metavar="PLATFORM")
]
Revision = Annotated[str, typer.Option("--revision", help="Of the source, for the image's label.", metavar="COMMIT")]
Reference = Annotated[str, typer.Argument(help="The image.", metavar="IMAGE")]


def parse_bases(pairs: list[str] | None, *, stand: bool, node: str) -> dict[BaseImage, str]:
    """`NAME=IMAGE` arguments, over the stand-ins where those are asked for.

    Raises:
        RefusedInput: a name that the Dockerfile does not have.
    """
    found = stand_ins(node=node) if stand else {}
    for pair in pairs or []:
        name, _, value = pair.partition("=")
        if name not in set(BaseImage) or not value:
            raise RefusedInput(f"--base {pair}", cure=f"NAME=IMAGE with one of {', '.join(BaseImage)}")
        found[BaseImage(name)] = value
    return found


def _engine(named: str | None, *, building: bool = False) -> Engine:
    take_settings()  # the model's credentials leave this process's environment before anything is started
    return find_engine(os.environ, named=named, building=building)


@image.command("build")
def build(
    target: TargetOption = Target.CLAUDE_FLOW,
    claude_flow: Version = DEFAULT_CLAUDE_FLOW,
    claude: Claude = True,
    tag: Tag = None,
    base: Base = None,
    stand: StandIns = False,
    node: NodeVersion = DEFAULT_NODE,
    ca: Ca = None,
    npmrc: Npmrc = None,
    npm_registry: NpmRegistry = None,
    pip_index: PipIndex = None,
    platform: Platform = None,
    revision: Revision = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build every step again.")] = False,
    engine: Client = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Build one image, as claude-flow-dagger:TARGET-VERSION. A first build takes a minute or two."""
    from claude_flow_dagger.image.build import build as build_image

    request = BuildRequest(
        target=target, pins=parse_pins(claude_flow), with_claude=claude and target is Target.AGENT, node=node,
        bases=parse_bases(base, stand=stand, node=node), ca=ca, npmrc=npmrc, npm_registry=npm_registry,
        pip_index=pip_index, tag=tag, platforms=tuple(platform or ()), version=__version__, revision=revision,
        no_cache=no_cache,
    )  # fmt: skip
    with make_view(output) as view:
        built = build_image(_engine(engine, building=True), request, on_step=view.progress)
    if output is not Output.TEXT:
        print(json.dumps(asdict(built)))
        return
    print(f"{built.reference}  {built.size // 10**6} MB  {built.id}")
    print(f"{built.seconds:.0f} s, {built.reused} of {built.steps} steps from the cache")


@image.command("scan")
def scan(
    reference: Reference,
    fail_on: Annotated[
        Threshold | None, typer.Option("--fail-on", help="Exit 1 from this severity on; 75 when incomplete.")
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="With --fail-on: what could not be looked at does not fail.")
    ] = False,
    engine: Client = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask npm, and grype or trivy where installed, for advisories. Without a system scanner it is incomplete."""
    from claude_flow_dagger.image.report import Severity, State
    from claude_flow_dagger.image.scan import scan as scan_image

    settings = take_settings()
    with make_view(output) as view:
        report = scan_image(_engine(engine), reference, environ=settings.install_environment, on_step=view.progress)
    if output is Output.TEXT:
        from claude_flow_dagger.cli.image_tables import print_report

        print_report(report)
    else:
        print(json.dumps(report.as_dict()))
    if fail_on is not None:
        if report.reaching(Severity.parse(fail_on.value)):
            raise typer.Exit(1)
        if report.state is State.INCOMPLETE and not allow_incomplete:
            raise typer.Exit(75)


@image.command("sbom")
def sbom(
    reference: Reference,
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file.", metavar="FILE")] = None,
    engine: Client = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List every npm and system package of an image, as CycloneDX 1.6 JSON."""
    from claude_flow_dagger.image.build import inspect
    from claude_flow_dagger.image.contents import components_of
    from claude_flow_dagger.image.sbom import compose

    client = _engine(engine)
    with make_view(output) as view:
        view.progress(f"reading {reference}")
        components, missing = components_of(client, reference)
        found = inspect(client, reference)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    document = compose(
        image=reference, image_id=str(found["Id"]), version=__version__, components=components,
        created=now.isoformat().replace("+00:00", "Z"), incomplete=missing,
    )  # fmt: skip
    text = json.dumps(document, indent=None if output is Output.NDJSON else 1)
    if to is None:
        print(text)
        return
    to.write_text(text + "\n")
    if output is Output.TEXT:
        print(f"{to}: {len(document['components'])} packages{f'; incomplete: {missing}' if missing else ''}")
    else:
        print(json.dumps({"file": str(to), "components": len(document["components"]), "incomplete": missing or None}))


@image.command("push")
def push(
    repository: Annotated[str, typer.Argument(help="Where to, without a tag.", metavar="REPOSITORY")],
    target: TargetOption = Target.CLAUDE_FLOW,
    claude_flow: Version = DEFAULT_CLAUDE_FLOW,
    claude: Claude = False,
    tag: Tag = None,
    tags: Annotated[
        list[str] | None, typer.Option("--push-tag", help="Instead of the version's tags. Repeatable.", metavar="TAG")
    ] = None,
    username: Annotated[str | None, typer.Option("--username", help="With --password-stdin.", metavar="NAME")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password or token from standard input.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private-registry", help="The registry is yours alone: it may hold Claude Code.")
    ] = False,
    base: Base = None,
    stand: StandIns = False,
    node: NodeVersion = DEFAULT_NODE,
    ca: Ca = None,
    npmrc: Npmrc = None,
    npm_registry: NpmRegistry = None,
    pip_index: PipIndex = None,
    platform: Platform = None,
    revision: Revision = "",
    engine: Client = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Push a built image under tags made from the version; several --platform build and push at once (buildx)."""
    from claude_flow_dagger.image.push import Login
    from claude_flow_dagger.image.push import push as push_image

    if (username is None) == password_stdin:
        raise RefusedInput("--username and --password-stdin go together", cure="or neither, after docker login")
    request = BuildRequest(
        target=target, pins=parse_pins(claude_flow), with_claude=claude and target is Target.AGENT, node=node,
        bases=parse_bases(base, stand=stand, node=node), ca=ca, npmrc=npmrc, npm_registry=npm_registry,
        pip_index=pip_index, tag=tag, platforms=tuple(platform or ()), version=__version__, revision=revision,
    )  # fmt: skip
    login = None
    if username is not None:
        password = sys.stdin.buffer.read().rstrip(b"\r\n")
        if not password:
            raise RefusedInput("--password-stdin: standard input is empty")
        login = Login(username=username, password=password)
    with make_view(output) as view:
        client = _engine(engine, building=len(request.platforms) > 1)
        pushed = push_image(
            client, request, repository, tags=tags or (), login=login, private=private, on_step=view.progress
        )
    if output is not Output.TEXT:
        print(json.dumps({"pushed": pushed}))
        return
    for name, digest in pushed.items():
        print(f"{name}  {digest}")


@image.command("prune")
def prune(
    layered: Annotated[bool, typer.Option("--layered", help="Also your own images with the runtime on top.")] = False,
    cache: Annotated[bool, typer.Option("--cache", help="Also the daemon's whole build cache.")] = False,
    engine: Client = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove images of ours that no tag names any more. What a container uses stays."""
    from claude_flow_dagger.image.prune import prune as prune_images

    pruned = prune_images(_engine(engine), layered=layered, cache=cache)
    if output is not Output.TEXT:
        print(json.dumps(asdict(pruned)))
        return
    for name in pruned.removed:
        print(f"removed {name}")
    for name in pruned.kept:
        print(f"in use: {name}")
    print(f"{len(pruned.removed)} removed{f'; build cache: {pruned.cache}' if pruned.cache else ''}")

"""Building an image of ours, and layering the runtime onto a user's own."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_flow_dagger.errors import InfrastructureError, RefusedInput
from claude_flow_dagger.image.context import LAYER_DOCKERFILE, USER_SCRIPT, stage
from claude_flow_dagger.image.engine import QUICK_S, Engine, Kind, failure, run
from claude_flow_dagger.image.spec import (
    LABEL,
    LAYOUT,
    REPOSITORY,
    BuildRequest,
    build_arguments,
    check_reference,
    check_request,
)
from claude_flow_dagger.image.steps import Steps

BUILD_S: Final = 1800.0


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made.

    Args:
        reference: the image's name.
        id: its digest here; empty for several platforms, which no local store holds.
        size: bytes.
        seconds: how long the build took.
        steps: that it has; `reused` of them came from the cache.
    """

    reference: str
    id: str
    size: int
    seconds: float
    steps: int
    reused: int


def build(engine: Engine, request: BuildRequest, *, on_step: Callable[[str], None]) -> Built:
    """Build one image.

    Args:
        on_step: told each step as it begins.

    Raises:
        RefusedInput: the request makes no sense.
        InfrastructureError, OutOfSpace: the build failed; the daemon's last words and a cure are told.
    """
    check_request(request)
    if len(request.platforms) > 1:
        raise RefusedInput(
            "one build here makes one platform", cure="claude-flow-dagger image push --platform …, which makes several"
        )
    with tempfile.TemporaryDirectory(prefix="cfd-image-") as temporary:
        dockerfile = stage(request.target, Path(temporary))
        argv = build_argv(engine, request, dockerfile, Path(temporary))
        return _build(engine, argv, request.reference, on_step)


def build_argv(engine: Engine, request: BuildRequest, dockerfile: Path, context: Path) -> list[str]:
    """The client's command line without the client: `build …`."""
    argv = ["build", "--file", str(dockerfile), "--target", request.target.value, "--tag", request.reference]
    for name, value in build_arguments(request, digest_of(request.ca)).items():
        argv += ["--build-arg", f"{name}={value}"]
    for name, file in (("ca", request.ca), ("npmrc", request.npmrc)):
        if file is not None:
            argv += ["--secret", f"id={name},src={file.absolute()}"]
    if request.platforms:
        argv += ["--platform", ",".join(request.platforms)]
    if request.no_cache:
        argv.append("--no-cache")
    return [*argv, *_client_flags(engine), str(context)]


def _client_flags(engine: Engine) -> list[str]:
    # OCI's own format has no health check, which podman then drops with a warning.
    return ["--format", "docker"] if engine.kind is Kind.PODMAN else ["--progress", "plain"]


def digest_of(file: Path | None) -> str:
    """sha256 of a file; empty without one."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else ""


def _build(engine: Engine, argv: list[str], reference: str, on_step: Callable[[str], None]) -> Built:
    steps = Steps()

    def on_line(line: str) -> None:
        if name := steps.feed(line):
            on_step(name)

    began = time.monotonic()
    done = run(engine, argv, timeout_s=BUILD_S, on_line=on_line)
    if done.code != 0:
        raise failure(f"{reference} could not be built", done)
    found = inspect(engine, reference)
    return Built(
        reference=reference, id=str(found["Id"]), size=int(found["Size"]), seconds=time.monotonic() - began,
        steps=steps.total, reused=steps.reused,
    )  # fmt: skip


def inspect(engine: Engine, reference: str) -> dict[str, Any]:
    """What the daemon knows of an image.

    Raises:
        InfrastructureError: it does not have it.
    """
    done = run(engine, ["image", "inspect", check_reference(reference)], timeout_s=QUICK_S)
    if done.code != 0:
        if "no such image" in done.said.lower() or "image not known" in done.said.lower():
            raise InfrastructureError(
                f"there is no image {reference} here", cure="claude-flow-dagger image build, or docker pull"
            )
        raise failure(f"{reference} cannot be inspected", done)
    data: list[dict[str, Any]] = json.loads(done.output)
    return data[0]


def labels_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The labels of an inspected image."""
    return dict((found.get("Config") or {}).get("Labels") or {})


def layer(
    engine: Engine,
    image: str,
    *,
    runtime: str,
    setup: str | None = None,
    ca: Path | None = None,
    on_step: Callable[[str], None],
) -> Built:
    """Put the runtime onto a user's own image, and run their set-up command in it first.

    The result is named after what it was made of, so that the same request finds it built, also after the daemon's
    build cache was emptied; the set-up command alone is a layer of its own.

    Args:
        image: the user's; pulled when it is not here.
        runtime: an image of ours that has the runtime (target `agent`).
        setup: a shell command, run as root with network; not for secrets: the image's history shows it.
        ca: PEM file with the site's certificates, trusted in the result too.

    Raises:
        RefusedInput: a name is no name, or `runtime` is an image without the runtime.
        InfrastructureError, OutOfSpace: the build failed.
    """
    labels = labels_of(inspect(engine, runtime))
    if labels.get(f"{LABEL}.layout") != LAYOUT:
        raise RefusedInput(
            f"{runtime} holds no runtime of this version", cure="claude-flow-dagger image build --target agent"
        )
    base = _pulled(engine, check_reference(image), on_step)
    inputs = [
        str(base["Id"]),
        str(inspect(engine, runtime)["Id"]),
        setup or "",
        digest_of(ca),
        LAYER_DOCKERFILE.read_text(),
    ]
    name = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]
    reference = f"{REPOSITORY}:layered-{name}"
    there = run(engine, ["image", "inspect", "--format", "{{.Size}}", reference], timeout_s=QUICK_S)
    if there.code == 0:
        found = inspect(engine, reference)
        return Built(reference=reference, id=str(found["Id"]), size=int(found["Size"]), seconds=0.0, steps=0, reused=0)
    arguments = {
        "IMAGE": image,
        "RUNTIME": runtime,
        "SETUP": setup or "",
        "CA_SHA256": digest_of(ca),
        "LAYOUT": LAYOUT,
        "CLAUDE_FLOW_VERSION": labels.get(f"{LABEL}.claude-flow", ""),
        "CLAUDE_CODE": labels.get(f"{LABEL}.claude-code", ""),
        "NODE_VERSION": labels.get(f"{LABEL}.node", ""),
    }
    with tempfile.TemporaryDirectory(prefix="cfd-layer-") as temporary:
        shutil.copyfile(USER_SCRIPT, Path(temporary) / "user.sh")
        Path(temporary, "user.sh").chmod(0o755)
        argv = ["build", "--file", str(LAYER_DOCKERFILE), "--tag", reference, *_client_flags(engine)]
        for key, value in arguments.items():
            argv += ["--build-arg", f"{key}={value}"]
        if ca is not None:
            argv += ["--secret", f"id=ca,src={ca.absolute()}"]
        return _build(engine, [*argv, temporary], reference, on_step)


def _pulled(engine: Engine, image: str, on_step: Callable[[str], None]) -> dict[str, Any]:
    if run(engine, ["image", "inspect", image], timeout_s=QUICK_S).code != 0:
        on_step(f"pulling {image}")
        done = run(engine, ["pull", "--quiet", image], timeout_s=BUILD_S)
        if done.code != 0:
            raise failure(f"{image} could not be pulled", done)
    return inspect(engine, image)

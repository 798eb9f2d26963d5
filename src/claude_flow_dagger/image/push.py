"""Pushing an image to a registry. A password goes through standard input and a file that is removed at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from claude_flow_dagger.errors import InfrastructureError, RefusedInput
from claude_flow_dagger.image.build import BUILD_S, build_argv, inspect, labels_of
from claude_flow_dagger.image.context import stage
from claude_flow_dagger.image.engine import QUICK_S, Engine, Kind, failure, run
from claude_flow_dagger.image.spec import LABEL, BuildRequest, check_reference, check_request, release_tags

HUB: Final = "docker.io"
PUSH_S: Final = 1800.0


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials for one push."""

    username: str
    password: bytes


def registry_of(repository: str) -> str:
    """The registry's host, as docker reads names: Docker Hub unless the first part looks like a host. Pure."""
    host, slash, _ = repository.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else HUB


def references(repository: str, tags: Sequence[str]) -> list[str]:
    """The full names to push.

    Raises:
        RefusedInput: the repository has a tag already, or is no name.
    """
    if "@" in repository or ":" in repository.rpartition("/")[2]:
        raise RefusedInput(f"{repository}: name the repository without a tag", cure="--tag TAG sets other tags")
    return [check_reference(f"{repository}:{tag}") for tag in tags]


def check_publishable(labels: dict[str, str], repository: str, *, private: bool) -> None:
    """Claude Code's licence grants no redistribution: an image that holds it goes to private registries only.

    Raises:
        RefusedInput: it would be published.
    """
    if labels.get(f"{LABEL}.claude-code") and (not private or registry_of(repository) == HUB):
        raise RefusedInput(
            f"this image holds Claude Code, whose licence does not allow publishing it on {registry_of(repository)}",
            cure="build it without (--no-claude), or push to your own registry with --private-registry",
        )


def push(
    engine: Engine,
    request: BuildRequest,
    repository: str,
    *,
    tags: Sequence[str] = (),
    login: Login | None = None,
    private: bool = False,
    on_step: Callable[[str], None],
) -> dict[str, str]:
    """Push the built image of a request under its release tags; with several platforms, build and push them at once.

    Args:
        repository: such as `registry.example.org/tools/claude-flow`, or `user/claude-flow` for Docker Hub.
        tags: instead of those made from the version.
        login: else the client's own helper and settings are used.
        private: the registry is the site's own.

    Returns:
        Each pushed name with its digest; empty where the client tells none.

    Raises:
        RefusedInput: the names make no sense, or the image may not be published there.
        InfrastructureError: the image is not here, or the registry refused; with the cure.
    """
    check_request(request)
    names = references(repository, list(tags) or list(release_tags(request.target, request.pins, request.version)))
    several = len(request.platforms) > 1
    labels = {f"{LABEL}.claude-code": "yes"} if request.with_claude else {}
    if not several:
        labels = labels_of(inspect(engine, request.reference))
    check_publishable(labels, repository, private=private)
    with _logged_in(engine, repository, login) as logged:
        if several:
            return _push_several(logged, request, names, on_step)
        return {name: _push_one(logged, request.reference, name, on_step) for name in names}


def _push_one(engine: Engine, source: str, name: str, on_step: Callable[[str], None]) -> str:
    on_step(f"pushing {name}")
    tagged = run(engine, ["tag", source, name], timeout_s=QUICK_S)
    if tagged.code != 0:
        raise failure(f"{source} cannot be tagged as {name}", tagged)
    try:
        done = run(engine, ["push", name], timeout_s=PUSH_S)
        if done.code != 0:
            raise failure(f"{name} could not be pushed", done)
        digests: list[str] = inspect(engine, name).get("RepoDigests") or []
        repository = name.rpartition(":")[0]
        return next((digest.rpartition("@")[2] for digest in digests if digest.startswith(f"{repository}@")), "")
    finally:
        if name != source:
            run(engine, ["image", "rm", "--no-prune", name], timeout_s=QUICK_S)


def _push_several(
    engine: Engine, request: BuildRequest, names: Sequence[str], on_step: Callable[[str], None]
) -> dict[str, str]:
    if not engine.buildx:
        raise InfrastructureError(
            f"{engine.executable} builds one platform at a time: it has no buildx plugin",
            cure="install docker-buildx-plugin, or push one platform at a time with a tag of its own",
        )
    on_step(f"building and pushing {', '.join(request.platforms)}")
    with tempfile.TemporaryDirectory(prefix="cfd-image-") as temporary:
        dockerfile = stage(request.target, Path(temporary))
        argv = build_argv(engine, replace(request, tag=names[0]), dockerfile, Path(temporary))
        context = argv.pop()
        more = [word for name in names[1:] for word in ("--tag", name)]
        done = run(
            engine,
            ["buildx", *argv, *more, "--push", context],
            timeout_s=BUILD_S * len(request.platforms),
            on_line=on_step,
        )
    if done.code != 0:
        raise failure(f"{names[0]} could not be built and pushed", done)
    return dict.fromkeys(names, "")


@contextmanager
def _logged_in(engine: Engine, repository: str, login: Login | None) -> Iterator[Engine]:
    """The client with a configuration of its own that holds the credentials, and is removed afterwards."""
    if login is None:
        yield engine
        return
    registry = registry_of(repository)
    with tempfile.TemporaryDirectory(prefix="cfd-login-") as temporary:
        directory = Path(temporary)
        _copy_configuration(engine, directory)
        environment = dict(engine.environment) | {
            "DOCKER_CONFIG": str(directory),
            "REGISTRY_AUTH_FILE": str(directory / "auth.json"),
        }
        logged = replace(engine, environment=environment)
        where = [] if registry == HUB and engine.kind is Kind.DOCKER else [registry]
        argv = ["login", "--username", login.username, "--password-stdin", *where]
        done = run(logged, argv, timeout_s=QUICK_S, stdin=login.password)
        if done.code != 0:
            raise InfrastructureError(
                f"{registry} refused {login.username}: {(done.said.strip().splitlines() or ['it said nothing'])[-1]}",
                cure="check the name and the password or token",
            )
        yield logged


def _copy_configuration(engine: Engine, into: Path) -> None:
    """What the client needs beside credentials: contexts, plugins, proxies; not its store, which would keep ours."""
    home = Path(
        engine.environment.get("DOCKER_CONFIG") or Path(engine.environment.get("HOME", "/nonexistent")) / ".docker"
    )
    settings: dict[str, Any] = {}
    if (home / "config.json").is_file():
        settings = json.loads((home / "config.json").read_text())
    for name in ("auths", "credsStore", "credHelpers"):
        settings.pop(name, None)
    (into / "config.json").write_text(json.dumps(settings))
    for name in ("contexts", "cli-plugins", "buildx"):
        if (home / name).is_dir():
            (into / name).symlink_to(home / name)

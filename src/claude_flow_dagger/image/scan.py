"""Asking everybody who knows of advisories: npm for the locks, grype or trivy for the whole image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.image.build import inspect, labels_of
from claude_flow_dagger.image.engine import Engine
from claude_flow_dagger.image.report import Finding, Report, Source, merge, parse_grype, parse_npm_audit, parse_trivy
from claude_flow_dagger.image.spec import LABEL
from claude_flow_dagger.runtime import npm
from claude_flow_dagger.runtime.platforms import Node, find_node
from claude_flow_dagger.runtime.recipes import LOCKS

AUDIT_S: Final = 120.0
SCANNER_S: Final = 900.0
_SCANNERS: Final[tuple[tuple[str, tuple[str, ...], Callable[[str], list[Finding]]], ...]] = (
    ("grype", ("--quiet", "--output", "json"), parse_grype),
    ("trivy", ("image", "--quiet", "--format", "json"), parse_trivy),
)
_SYSTEM: Final = "the image's system packages and everything else in it"


def scan(engine: Engine, reference: str, *, environ: Mapping[str, str], on_step: Callable[[str], None]) -> Report:
    """One report on an image of ours.

    Args:
        environ: of the user: the way to npm's registry, and PATH with the scanners.
        on_step: told what is being asked.

    Raises:
        InfrastructureError: there is no such image.
    """
    labels = labels_of(inspect(engine, reference))
    sources: list[Source] = []
    findings: list[Finding] = []
    for tool in ("claude-flow", "claude-code"):
        version = labels.get(f"{LABEL}.{tool}")
        if version:
            on_step(f"npm audit of {tool} {version}")
            lock = next(iter(sorted(LOCKS.glob(f"{tool}-{version}*"))), LOCKS / f"{tool}-{version}")
            source, found = audit_lock(lock, f"npm audit ({tool} {version})", environ)
            sources.append(source)
            findings += found
    on_step("asking the scanner of the system's packages")
    source, found = scan_system(engine, reference)
    return Report(image=reference, sources=(*sources, source), findings=merge([*findings, *found]))


def audit_lock(lock: Path, name: str, environ: Mapping[str, str]) -> tuple[Source, list[Finding]]:
    """`npm audit` over one lock. npm's registry is told the names and versions in it, as its audit always does."""
    source = Source(name=name, covers=f"the npm packages in {lock.name}")
    try:
        node = find_node()
        data = json.loads((lock / "package-lock.json").read_text())
        versions = {
            path.rpartition("node_modules/")[2]: str(e.get("version", "")) for path, e in data["packages"].items()
        }
        return source, parse_npm_audit(_audit(node, lock, environ), versions, name)
    except RuntimeInstallError as problem:
        return replace(source, why=problem.message), []
    except (OSError, ValueError, subprocess.TimeoutExpired) as problem:
        return replace(source, why=f"no answer: {problem}"), []


def _audit(node: Node, lock: Path, environ: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="cfd-audit-") as temporary:
        work = Path(temporary)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(lock / name, work / name)
        env = npm.environment(node, home=work, npm_cache=work / "cache", temporary=work, environ=environ)
        flags = ["--json", "--package-lock-only", "--omit=optional", "--no-update-notifier", "--fetch-retries=1"]
        argv = [str(node.executable), "--max-old-space-size=2000", str(node.npm), "audit", *flags]
        done = subprocess.run(
            argv, cwd=work, env=env, capture_output=True, text=True, timeout=AUDIT_S, check=False,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["npm said nothing"])[-1]
        raise ValueError(last)
    return done.stdout


def scan_system(engine: Engine, reference: str) -> tuple[Source, list[Finding]]:
    """grype or trivy, whichever is installed; they look at the daemon's image."""
    environment = dict(engine.environment)
    path = environment.get("PATH", os.defpath)
    for name, flags, parse in _SCANNERS:
        executable = shutil.which(name, path=path)
        if executable is None:
            continue
        source = Source(name=name, covers=_SYSTEM)
        try:
            return source, parse(_run_scanner([executable, *flags, reference], environment))
        except subprocess.TimeoutExpired:
            return replace(source, why=f"not done after {SCANNER_S:.0f} s"), []
        except (OSError, ValueError, KeyError, TypeError) as problem:
            return replace(source, why=f"no report: {problem}"), []
    names = " nor ".join(name for name, _, _ in _SCANNERS)
    return Source(name="system", covers=_SYSTEM, why=f"neither {names} is installed"), []


def _run_scanner(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        list(argv), env=dict(environment), capture_output=True, text=True, timeout=SCANNER_S, check=False,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"exit status {done.returncode}: {last}")
    return done.stdout

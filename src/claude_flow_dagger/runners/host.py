"""What this machine has to build sandboxes from, found out by trying."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from claude_flow_dagger.job import Network
from claude_flow_dagger.runners.bubblewrap import OPTIONAL, UID, Contents, Host, RuntimeMounts, bwrap_argv

_CA_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
_ROOT_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PROBE_S: Final = 20.0
_PROBE_MEMORY: Final = 64 * 1024**2
_INSTALL: Final = "apt-get install bubblewrap (or your system's package of that name)"
_KERNEL: Final = (
    "let users make namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
    "sysctl kernel.unprivileged_userns_clone=1 (older Debian), user.max_user_namespaces above 0; "
    "in a container, use --security-opt seccomp=unconfined or the container runner"
)


@dataclass(frozen=True)
class Missing:
    """Why there is no sandbox here, and what would change that."""

    reason: str
    cure: str


def find_host(ca_bundle: Path | None) -> Host | Missing:
    """bubblewrap and what goes into its sandboxes.

    Args:
        ca_bundle: seen instead of this machine's own bundle, such as the file that SSL_CERT_FILE names.
    """
    found = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
    if found is None:
        return Missing("bubblewrap is not installed", _INSTALL)
    try:
        known = _run([found, "--help"]).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Missing(f"{found} does not start: {error}", _INSTALL)
    bundles = [ca_bundle] if ca_bundle is not None else [Path(path) for path in _CA_BUNDLES]
    alternatives = Path("/etc/alternatives")
    return Host(
        bwrap=Path(found),
        options=frozenset(option for option in OPTIONAL if f"{option} " in f"{known} "),
        links=tuple((place, _link(Path(place))) for place in _ROOT_LINKS if Path(place).exists()),
        alternatives=alternatives if alternatives.is_dir() else None,
        ca_bundle=next((bundle.resolve() for bundle in bundles if bundle.is_file()), None),
    )


def probe(host: Host, runtime: RuntimeMounts, scratch: Path) -> Host | Missing:
    """The host if a sandbox with its own network really starts on it; without `--disable-userns` if that is what fails.

    Args:
        host: what `find_host` found.
        runtime: mounted as in a real run.
        scratch: an empty directory to work in.
    """
    etc, workspace, control = scratch / "etc", scratch / "workspace", scratch / "control"
    write_etc(etc, Network.NONE)
    workspace.mkdir()
    control.mkdir()
    contents = Contents(etc=etc, workspace=workspace, control=control)
    reason = ""
    for candidate in (host, replace(host, options=host.options - {"--disable-userns"})):
        argv = bwrap_argv(
            candidate, runtime, contents, network=Network.NONE, memory=_PROBE_MEMORY, command=("/usr/bin/true",)
        )
        try:
            done = _run(argv)
        except (OSError, subprocess.SubprocessError) as error:
            return Missing(f"bubblewrap cannot start a sandbox: {error}", _KERNEL)
        if done.returncode == 0:
            return candidate
        reason = done.stderr.strip()[-500:] or f"exit status {done.returncode}"
    return Missing(f"bubblewrap cannot start a sandbox: {reason}", _KERNEL)


def write_etc(directory: Path, network: Network) -> None:
    """An /etc of a sandbox's own: nothing of this machine's but its name servers, and those only for `open`.

    Raises:
        OSError: it could not be written.
    """
    for place in ("alternatives", "ssl/certs"):
        (directory / place).mkdir(parents=True)
    hosts = "127.0.0.1 localhost sandbox\n::1 localhost\n"
    files = {
        "passwd": f"agent:x:{UID}:{UID}::/home/agent:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "group": f"agent:x:{UID}:\nnogroup:x:65534:\n",
        "hosts": hosts,
        "hostname": "sandbox\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "ssl/certs/ca-certificates.crt": "",
    }
    for name in ("ld.so.cache", "localtime"):
        # Where libraries are and what time it is; neither is a secret, and programs fail or lie without them.
        if Path("/etc", name).is_file():
            shutil.copyfile(Path("/etc", name), directory / name)
    if network is Network.OPEN:
        files["resolv.conf"] = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
        files["hosts"] = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace")
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    (directory / "ssl/cert.pem").symlink_to("certs/ca-certificates.crt")


def _link(place: Path) -> str | None:
    return str(place.readlink()) if place.is_symlink() else None


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROBE_S,
        start_new_session=True,
        cwd=os.sep,
        check=False,
    )

"""A software bill of materials in CycloneDX 1.6: npm's locks, and the packages of the image's system. Pure."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

SPEC_VERSION: Final = "1.6"
_NAMESPACE: Final = uuid.UUID("5f0c0c5e-6f5c-4f0e-9f0b-2f1f3c1a7b11")
_HASHES: Final = {"sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


@dataclass(frozen=True, kw_only=True)
class Component:
    """One package.

    Args:
        purl: its package URL, which names it for scanners.
        hashes: algorithm (as CycloneDX names it) to hexadecimal digest.
        licence: as the package's own metadata says; empty when it doesn't.
        kind: `library`, `application` or `operating-system`.
    """

    name: str
    version: str
    purl: str
    group: str = ""
    hashes: tuple[tuple[str, str], ...] = ()
    licence: str = ""
    kind: str = "library"


def npm_components(lock: Path) -> list[Component]:
    """The packages of a package-lock.json (version 3).

    Raises:
        ValueError: it is no such lock.
    """
    data = json.loads(lock.read_text())
    if data.get("lockfileVersion") != 3:
        raise ValueError(f"{lock}: lockfileVersion {data.get('lockfileVersion')} is not known here")
    found = {}
    for path, entry in data["packages"].items():
        if not path or entry.get("link"):
            continue
        full = str(entry.get("name") or path.rpartition("node_modules/")[2])
        group, _, name = full.rpartition("/")
        purl = f"pkg:npm/{quote(group, safe='')}{'/' if group else ''}{name}@{quote(str(entry['version']), safe='')}"
        hashes = tuple(_hash(part) for part in str(entry.get("integrity", "")).split() if part)
        found[purl] = Component(
            name=name, group=group, version=str(entry["version"]), purl=purl, hashes=hashes, licence=_licence(entry)
        )
    return [found[purl] for purl in sorted(found)]


def _hash(integrity: str) -> tuple[str, str]:
    algorithm, _, value = integrity.partition("-")
    return _HASHES[algorithm], base64.b64decode(value).hex()


def _licence(entry: dict[str, Any]) -> str:
    licence = entry.get("license")
    return licence if isinstance(licence, str) else ""


def python_components(requirements: str, without: frozenset[str] = frozenset()) -> list[Component]:
    """The packages of a hashed requirements file.

    Args:
        requirements: its text.
        without: names that the image leaves out.
    """
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", requirements, re.M)
    return [
        Component(name=name, version=version, purl=f"pkg:pypi/{name.lower()}@{version}")
        for name, version in found
        if name not in without
    ]


def debian_components(status: str, release: str = "bookworm") -> list[Component]:
    """The installed packages of a dpkg status file.

    Args:
        status: the text of /var/lib/dpkg/status.
        release: Debian's code name, which scanners need to find advisories.
    """
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith((" ", "\t"))
        )
        # The packages that distroless images list have no status line: they are there.
        if "Package" not in fields or not fields.get("Status", "install ok installed").endswith(" installed"):
            continue
        name, version, machine = fields["Package"], fields["Version"], fields.get("Architecture", "all")
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={machine}&distro=debian-{release}"
        found.append(Component(name=name, version=version, purl=purl))
    return sorted(found, key=lambda component: component.purl)


def compose(
    *, image: str, image_id: str, version: str, components: Iterable[Component], created: str, incomplete: str = ""
) -> dict[str, Any]:
    """The document.

    Args:
        image: the image's name; with `image_id` its own component.
        version: of this package.
        created: UTC time in ISO 8601; part of the specification's metadata.
        incomplete: why a part of the image is not listed; empty when all of it is.
    """
    unique = {component.purl: component for component in components}
    listed = [_as_dict(unique[purl]) for purl in sorted(unique)]
    serial = uuid.uuid5(_NAMESPACE, "\n".join([image_id, created, *unique]))
    root = f"image:{image_id or image}"
    properties = [{"name": "claude-flow-dagger:incomplete", "value": incomplete}] if incomplete else []
    aggregate = "incomplete" if incomplete else "complete"
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {"components": [{"type": "application", "name": "claude-flow-dagger", "version": version}]},
            "component": {"type": "container", "bom-ref": root, "name": image, "version": image_id or version},
            **({"properties": properties} if properties else {}),
        },
        "components": listed,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in listed]}],
        "compositions": [{"aggregate": aggregate, "assemblies": [root]}],
    }


def _as_dict(component: Component) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": component.kind,
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    }
    if component.group:
        data["group"] = component.group
    if component.hashes:
        data["hashes"] = [{"alg": algorithm, "content": content} for algorithm, content in component.hashes]
    if component.licence:
        # An expression is one licence too; names outside of SPDX's list are allowed only as names.
        data["licenses"] = [{"license": {"name": component.licence}}]
    return data

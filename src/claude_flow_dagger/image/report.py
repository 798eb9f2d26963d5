"""The report of a scan: what was found, by whom, and what was not looked at. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any


class Severity(IntEnum):
    """How bad, in order."""

    UNKNOWN = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def parse(cls, text: str) -> Severity:
        """Of any scanner's word for it."""
        names = {"negligible": cls.LOW, "info": cls.LOW, "moderate": cls.MEDIUM}
        word = text.lower()
        return names.get(word) or next((level for level in cls if level.name.lower() == word), cls.UNKNOWN)


class State(StrEnum):
    """What a scan came to. Only a scan that looked at everything can be clean."""

    CLEAN = "clean"
    FINDINGS = "findings"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One advisory that fits one package; `fixed` is the version without it, empty where there is none."""

    id: str
    package: str
    version: str
    severity: Severity
    title: str = ""
    fixed: str = ""
    source: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One that was asked. `why` says why it has no answer; empty when it has one."""

    name: str
    covers: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report out of all sources."""

    image: str
    sources: tuple[Source, ...]
    findings: tuple[Finding, ...]

    @property
    def incomplete(self) -> bool:
        """Whether something that should have been looked at was not: no report can be clean then."""
        return not self.sources or any(source.why for source in self.sources)

    @property
    def state(self) -> State:
        """Findings are told first: what is missing only adds to them."""
        if self.incomplete:
            return State.INCOMPLETE
        return State.FINDINGS if self.findings else State.CLEAN

    def reaching(self, threshold: Severity) -> list[Finding]:
        """The findings that are at least that bad. An unknown severity counts: nobody said that it is harmless."""
        return [f for f in self.findings if f.severity >= threshold or f.severity is Severity.UNKNOWN]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        findings = [asdict(finding) | {"severity": finding.severity.name.lower()} for finding in self.findings]
        counts = {level.name.lower(): sum(f.severity is level for f in self.findings) for level in reversed(Severity)}
        return {
            "version": 1,
            "image": self.image,
            "state": self.state.value,
            "sources": [asdict(source) | {"answered": not source.why} for source in self.sources],
            "counts": counts,
            "findings": findings,
        }


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without doubles (the worse severity wins), the worst first."""
    found: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.id, finding.package, finding.version)
        if key not in found or found[key].severity < finding.severity:
            found[key] = finding
    return tuple(sorted(found.values(), key=lambda f: (-f.severity, f.package, f.version, f.id)))


def parse_npm_audit(text: str, versions: Mapping[str, str], source: str) -> list[Finding]:
    """The findings of `npm audit --json` (report version 2).

    Args:
        versions: of each package in the lock; where there are several, any.

    Raises:
        ValueError: it is no report; npm's own words, where it says why.
    """
    data = json.loads(text)
    if data.get("auditReportVersion") != 2:
        raise ValueError(str(data.get("message") or (data.get("error") or {}).get("summary") or "no report"))
    found = []
    for name, entry in data.get("vulnerabilities", {}).items():
        for via in entry.get("via", []):
            # A text names another vulnerable package, which has an entry of its own.
            if isinstance(via, dict):
                fix = entry.get("fixAvailable")
                found.append(
                    Finding(
                        id=str(via.get("url", via.get("source", ""))).rpartition("/")[2],
                        package=str(via.get("dependency", name)),
                        version=versions.get(name, str(via.get("range", ""))),
                        severity=Severity.parse(str(via.get("severity", entry.get("severity", "")))),
                        title=str(via.get("title", "")),
                        fixed=str(fix.get("version", "")) if isinstance(fix, dict) else "",
                        source=source,
                    )
                )
    return found


def parse_grype(text: str) -> list[Finding]:
    """The findings of `grype -o json`.

    Raises:
        ValueError, KeyError: it is no report.
    """
    return [
        Finding(
            id=match["vulnerability"]["id"],
            package=match["artifact"]["name"],
            version=match["artifact"]["version"],
            severity=Severity.parse(match["vulnerability"].get("severity", "")),
            title=match["vulnerability"].get("description", "")[:200],
            fixed=", ".join((match["vulnerability"].get("fix") or {}).get("versions") or []),
            source="grype",
        )
        for match in json.loads(text)["matches"]
    ]


def parse_trivy(text: str) -> list[Finding]:
    """The findings of `trivy image --format json`.

    Raises:
        ValueError, KeyError: it is no report.
    """
    data = json.loads(text)
    if "SchemaVersion" not in data:
        raise ValueError("no report")
    return [
        Finding(
            id=item["VulnerabilityID"],
            package=item["PkgName"],
            version=item["InstalledVersion"],
            severity=Severity.parse(item.get("Severity", "")),
            title=item.get("Title", ""),
            fixed=item.get("FixedVersion", ""),
            source="trivy",
        )
        for result in data.get("Results") or []
        for item in result.get("Vulnerabilities") or []
    ]

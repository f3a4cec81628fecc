"""Findings: what is not as it should be, with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    """A tenant's data or isolation is at risk, or was."""
    MAJOR = "major"
    """A server is out of use until somebody acts."""
    MINOR = "minor"
    """Something waits or differs; nothing is lost."""

    def at_least(self, other: Severity) -> bool:
        """Whether it is this bad, or worse."""
        return URGENCY[self] <= URGENCY[other]


URGENCY: Final[Mapping[Severity, int]] = {severity: number for number, severity in enumerate(Severity)}
"""0 for the worst."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. The same finding is found again under the same (kind, subject)."""

    kind: str
    """`room.what`: `lifecycle.not_proven_clean`, `isolation.flip_failed`, `operations.stuck`."""
    subject: str
    """`node:<uuid>`, `server:<uuid>`, `candidate:<uuid>`, `operation:<uuid>`, `reconciler:<name>`."""
    name: str
    """Of the subject, for people: bm-007."""
    severity: Severity
    reason: str
    """One sentence: what is wrong, with the words of whoever said so."""
    next: str | None
    """The next safe command, to paste."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What each system said. JSON, no secrets."""


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A finding that has not gone away. Times are UTC."""

    finding: Finding
    since: datetime
    seen_at: datetime
    source: str
    """The reconciler that found it."""


# What people see: one line per subject


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding as it is seen at this moment, and since when it is so, where somebody has said that."""

    finding: Finding
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows of a finding and needs not be told before `until`. Times are UTC."""

    subject: str
    kind: str
    actor: str
    reason: str
    since: datetime
    """Since when the finding was so that was acknowledged: what goes away and comes again is another one."""
    at: datetime
    until: datetime

    def covers(self, found: OpenFinding, now: datetime) -> bool:
        """Whether it is about this very finding, and has not run out."""
        return (
            (self.subject, self.kind) == (found.finding.subject, found.finding.kind)
            and found.since <= self.at
            and now < self.until
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One subject that needs a human, with the worst of what is wrong with it."""

    lead: OpenFinding
    also: tuple[OpenFinding, ...] = ()
    """What else is wrong with it, the worst first."""
    acknowledged: Acknowledgement | None = None
    """Of the lead; then nothing worse is left that nobody knows of."""


def merge(
    found: Iterable[OpenFinding],
    *,
    home: Mapping[str, str],
    names: Mapping[str, str],
    acknowledged: Iterable[Acknowledgement],
    now: datetime,
) -> list[Line]:
    """One line per subject, the worst first, then the oldest; those that somebody acknowledged come last.

    `home` says which subject another one belongs to (a candidate to the node that was made of it, a server to the node
    that it is on): they share a line. The same thing found by two sources is told once. `names` are today's names.
    """
    known = {(each.subject, each.kind): each for each in acknowledged}
    groups: dict[str, dict[tuple[str, str], OpenFinding]] = {}
    for each in found:
        finding = replace(each.finding, name=names.get(each.finding.subject, each.finding.name))
        each = replace(each, finding=finding)
        group = groups.setdefault(home.get(finding.subject, finding.subject), {})
        same = group.get((finding.kind, finding.subject))
        if same is None or _order(each) < _order(same):
            group[finding.kind, finding.subject] = each

    def acknowledgement(each: OpenFinding) -> Acknowledgement | None:
        mark = known.get((each.finding.subject, each.finding.kind))
        return mark if mark is not None and mark.covers(each, now) else None

    lines = []
    for group in groups.values():
        # what nobody knows of yet leads, also before something worse that is known
        lead, *also = sorted(group.values(), key=lambda each: (acknowledgement(each) is not None, *_order(each)))
        lines.append(Line(lead, tuple(also), acknowledgement(lead)))
    return sorted(lines, key=lambda line: (line.acknowledged is not None, *_order(line.lead)))


def _order(found: OpenFinding) -> tuple[int, datetime, str, str]:
    return URGENCY[found.finding.severity], found.since, found.finding.subject, found.finding.kind

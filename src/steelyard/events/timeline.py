"""One timeline out of what several tell: Steelyard's events and operations, Ironic, Nova, the network. Pure.

Where two tell one thing, one line is left, and it says who told it. Steelyard's line stays where there is one, since it
knows the person and the reason; what it does not know (Nova's request id, who acted outside) is taken from the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from steelyard.events.model import Event
from steelyard.nouns import HistoryEntry
from steelyard.operations.model import Operation, Phase

STEELYARD, IRONIC, NOVA, NETWORK = "steelyard", "ironic", "nova", "network"
OUTSIDE = "outside"
"""Actor of events that tell what was seen to have been done with another client."""
NEAR = timedelta(seconds=60)
"""How far apart two accounts of one request may be: clocks, and the time until Nova has accepted it."""
SEEN_LATER = timedelta(minutes=3)
"""How much later a thing may be seen than it happened."""
SAME_WORDS = 20
"""Letters that must be the same before two texts are taken for one."""

_OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "create": frozenset({"servers.create"}),
    "delete": frozenset({"servers.delete", "servers.reclaim"}),
    "start": frozenset({"servers.power"}),
    "stop": frozenset({"servers.power"}),
    "reboot": frozenset({"servers.power"}),
    "rebuild": frozenset({"servers.rebuild"}),
    "rescue": frozenset({"servers.rescue"}),
    "unrescue": frozenset({"servers.unrescue"}),
}
"""Nova's actions, and the kinds of operation that ask for them."""
_SEEN: Final[Mapping[str, frozenset[str]]] = {
    "stop": frozenset({"SHUTOFF", "off"}),
    "start": frozenset({"ACTIVE", "on"}),
    "rebuild": frozenset({"REBUILD"}),
    "rescue": frozenset({"RESCUE"}),
    "unrescue": frozenset({"ACTIVE"}),
}
"""Nova's actions, and to what a server is seen to have changed by them (`data["to"]` of the event)."""
_NOTED: Final[Mapping[str, frozenset[str]]] = {
    "create": frozenset({"server.appeared", "server.created"}),
    "delete": frozenset({"server.gone", "server.deleted"}),
    "rebuild": frozenset({"server.image"}),
    "lock": frozenset({"server.locked"}),
    "unlock": frozenset({"server.locked"}),
}
"""The same by the event's kind."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline."""

    id: str
    """The same whenever it is asked for; serves as marker."""
    at: datetime
    source: str
    """steelyard, network, ironic or nova."""
    kind: str
    subject: str
    actor: str | None
    detail: str
    reason: str | None = None
    operation_id: str | None = None
    request_id: str | None = None
    severity: str | None = None
    """ERROR where it tells of something that went wrong."""
    told_by: tuple[str, ...] = ()
    """Everybody who told it, `source` first."""
    about: str | None = None
    """The kind of the operation, or what was seen: for merging."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that could not be asked."""

    source: str
    reason: str


def line_of_event(event: Event) -> Line:
    source = NETWORK if event.kind.startswith(("network.", "isolation.")) else STEELYARD
    about = event.data.get("kind") if event.kind.startswith("operation.") else event.data.get("to")
    bad = event.kind.endswith(("failed", "quarantined")) or event.kind == "finding.opened"
    return Line(
        id=f"event:{event.id}", at=event.at, source=source, kind=event.kind, subject=event.subject, actor=event.actor,
        detail=event.detail, reason=event.reason, operation_id=event.operation_id, request_id=event.request_id,
        severity="ERROR" if bad else None, told_by=(source,), about=about if isinstance(about, str) else None,
    )  # fmt: skip


def lines_of_steps(operation: Operation) -> list[Line]:
    """What each step of an operation did, at its end, or what it waits for now."""
    lines = []
    for position, step in enumerate(operation.steps):
        if step.started_at is None:
            continue
        if step.phase is Phase.SUCCEEDED:
            words = "done"
        elif step.phase is Phase.RUNNING:
            words = f"waits for: {step.waiting_for}" if step.waiting_for else "runs"
        else:
            words = f"{step.phase}: {step.error.detail}" if step.error else str(step.phase)
        took = f" ({(step.ended_at - step.started_at).total_seconds():.1f} s)" if step.ended_at else ""
        lines.append(
            Line(
                id=f"step:{operation.id}:{position}", at=step.ended_at or step.started_at, source=STEELYARD,
                kind="operation.step", subject=operation.subject or f"operation:{operation.id}",
                actor=operation.actor.user_name, detail=f"{operation.kind}: {step.name} {words}{took}",
                operation_id=operation.id, request_id=operation.request_id,
                severity="ERROR" if step.phase is Phase.FAILED else None, told_by=(STEELYARD,),
            )
        )  # fmt: skip
    return lines


def line_of_history(entry: HistoryEntry, subject: str) -> Line:
    """A line of Ironic's or Nova's memory."""
    told = f"{subject}|{entry.at.isoformat()}|{entry.kind}|{entry.detail}|{entry.request_id}"
    mark = hashlib.sha256(told.encode()).hexdigest()[:16]
    return Line(
        id=f"{entry.source}:{mark}", at=entry.at, source=entry.source, kind=entry.kind, subject=subject,
        actor=entry.user_id, detail=entry.detail, request_id=entry.request_id,
        severity="ERROR" if (entry.severity or "").upper() == "ERROR" else None, told_by=(entry.source,),
    )  # fmt: skip


def merged(lines: Iterable[Line]) -> list[Line]:
    """All lines once each, the newest first."""
    known = {line.id: line for line in lines}
    told = [line for line in known.values() if line.source in (STEELYARD, NETWORK)]
    others = sorted((line for line in known.values() if line.source not in (STEELYARD, NETWORK)), key=lambda x: x.at)
    kept = {line.id: line for line in told}
    for line in others:
        match = _same_request(line, kept.values()) or _same_words(line, kept.values())
        if match is None:
            kept[line.id] = line
        else:
            kept[match.id] = _one(match, line)
    return sorted(kept.values(), key=lambda line: (line.at, _order(line.id)), reverse=True)


def _order(id: str) -> tuple[str, int, str]:
    """Of two lines of the same moment that which was written first comes first."""
    source, _, number = id.partition(":")
    return source, int(number) if number.isdecimal() else 0, number


def _one(kept: Line, other: Line) -> Line:
    """One line of two that tell the same."""
    outside = kept.actor == OUTSIDE and other.actor is not None
    return replace(
        kept,
        at=min(kept.at, other.at) if kept.actor == OUTSIDE else kept.at,
        actor=other.actor if outside else kept.actor,
        request_id=other.request_id if outside else kept.request_id or other.request_id,
        severity=kept.severity or other.severity,
        told_by=(*kept.told_by, other.source),
    )


def _same_request(line: Line, told: Iterable[Line]) -> Line | None:
    """The line that tells of the same request as Nova's: an operation that asked for it, or an observation of it."""
    if line.source != NOVA:
        return None
    asked = [
        each
        for each in told
        if NOVA not in each.told_by
        and each.kind == "operation.started"
        and each.about in _OPERATIONS.get(line.kind, ())
        and _server(each) == _server(line)
        and abs(each.at - line.at) <= NEAR
    ]
    if asked:
        return min(asked, key=lambda each: abs(each.at - line.at))
    seen = [
        each
        for each in told
        if NOVA not in each.told_by
        and each.actor == OUTSIDE
        and _server(each) == _server(line)
        and (each.about in _SEEN.get(line.kind, ()) or each.kind in _NOTED.get(line.kind, ()))
        and timedelta(seconds=-2) <= each.at - line.at <= SEEN_LATER
    ]
    return min(seen, key=lambda each: each.at - line.at) if seen else None


def _server(line: Line) -> str:
    """The server that a line is about: a deletion is an operation on `release:<id>`."""
    return line.subject.partition(":")[2]


def _same_words(line: Line, told: Iterable[Line]) -> Line | None:
    """The line that quotes this one. What Ironic itself says twice of one error is one line, too."""
    words = line.detail.strip()
    if len(words) < SAME_WORDS:
        return None
    near = [
        each
        for each in told
        if (
            line.source in each.told_by
            and each.detail == line.detail
            and abs(each.at - line.at) <= timedelta(seconds=2)
        )
        or (line.source not in each.told_by and words in each.detail and abs(each.at - line.at) <= SEEN_LATER)
    ]
    return min(near, key=lambda each: abs(each.at - line.at)) if near else None

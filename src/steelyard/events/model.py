"""What an event is, who may see it, and how events are chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from steelyard.nouns import Actor


@dataclass(frozen=True, slots=True)
class Event:
    """One line of what happened to something, by whom and why. Times are UTC. No secret is in one."""

    id: int
    """Counts up by one in the order in which events were committed, in all servers that share the database."""
    at: datetime
    subject: str
    """`node:<uuid>`, `candidate:<uuid>`, `server:<uuid>`, `operation:<uuid>`, ..."""
    kind: str
    """`operation.started`, `node.onboarded`, ..."""
    actor: str
    reason: str | None
    operation_id: str | None
    request_id: str | None
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)
    project_id: str | None = None
    """Whose members may see it, too; None: administrators only."""
    prev: str | None = None
    """The seal of the event before it (`events.chain`)."""
    hash: str | None = None
    """Its own seal. None on an event that is not committed yet, or that nobody sealed."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; a field that is None wants all.

    `subject`, `kind` and `actor` match the whole text, or its beginning where they end in `*` (`node:*`).
    """

    subject: str | None = None
    kind: str | None = None
    actor: str | None = None
    since: datetime | None = None
    """Not before this moment."""
    until: datetime | None = None
    """Before this moment."""
    project_id: str | None = None
    """Only what the members of this project may see."""

    def matches(self, event: Event) -> bool:
        """Whether an event is one of those wanted."""
        return (
            _fits(self.subject, event.subject)
            and _fits(self.kind, event.kind)
            and _fits(self.actor, event.actor)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
            and (self.project_id is None or event.project_id == self.project_id)
        )


def _fits(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def seen_by(actor: Actor) -> str | None:
    """The project whose events the actor may see; None: all events. A tenant without a project sees none."""
    if actor.is_admin:
        return None
    return actor.project_id or "-"  # no event is of the project '-'


_OWN_WORDS = frozenset({"operation.started", "operation.succeeded", "operation.failed", "operation.cancelled"})
"""Kinds whose reason was given by whoever started the operation: somebody of the project that sees it."""


def shown(event: Event, *, administrator: bool) -> dict[str, Any]:
    """The event as JSON: all of it for administrators, for tenants without what operators wrote (`data`, which may
    name nodes, and the reason of what nobody of the project asked for)."""
    own = administrator or event.kind in _OWN_WORDS
    body: dict[str, Any] = {
        "id": event.id,
        "at": event.at.isoformat(),
        "subject": event.subject,
        "kind": event.kind,
        "actor": event.actor,
        "reason": event.reason if own else None,
        "operation_id": event.operation_id,
        "request_id": event.request_id if own else None,
        "detail": event.detail,
        "project_id": event.project_id,
    }
    return {**body, "data": dict(event.data)} if administrator else body

"""What the operations are at, over all of them: for the first screen and for metrics. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from steelyard.operations.model import OperationError, Phase
from steelyard.store.database import Database
from steelyard.store.tables import operation_steps, operations

PAUSED = "paused"
"""Beside the phases: an operation that runs, but stands still until somebody resumes it."""
_OPEN = (Phase.PENDING.value, Phase.RUNNING.value)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """An operation that has not ended, and the step that it is at. Times are UTC."""

    id: str
    kind: str
    subject: str | None
    phase: Phase
    created_at: datetime
    paused_at: datetime | None
    pause_reason: str | None
    step: str | None
    """None while it waits for its turn."""
    step_started_at: datetime | None
    waiting_for: str | None
    waiting_since: datetime | None
    deadline_at: datetime | None
    node_id: str | None = None
    """The node that its params name, where they name one."""


@dataclass(frozen=True, slots=True)
class FailedWork:
    """An operation that failed, and that nothing on its subject has made good since."""

    id: str
    kind: str
    subject: str | None
    actor: str
    error: OperationError | None
    ended_at: datetime
    parent_id: str | None
    node_id: str | None = None
    """The node that its params name, where they name one."""


class Workload:
    """Questions about all operations at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[OpenWork]:
        """All that have not ended, the oldest first."""
        o, s = operations.c, operation_steps.c
        at = sa.and_(s.operation_id == o.id, s.phase == Phase.RUNNING.value)
        query = (
            sa.select(
                o.id, o.kind, o.subject, o.phase, o.created_at, o.paused_at, o.pause_reason, o.params,
                s.position, s.name.label("step"), s.started_at.label("step_started_at"), s.waiting_for,
                s.waiting_since, s.deadline_at,
            )
            .select_from(operations.outerjoin(operation_steps, at))
            .where(o.phase.in_(_OPEN))
            .order_by(o.created_at, o.id, s.position)
        )  # fmt: skip
        found: dict[str, OpenWork] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                values = {key: value for key, value in row._mapping.items() if key not in ("position", "params")}
                values |= {"phase": Phase(row.phase), "node_id": _node(row.params)}
                found[row.id] = OpenWork(**values)  # the last step that runs
        return list(found.values())

    def failed(self, since: datetime) -> list[FailedWork]:
        """The newest failure of each subject that ended after `since`, the oldest first.

        Left out is what a later operation on the same subject has made good, or is at.
        """
        o, later = operations.c, operations.alias("later").c
        superseded = sa.exists().where(
            later.subject == o.subject,
            sa.or_(later.created_at > o.created_at, sa.and_(later.created_at == o.created_at, later.id > o.id)),
            later.phase != Phase.CANCELLED.value,
        )
        query = (
            sa.select(o.id, o.kind, o.subject, o.actor, o.error, o.ended_at, o.parent_id, o.params)
            .where(o.phase == Phase.FAILED.value, o.ended_at > since, ~superseded)
            .order_by(o.ended_at, o.id)
        )
        with self._database.read() as connection:
            return [_failed(row) for row in connection.execute(query)]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many have not ended, by kind and phase: pending, running or paused."""
        o = operations.c
        phase = sa.case((o.paused_at.is_not(None), PAUSED), else_=o.phase).label("phase")
        query = sa.select(o.kind, phase, sa.func.count()).where(o.phase.in_(_OPEN)).group_by(o.kind, phase)
        with self._database.read() as connection:
            return {(kind, found): int(number) for kind, found, number in connection.execute(query)}


def _failed(row: Any) -> FailedWork:
    actor = row.actor.get("user_name") if isinstance(row.actor, dict) else None
    return FailedWork(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        actor=str(actor or "?"),
        error=OperationError(**row.error) if row.error else None,
        ended_at=row.ended_at,
        parent_id=row.parent_id,
        node_id=_node(row.params),
    )


def _node(params: Any) -> str | None:
    found = params.get("node_id") if isinstance(params, dict) else None
    return found if isinstance(found, str) else None

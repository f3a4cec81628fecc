"""Rows of operations and of their steps: written, and read as people see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from steelyard.nouns import Actor
from steelyard.operations.journal import NewOperation
from steelyard.operations.model import Operation, OperationError, Phase, StepRecord
from steelyard.store.tables import operation_steps, operations


def load_operations(connection: sa.Connection, query: sa.Select[Any]) -> list[Operation]:
    """The operations that the query finds, in its order, with their steps."""
    rows = connection.execute(query).all()
    steps: dict[str, list[StepRecord]] = {row.id: [] for row in rows}
    for chunk in chunks(list(steps), 500):
        found = connection.execute(
            sa.select(operation_steps)
            .where(operation_steps.c.operation_id.in_(chunk))
            .order_by(operation_steps.c.operation_id, operation_steps.c.position)
        )
        for row in found:
            steps[row.operation_id].append(_step(row))
    return [_operation(row, tuple(steps[row.id])) for row in rows]


def insert_operation(connection: sa.Connection, new: NewOperation) -> None:
    """A new operation and its steps."""
    connection.execute(
        operations.insert().values(
            id=new.id,
            kind=new.kind,
            phase=Phase.PENDING.value,
            subject=new.subject,
            exclusive=new.subject if new.exclusive else None,
            actor={**asdict(new.actor), "roles": sorted(new.actor.roles)},
            user_id=new.actor.user_id,
            project_id=new.project_id,
            reason=new.reason,
            key=new.key,
            request_id=new.request_id,
            params=dict(new.params),
            result={},
            error=None,
            cancel_requested=False,
            created_at=new.created_at,
            parent_id=new.parent_id,
            pause_requested=False,
        )
    )
    steps = [
        {"operation_id": new.id, "position": position, "name": name, "phase": Phase.PENDING.value, "attempts": 0}
        for position, name in enumerate(new.step_names)
    ]
    if steps:
        connection.execute(operation_steps.insert(), steps)


def chunks(ids: list[str], size: int) -> Iterable[list[str]]:
    """So many at a time: a statement takes only so many parameters."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _step(row: Any) -> StepRecord:
    return StepRecord(
        name=row.name,
        phase=Phase(row.phase),
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        waiting_for=row.waiting_for,
        deadline_at=row.deadline_at,
        error=OperationError(**row.error) if row.error else None,
        waiting_since=row.waiting_since,
    )


def _operation(row: Any, steps: tuple[StepRecord, ...]) -> Operation:
    return Operation(
        id=row.id,
        kind=row.kind,
        phase=Phase(row.phase),
        subject=row.subject,
        actor=Actor(**{**row.actor, "roles": frozenset(row.actor["roles"])}),
        reason=row.reason,
        key=row.key,
        request_id=row.request_id,
        params=row.params,
        result=row.result,
        error=OperationError(**row.error) if row.error else None,
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        steps=steps,
        project_id=row.project_id,
        parent_id=row.parent_id,
        pause_requested=row.pause_requested,
        pause_reason=row.pause_reason,
        paused_at=row.paused_at,
        owner=row.owner,
        replica=row.replica,
    )

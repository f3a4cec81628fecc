"""The journal of operations in the database (see `operations.journal.Journal`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from steelyard.errors import NotFound
from steelyard.nouns import Actor
from steelyard.operations.journal import NewOperation, ended, reused, running, unknown_marker
from steelyard.operations.model import Operation, OperationError, Phase, StepRecord
from steelyard.store.database import Database
from steelyard.store.events import Events
from steelyard.store.tables import operation_steps, operations

_ENDED = [phase.value for phase in Phase if phase.ended]


class OperationRecords:
    """The repository of operations. Each method is one unit of work; the ends of operations are events, too."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def create(self, new: NewOperation) -> tuple[Operation, bool]:
        try:
            with self._database.write() as connection:
                if (known := self._find(connection, new)) is not None:
                    return reused(known, new), False
                self._insert(connection, new)
        except sa.exc.IntegrityError:
            # Another server was faster (PostgreSQL); what it wrote is visible now.
            with self._database.read() as connection:
                if (known := self._find(connection, new)) is not None:
                    return reused(known, new), False
            raise
        return self.get(new.id), True

    def _find(self, connection: sa.Connection, new: NewOperation) -> Operation | None:
        """The operation of the same idempotency key. Raises `Refused` if another one holds the subject."""
        if new.key is not None:
            query = sa.select(operations.c.id).where(
                operations.c.user_id == new.actor.user_id, operations.c.kind == new.kind, operations.c.key == new.key
            )
            if (known := connection.execute(query).scalar()) is not None:
                return self.get(known)
        if new.exclusive and new.subject is not None:
            query = sa.select(operations.c.id).where(operations.c.exclusive == new.subject)
            if (holder := connection.execute(query).scalar()) is not None:
                raise running(new.subject, holder)
        return None

    def _insert(self, connection: sa.Connection, new: NewOperation) -> None:
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
            )
        )
        steps = [
            {"operation_id": new.id, "position": position, "name": name, "phase": Phase.PENDING.value, "attempts": 0}
            for position, name in enumerate(new.step_names)
        ]
        if steps:
            connection.execute(operation_steps.insert(), steps)
        self._event(
            new.id,
            new.kind,
            new.subject,
            new.actor,
            "operation.started",
            f"{new.kind} was asked for",
            reason=new.reason,
            request_id=new.request_id,
        )

    def get(self, operation_id: str) -> Operation:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            found = self._load(connection, sa.select(operations).where(operations.c.id == operation_id))
        if not found:
            raise NotFound(f"There is no operation {operation_id}.", next="steelyard operation list")
        return found[0]

    def all(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        phase: Phase | None = None,
        kind: str | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]:
        """The newest first. Raises `Invalid` for an unknown marker."""
        query = sa.select(operations).order_by(operations.c.created_at.desc(), operations.c.id.desc()).limit(limit)
        for column, value in (
            (operations.c.project_id, project_id),
            (operations.c.subject, subject),
            (operations.c.phase, phase.value if phase else None),
            (operations.c.kind, kind),
        ):
            if value is not None:
                query = query.where(column == value)
        with self._database.read() as connection:
            if marker is not None:
                seen = connection.execute(sa.select(operations.c.created_at).where(operations.c.id == marker)).scalar()
                if seen is None:
                    raise unknown_marker()
                query = query.where(
                    sa.or_(
                        operations.c.created_at < seen,
                        sa.and_(operations.c.created_at == seen, operations.c.id < marker),
                    )
                )
            return self._load(connection, query)

    def by_key(self, user_id: str, kind: str, key: str) -> list[Operation]:
        """Of this user and kind with this key or one that begins with it and a colon, the oldest first."""
        same_key = sa.or_(operations.c.key == key, operations.c.key.startswith(f"{key}:", autoescape=True))
        query = (
            sa.select(operations)
            .where(operations.c.user_id == user_id, operations.c.kind == kind, same_key)
            .order_by(operations.c.created_at, operations.c.id)
        )
        with self._database.read() as connection:
            return self._load(connection, query)

    def unfinished(self) -> list[str]:
        """Ids of all that have not ended, the oldest first."""
        query = sa.select(operations.c.id).where(operations.c.phase.not_in(_ENDED)).order_by(operations.c.created_at)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def step_begins(self, operation_id: str, position: int, name: str, at: datetime, deadline_at: datetime) -> None:
        where = sa.and_(operation_steps.c.operation_id == operation_id, operation_steps.c.position == position)
        with self._database.write() as connection:
            known = connection.execute(sa.select(operation_steps.c.started_at).where(where)).one_or_none()
            values = {"phase": Phase.RUNNING.value, "deadline_at": deadline_at}
            if known is None:
                connection.execute(
                    operation_steps.insert().values(
                        operation_id=operation_id, position=position, name=name, started_at=at, attempts=0, **values
                    )
                )
            else:
                connection.execute(
                    operation_steps.update().where(where).values(started_at=known.started_at or at, **values)
                )
            connection.execute(
                operations.update()
                .where(operations.c.id == operation_id)
                .values(phase=Phase.RUNNING.value, started_at=sa.func.coalesce(operations.c.started_at, at))
            )

    def step_waits(self, operation_id: str, position: int, attempts: int, waiting_for: str) -> None:
        self._set_step(operation_id, position, attempts=attempts, waiting_for=waiting_for)

    def step_ends(
        self,
        operation_id: str,
        position: int,
        phase: Phase,
        at: datetime,
        *,
        attempts: int,
        result: Mapping[str, Any] | None = None,
        error: OperationError | None = None,
        waiting_for: str | None = None,
    ) -> None:
        with self._database.write() as connection:
            self._set_step(
                operation_id,
                position,
                phase=phase.value,
                ended_at=at,
                attempts=attempts,
                waiting_for=waiting_for,
                error=asdict(error) if error else None,
            )
            if result:
                known = connection.execute(
                    sa.select(operations.c.result).where(operations.c.id == operation_id)
                ).scalar()
                connection.execute(
                    operations.update()
                    .where(operations.c.id == operation_id)
                    .values(result={**(known or {}), **result})
                )

    def finish(self, operation_id: str, phase: Phase, at: datetime, error: OperationError | None) -> None:
        with self._database.write() as connection:
            ending = operations.update().where(operations.c.id == operation_id, operations.c.phase.not_in(_ENDED))
            done = connection.execute(
                ending.values(phase=phase.value, ended_at=at, exclusive=None, error=asdict(error) if error else None)
            )
            if done.rowcount:
                operation = self.get(operation_id)
                self._event(
                    operation.id,
                    operation.kind,
                    operation.subject,
                    operation.actor,
                    f"operation.{phase}",
                    f"{operation.kind} has {phase}" + (f": {error.detail}" if error else ""),
                    reason=operation.reason,
                    request_id=operation.request_id,
                )

    def request_cancel(self, operation_id: str, reason: str | None) -> Operation:
        with self._database.write() as connection:
            operation = self.get(operation_id)
            if operation.phase.ended:
                raise ended(operation)
            connection.execute(operations.update().where(operations.c.id == operation_id).values(cancel_requested=True))
            self._event(
                operation.id,
                operation.kind,
                operation.subject,
                operation.actor,
                "operation.cancel_requested",
                f"{operation.kind} is to be cancelled",
                reason=reason,
                request_id=None,
            )
            return self.get(operation_id)

    def _set_step(self, operation_id: str, position: int, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(
                operation_steps.update()
                .where(operation_steps.c.operation_id == operation_id, operation_steps.c.position == position)
                .values(**values)
            )

    def _event(
        self,
        operation_id: str,
        kind: str,
        subject: str | None,
        actor: Actor,
        event: str,
        detail: str,
        *,
        reason: str | None,
        request_id: str | None,
    ) -> None:
        self._events.append(
            subject or f"operation:{operation_id}",
            event,
            actor=actor.user_name,
            detail=detail,
            reason=reason,
            operation_id=operation_id,
            request_id=request_id,
            data={"kind": kind},
        )

    def _load(self, connection: sa.Connection, query: sa.Select[Any]) -> list[Operation]:
        rows = connection.execute(query).all()
        steps: dict[str, list[StepRecord]] = {row.id: [] for row in rows}
        for chunk in _chunks(list(steps), 500):
            found = connection.execute(
                sa.select(operation_steps)
                .where(operation_steps.c.operation_id.in_(chunk))
                .order_by(operation_steps.c.operation_id, operation_steps.c.position)
            )
            for row in found:
                steps[row.operation_id].append(_step(row))
        return [_operation(row, tuple(steps[row.id])) for row in rows]


def _chunks(ids: list[str], size: int) -> Iterable[list[str]]:
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
    )

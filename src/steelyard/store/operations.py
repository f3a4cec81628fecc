"""The journal of operations in the database (see `operations.journal.Journal`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from steelyard.errors import NotFound
from steelyard.operations.journal import NewOperation, ended, not_paused, reused, running, unknown_marker
from steelyard.operations.model import Operation, OperationError, Phase
from steelyard.store.database import Database
from steelyard.store.events import Events
from steelyard.store.operation_rows import chunks, insert_operation, load_operations
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
        insert_operation(connection, new)
        self._event(
            new.id,
            new.kind,
            new.subject,
            new.actor.user_name,
            "operation.started",
            f"{new.kind} was asked for",
            reason=new.reason,
            request_id=new.request_id,
            project_id=new.project_id,
        )

    def get(self, operation_id: str) -> Operation:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            found = load_operations(connection, sa.select(operations).where(operations.c.id == operation_id))
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
        parent_id: str | None = None,
        paused: bool | None = None,
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
            (operations.c.parent_id, parent_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if paused is not None:
            query = query.where(operations.c.paused_at.is_not(None) if paused else operations.c.paused_at.is_(None))
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
            return load_operations(connection, query)

    def by_key(self, user_id: str, kind: str, key: str) -> list[Operation]:
        """Of this user and kind with this key or one that begins with it and a colon, the oldest first."""
        same_key = sa.or_(operations.c.key == key, operations.c.key.startswith(f"{key}:", autoescape=True))
        query = (
            sa.select(operations)
            .where(operations.c.user_id == user_id, operations.c.kind == kind, same_key)
            .order_by(operations.c.created_at, operations.c.id)
        )
        with self._database.read() as connection:
            return load_operations(connection, query)

    def found(self, ids: Sequence[str]) -> list[Operation]:
        """Those of these ids that there are."""
        with self._database.read() as connection:
            return [
                operation
                for chunk in chunks(list(ids), 500)
                for operation in load_operations(connection, sa.select(operations).where(operations.c.id.in_(chunk)))
            ]

    def claimable(self, owner: str, live: Collection[str]) -> list[str]:
        """Ids of what this server should see to, the oldest first."""
        query = (
            sa.select(operations.c.id)
            .where(_unclaimed(owner, live), operations.c.phase.not_in(_ENDED), operations.c.paused_at.is_(None))
            .order_by(operations.c.created_at)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def claim(self, operation_id: str, owner: str, replica: str, live: Collection[str]) -> bool:
        """Become its owner, unless it is another live server's, paused, or has ended."""
        with self._database.write() as connection:
            claimed = connection.execute(
                operations.update()
                .where(operations.c.id == operation_id, _unclaimed(owner, live))
                .where(operations.c.phase.not_in(_ENDED), operations.c.paused_at.is_(None))
                .values(owner=owner, replica=replica)
            )
            return bool(claimed.rowcount)

    def step_begins(
        self, operation_id: str, owner: str, position: int, name: str, at: datetime, deadline_at: datetime
    ) -> bool:
        where = sa.and_(operation_steps.c.operation_id == operation_id, operation_steps.c.position == position)
        with self._database.write() as connection:
            if not _owns(connection, operation_id, owner):
                return False
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
            return True

    def step_waits(
        self,
        operation_id: str,
        owner: str,
        position: int,
        attempts: int,
        waiting_for: str,
        since: datetime,
        result: Mapping[str, Any],
    ) -> bool:
        with self._database.write() as connection:
            if not _owns(connection, operation_id, owner):
                return False
            _set_step(
                connection, operation_id, position, attempts=attempts, waiting_for=waiting_for, waiting_since=since
            )
            _merge_result(connection, operation_id, result)
            return True

    def step_ends(
        self,
        operation_id: str,
        owner: str,
        position: int,
        phase: Phase,
        at: datetime,
        *,
        attempts: int,
        result: Mapping[str, Any] | None = None,
        error: OperationError | None = None,
        waiting_for: str | None = None,
    ) -> bool:
        with self._database.write() as connection:
            if not _owns(connection, operation_id, owner):
                return False
            _set_step(
                connection,
                operation_id,
                position,
                phase=phase.value,
                ended_at=at,
                attempts=attempts,
                waiting_for=waiting_for,
                error=asdict(error) if error else None,
            )
            _merge_result(connection, operation_id, result or {})
            return True

    def finish(self, operation_id: str, owner: str, phase: Phase, at: datetime, error: OperationError | None) -> bool:
        with self._database.write() as connection:
            if not _owns(connection, operation_id, owner):
                return False
            ending = operations.update().where(operations.c.id == operation_id, operations.c.phase.not_in(_ENDED))
            done = connection.execute(
                ending.values(phase=phase.value, ended_at=at, exclusive=None, error=asdict(error) if error else None)
            )
            if done.rowcount:
                operation = self.get(operation_id)
                self._event_of(
                    operation,
                    str(phase),
                    f"has {phase}" + (f": {error.detail}" if error else ""),
                    reason=operation.reason,
                    request_id=operation.request_id,
                )
            return True

    def pauses(self, operation_id: str, owner: str, at: datetime, reason: str | None) -> bool:
        with self._database.write() as connection:
            if not _owns(connection, operation_id, owner):
                return False
            asked = self.get(operation_id)
            if asked.cancel_requested or (reason is None and not asked.pause_requested):
                return True
            values: dict[str, Any] = {"pause_requested": True, "paused_at": at, "owner": None}
            if reason is not None:
                values["pause_reason"] = reason
            connection.execute(operations.update().where(operations.c.id == operation_id).values(**values))
            operation = self.get(operation_id)
            self._event_of(operation, "paused", "is paused", reason=operation.pause_reason, by="steelyard")
            return True

    def request_cancel(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        goes_on = {"pause_requested": False, "pause_reason": None, "paused_at": None}
        return self._request(
            operation_id, "cancel_requested", "is to be cancelled", reason, by, cancel_requested=True, **goes_on
        )

    def request_pause(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        with self._database.write() as connection:
            operation = self.get(operation_id)
            if operation.pause_requested:
                return operation
            values: dict[str, Any] = {"pause_requested": True, "pause_reason": reason}
            _lock(connection, operation_id)
            if self.get(operation_id).owner is None:  # nobody runs it: it stops here and now
                values["paused_at"] = datetime.now(UTC)
            return self._request(operation_id, "pause_requested", "is to be paused", reason, by, **values)

    def request_resume(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        with self._database.write():
            operation = self.get(operation_id)
            if not operation.phase.ended and not operation.pause_requested:
                raise not_paused(operation)
            return self._request(
                operation_id, "resumed", "goes on", reason, by,
                pause_requested=False, pause_reason=None, paused_at=None,
            )  # fmt: skip

    def _request(
        self, operation_id: str, event: str, words: str, reason: str | None, by: str | None, **values: Any
    ) -> Operation:
        with self._database.write() as connection:
            _lock(connection, operation_id)
            operation = self.get(operation_id)
            if operation.phase.ended:
                raise ended(operation)
            connection.execute(operations.update().where(operations.c.id == operation_id).values(**values))
            self._event_of(operation, event, words, reason=reason, by=by)
            return self.get(operation_id)

    def _event_of(
        self,
        operation: Operation,
        event: str,
        words: str,
        *,
        reason: str | None,
        by: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self._event(
            operation.id,
            operation.kind,
            operation.subject,
            by or operation.actor.user_name,
            f"operation.{event}",
            f"{operation.kind} {words}",
            reason=reason,
            request_id=request_id,
            project_id=operation.project_id,
        )

    def _event(
        self,
        operation_id: str,
        kind: str,
        subject: str | None,
        actor: str,
        event: str,
        detail: str,
        *,
        reason: str | None,
        request_id: str | None,
        project_id: str | None,
    ) -> None:
        self._events.append(
            subject or f"operation:{operation_id}",
            event,
            actor=actor,
            detail=detail,
            reason=reason,
            operation_id=operation_id,
            request_id=request_id,
            data={"kind": kind},
            project_id=project_id,
        )


def _unclaimed(owner: str, live: Collection[str]) -> sa.ColumnElement[bool]:
    """Nobody's, this server's own, or that of a server that is not alive."""
    others = sorted(set(live) - {owner})
    return sa.or_(operations.c.owner.is_(None), operations.c.owner.not_in(others))


def _lock(connection: sa.Connection, operation_id: str) -> str | None:
    """Hold the operation's row until the end of the transaction; says who owns it."""
    query = sa.select(operations.c.owner).where(operations.c.id == operation_id).with_for_update()
    return connection.execute(query).scalar()


def _owns(connection: sa.Connection, operation_id: str, owner: str) -> bool:
    return _lock(connection, operation_id) == owner


def _set_step(connection: sa.Connection, operation_id: str, position: int, **values: Any) -> None:
    connection.execute(
        operation_steps.update()
        .where(operation_steps.c.operation_id == operation_id, operation_steps.c.position == position)
        .values(**values)
    )


def _merge_result(connection: sa.Connection, operation_id: str, result: Mapping[str, Any]) -> None:
    if result:
        known = connection.execute(sa.select(operations.c.result).where(operations.c.id == operation_id)).scalar()
        connection.execute(
            operations.update().where(operations.c.id == operation_id).values(result={**(known or {}), **result})
        )

"""Items of bulk operations (see `operations.bulk.Batches`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet

from steelyard.errors import NotFound, Unavailable
from steelyard.operations.bulk import BULK, BULK_ADMIN, Batch, BulkItem, ItemPhase
from steelyard.operations.model import OperationError, Phase
from steelyard.store.database import Database
from steelyard.store.engine_tables import batch_items, batches
from steelyard.store.tables import operations

_CHUNK = 1000


class BatchRecords:
    """The repository of batches."""

    def __init__(self, database: Database, keys: MultiFernet) -> None:
        self._database = database
        self._keys = keys

    def put(self, action: str, items: Sequence[tuple[str, Mapping[str, Any]]], secret_id: str | None) -> str:
        batch_id = str(uuid.uuid4())
        rows = [
            {
                "batch_id": batch_id,
                "number": number,
                "name": name[:255],
                "item": self._keys.encrypt(json.dumps(dict(item)).encode()),
                "phase": ItemPhase.PENDING.value,
            }
            for number, (name, item) in enumerate(items)
        ]
        with self._database.write() as connection:
            connection.execute(
                batches.insert().values(
                    id=batch_id, action=action, secret_id=secret_id, cancel_children=False, created_at=datetime.now(UTC)
                )
            )
            for start in range(0, len(rows), _CHUNK):
                connection.execute(batch_items.insert(), rows[start : start + _CHUNK])
        return batch_id

    def get(self, batch_id: str) -> Batch:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(batches).where(batches.c.id == batch_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no batch {batch_id}.", next="steelyard operation list")
        return Batch(**row._mapping)

    def items(
        self,
        batch_id: str,
        *,
        phases: Sequence[ItemPhase] | None = None,
        limit: int | None = None,
        after: int | None = None,
        before: int | None = None,
    ) -> list[BulkItem]:
        """In order; `after` and `before` are numbers, neither included."""
        query = sa.select(batch_items).where(batch_items.c.batch_id == batch_id).order_by(batch_items.c.number)
        if phases is not None:
            query = query.where(batch_items.c.phase.in_([phase.value for phase in phases]))
        if after is not None:
            query = query.where(batch_items.c.number > after)
        if before is not None:
            query = query.where(batch_items.c.number < before)
        if limit is not None:
            query = query.limit(limit)
        with self._database.read() as connection:
            return [self._read(row) for row in connection.execute(query)]

    def counts(self, batch_id: str) -> dict[ItemPhase, int]:
        query = (
            sa.select(batch_items.c.phase, sa.func.count())
            .where(batch_items.c.batch_id == batch_id)
            .group_by(batch_items.c.phase)
        )
        with self._database.read() as connection:
            found = {ItemPhase(phase): int(count) for phase, count in connection.execute(query)}
        return {phase: found.get(phase, 0) for phase in ItemPhase}

    def note(
        self,
        batch_id: str,
        number: int,
        phase: ItemPhase,
        *,
        operation_id: str | None = None,
        error: OperationError | None = None,
        ended_at: datetime | None = None,
    ) -> None:
        values: dict[str, Any] = {
            "phase": phase.value,
            "error": asdict(error) if error is not None else None,
            "ended_at": ended_at,
        }
        if operation_id is not None:
            values["operation_id"] = operation_id
        with self._database.write() as connection:
            connection.execute(
                batch_items.update()
                .where(batch_items.c.batch_id == batch_id, batch_items.c.number == number)
                .values(**values)
            )

    def change(self, batch_id: str, *, secret_id: str | None = None, cancel_children: bool | None = None) -> None:
        values: dict[str, Any] = {}
        if secret_id is not None:
            values["secret_id"] = secret_id or None
        if cancel_children is not None:
            values["cancel_children"] = cancel_children
        if values:
            with self._database.write() as connection:
                connection.execute(batches.update().where(batches.c.id == batch_id).values(**values))

    def forget_items(self, batch_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(batch_items.update().where(batch_items.c.batch_id == batch_id).values(item=None))

    def leftovers(self, before: datetime) -> list[Batch]:
        alive = (
            sa.select(operations.c.id)
            .where(operations.c.kind.in_([BULK, BULK_ADMIN]))
            .where(operations.c.phase.not_in([phase.value for phase in Phase if phase.ended]))
            .where(operations.c.params["batch"].as_string() == batches.c.id)
        )
        kept = sa.select(batch_items.c.number).where(
            batch_items.c.batch_id == batches.c.id, batch_items.c.item.is_not(None)
        )
        query = sa.select(batches).where(
            sa.or_(batches.c.secret_id.is_not(None), sa.exists(kept)), batches.c.created_at < before, ~sa.exists(alive)
        )
        with self._database.read() as connection:
            return [Batch(**row._mapping) for row in connection.execute(query)]

    def delete(self, batch_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(batch_items.delete().where(batch_items.c.batch_id == batch_id))
            connection.execute(batches.delete().where(batches.c.id == batch_id))

    def _read(self, row: Any) -> BulkItem:
        try:
            item = {} if row.item is None else json.loads(self._keys.decrypt(row.item))
        except InvalidToken:
            raise Unavailable(
                "The items of a bulk operation cannot be opened with the keys of the key file.",
                code="secret_unreadable",
                next="restore the key file from the backup",
            ) from None
        return BulkItem(
            number=row.number,
            name=row.name,
            item=item,
            phase=ItemPhase(row.phase),
            operation_id=row.operation_id,
            error=OperationError(**row.error) if row.error else None,
            ended_at=row.ended_at,
        )

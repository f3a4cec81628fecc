"""What somebody is about to ask a cloud for with a token that is not kept (`lifecycle.asking` says why)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from steelyard.lifecycle.asking import Intent
from steelyard.store.database import Database
from steelyard.store.engine_tables import intents as table

KEPT = timedelta(days=7)
"""After that long nobody repeats a request."""


class Intents:
    """The repository of intents; every method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, user_id: str, kind: str, key: str) -> Intent | None:
        """What was written down for this request, as far as nothing came of it that is known."""
        query = sa.select(table).where(*_same(user_id, kind, key))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Intent(request=row.request, mark=row.mark, asked_at=row.asked_at)

    def begin(self, user_id: str, kind: str, key: str, request: str) -> Intent:
        """Write down that the cloud is asked now. One that is known keeps its mark."""
        now = datetime.now(UTC)
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.asked_at < now - KEPT))
            known = connection.execute(sa.select(table.c.mark).where(*_same(user_id, kind, key))).scalar_one_or_none()
            mark = known or secrets.token_hex(16)
            if known is None:
                connection.execute(
                    table.insert().values(
                        user_id=user_id, kind=kind, key=key, request=request, mark=mark, asked_at=now
                    )
                )  # fmt: skip
            else:
                connection.execute(table.update().where(*_same(user_id, kind, key)).values(asked_at=now))
        return Intent(request=request, mark=mark, asked_at=now)

    def end(self, user_id: str, kind: str, key: str) -> None:
        """It is known what came of it. Ending twice is once."""
        with self._database.write() as connection:
            connection.execute(table.delete().where(*_same(user_id, kind, key)))


def _same(user_id: str, kind: str, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.user_id == user_id, table.c.kind == kind, table.c.key == key

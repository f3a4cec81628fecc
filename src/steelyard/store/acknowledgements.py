"""Acknowledgements: who knows of which finding, why it may wait, and until when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from steelyard.attention.model import Acknowledgement
from steelyard.store.database import Database
from steelyard.store.events import Events
from steelyard.store.finding_tables import acknowledgements as table


class Acknowledgements:
    """The repository of acknowledgements; a finding has one at most. Each is an event on its subject."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def put(self, given: Acknowledgement, *, request_id: str | None = None) -> None:
        """Store it in place of the one before. What ran out before now is forgotten on the way."""
        with self._database.write() as connection:
            same = sa.and_(table.c.subject == given.subject, table.c.kind == given.kind)
            connection.execute(table.delete().where(sa.or_(same, table.c.until < given.at)))
            connection.execute(table.insert().values(**asdict(given)))
            self._events.append(
                given.subject,
                "finding.acknowledged",
                actor=given.actor,
                detail=f"{given.kind} is known and may wait until {given.until.isoformat(timespec='seconds')}",
                reason=given.reason,
                request_id=request_id,
                data={"kind": given.kind, "until": given.until.isoformat()},
            )

    def withdraw(self, subject: str, kind: str, *, actor: str, request_id: str | None = None) -> bool:
        """Take it back; False when there is none."""
        with self._database.write() as connection:
            same = sa.and_(table.c.subject == subject, table.c.kind == kind)
            if not connection.execute(table.delete().where(same)).rowcount:
                return False
            self._events.append(
                subject,
                "finding.unacknowledged",
                actor=actor,
                detail=f"{kind} is to be shown again",
                request_id=request_id,
                data={"kind": kind},
            )
        return True

    def all(self, now: datetime) -> list[Acknowledgement]:
        """Those that have not run out."""
        query = sa.select(table).where(table.c.until > now).order_by(table.c.subject, table.c.kind)
        with self._database.read() as connection:
            return [Acknowledgement(**row._mapping) for row in connection.execute(query)]

"""How nodes and servers were last seen, so that a change is noticed also by the next server and after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.store.database import Database
from steelyard.store.tables import operations
from steelyard.store.tables import sightings as table

_ABOUT = {"node_id": "node", "server_id": "server", "candidate_id": "candidate"}
"""What an operation's params name, and the subject that it is."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """An operation that works on something, or did until a moment ago."""

    operation_id: str
    kind: str
    actor: str
    ended: bool
    paused: bool = False
    """It stands still until somebody resumes it."""


class Sightings:
    """The repository of last sightings: one small JSON object per subject (`node:<uuid>`, `server:<uuid>`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, prefix: str) -> dict[str, dict[str, Any]]:
        """All whose subject begins so, by subject."""
        # The texts are read and parsed here: one thing less for SQLAlchemy to do for each of many rows.
        seen = sa.type_coerce(table.c.seen, sa.Text) if self._database.is_sqlite else table.c.seen
        query = sa.select(table.c.subject, seen).where(table.c.subject.startswith(prefix, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {subject: json.loads(found) if isinstance(found, str) else found for subject, found in rows}

    def keep(self, seen: Mapping[str, Mapping[str, Any]], *, gone: Iterable[str] = ()) -> None:
        """Replace what was last seen of these, and forget those that are gone."""
        now = datetime.now(UTC)
        rows = [{"subject": subject, "seen": dict(found), "at": now} for subject, found in sorted(seen.items())]
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        leaving = [{"gone": subject} for subject in sorted(gone)]
        if not rows and not leaving:
            return
        with self._database.write() as connection:
            if rows:
                added = insert(table)
                fresh = {"seen": added.excluded.seen, "at": added.excluded.at}
                connection.execute(added.on_conflict_do_update(index_elements=["subject"], set_=fresh), rows)
            if leaving:
                connection.execute(table.delete().where(table.c.subject == sa.bindparam("gone")), leaving)

    def at_work(self, *, since: datetime) -> dict[str, AtWork]:
        """What operations work on (`node:…`, `server:…`, …), or did until after `since`; the newest of each."""
        o = operations.c
        query = (
            sa.select(o.id, o.kind, o.subject, o.actor, o.params, o.result, o.ended_at, o.paused_at)
            .where(sa.or_(o.ended_at.is_(None), o.ended_at > since))
            .order_by(o.created_at, o.id)
        )
        found: dict[str, AtWork] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                actor, ended = str(row.actor.get("user_name", "")), row.ended_at is not None
                work = AtWork(row.id, row.kind, actor, ended, paused=not ended and row.paused_at is not None)
                named = {**(row.result or {}), **(row.params or {})}
                subjects = {f"{noun}:{named[key]}" for key, noun in _ABOUT.items() if isinstance(named.get(key), str)}
                for subject in subjects | {row.subject or ""}:
                    if subject not in found or found[subject].ended or not work.ended:
                        found[subject] = work
        found.pop("", None)
        return found

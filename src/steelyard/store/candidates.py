"""Candidates: servers that were found by their BMCs. What one is, and when two are the same, `discovery.model` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from steelyard.discovery.model import Candidate, CandidateState
from steelyard.errors import NotFound
from steelyard.nouns import SwitchLink
from steelyard.store.database import Database
from steelyard.store.tables import candidates as table

_COLUMNS = frozenset(column.name for column in table.columns) - {"document"}
_DOCUMENT = frozenset(f.name for f in fields(Candidate)) - _COLUMNS


class Candidates:
    """The repository of candidates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, candidate: Candidate) -> None:
        """Store a new candidate, or replace the one of this id."""
        row = _row(candidate)
        with self._database.write() as connection:
            known = connection.execute(sa.select(table.c.id).where(table.c.id == candidate.id)).scalar()
            if known is None:
                connection.execute(table.insert().values(**row))
            else:
                connection.execute(table.update().where(table.c.id == candidate.id).values(**row))

    def change(self, candidate_id: str, change: Callable[[Candidate], Candidate]) -> Candidate:
        """Replace a candidate by what `change` makes of it, with nobody in between. Raises `NotFound`.

        `change` is pure: it sees the candidate as it is now, and nothing is stored when it returns the same.
        """
        with self._database.write() as connection:
            query = sa.select(table).where(table.c.id == candidate_id).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None:
                raise _missing(candidate_id)
            before = _candidate(row)
            after = change(before)
            if after != before:
                connection.execute(table.update().where(table.c.id == candidate_id).values(**_row(after)))
            return after

    def get(self, candidate_id: str) -> Candidate:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == candidate_id)).one_or_none()
        if row is None:
            raise _missing(candidate_id)
        return _candidate(row)

    def all(self) -> list[Candidate]:
        """In the order in which they were first seen."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.first_seen_at, table.c.id))
            return [_candidate(row) for row in rows]

    def delete(self, candidate_id: str) -> None:
        """Deleting what is gone succeeds."""
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.id == candidate_id))


def _missing(candidate_id: str) -> NotFound:
    return NotFound(
        f"There is no candidate {candidate_id}.", code="candidate_not_found", next="steelyard candidate list"
    )


def _row(candidate: Candidate) -> dict[str, Any]:
    values = asdict(candidate)
    values["state"] = candidate.state.value
    row = {key: values[key] for key in _COLUMNS}
    row["document"] = {key: values[key] for key in _DOCUMENT}
    return row


def _candidate(row: Any) -> Candidate:
    values = dict(row._mapping)
    document = values.pop("document")
    # A document of an older release may lack a field, one of a newer release may have more.
    values |= {key: value for key, value in document.items() if key in _DOCUMENT}
    values["state"] = CandidateState(values["state"])
    values["macs"] = tuple(values.get("macs") or ())
    values["tags"] = tuple(values.get("tags") or ())
    values["links"] = {mac: SwitchLink(**link) for mac, link in (values.get("links") or {}).items()}
    return Candidate(**values)

"""Who had which address, kept for good, and which addresses are known to be in use by others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.ipam.history import Changes, Interval
from steelyard.ipam.model import Brownfield, OwnerKind
from steelyard.store.address_tables import address_history as table
from steelyard.store.address_tables import brownfield_addresses as brownfield
from steelyard.store.database import Database


class Addresses:
    """The repository of address history. Rows are added; one that lasts is ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lasting(self) -> list[Interval]:
        """All that were not over at the last look."""
        with self._database.read() as connection:
            return [_interval(row) for row in connection.execute(sa.select(table).where(table.c.until.is_(None)))]

    def keep(self, changes: Changes, *, now: datetime, seen_at: datetime) -> None:
        """Begin and end intervals, and write down what else is known of those that last, in one transaction.

        `seen_at`: of the look before, in which what ended now was still seen.
        """
        if not changes:
            return
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as connection:
            if changes.ended:
                ending = table.update().where(table.c.id == sa.bindparam("ended"), table.c.until.is_(None))
                rows = [
                    {"ended": each.id, "until": now, "seen_at": min(max(seen_at, each.since), now)}
                    for each in changes.ended
                ]
                connection.execute(ending, rows)
            if changes.known:
                knowing = table.update().where(table.c.id == sa.bindparam("lasting"), table.c.until.is_(None))
                connection.execute(knowing, [{"lasting": each.id, **_owner(each)} for each in changes.known])
            if changes.began:
                # A server that looked at the same moment has written the same.
                connection.execute(insert(table).on_conflict_do_nothing(), [_row(each) for each in changes.began])

    def of(
        self,
        address: str,
        subnet_ids: Collection[str],
        *,
        at: datetime | None = None,
        to: datetime | None = None,
        limit: int = 100,
    ) -> list[Interval]:
        """Who had it in one of these subnets, the newest first; `at`: from that moment to `to`, or at it."""
        query = sa.select(table).where(table.c.subnet_id.in_(subnet_ids), table.c.address == address)
        if at is not None:
            query = query.where(table.c.since <= (to or at), sa.or_(table.c.until.is_(None), table.c.until > at))
        with self._database.read() as connection:
            ordered = query.order_by(table.c.since.desc(), table.c.id.desc()).limit(limit)
            return [_interval(row) for row in connection.execute(ordered)]

    def subnets_named(self, reference: str) -> list[str]:
        """Ids of subnets in the history that have this id or CIDR: also of those that are gone."""
        query = sa.select(table.c.subnet_id).where(sa.or_(table.c.subnet_id == reference, table.c.cidr == reference))
        with self._database.read() as connection:
            return sorted(connection.execute(query.distinct()).scalars())

    # Brownfield

    def declare(self, found: Iterable[Brownfield]) -> None:
        """Write down that these are in use by something that this cloud did not deploy; the same again changes
        nothing but the words."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        rows = [{name: getattr(each, name) for name in _BROWNFIELD} for each in found]
        if not rows:
            return
        with self._database.write() as connection:
            added = insert(brownfield)
            fresh = {name: getattr(added.excluded, name) for name in ("note", "mac", "actor")}
            connection.execute(
                added.on_conflict_do_update(index_elements=["subnet_id", "address"], set_=fresh), rows
            )  # fmt: skip

    def forget(self, subnet_id: str, addresses: Collection[str]) -> None:
        """They are not in use any more."""
        rows = [{"which": address} for address in sorted(addresses)]
        if not rows:
            return
        with self._database.write() as connection:
            gone = brownfield.delete().where(
                brownfield.c.subnet_id == subnet_id, brownfield.c.address == sa.bindparam("which")
            )
            connection.execute(gone, rows)

    def brownfield(self, subnet_id: str | None = None) -> list[Brownfield]:
        """Those that are written down, of one subnet or of all."""
        query = sa.select(brownfield).order_by(brownfield.c.subnet_id, brownfield.c.address)
        if subnet_id is not None:
            query = query.where(brownfield.c.subnet_id == subnet_id)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [Brownfield(**{name: getattr(row, name) for name in _BROWNFIELD}) for row in rows]


_BROWNFIELD = ("subnet_id", "address", "note", "mac", "actor", "since")
_HISTORY = (
    "address", "subnet_id", "cidr", "network_id", "port_id", "owner", "owner_id", "owner_name", "node_id", "node_name",
    "mac", "project_id", "since", "seen_at", "until",
)  # fmt: skip

_OWNER = ("owner", "owner_name", "node_id", "node_name")


def _row(each: Interval) -> dict[str, Any]:
    return {name: getattr(each, name) for name in _HISTORY} | {"owner": each.owner.value}


def _owner(each: Interval) -> dict[str, Any]:
    """What may become known while it lasts."""
    row = _row(each)
    return {name: row[name] for name in _OWNER}


def _interval(row: Any) -> Interval:
    values = {name: getattr(row, name) for name in _HISTORY}
    return Interval(**{**values, "owner": OwnerKind(row.owner), "id": row.id})

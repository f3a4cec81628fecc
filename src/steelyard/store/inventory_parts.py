"""Where disks and NICs were, and from when to when."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from steelyard.inventory.entries import Part, PartKind, parts_of
from steelyard.inventory.model import Kind
from steelyard.inventory.notes import DiskRecord, Inspected
from steelyard.store.database import Database
from steelyard.store.inventory_tables import inventory_documents as documents
from steelyard.store.inventory_tables import inventory_inspections as inspections
from steelyard.store.inventory_tables import inventory_parts as table
from steelyard.store.inventory_tables import inventory_records as records

_DISK_FIELDS: Final = frozenset(field.name for field in fields(DiskRecord))


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says of itself now and said before (None: nothing, or it was gone)."""

    key: str
    now: Mapping[str, Any]
    before: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class PartStay:
    """A part's time in one server."""

    part: Part
    kind: Kind
    """What the server is now."""
    id: str
    """The server's."""
    name: str
    """The server's."""
    gone: bool
    """Whether that server has left the inventory."""
    since: datetime
    """When the part was first seen there."""
    until: datetime | None
    """When it was seen to be there no longer; None while it is."""


class InventoryParts:
    """The repository of parts; written by the index, in its unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def follow(self, servers: Iterable[Told], *, at: datetime) -> None:
        """Which parts came into servers and which left them.

        A part is where a server last began to name it: another server that goes on naming it, because nobody has
        looked into it since, does not get it back.
        """
        told = {each.key: each for each in servers}
        there = self._open(list(told))
        left, came = [], []
        for key, each in told.items():
            now = parts_of(each.now)
            had = parts_of(each.before).keys() if each.before is not None else set()
            stays = there.get(key, {})
            left += [stay for identity, stay in stays.items() if identity not in now]
            came += [(key, part) for identity, part in now.items() if identity not in stays and identity not in had]
        with self._database.write() as connection:
            if left:
                connection.execute(table.update().where(table.c.id.in_(left)).values(until=at))
            for kind in PartKind:
                moved = [part.identity for _, part in came if part.kind is kind]
                if moved:
                    elsewhere = sa.and_(
                        table.c.identity.in_(moved), table.c.kind == kind.value, table.c.until.is_(None)
                    )
                    connection.execute(table.update().where(elsewhere).values(until=at))
            if came:
                connection.execute(table.insert(), [_row(key, part, at) for key, part in came])

    def leave(self, keys: Sequence[str], *, at: datetime) -> None:
        """The servers are gone, and their parts with them."""
        with self._database.write() as connection:
            connection.execute(table.update().where(table.c.key.in_(keys), table.c.until.is_(None)).values(until=at))

    def of(self, reference: str, *, limit: int = 1000) -> list[PartStay]:
        """Every stay of the parts with this serial number, MAC or WWN, in whatever case; the newest first."""
        wanted = reference.strip().lower()
        query = (
            sa.select(table, documents.c.document, records.c.gone_at)
            .join(documents, documents.c.key == table.c.key)
            .join(records, records.c.key == table.c.key)
            .where(sa.or_(table.c.identity == wanted, table.c.wwn == wanted))
            .order_by(table.c.since.desc(), table.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_stay(row) for row in connection.execute(query)]

    # What inspections from within told: Ironic has no bulk list of inventories

    def inspections(self, node_ids: Collection[str] | None = None) -> dict[str, Inspected]:
        """What is kept of the newest inspections of these nodes, or of all."""
        query = sa.select(inspections)
        if node_ids is not None:
            query = query.where(inspections.c.node_id.in_(node_ids))
        with self._database.read() as connection:
            return {row.node_id: _inspected(row) for row in connection.execute(query)}

    def keep_inspections(self, found: Mapping[str, Inspected]) -> None:
        """Keep what was read, by node, in the place of older ones."""
        if not found:
            return
        rows = [
            {"node_id": node_id, "at": each.at, "bios": each.bios, "disks": [asdict(disk) for disk in each.disks]}
            for node_id, each in found.items()
        ]
        with self._database.write() as connection:
            connection.execute(inspections.delete().where(inspections.c.node_id.in_(list(found))))
            connection.execute(inspections.insert(), rows)

    def forget_inspections(self, node_ids: Collection[str]) -> None:
        """The nodes are gone."""
        with self._database.write() as connection:
            connection.execute(inspections.delete().where(inspections.c.node_id.in_(node_ids)))

    def _open(self, keys: list[str]) -> dict[str, dict[tuple[PartKind, str], int]]:
        """Ids of the open stays, by server and part."""
        here = sa.and_(table.c.key.in_(keys), table.c.until.is_(None))
        found: dict[str, dict[tuple[PartKind, str], int]] = {}
        with self._database.read() as connection:
            for row in connection.execute(
                sa.select(table.c.id, table.c.key, table.c.kind, table.c.identity).where(here)
            ):
                found.setdefault(row.key, {})[PartKind(row.kind), row.identity] = row.id
        return found


def _row(key: str, part: Part, at: datetime) -> dict[str, Any]:
    return {
        "key": key, "kind": part.kind.value, "identity": part.identity, "serial": part.serial,
        "wwn": part.wwn.strip().lower() if part.wwn else None, "name": part.name, "model": part.model,
        "size_gb": part.size_gb, "since": at, "until": None,
    }  # fmt: skip


def _stay(row: Any) -> PartStay:
    server = json.loads(row.document)
    part = Part(PartKind(row.kind), row.identity, row.serial, row.wwn, row.name, row.model, row.size_gb)
    return PartStay(
        part=part,
        kind=Kind(server["kind"]),
        id=server["id"],
        name=server["name"],
        gone=row.gone_at is not None,
        since=row.since,
        until=row.until,
    )


def _inspected(row: Any) -> Inspected:
    disks = tuple(DiskRecord(**{k: v for k, v in disk.items() if k in _DISK_FIELDS}) for disk in row.disks)
    return Inspected(at=row.at, disks=disks, bios=row.bios)

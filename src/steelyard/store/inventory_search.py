"""Questions to the inventory's rows: pages in any order, counts, one server by what people call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from steelyard.inventory.model import NicRecord
from steelyard.inventory.query import BY_NAME, PLAIN_LABELS, TAG, Query, Sort, Value, text_key
from steelyard.store.database import Database
from steelyard.store.inventory_tables import inventory_documents as documents
from steelyard.store.inventory_tables import inventory_records as records
from steelyard.store.inventory_tables import inventory_tags as tags
from steelyard.store.inventory_tables import inventory_texts as texts

_AS_IT_IS: Final = custom_op[Any]("+")
"""SQLite's unary plus: the same value, but no index is thought of for it."""
MOST_VALUES: Final = 200
"""Values of one facet that are told; the most frequent ones."""
_LABELS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "pool": lambda d: d["resource_class"],
    "server": lambda d: d["instance"],
    "vendor": lambda d: d["hardware"]["vendor"],
    "model": lambda d: d["hardware"]["model"],
    "architecture": lambda d: d["hardware"]["architecture"],
    "site": lambda d: d["location"]["site"],
    "room": lambda d: d["location"]["room"],
    "rack": lambda d: d["location"]["rack"],
    "bmc_firmware": lambda d: d["firmware"]["bmc"],
    "bios": lambda d: d["firmware"]["bios"],
}
"""Where a record has the value as people write it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an order: after the record of this value and id."""

    value: Value
    id: str


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is kept."""

    place: Place
    document: str


@dataclass(frozen=True, slots=True)
class Found:
    """One server of the index."""

    key: str
    document: str
    gone_at: datetime | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a look at a single node does not tell."""

    candidate_id: str | None
    instance_id: str | None
    addresses: tuple[str, ...]
    nics: tuple[NicRecord, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """How many records have a value. The empty value: of how many it is not known."""

    value: str
    count: int


class InventorySearch:
    """Reads the index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, query: Query, sort: Sort, *, after: Place | None, limit: int) -> list[Row]:
        """The first `limit` records after a place in the order."""
        column = records.c[sort.column]
        keys: list[sa.ColumnElement[Any]] = [column, records.c.id]
        if self._database.is_sqlite and (query.terms or query.filters.keys() - {"kind"}):
            # SQLite takes an index that is in the wanted order whenever there is one, and then reads each row by
            # itself until the page is full: for a filter that few pass, five times as long as reading the table
            keys = [UnaryExpression(each, operator=_AS_IT_IS, type_=each.type) for each in keys]
        order = [each.desc() if sort.descending else each.asc() for each in keys]
        chosen = sa.select(records.c.key, column.label("value"), records.c.id).where(*self._conditions(query))
        if after is not None:
            here, there = sa.tuple_(column, records.c.id), sa.tuple_(sa.literal(after.value), sa.literal(after.id))
            chosen = chosen.where(here < there if sort.descending else here > there)
        # the documents of those rows only: they are most of the bytes
        cut = chosen.order_by(*order).limit(limit).subquery()
        ordered = [each.desc() if sort.descending else each.asc() for each in (cut.c.value, cut.c.id)]
        whole = sa.select(cut.c.value, cut.c.id, documents.c.document).join(documents, documents.c.key == cut.c.key)
        with self._database.read() as connection:
            return [Row(Place(v, i), d) for v, i, d in connection.execute(whole.order_by(*ordered)).all()]

    def place_of(self, id: str, sort: Sort) -> Place | None:
        """Where the record of this id is in an order, also if it does not pass a filter or has gone."""
        query = sa.select(records.c[sort.column]).where(records.c.id == id).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Place(row[0], id) if row is not None else None

    def count(self, query: Query) -> int:
        """How many records pass."""
        with self._database.read() as connection:
            asked = sa.select(sa.func.count()).select_from(records).where(*self._conditions(query))
            return int(connection.execute(asked).scalar_one())

    def facet(self, name: str, query: Query) -> list[Count]:
        """How many of the records that pass all other filters have each value of this one; the most frequent first."""
        where = self._conditions(Query(query.terms, {k: v for k, v in query.filters.items() if k != name}, query.gone))
        if name == TAG:
            source: sa.FromClause = records.join(tags, tags.c.key == records.c.key)
            column: sa.ColumnElement[Any] = tags.c.tag
        else:
            source, column = records, records.c[name]
        number = sa.func.count()
        counted = (
            sa.select(column, number, sa.func.min(records.c.key))
            .select_from(source)
            .where(*where)
            .group_by(column)
            .order_by(number.desc(), column)
            .limit(MOST_VALUES)
        )
        with self._database.read() as connection:
            rows = connection.execute(counted).all()
            if name in PLAIN_LABELS:
                return [Count(value, count) for value, count, _ in rows]
            examples = sa.select(documents.c.key, documents.c.document).where(
                documents.c.key.in_([key for value, _, key in rows if value])
            )
            shown = {key: json.loads(document) for key, document in connection.execute(examples).all()}
        label = _LABELS.get(name) or itemgetter(name)
        return [Count(label(shown[key]) or "" if key in shown else "", count) for _, count, key in rows]

    def find(self, reference: str, *, kind: str | None = None, gone: bool = False) -> list[Found]:
        """The servers of this id, else name, else serial number (upper or lower case); the newest first."""
        for column in (records.c.id, records.c.name, records.c.serial):
            wanted = reference if column is records.c.id else text_key(reference)
            query = (
                sa.select(records.c.key, documents.c.document, records.c.gone_at)
                .join(documents, documents.c.key == records.c.key)
                .where(column == wanted, records.c.gone_at.is_not(None) if gone else records.c.gone_at.is_(None))
                .order_by(records.c.first_seen_at.desc())
                .limit(20)
            )
            if kind is not None:
                query = query.where(records.c.kind == kind)
            with self._database.read() as connection:
                if found := [Found(*row) for row in connection.execute(query).all()]:
                    return found
        return []

    def record(self, node_id: str) -> Kept | None:
        """What the last complete look found of a node that is there."""
        found = self.find(node_id, kind="node")
        document = json.loads(found[0].document) if found else {}
        if document.get("id") != node_id:
            return None
        return Kept(
            candidate_id=document["candidate_id"],
            instance_id=document["instance_id"],
            addresses=tuple(document["addresses"]),
            nics=tuple(NicRecord(**nic) for nic in document["nics"]),
        )

    def _conditions(self, query: Query) -> Sequence[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = [] if query.gone else [records.c.gone_at.is_(None)]
        for name, values in query.filters.items():
            found.append(self._filter(name, sorted(values)))
        anywhere = [self._contains(texts.c.haystack, term.text) for term in query.terms if term.field is None]
        if anywhere:
            # once for all, not once for every row, as PostgreSQL thinks where it expects that the page is full soon
            hits = sa.select(texts.c.key).where(*anywhere).cte("hits").prefix_with("MATERIALIZED", dialect="postgresql")
            found.append(records.c.key.in_(sa.select(hits.c.key)))
        found += [self._in_field(term.field, term.text) for term in query.terms if term.field is not None]
        return found

    def _filter(self, name: str, values: list[str]) -> sa.ColumnElement[bool]:
        if name == "project":
            return sa.or_(records.c.project.in_(values), records.c.project_id.in_([v for v in values if v]))
        if name != TAG:
            return records.c[name].in_(values)
        return sa.or_(*(self._contains(records.c.tags, f"\n{v}\n") if v else records.c.tags == "" for v in values))

    def _in_field(self, field: str, text: str) -> sa.ColumnElement[bool]:
        if field == TAG:
            return self._contains(records.c.tags, text)
        if BY_NAME[field].number:
            digits = text.isascii() and text.isdigit() and len(text) < 19
            return records.c[field] == int(text) if digits else sa.false()
        return self._contains(records.c[field], text)

    def _contains(self, column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
        """As it stands: no character of it is a wildcard."""
        if self._database.is_sqlite:
            # twice as fast as instr(); that it knows no upper case among ASCII letters does not matter here
            return column.like(
                "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%", escape="\\"
            )
        return sa.func.strpos(column, text) > 0

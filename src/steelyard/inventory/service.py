"""Use cases of the inventory: questions to the index, one server read afresh, where it stands, and saved views."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.inventory.index import Freshness, InventoryIndex
from steelyard.inventory.notes import LOCATION, MAX_TAGS, TAGS, location_of, plain, tags_of
from steelyard.inventory.query import Query, QueryError, Sort, query_of, sort_of
from steelyard.lifecycle.model import noting
from steelyard.naming import shown
from steelyard.nouns import Actor
from steelyard.store import Event, Store
from steelyard.store.inventory import HistoryLine
from steelyard.store.inventory_parts import PartStay
from steelyard.store.inventory_search import Count, Found, Place
from steelyard.store.inventory_views import SavedView

EXPORT_PAGE: Final = 1000
"""Records read at a time for an export, so that no transaction lasts as long as somebody's line is slow."""
PLACES: Final = ("site", "room", "rack", "unit")
"""The parts of a location."""
LIST: Final = "steelyard node list"


@dataclass(frozen=True, slots=True)
class NodePage:
    """One page of records, as JSON objects ready to be sent."""

    documents: list[str]
    last: Place | None
    """Of the last one, if there are more."""
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class Facets:
    """How many records pass, and of each facet how many have which value."""

    total: int
    counts: Mapping[str, list[Count]]
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One server with what it said of itself from within, and the newest lines of its timeline."""

    document: dict[str, Any]
    inventory: dict[str, Any] | None
    """Disks and NICs of the newest in-band inspection; None before the first."""
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What an administrator says of a server: parts of its location (None takes one away), tags to add and take."""

    location: Mapping[str, str | int | None]
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


class InventoryService:
    """Every server in one list."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        observer: Observer | None = None,
        signal: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`observer`: the one that all reconcilers share. `signal`: asks for a run of a reconciler soon."""
        self._clouds = clouds
        self._store = store
        self.index = InventoryIndex(
            clouds=clouds, store=store, observer=observer or Observer(clouds), signal=signal, now=now
        )

    # Many

    def page(self, query: Query, sort: Sort, *, after: Place | str | None = None, limit: int = 100) -> NodePage:
        """The records that pass, in order, after a place or after the record of an id. Raises `Invalid` for an id that
        the inventory has never had."""
        with self._store.reading():
            if (freshness := self.index.fresh()) is not None:
                return self._page(query, sort, after, limit, freshness)
        return self._page(query, sort, after, limit, self.index.current())

    def _page(self, query: Query, sort: Sort, after: Place | str | None, limit: int, freshness: Freshness) -> NodePage:
        search = self._store.inventory.search
        if isinstance(after, str):
            after = search.place_of(plain(after), sort)
            if after is None:
                raise Invalid(
                    "The marker names nothing in the inventory.",
                    code="unknown_marker",
                    next="ask again without marker",
                )
        rows = search.page(query, sort, after=after, limit=limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        return NodePage([row.document for row in rows], rows[-1].place if more else None, freshness)

    def facets(self, query: Query, names: Sequence[str]) -> Facets:
        """Counts over the records that pass; those of a facet leave its own filter out, so that one sees what else
        could be chosen."""
        freshness = self.index.current()
        search = self._store.inventory.search
        return Facets(search.count(query), {name: search.facet(name, query) for name in names}, freshness)

    def export(self, query: Query, sort: Sort) -> Iterator[list[dict[str, Any]]]:
        """All records that pass, in pieces. What changes its place meanwhile may come twice or not at all."""
        self.index.current()
        return self._pieces(query, sort)

    def _pieces(self, query: Query, sort: Sort) -> Iterator[list[dict[str, Any]]]:
        place: Place | None = None
        while rows := self._store.inventory.search.page(query, sort, after=place, limit=EXPORT_PAGE):
            yield [json.loads(row.document) for row in rows]
            place = rows[-1].place

    # One

    def get(self, reference: str) -> NodeDetail:
        """A node by id, name, or serial number, read afresh. Raises `NotFound`, or `Conflict` for several."""
        self.index.current()
        node_id = str(json.loads(self._node(reference).document)["id"])
        self.index.touch([node_id])
        document = json.loads(self._node(node_id).document)
        inventory = None
        with suppress(NotFound):
            inventory = _parts(self._clouds.own.nodes.inspection(node_id).inventory)
        return NodeDetail(document, inventory, tuple(self._store.events.of(f"node:{node_id}", limit=10)))

    def _node(self, reference: str) -> Found:
        return self._one(reference, self._store.inventory.search.find(plain(reference), kind="node"))

    def _any(self, reference: str, *, gone: bool = False) -> Found:
        """A node, else a candidate, else (if wanted) one that has left."""
        search, wanted = self._store.inventory.search, plain(reference)
        found = search.find(wanted, kind="node") or search.find(wanted)
        if not found and gone:
            found = search.find(wanted, gone=True)[:1]
        return self._one(reference, found)

    @staticmethod
    def _one(reference: str, found: Sequence[Found]) -> Found:
        if not found:
            raise NotFound(f"There is no node {shown(reference)}.", code="node_not_found", next=LIST)
        if len(found) > 1:
            ids = ", ".join(sorted(json.loads(each.document)["id"] for each in found))
            raise Conflict(f"{len(found)} servers are called {shown(reference)}: {ids}.", code="ambiguous", next=LIST)
        return found[0]

    def history(
        self, reference: str, *, limit: int = 100, before: int | None = None
    ) -> tuple[dict[str, Any], list[HistoryLine]]:
        """A server's record, also of one that has left, and what changed about it, the newest first."""
        self.index.current()
        found = self._any(reference, gone=True)
        lines = self._store.inventory.history(found.key, limit=limit, before=before)
        return json.loads(found.document), lines

    def part(self, serial: str) -> list[PartStay]:
        """In which servers the disk or NIC of a serial number, MAC or WWN was; the newest first. Raises `NotFound`."""
        self.index.current()
        stays = self._store.inventory.parts.of(plain(serial))
        if not stays:
            raise NotFound(
                f"No server has or had a part {shown(serial)}.", code="part_not_found", next=f"{LIST} --q SERIAL"
            )
        return stays

    def describe(
        self, actor: Actor, reference: str, description: Description, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Say where a server stands and tag it; kept in Ironic's notes on the node, and on its candidate.

        Returns the record as it is then. Raises `NotFound`, and `Invalid` for too many tags.
        """
        self.index.current()
        record = json.loads(self._any(reference).document)
        if record["kind"] == "node":
            self._describe_node(record, description)
            self.index.touch([record["id"]])
        else:
            self._describe_candidate(record["id"], description)
            self.index.touch([], candidates=[record["id"]])
        self._store.events.append(
            f"{record['kind']}:{record['id']}",
            "inventory.described",
            actor=actor.user_name,
            detail=f"{record['kind']} {record['name']}: {_said(description)}",
            request_id=request_id,
        )
        return dict(json.loads(self._any(record["id"]).document))

    def _describe_node(self, record: Mapping[str, Any], description: Description) -> None:
        node = self._clouds.own.nodes.get(record["id"])
        location, tags = _described(node.notes.get(LOCATION), node.notes.get(TAGS), description)
        self._clouds.own.nodes.update(node.id, noting(node, {LOCATION: location, TAGS: tags}))
        if record["candidate_id"]:
            with suppress(NotFound):  # so that it is still known once the node is deleted
                self._describe_candidate(record["candidate_id"], description)

    def _describe_candidate(self, candidate_id: str, description: Description) -> None:
        def change(now: Any) -> Any:
            location, tags = _described(now.location, now.tags, description)
            return replace(now, location=location, tags=tuple(tags))

        self._store.candidates.change(candidate_id, change)

    # Saved views

    def views(self, actor: Actor) -> list[SavedView]:
        """One's own, and those that others share."""
        return self._store.inventory.views.visible_to(actor.user_id)

    def view(self, actor: Actor, reference: str) -> SavedView:
        """By id or name; one's own comes before a shared one of the same name. Raises `NotFound`, `Conflict`."""
        found = [each for each in self.views(actor) if reference in (each.id, each.name)]
        own = [each for each in found if each.user_id == actor.user_id]
        if not found:
            raise NotFound(
                f"There is no view {shown(reference)}.", code="view_not_found", next="steelyard view list"
            )  # fmt: skip
        if len(own or found) > 1:
            ids = ", ".join(each.id for each in own or found)
            raise Conflict(
                f"{len(found)} views are called {shown(reference)}: {ids}.", code="ambiguous", next="use the id"
            )
        return (own or found)[0]

    def save_view(self, actor: Actor, name: str, query: Mapping[str, Any], *, shared: bool, replace: bool) -> SavedView:
        """Keep a question under a name. Raises `QueryError` for one that cannot be asked, `Duplicate` for a name that
        one has used already, unless it is to be replaced."""
        check_view(query)
        saved = self._store.inventory.views.save(
            user_id=actor.user_id, owner=actor.user_name, name=name, shared=shared, query=query, replace=replace
        )
        if saved is None:
            raise Duplicate(
                f"There is a view {shown(name)} of yours already.",
                code="duplicate_name",
                next="steelyard view save NAME --replace",
            )
        return saved

    def delete_view(self, actor: Actor, reference: str) -> None:
        """Raises `NotFound`, and `Forbidden` for somebody else's."""
        view = self.view(actor, reference)
        if view.user_id != actor.user_id:
            raise Forbidden(
                f"View {shown(view.name)} is {shown(view.owner)}'s.", code="not_owner", next="steelyard view list"
            )
        self._store.inventory.views.delete(view.id)


def check_view(query: Mapping[str, Any]) -> None:
    """Whether a view's question can be asked. Raises `QueryError`."""
    known = {"q", "sort", "filters"}
    for name in query:
        if name not in known:
            raise QueryError(name, f"is not one of {', '.join(sorted(known))}")
    query_of(query.get("q"), query.get("filters") or {})
    sort_of(query.get("sort") or "name")


def _described(location: object, tags: object, description: Description) -> tuple[dict[str, Any], list[str]]:
    known = location_of(location)
    where: dict[str, Any] = {name: getattr(known, name) for name in PLACES} | dict(description.location)
    kept = (set(tags_of(tags)) - set(description.remove_tags)) | set(description.add_tags)
    if len(kept) > MAX_TAGS:
        raise Invalid(f"A server can have {MAX_TAGS} tags; these would be {len(kept)}.", code="too_many")
    return {name: value for name, value in where.items() if value is not None}, sorted(kept)


def _said(description: Description) -> str:
    words = [f"{name} {'unset' if value is None else value}" for name, value in description.location.items()]
    words += [f"tag {tag}" for tag in description.add_tags]
    words += [f"no tag {tag}" for tag in description.remove_tags]
    return ", ".join(words) or "nothing"


def _parts(inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Disks and NICs of an inspection, in the few fields that people look for; what has the wrong type is left out."""

    def rows(name: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
        listed = inventory.get(name)
        entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [
            {f: each[f] for f in fields if isinstance(each.get(f), str | int | float | bool)} for each in entries[:256]
        ]

    return {
        "disks": rows("disks", ("name", "size", "model", "serial", "wwn", "rotational")),
        "nics": rows("interfaces", ("name", "mac_address", "speed_mbps", "has_carrier")),
    }

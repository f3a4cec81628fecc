"""Lists: which objects of a type, how much of each, by page or as a count."""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail import visibility
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Thing
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import Type
from steelyard.embedded.contrail.visibility import READ, Identity


@dataclass(frozen=True, slots=True)
class Query:
    """A request for a list. None: not restricted by that."""

    parents: frozenset[str] | None = None
    back_refs: frozenset[str] | None = None
    """Uuids of things that they refer to."""
    uuids: frozenset[str] | None = None
    filters: Mapping[str, tuple[Any, ...]] | None = None
    fields: frozenset[str] | None = None
    detail: bool = False
    count: bool = False
    hrefs: bool = True
    paged: bool = False
    """Whether a `page_marker` was given at all: a `page_limit` alone does nothing."""
    marker: str | None = None
    limit: int | None = None


def query_of(resources: Resources, type: Type, given: Mapping[str, Any]) -> Query:
    """Read the parameters of a URL or the body of a bulk list. Raises ApiError 400."""
    parents = _uuids(given.get("parent_id"))
    if isinstance(named := given.get("parent_fq_name_str"), str):
        types = [str(given["parent_type"])] if given.get("parent_type") else type.parents
        found = [resources.database.find(parent, tuple(named.split(":"))) for parent in types]
        parents = frozenset(thing.uuid for thing in found if thing is not None)
    wanted = _uuids(given.get("obj_uuids"))
    if isinstance(names := given.get("fq_names"), str):
        things = [resources.database.find(type.name, tuple(name.split(":"))) for name in names.split(",")]
        wanted = (wanted or frozenset()) | {thing.uuid for thing in things if thing is not None}
    fields = given.get("fields")
    return Query(
        parents=parents,
        back_refs=_uuids(given.get("back_ref_id")),
        uuids=wanted,
        filters=_filters(given.get("filters")),
        fields=frozenset(fields.split(",")) if isinstance(fields, str) and fields else None,
        detail=_flag(given.get("detail")),
        count=_flag(given.get("count")),
        hrefs="exclude_hrefs" not in given,
        paged="page_marker" in given,
        marker=_marker(given.get("page_marker")),
        limit=_limit(given.get("page_limit")),
    )


def listed(resources: Resources, who: Identity, type: Type, query: Query, base: str) -> dict[str, Any]:
    """The answer: `{"virtual-networks": [...]}`, of what this caller sees."""
    things: Iterator[Thing] = (
        thing for thing in _candidates(resources, who, type, query) if visibility.allowed(who, thing, READ)
    )
    key = f"{type.name}s"
    answer: dict[str, Any] = {}
    if query.paged:
        ordered = sorted((thing for thing in things if thing.uuid > (query.marker or "")), key=lambda one: one.uuid)
        page = ordered[: query.limit] if query.limit is not None else ordered
        answer["marker"] = page[-1].uuid if len(page) < len(ordered) else None
        things = iter(page)
    if query.count:
        return {key: {"count": sum(1 for _ in things)}, **answer}
    return {key: [_shown(resources, who, type, thing, query, base) for thing in things], **answer}


def _candidates(resources: Resources, who: Identity, type: Type, query: Query) -> Iterator[Thing]:
    if query.uuids is not None:
        found = (resources.database.get(uuid) for uuid in query.uuids)
        things: Iterator[Thing] = (thing for thing in found if thing is not None and thing.type == type.name)
    elif query.parents is not None:
        things = (
            child
            for parent in sorted(query.parents)
            if (thing := resources.database.get(parent)) is not None and visibility.allowed(who, thing, READ)
            for child in resources.database.children(parent)
            if child.type == type.name
        )
    else:
        things = resources.database.of_type(type.name)
    for thing in things:
        if query.parents is not None and thing.parent_uuid not in query.parents:
            continue
        if query.back_refs is not None and not query.back_refs & {
            ref.uuid for refs in thing.refs.values() for ref in refs
        }:
            continue
        if _all_match(thing, query.filters or {}):
            yield thing


def _all_match(thing: Thing, filters: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether each filtered property has one of its values."""
    return all(thing.properties.get(name) in values for name, values in filters.items())


def _shown(resources: Resources, who: Identity, type: Type, thing: Thing, query: Query, base: str) -> dict[str, Any]:
    if query.detail:
        shown = resources.shown(
            who, thing, base, fields=query.fields, children=False, back_refs=False, hrefs=query.hrefs
        )
        return {type.name: shown}
    document: dict[str, Any] = {"fq_name": list(thing.fq_name), "uuid": thing.uuid}
    if query.fields is not None:
        shown = resources.shown(who, thing, base, fields=query.fields, hrefs=query.hrefs)
        document.update({name: value for name, value in shown.items() if name in query.fields})
    if query.hrefs:
        document["href"] = f"{base}/{thing.type}/{thing.uuid}"
    return document


def _uuids(value: Any) -> frozenset[str] | None:
    return frozenset(value.split(",")) if isinstance(value, str) else None


def _flag(value: Any) -> bool:
    return "true" in str(value).lower()


def _filters(value: Any) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    if not value:
        return found
    for part in str(value).split(","):
        name, equals, text = part.partition("==")
        try:
            wanted = json.loads(text)
        except ValueError:
            wanted = text
        if not equals or not name:
            raise ApiError(400, f"Invalid filter {str(value)[:200]}")
        found[name] = (*found.get(name, ()), wanted)
    return found


def _marker(value: Any) -> str | None:
    if value is None or str(value).lower() in ("", "none"):
        return None
    try:
        return str(uuids.UUID(str(value).split(":")[-1]))
    except ValueError as error:
        raise ApiError(400, f"Invalid page_marker {str(value)[:100]}: {error}") from None


def _limit(value: Any) -> int | None:
    if value is None:
        return None
    try:
        limit = int(value)
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"Invalid page_limit {str(value)[:100]}: {error}") from None
    if limit <= 0:
        raise ApiError(400, f"Invalid page_limit {limit}: page_limit has to be greater than zero")
    return limit

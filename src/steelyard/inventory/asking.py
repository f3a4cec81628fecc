"""How questions to the inventory arrive over REST: filters, a saved view beneath them, a marker. Part of its routes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, create_model

from steelyard.errors import Invalid
from steelyard.inventory.model import Kind
from steelyard.inventory.query import BY_NAME, FILTERS, MAX_QUERY, SORTS, QueryError, Sort, query_of, sort_of
from steelyard.inventory.query import Query as Question
from steelyard.inventory.service import InventoryService
from steelyard.inventory.shapes import Value
from steelyard.nouns import Actor
from steelyard.store.inventory_search import Place
from steelyard.web.paging import DEFAULT_LIMIT, MAX_LIMIT, PageRequest

_ABOUT = {
    "kind": "node (default) or candidate; both when given twice.",
    "state": "deployed, available, or other.",
    "pool": "Resource class, in either spelling.",
    "project": "Name or id.",
    "tag": "An exact tag.",
}
_ALONE = ("q", "sort", "view", "gone", "limit", "marker", "facet", "format")
"""Parameters that are no filters; each endpoint declares those that it takes."""

Filters: type[BaseModel] = create_model(
    "NodeFilters",
    **{
        name: (
            list[Value],
            Field(default=[], max_length=50, description=_ABOUT.get(name, "Any of these; empty: not known.")),
        )
        for name in FILTERS
    },  # type: ignore[call-overload]
)


def malformed(error: QueryError, *, where: str = "query") -> RequestValidationError:
    """422, with what is known in its place."""
    return RequestValidationError([{"loc": (where, error.where), "msg": str(error), "type": "value_error"}])


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters of a request, and what it says beside them."""

    filters: Mapping[str, list[str]]
    q: str | None
    sort: str | None
    view: str | None
    gone: bool

    def question(self, service: InventoryService, actor: Actor) -> tuple[Question, Sort]:
        """With the saved view that is named, if any: what the request says itself comes before it. Raises what
        FastAPI answers with 422, and `NotFound` for an unknown view."""
        kept: Mapping[str, Any] = service.view(actor, self.view).query if self.view is not None else {}
        filters: dict[str, list[str]] = {**(kept.get("filters") or {}), **self.filters}
        if "kind" not in filters and "candidate" not in filters.get("phase", ()):
            filters["kind"] = [Kind.NODE.value]
        try:
            question = query_of(self.q if self.q is not None else kept.get("q"), filters, gone=self.gone)
            return question, sort_of(self.sort or kept.get("sort") or "name")
        except QueryError as error:
            raise malformed(error) from None


# The dependencies are coroutines: FastAPI runs others in a thread each, which costs more than what they do.


async def _given(request: Request, filters: Annotated[Filters, Query()]) -> dict[str, list[str]]:  # type: ignore[valid-type]
    known = {*FILTERS, *_ALONE}
    for name in request.query_params:
        if name not in known:
            message = f"is no filter; known are {', '.join(FILTERS)}"
            raise malformed(QueryError("one of the parameters", message))
    values: dict[str, list[str]] = filters.model_dump(exclude_unset=True)  # type: ignore[attr-defined]
    return values


async def _asked(
    filters: Annotated[dict[str, list[str]], Depends(_given)],
    q: Annotated[
        str | None,
        Query(
            max_length=MAX_QUERY, description='Words, all to be found: anywhere, or in a field (`rack:r12 "two w"`).'
        ),
    ] = None,
    sort: Annotated[
        str | None, Query(max_length=64, description=f"One of {', '.join(SORTS)}; with - before it the other way.")
    ] = None,
    view: Annotated[str | None, Query(max_length=255, description="A saved view, by id or name.")] = None,
    gone: Annotated[bool, Query(description="Also servers that have left.")] = False,
) -> Asked:
    return Asked(filters, q, sort, view, gone)


AskedFor = Annotated[Asked, Depends(_asked)]


async def _page(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items to answer with.")] = DEFAULT_LIMIT,
    marker: Annotated[str | None, Query(max_length=4000, description="Of `next`, or the id of the last seen.")] = None,
) -> PageRequest:
    return PageRequest(limit=limit, marker=marker, url=str(request.url))


NodesPage = Annotated[PageRequest, Depends(_page)]


# Markers: a page goes on after a value and an id, whatever has become of the record that had them


def marker_of(place: Place, sort: Sort) -> str:
    """The place as text: `next` carries it."""
    text = json.dumps([sort.column, place.value, place.id], separators=(",", ":"))
    return "~" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(marker: str | None, sort: Sort) -> Place | str | None:
    """The place of a marker that we made, else the id that it is. Raises `Invalid` for one of another order."""
    if marker is None or not marker.startswith("~"):
        return marker
    try:
        column, value, id = json.loads(base64.urlsafe_b64decode(marker[1:] + "=" * (-len(marker[1:]) % 4)))
    except (ValueError, RecursionError):
        column = value = id = None
    if (
        column != sort.column
        or not isinstance(id, str)
        or not isinstance(value, int if BY_NAME[sort.column].number else str)
    ):
        raise Invalid("The marker is not one of this order.", code="unknown_marker", next="ask again without marker")
    return Place(value, id)

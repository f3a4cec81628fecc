"""Keyset paging: `?limit=&marker=`, where the marker is the id of the last item seen.

Lists have a total order, (key, id). A page starts after the marker's place in that order, so items that come or go
elsewhere in the list neither repeat nor hide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request

from steelyard.errors import Invalid

T = TypeVar("T")

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What was asked for, and the URL it was asked with (to make the next one)."""

    limit: int
    marker: str | None
    url: str

    def next_url(self, marker: str) -> str:
        """This request's path and query, going on after `marker`. Relative to the server, so it passes proxies."""
        from urllib.parse import parse_qsl, urlencode, urlsplit

        parts = urlsplit(self.url)
        query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in ("limit", "marker")]
        query += [("limit", str(self.limit)), ("marker", marker)]
        return f"{parts.path}?{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class PageOf(Generic[T]):
    """One page. `next` is None on the last one."""

    items: list[T]
    next: str | None


async def _page(  # not in a thread of its own, where FastAPI runs what is no coroutine
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items to answer with.")] = DEFAULT_LIMIT,
    marker: Annotated[str | None, Query(max_length=255, description="Id of the last item seen.")] = None,
) -> PageRequest:
    return PageRequest(limit=limit, marker=marker, url=str(request.url))


Page = Annotated[PageRequest, Depends(_page)]


def page_of(
    items: Iterable[T],
    page: PageRequest,
    *,
    key: Callable[[T], Any] = lambda item: getattr(item, "name", None) or "",
    id: Callable[[T], str] = lambda item: getattr(item, "id"),  # noqa: B009 - T is anything with an id
) -> PageOf[T]:
    """Cut one page out of the whole list, which need not be sorted.

    Order is (key, id); both callables get an item. Raises `Invalid` when the marker names no item of the list: it
    was deleted between two pages, and starting over is the only honest answer.
    """
    ordered = sorted(items, key=lambda item: (key(item), id(item)))
    start = 0
    if page.marker is not None:
        start = next((n + 1 for n, item in enumerate(ordered) if id(item) == page.marker), -1)
        if start < 0:
            raise Invalid(
                "The marker names nothing in this list; it may have been deleted meanwhile.",
                code="unknown_marker",
                next="ask again without marker",
            )
    cut = ordered[start : start + page.limit]
    more = start + page.limit < len(ordered)
    return PageOf(items=cut, next=page.next_url(id(cut[-1])) if more and cut else None)

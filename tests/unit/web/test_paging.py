from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import Invalid
from steelyard.web.paging import PageRequest, page_of


@dataclass(frozen=True)
class Item:
    id: str
    name: str | None


items = st.lists(
    st.builds(Item, st.text(min_size=1, max_size=6), st.none() | st.text(max_size=2)), unique_by=lambda item: item.id
)


def ask(limit: int, marker: str | None = None) -> PageRequest:
    return PageRequest(limit, marker, "http://server/v1/items?q=a%20b&limit=9")


def following(url: str | None) -> str | None:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))["marker"] if url else None


def everything(of: list[Item], limit: int) -> list[Item]:
    pages: list[Item] = []
    marker = None
    while True:
        page = page_of(of, ask(limit, marker))
        assert len(page.items) <= limit
        pages += page.items
        marker = following(page.next)
        if marker is None:
            return pages


@given(items, st.integers(1, 10))
def test_the_pages_are_the_list_in_its_order(of: list[Item], limit: int) -> None:
    assert everything(of, limit) == sorted(of, key=lambda item: (item.name or "", item.id))


@given(items, items, st.integers(1, 5), st.randoms())
def test_what_comes_meanwhile_neither_repeats_nor_hides_anything(
    of: list[Item], more: list[Item], limit: int, random: object
) -> None:
    known = {item.id for item in of}
    arriving = [item for item in more if item.id not in known]
    present = list(of)
    seen: list[Item] = []
    marker = None
    while True:
        page = page_of(present, ask(limit, marker))
        seen += page.items
        marker = following(page.next)
        if marker is None:
            break
        present += arriving[:1]
        arriving = arriving[1:]
    assert len(seen) == len(set(seen)), "nothing twice"
    assert set(of) <= set(seen), "nothing that was there all the time is missing"


@given(items.filter(lambda of: len(of) > 3), st.data())
def test_what_goes_meanwhile_hides_nothing_else(of: list[Item], data: st.DataObject) -> None:
    first = page_of(of, ask(2))
    gone = data.draw(st.sampled_from([item for item in of if item.id != first.items[-1].id]))
    left = [item for item in of if item is not gone]
    rest = page_of(left, ask(1000, first.items[-1].id)).items
    assert set(first.items) | set(rest) >= set(left)


def test_a_marker_that_has_gone_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        page_of([Item("a", "a")], ask(1, "b"))
    assert refused.value.code == "unknown_marker"
    assert refused.value.next


def test_the_next_url_keeps_the_filters() -> None:
    page = page_of([Item("a", "a"), Item("b", "b")], ask(1))
    assert page.next == "/v1/items?q=a+b&limit=1&marker=a"


def test_the_last_page_has_no_next() -> None:
    assert page_of([Item("a", "a")], ask(1)).next is None
    assert page_of([], ask(1)).next is None

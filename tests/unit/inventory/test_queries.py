"""Questions: the database answers as plain Python over the same records does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.inventory.entries import entry_of
from steelyard.inventory.model import Firmware, Group, Hardware, Kind, NicRecord, NodeRecord
from steelyard.inventory.notes import DiskRecord, Location
from steelyard.inventory.query import COLUMNS, FILTERS, SORTS, QueryError, Sort, facets_of, query_of, sort_of, terms_of
from steelyard.store import Store
from steelyard.store.inventory_search import Place
from steelyard.store.inventory_tables import inventory_records

from .conftest import emptied

AT = datetime(2026, 1, 1, tzinfo=UTC)
AWKWARD = [
    "a",
    "A",
    "ab",
    "b%",
    "_",
    "\\",
    "%",
    "'",
    '"',
    "ä",
    "Ä",
    "ß",
    "10",
    "9",
    "x y",
    "-",
    "=1",
    "日本",
    "a_b",
    "\x7f",
]
words = st.sampled_from(AWKWARD)
asked = st.sampled_from([word for word in AWKWARD if '"' not in word])  # phrases have a test of their own
maybe = st.none() | words
classes = st.sampled_from(["bm-a", "BM_A", "b", None])
numbers = st.none() | st.integers(0, 12)


def record(number: int, draw: Callable[[Any], Any]) -> NodeRecord:
    group = draw(st.sampled_from(list(Group)))
    return NodeRecord(
        kind=draw(st.sampled_from(list(Kind))), id=f"00000000-0000-4000-8000-{number:012d}", name=draw(words),
        phase=draw(st.sampled_from(["active", "available", "quarantined"])), group=group, provision_state=draw(maybe),
        power=draw(st.sampled_from(["on", "off", None])), resource_class=draw(classes),
        traits=tuple(draw(st.lists(words, max_size=2))), health=draw(st.sampled_from(["ok", "critical", None])),
        fault=draw(maybe), maintenance=draw(st.booleans()), maintenance_reason=draw(maybe), last_error=draw(maybe),
        project_id=draw(maybe), project=draw(maybe), instance_id=draw(maybe), instance=draw(maybe),
        addresses=tuple(draw(st.lists(words, max_size=2))), flavor=draw(maybe), image=draw(maybe), serial=draw(maybe),
        hardware=Hardware(draw(maybe), draw(maybe), draw(numbers), draw(numbers), draw(numbers), draw(maybe)),
        firmware=Firmware(draw(maybe), draw(maybe)),
        location=Location(draw(maybe), draw(maybe), draw(maybe), draw(numbers)),
        tags=tuple(sorted(set(draw(st.lists(words, max_size=3))))),
        nics=tuple(NicRecord(f"{mac:02x}:00", draw(maybe), None, pxe=False, physical_network=None)
                   for mac in range(draw(st.integers(0, 2)))),
        disks=tuple(DiskRecord(None, draw(maybe), draw(maybe), draw(maybe), None)
                    for _ in range(draw(st.integers(0, 1)))),
        bmc_address=draw(maybe), candidate_id=draw(maybe), retired=draw(st.booleans()), since=draw(maybe),
    )  # fmt: skip


@st.composite
def fleets(draw: Callable[[Any], Any]) -> list[NodeRecord]:
    return [record(number, draw) for number in range(draw(st.integers(0, 7)))]


@st.composite
def questions(draw: Callable[[Any], Any]) -> tuple[str, dict[str, list[str]], str]:
    search = " ".join(
        f"{draw(st.sampled_from(['', '', 'rack:', 'name:', 'tag:', 'unit:', 'nosuch:', 'project:']))}{draw(asked)}"
        for _ in range(draw(st.integers(0, 2)))
    )
    chosen = draw(
        st.lists(st.sampled_from(["pool", "rack", "tag", "project", "health", "state", "retired"]), max_size=2)
    )
    values = {
        "pool": ["BM_A", "custom_b", ""], "rack": ["a", "Ä", "", "x y"], "tag": ["a", "_", "", "A"],
        "project": ["a", "ab", ""], "health": ["OK", ""], "state": ["deployed", "Other"], "retired": ["true"],
    }  # fmt: skip
    filters = {name: draw(st.lists(st.sampled_from(values[name]), min_size=1, max_size=2)) for name in chosen}
    return search, filters, draw(st.sampled_from(["", "-"])) + draw(st.sampled_from(SORTS))


# The reference: no SQL, and nothing of what is tested but the records


def low(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).lower()


def plain_value(each: NodeRecord, name: str) -> Any:
    places: dict[str, Any] = {
        "state": each.group.value, "kind": each.kind.value, "pool": each.resource_class, "server": each.instance,
        "address": " ".join(each.addresses), "bmc": each.bmc_address, "bmc_firmware": each.firmware.bmc,
        "bios": each.firmware.bios,
    }  # fmt: skip
    if name in places:
        return places[name]
    for part in (each, each.hardware, each.location):
        if name in {field.name for field in fields(part)}:
            return getattr(part, name)
    raise AssertionError(name)


def pool(name: str | None) -> str:
    return (name or "").upper().replace("-", "_").removeprefix("CUSTOM_").lower()


def anywhere(each: NodeRecord) -> list[str]:
    found: list[Any] = [
        getattr(each, name)
        for name in (
            "id", "name", "phase", "provision_state", "resource_class", "project", "project_id", "instance",
            "instance_id", "flavor", "image", "serial", "bmc_address", "last_error", "maintenance_reason", "health",
            "fault", "candidate_id",
        )
    ]  # fmt: skip
    found += [each.hardware.vendor, each.hardware.model, each.hardware.architecture, each.firmware.bmc]
    found += [each.firmware.bios, each.location.site, each.location.room, each.location.rack]
    found += [*each.addresses, *each.traits, *each.tags]
    found += [f"{nic.mac} {nic.switch or ''}".rstrip() for nic in each.nics]
    found += [value for disk in each.disks for value in (disk.serial, disk.wwn, disk.model)]
    return [low(value) for value in found if value]


def passes(each: NodeRecord, search: str, filters: dict[str, list[str]]) -> bool:
    for name, values in filters.items():
        wanted = {pool(v) if name == "pool" else low(v) for v in values}
        if name == "tag":
            has = {low(tag) for tag in each.tags} or {""}
        elif name == "project":
            has = {low(each.project)} | ({low(each.project_id)} - {""})
        else:
            has = {pool(each.resource_class) if name == "pool" else low(plain_value(each, name))}
        if not wanted & has:
            return False
    for word in search.lower().split():
        field, colon, text = word.partition(":")
        if colon and field == "tag" and text:
            if not any(text in low(tag) for tag in each.tags):
                return False
        elif colon and field == "unit" and text:
            if not (text.isascii() and text.isdigit() and each.location.unit == int(text)):
                return False
        elif colon and field in ("rack", "name", "project") and text:
            if text not in low(plain_value(each, field)):
                return False
        elif not (colon and field in ("tag", "unit", "rack", "name", "project")) and not any(
            word in value for value in anywhere(each)
        ):
            return False
    return True


def in_order(records: list[NodeRecord], sort: str) -> list[str]:
    name = sort.removeprefix("-")
    numeric = name in ("cpus", "memory_mib", "disk_gib", "unit")

    def key(each: NodeRecord) -> tuple[Any, str]:
        value = plain_value(each, name)
        if numeric:
            return (-1 if value is None else value, each.id)
        return (pool(value) if name == "pool" else low(value), each.id)

    return [each.id for each in sorted(records, key=key, reverse=sort.startswith("-"))]


@pytest.fixture
def empty(store: Store) -> Callable[[], Store]:
    return lambda: emptied(store)


class TestAgainstPlainPython:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(records=fleets(), question=questions(), size=st.integers(1, 4))
    def test_pages(
        self,
        empty: Callable[[], Store],
        records: list[NodeRecord],
        question: tuple[str, dict[str, list[str]], str],
        size: int,
    ) -> None:
        search, filters, order = question
        store = empty()
        store.inventory.write([entry_of(each.id, each) for each in records], at=AT, since=None)
        query, sort = query_of(search, filters), sort_of(order)
        found: list[str] = []
        place: Place | None = None
        while rows := store.inventory.search.page(query, sort, after=place, limit=size):
            found += [json.loads(row.document)["id"] for row in rows]
            place = rows[-1].place
        assert found == in_order([each for each in records if passes(each, search, filters)], order)
        assert store.inventory.search.count(query) == len(found)

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(records=fleets(), question=questions(), name=st.sampled_from(["rack", "tag", "state", "pool", "retired"]))
    def test_counts(
        self,
        empty: Callable[[], Store],
        records: list[NodeRecord],
        question: tuple[str, dict[str, list[str]], str],
        name: str,
    ) -> None:
        search, filters, _ = question
        store = empty()
        store.inventory.write([entry_of(each.id, each) for each in records], at=AT, since=None)
        others = {key: values for key, values in filters.items() if key != name}
        expected: dict[str, int] = {}
        for each in records:
            if passes(each, search, others):
                value = plain_value(each, name) if name != "tag" else None
                keys = (
                    {low(tag) for tag in each.tags}
                    if name == "tag"
                    else {pool(value) if name == "pool" else low(value)}
                )
                for key in keys:
                    expected[key] = expected.get(key, 0) + 1
        counts = store.inventory.search.facet(name, query_of(search, filters))
        shown = {pool(each.value) if name == "pool" else low(each.value): each.count for each in counts}
        assert shown == expected


class TestReading:
    def test_words_phrases_and_fields(self) -> None:
        terms = terms_of('Leaf1 rack:R12 "two words" tag:"a b" 52:54:00:aa https://bmc rack: nosuch:x')
        assert [(term.field, term.text) for term in terms] == [
            (None, "leaf1"), ("rack", "r12"), (None, "two words"), ("tag", "a b"), (None, "52:54:00:aa"),
            (None, "https://bmc"), (None, "nosuch:x"),
        ]  # fmt: skip

    @pytest.mark.parametrize("search", ["x" * 1001, " ".join(f"w{n}" for n in range(17))])
    def test_too_much(self, search: str) -> None:
        with pytest.raises(QueryError):
            terms_of(search)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda: sort_of("colour"), lambda: facets_of(["phase", "name"]), lambda: query_of(None, {"colour": ["x"]}),
            lambda: query_of(None, {"phase": ["ready"]}), lambda: query_of(None, {"state": ["deployd"]}),
        ],
    )  # fmt: skip
    def test_what_is_unknown_is_answered_with_what_is_known(self, ask: Callable[[], object]) -> None:
        with pytest.raises(QueryError) as refused:
            ask()
        assert "phase" in str(refused.value) or "available" in str(refused.value) or "name" in str(refused.value)

    def test_every_column_is_one_of_the_table(self) -> None:
        assert {column.name for column in COLUMNS} <= set(inventory_records.c.keys())
        assert {"tag", *(column.name for column in COLUMNS if column.filter)} == set(FILTERS)


WEB = NodeRecord(
    kind=Kind.NODE, id="k", name="web", phase="active", group=Group.DEPLOYED, provision_state="active", power="on",
    resource_class=None, traits=(), health=None, fault=None, maintenance=False, maintenance_reason=None,
    last_error=None, project_id=None, project=None, instance_id=None, instance=None, addresses=(), flavor=None,
    image=None, serial=None, hardware=Hardware(None, None, None, None, None, None), firmware=Firmware(),
    location=Location(), tags=(), nics=(), disks=(), bmc_address=None, candidate_id=None, retired=False, since=None,
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\ud800", "%", "_", "\\", "'; DROP TABLE inventory_records; --", "x" * 1000]
)
def test_hostile_words_find_nothing_and_break_nothing(store: Store, text: str) -> None:
    store.inventory.write([entry_of("k", WEB)], at=AT, since=None)
    for question in (query_of(text, {}), query_of(None, {"rack": [text[:200]]}), query_of(f"rack:{text[:900]}", {})):
        store.inventory.search.page(question, Sort(), after=None, limit=10)
    assert store.inventory.search.count(query_of("web", {})) == 1
    assert store.inventory.search.count(query_of("%eb", {})) == 0
    assert store.inventory.search.count(query_of("w_b", {})) == 0

"""Who had a node and when it was cleaned are kept; how things were last seen is replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from steelyard.clouds.fake import FakeWorld
from steelyard.lifecycle.records import CleanRecord, How, Tenancy, stay_of
from steelyard.store import Store

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RED = Tenancy("n1", "i1", T0, T0, name="web", project_id="red", user_id="u1")
CLEAN = CleanRecord("n1", How.STATES, "2026-03-01T12:00:00+00:00", T0, T0 - MINUTE, ("erase_devices",))


def test_a_tenancy_begins_and_ends(store: Store) -> None:
    assert store.tenancies.last() == {}
    assert store.tenancies.last_tenancy("n1") is None
    store.tenancies.begin(RED)
    assert store.tenancies.last() == {"n1": RED}
    store.tenancies.end("n1", at=T0 + 9 * MINUTE, seen_at=T0 + 8 * MINUTE)
    over = replace(RED, until=T0 + 9 * MINUTE, seen_at=T0 + 8 * MINUTE)
    assert store.tenancies.last_tenancy("n1") == over
    store.tenancies.end("n1", at=T0 + 99 * MINUTE, seen_at=T0 + 98 * MINUTE)
    assert store.tenancies.of("n1") == [over]


def test_the_last_look_never_goes_back(store: Store) -> None:
    store.tenancies.begin(RED)
    store.tenancies.end("n1", at=T0 + MINUTE, seen_at=T0 - MINUTE)
    assert store.tenancies.last() == {"n1": replace(RED, until=T0 + MINUTE)}


def test_the_next_tenancy_ends_the_one_before(store: Store) -> None:
    store.tenancies.begin(RED)
    blue = Tenancy("n1", "i2", T0 + 5 * MINUTE, T0 + 5 * MINUTE, project_id="blue", unproven="nobody cleaned it")
    store.tenancies.begin(blue, before=T0 + 4 * MINUTE)
    store.tenancies.begin(replace(RED, node_id="n2", instance_id=None))
    newest, oldest = store.tenancies.of("n1")
    assert newest == blue
    assert (oldest.until, oldest.seen_at) == (T0 + 5 * MINUTE, T0 + 4 * MINUTE)
    assert set(store.tenancies.last()) == {"n1", "n2"}
    assert store.tenancies.last()["n1"] == blue


def test_a_clean_is_recorded_once_per_stay(store: Store) -> None:
    assert store.tenancies.newest_clean("n1") is None
    assert store.tenancies.record(CLEAN)
    assert not store.tenancies.record(replace(CLEAN, how=How.OPERATION, operation_id="o1"))
    later = replace(CLEAN, stay="2026-03-02T12:00:00+00:00", ended_at=T0 + 1440 * MINUTE, started_at=None, steps=())
    assert store.tenancies.record(later)
    assert store.tenancies.cleans_of("n1") == [later, CLEAN]
    assert store.tenancies.newest_clean("n1") == later
    assert store.tenancies.newest_cleans() == {"n1": later}
    assert store.tenancies.cleans_of("n2") == []


def test_an_operation_records_what_it_watched(store: Store) -> None:
    node = FakeWorld().add_node("bm-1")
    assert store.tenancies.watched(node, operation_id="o1", since=T0)
    assert not store.tenancies.watched(node, operation_id="o1", since=T0)
    record = store.tenancies.newest_clean(node.id)
    assert record is not None
    assert (record.how, record.stay, record.operation_id, record.started_at) == (
        How.OPERATION, stay_of(node), "o1", T0,
    )  # fmt: skip


def test_sightings_are_replaced_and_forgotten(store: Store) -> None:
    store.sightings.keep({"node:1": {"state": "active"}, "node:2": {"state": "enroll"}, "server:1": {"a": [1, None]}})
    assert store.sightings.of("node:") == {"node:1": {"state": "active"}, "node:2": {"state": "enroll"}}
    store.sightings.keep({"node:1": {"state": "available"}}, gone=["node:2", "node:never"])
    assert store.sightings.of("node:") == {"node:1": {"state": "available"}}
    assert store.sightings.of("server:") == {"server:1": {"a": [1, None]}}
    store.sightings.keep({})


def test_a_look_and_its_tenancies_are_kept_together(store: Store) -> None:
    try:
        with store.unit_of_work():
            store.sightings.keep({"node:1": {"state": "active"}})
            store.tenancies.begin(RED)
            raise KeyError
    except KeyError:
        pass
    assert store.sightings.of("node:") == {}
    assert store.tenancies.last() == {}

"""Who had which address is kept; what lasts, lasts once; brownfield is written down until it is released."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from steelyard.ipam.history import Changes, Interval, changes
from steelyard.ipam.model import Brownfield, OwnerKind
from steelyard.store import Store

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEB = Interval(
    "10.1.0.5", "s1", "10.1.0.0/24", "n1", "port-1", OwnerKind.VIRTUAL_MACHINE, "fa:16:3e:00:00:01", "red", T0,
    owner_id="i1", owner_name="web",
)  # fmt: skip
METAL = replace(
    WEB, port_id="port-2", owner=OwnerKind.BARE_METAL, owner_id="i2", owner_name="db", node_id="n-1", node_name="bm-1",
    since=T0 + 3 * HOUR,
)  # fmt: skip


def test_an_interval_begins_and_ends(store: Store) -> None:
    assert store.addresses.lasting() == []
    store.addresses.keep(Changes([WEB], []), now=T0, seen_at=T0)
    (lasting,) = store.addresses.lasting()
    assert replace(lasting, id=None) == WEB
    assert lasting.id is not None
    found = changes([lasting], [METAL], now=T0 + 3 * HOUR)
    store.addresses.keep(found, now=T0 + 3 * HOUR, seen_at=T0 + 2 * HOUR)
    newest, oldest = store.addresses.of("10.1.0.5", ["s1"])
    assert replace(newest, id=None) == METAL
    assert replace(oldest, id=None) == replace(WEB, until=T0 + 3 * HOUR, seen_at=T0 + 2 * HOUR)
    assert [each.port_id for each in store.addresses.lasting()] == ["port-2"]


def test_who_had_it_on_that_day(store: Store) -> None:
    store.addresses.keep(Changes([WEB], []), now=T0, seen_at=T0)
    over = changes(store.addresses.lasting(), [METAL], now=T0 + 3 * HOUR)
    store.addresses.keep(over, now=T0 + 3 * HOUR, seen_at=T0 + 2 * HOUR)

    def had(at: timedelta, to: timedelta | None = None) -> list[str | None]:
        found = store.addresses.of("10.1.0.5", ["s1"], at=T0 + at, to=T0 + to if to is not None else None)
        return [each.owner_name for each in found]

    assert had(-HOUR) == []
    assert had(0 * HOUR) == ["web"]
    assert had(2 * HOUR) == ["web"]
    assert had(3 * HOUR) == ["db"]
    assert had(99 * HOUR) == ["db"]
    assert had(-9 * HOUR, 99 * HOUR) == ["db", "web"]
    assert had(-9 * HOUR, -HOUR) == []
    assert store.addresses.of("10.1.0.5", ["s2"]) == []
    assert store.addresses.of("10.1.0.6", ["s1"]) == []


def test_what_lasts_lasts_once(store: Store) -> None:
    for _ in range(2):  # two servers that look at the same moment
        store.addresses.keep(Changes([WEB], []), now=T0, seen_at=T0)
    (lasting,) = store.addresses.lasting()
    for hours in (1, 2):
        store.addresses.keep(Changes([], [lasting]), now=T0 + hours * HOUR, seen_at=T0)
    (over,) = store.addresses.of("10.1.0.5", ["s1"])
    assert over.until == T0 + HOUR
    store.addresses.keep(Changes([WEB], []), now=T0, seen_at=T0)
    assert len(store.addresses.of("10.1.0.5", ["s1"])) == 2, "the same port may have it again"


def test_more_is_known_of_one_that_lasts(store: Store) -> None:
    vague = replace(METAL, owner=OwnerKind.UNKNOWN, owner_name=None, node_id=None, node_name=None)
    store.addresses.keep(Changes([vague, WEB], []), now=T0, seen_at=T0)
    found = changes(store.addresses.lasting(), [METAL, WEB], now=T0 + HOUR)
    assert (found.began, found.ended, len(found)) == ([], [], 1)
    for _ in range(2):  # two servers that look at the same moment
        store.addresses.keep(found, now=T0 + HOUR, seen_at=T0)
    assert sorted(map(repr, (replace(each, id=None) for each in store.addresses.lasting()))) == [repr(WEB), repr(METAL)]
    over = Changes([], [each for each in store.addresses.lasting() if each.port_id == METAL.port_id])
    store.addresses.keep(over, now=T0 + 4 * HOUR, seen_at=T0)
    late = Changes([], [], [replace(each, owner=OwnerKind.UNKNOWN) for each in over.ended])
    store.addresses.keep(late, now=T0 + 4 * HOUR, seen_at=T0)
    assert [each.owner for each in store.addresses.of("10.1.0.5", ["s1"])] == [METAL.owner, WEB.owner]


def test_it_was_last_seen_between_its_beginning_and_its_end(store: Store) -> None:
    store.addresses.keep(Changes([WEB], []), now=T0, seen_at=T0)
    store.addresses.keep(Changes([], store.addresses.lasting()), now=T0 + HOUR, seen_at=T0 - 9 * HOUR)
    (over,) = store.addresses.of("10.1.0.5", ["s1"])
    assert over.seen_at == T0


def test_a_subnet_that_is_gone_is_found_by_its_cidr(store: Store) -> None:
    store.addresses.keep(Changes([WEB, replace(WEB, subnet_id="s2")], []), now=T0, seen_at=T0)
    assert store.addresses.subnets_named("10.1.0.0/24") == ["s1", "s2"]
    assert store.addresses.subnets_named("s1") == ["s1"]
    assert store.addresses.subnets_named("10.1.0.0") == []


def test_brownfield_is_written_down_until_it_is_forgotten(store: Store) -> None:
    old = Brownfield("s1", "10.1.0.9", "the old database", "admin", T0, "52:54:00:00:00:01")
    store.addresses.declare([old, replace(old, subnet_id="s2")])
    store.addresses.declare([replace(old, note="the database", since=T0 + HOUR)])
    store.addresses.declare([])
    assert store.addresses.brownfield("s1") == [replace(old, note="the database")], "since the first time"
    assert len(store.addresses.brownfield()) == 2
    store.addresses.forget("s1", ["10.1.0.9", "10.1.0.8"])
    store.addresses.forget("s1", [])
    assert store.addresses.brownfield() == [replace(old, subnet_id="s2")]

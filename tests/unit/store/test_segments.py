"""Which node has which segment, and who waits; on both databases."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steelyard.store import Store
from steelyard.store import segments as module
from steelyard.store.segments import SegmentLease

POOL = [f"network-{number}" for number in range(4)]


@pytest.fixture
def pooled(store: Store) -> Store:
    store.segments.know(POOL)
    return store


def take(store: Store, node: str, *, kept: int = 0, wait: bool = True, pool: list[str] | None = None) -> str | None:
    found = store.segments.take(node, "cleaning", pool=POOL if pool is None else pool, actor="a", kept=kept, wait=wait)
    return None if found is None else found.network_id


def counts(store: Store) -> tuple[int, int, int]:
    found = store.segments.counts()
    return found.free, found.leased, found.waiting


def test_a_node_has_one_and_keeps_it(pooled: Store) -> None:
    first = pooled.segments.take("a", "cleaning", pool=POOL, actor="conductor")
    again = pooled.segments.take("a", "rescue", pool=POOL, actor="other")
    assert first is not None
    assert again is not None
    assert (again.network_id, again.since, again.actor) == (first.network_id, first.since, "conductor")
    assert (first.role, again.role) == ("cleaning", "rescue")
    assert again.asked_at > first.asked_at == first.since
    assert pooled.segments.of("a") == again
    assert counts(pooled) == (3, 1, 0)


def test_no_two_nodes_have_the_same(pooled: Store) -> None:
    taken = [take(pooled, node) for node in "abcd"]
    assert sorted(map(str, taken)) == POOL
    assert take(pooled, "e") is None
    assert [wait.node_id for wait in pooled.segments.waiting()] == ["e"]
    assert counts(pooled) == (0, 4, 1)


def test_of_many_at_once_as_many_get_one_as_there_are(url: str, key_file: Path, pooled: Store) -> None:
    other = Store.open(url, key_file=key_file)
    taken: list[str | None] = []
    ready = threading.Barrier(8)

    def one(number: int) -> None:
        ready.wait()
        taken.append(take((pooled, other)[number % 2], f"node-{number}", wait=False))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    got = [each for each in taken if each is not None]
    assert len(taken) == 8
    assert sorted(got) == sorted(set(got)), "nobody shares"
    assert len(got) == len(POOL)


def test_one_node_that_asks_many_times_at_once_gets_one(pooled: Store) -> None:
    taken: list[str | None] = []
    ready = threading.Barrier(6)

    def one() -> None:
        ready.wait()
        taken.append(take(pooled, "a"))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 6
    assert len(set(taken)) == 1
    assert taken[0] is not None
    assert counts(pooled) == (3, 1, 0)


def test_what_was_given_back_last_is_given_out_last(pooled: Store) -> None:
    first = take(pooled, "a")
    assert first is not None
    assert pooled.segments.give_back(first, "a")
    assert [take(pooled, node) for node in "bcde"][-1] == first


def test_only_the_nodes_own_lease_is_given_back(pooled: Store) -> None:
    lease = pooled.segments.take("a", "cleaning", pool=POOL, actor="x")
    assert lease is not None
    assert not pooled.segments.give_back(lease.network_id, "b")
    renewed = pooled.segments.take("a", "cleaning", pool=POOL, actor="x")
    assert renewed is not None
    assert not pooled.segments.give_back(lease.network_id, "a", asked_at=lease.asked_at), "it was given to it anew"
    assert pooled.segments.give_back(lease.network_id, "a", asked_at=renewed.asked_at)
    assert not pooled.segments.give_back(lease.network_id, "a"), "once"
    assert pooled.segments.of("a") is None


def test_who_has_waited_longest_gets_it_first(pooled: Store) -> None:
    leases = {node: take(pooled, node) for node in "abcd"}
    assert take(pooled, "first") is None
    assert take(pooled, "second") is None
    pooled.segments.give_back(str(leases["a"]), "a")
    assert take(pooled, "third") is None
    assert take(pooled, "second") is None
    assert take(pooled, "first") == leases["a"]
    assert [wait.node_id for wait in pooled.segments.waiting()] == ["second", "third"]


def test_who_has_stopped_asking_keeps_nobody_waiting(pooled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = {node: take(pooled, node) for node in "abcd"}
    assert take(pooled, "gone") is None
    pooled.segments.give_back(str(leases["a"]), "a")
    monkeypatch.setattr(module, "WAITS_FOR", timedelta(0))
    assert take(pooled, "late") == leases["a"]


def test_some_may_be_kept_for_others(pooled: Store) -> None:
    assert [take(pooled, node, kept=2, wait=False) is not None for node in "abc"] == [True, True, False]
    assert pooled.segments.waiting() == []
    assert take(pooled, "c") is not None


def test_what_is_no_longer_in_the_pool_goes_when_it_is_free(pooled: Store) -> None:
    lease = take(pooled, "a")
    assert lease is not None
    rest = [each for each in POOL if each != lease][:2]
    pooled.segments.know(rest)
    assert counts(pooled) == (2, 1, 0)
    assert take(pooled, "a", pool=rest) == lease, "a node keeps what it is on"
    pooled.segments.give_back(lease, "a")
    assert take(pooled, "a", pool=rest) in rest
    pooled.segments.know(rest)
    assert counts(pooled) == (1, 1, 0)


def test_leases_are_listed_by_age(pooled: Store) -> None:
    before = datetime.now(UTC)
    take(pooled, "b")
    take(pooled, "a")
    listed = pooled.segments.leased()
    assert [lease.node_id for lease in listed] == ["b", "a"]
    assert all(isinstance(lease, SegmentLease) and lease.since >= before for lease in listed)

"""Leases of nodes' NICs, generations, failures, and policies; on both databases."""

from __future__ import annotations

import threading

import pytest

from steelyard.isolation.model import PowerOffPolicy
from steelyard.store import Store

NODE = "11111111-2222-4333-8444-555555555555"


def test_a_lease_is_one_holders(store: Store) -> None:
    assert store.flips.take(NODE, "a", seconds=60)
    assert store.flips.take(NODE, "a", seconds=60), "the same again"
    assert not store.flips.take(NODE, "b", seconds=60)
    store.flips.give_back(NODE, "b")
    assert not store.flips.take(NODE, "b", seconds=60), "not its own to give back"
    store.flips.give_back(NODE, "a")
    assert store.flips.take(NODE, "b", seconds=60)


def test_a_lease_of_the_dead_ends_by_itself(store: Store) -> None:
    assert store.flips.take(NODE, "dead", seconds=-1)
    assert store.flips.take(NODE, "b", seconds=60)


def test_of_many_at_once_one_gets_it(store: Store) -> None:
    taken: list[bool] = []
    ready = threading.Barrier(6)

    def take(holder: str) -> None:
        ready.wait()
        taken.append(store.flips.take(NODE, holder, seconds=60))

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 5 + [True]


@pytest.mark.parametrize("has_right_of_way", [True, False])
def test_whoever_prepared_a_flip_before_another_one_gives_it_up(store: Store, has_right_of_way: bool) -> None:
    before = store.flips.generation(NODE)
    assert store.flips.take(NODE, "first", seconds=60, generation=None if has_right_of_way else before)
    store.flips.give_back(NODE, "first")
    assert store.flips.generation(NODE) == before + 1
    assert not store.flips.take(NODE, "second", seconds=60, generation=before), "somebody came between"
    assert store.flips.take(NODE, "second", seconds=60, generation=before + 1)
    assert store.flips.generation(NODE) == before + 2


def test_a_lease_that_is_taken_or_revoked_is_not_its_holders_any_more(store: Store) -> None:
    assert not store.flips.holds(NODE, "a")
    assert store.flips.take(NODE, "a", seconds=-1)
    assert store.flips.holds(NODE, "a"), "its time is over, and nobody took it"
    assert store.flips.take(NODE, "b", seconds=60)
    assert (store.flips.holds(NODE, "a"), store.flips.holds(NODE, "b")) == (False, True)
    prepared = store.flips.generation(NODE)
    store.flips.revoke(NODE)
    assert not store.flips.holds(NODE, "b")
    assert not store.flips.take(NODE, "c", seconds=60, generation=prepared)


def test_while_it_is_held_open_only_right_of_way_gets_it(store: Store) -> None:
    store.flips.hold_open(NODE, 60)
    assert store.flips.open_nodes() == {NODE}
    assert not store.flips.take(NODE, "a", seconds=60, generation=0)
    assert store.flips.take(NODE, "b", seconds=60)
    store.flips.give_back(NODE, "b")
    store.flips.hold_open(NODE, 0)
    assert store.flips.open_nodes() == set()
    assert store.flips.take(NODE, "a", seconds=60, generation=1)


def test_a_failure_is_kept_until_the_same_flip_succeeds(store: Store) -> None:
    assert store.flips.failed(NODE, "tenant", "no")
    assert not store.flips.failed(NODE, "tenant", "no"), "no news"
    assert store.flips.failed(NODE, "tenant", "never")
    store.flips.succeeded(NODE, "quarantine")
    [failure] = store.flips.failures()
    assert (failure.node_id, failure.to, failure.reason) == (NODE, "tenant", "never")
    store.flips.succeeded(NODE, "tenant")
    assert store.flips.failures() == []
    store.flips.failed(NODE, "quarantine", "no")
    store.flips.succeeded(NODE)
    assert store.flips.failures() == []
    store.flips.failed(NODE, "quarantine", "no")
    store.flips.forget([NODE])
    assert store.flips.failures() == []
    assert store.flips.generation(NODE) == 0


def test_policies(store: Store) -> None:
    assert store.policies.power_off("p1") is PowerOffPolicy.QUARANTINE
    assert store.policies.power_off(None) is PowerOffPolicy.QUARANTINE
    assert store.policies.get("p1") is None
    assert store.policies.set("p1", PowerOffPolicy.KEEP, actor="root", reason="wake-on-LAN")
    assert not store.policies.set("p1", PowerOffPolicy.KEEP, actor="root")
    assert store.policies.power_off("p1") is PowerOffPolicy.KEEP
    assert store.policies.power_offs() == {"p1": PowerOffPolicy.KEEP}
    [policy] = store.policies.all()
    assert (policy.project_id, policy.actor, policy.reason) == ("p1", "root", "wake-on-LAN")
    assert store.policies.set("p1", PowerOffPolicy.QUARANTINE, actor="other")
    assert store.policies.power_off("p1") is PowerOffPolicy.QUARANTINE
    assert store.policies.set("p2", PowerOffPolicy.QUARANTINE, actor="root"), "said aloud, though it is the default"

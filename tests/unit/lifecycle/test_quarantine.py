"""Into quarantine and out of it: idempotent, also when a crash comes in between."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.errors import Conflict
from steelyard.lifecycle.model import Phase, offered, phase, quarantine, releasing
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node

if TYPE_CHECKING:
    from .conftest import Bench


def first(bench: Bench) -> Node:
    return next(iter(bench.world.nodes.values()))


def test_a_node_in_quarantine_is_offered_to_nobody(bench: Bench) -> None:
    node = first(bench)
    put = Quarantine(bench.clouds, bench.store).put(node, "it slipped through", by="steelyard", operation_id="op")
    assert phase(put) is Phase.QUARANTINED
    assert not offered(put)
    assert (put.maintenance, put.maintenance_reason) == (True, "steelyard: it slipped through")
    assert node.id not in bench.clouds.own.placement.free("CUSTOM_BM_SMALL")
    (event,) = bench.store.events.of(f"node:{node.id}")
    assert (event.kind, event.actor, event.operation_id) == ("node.quarantined", "steelyard", "op")


def test_repeating_it_changes_nothing_and_keeps_the_first_reason(bench: Bench) -> None:
    ward = Quarantine(bench.clouds, bench.store)
    node = first(bench)
    once = ward.put(node, "first", by="steelyard")
    assert ward.put(node, "second", by="somebody") == once
    assert quarantine(once) == "first"
    assert len(bench.store.events.of(f"node:{node.id}")) == 1


@pytest.mark.parametrize("call", ["nodes.update", "nodes.set_maintenance", "placement.hold_back"])
def test_interrupted_anywhere_it_is_brought_to_its_end_by_the_next_call(bench: Bench, call: str) -> None:
    ward = Quarantine(bench.clouds, bench.store)
    node = first(bench)
    bench.world.fail(call, Conflict("the node is locked"))
    with pytest.raises(Conflict):
        ward.put(node, "why", by="steelyard")
    put = ward.put(node, "why", by="steelyard")
    assert put.maintenance
    assert node.id not in bench.clouds.own.placement.free("CUSTOM_BM_SMALL")
    assert [event.kind for event in bench.store.events.of(f"node:{node.id}")] == ["node.quarantined"]
    for _ in range(2):
        ward.lift(node, by="admin", reason="repaired")
    kinds = [event.kind for event in bench.store.events.of(f"node:{node.id}")]
    assert kinds == ["node.released", "node.quarantined"]
    assert not first(bench).maintenance
    assert quarantine(first(bench)) is None
    ward.put(node, "again", by="steelyard")
    assert len(bench.store.events.of(f"node:{node.id}")) == 3


def test_other_notes_stay(bench: Bench) -> None:
    node = first(bench)
    bench.world.nodes[node.id] = replace(node, extra={"steelyard": {"candidate_id": "c"}, "theirs": 1})
    ward = Quarantine(bench.clouds, bench.store)
    put = ward.put(node, "why", by="steelyard")
    assert put.notes["candidate_id"] == "c"
    assert ward.lift(put, by="admin").extra == {"steelyard": {"candidate_id": "c"}, "theirs": 1}


def test_a_maintenance_of_others_stays(bench: Bench) -> None:
    node = first(bench)
    bench.world.nodes[node.id] = replace(node, maintenance=True, maintenance_reason="fan swap")
    ward = Quarantine(bench.clouds, bench.store)
    put = ward.put(node, "why", by="steelyard")
    assert put.maintenance_reason == "fan swap"
    assert ward.lift(put, by="admin").maintenance_reason == "fan swap"


def test_while_it_is_released_it_keeps_its_mark(bench: Bench) -> None:
    ward = Quarantine(bench.clouds, bench.store)
    put = ward.put(first(bench), "why", by="steelyard")
    opened = ward.open(put, "op")
    assert (opened.maintenance, releasing(opened), phase(opened)) == (False, "op", Phase.QUARANTINED)
    back = ward.put(opened, "the clean failed", by="admin")
    assert (back.maintenance, releasing(back), quarantine(back)) == (True, None, "why")


@pytest.mark.parametrize("mark", ["yes", [1], 7])
def test_a_mark_that_makes_no_sense_can_be_opened_and_lifted(bench: Bench, mark: object) -> None:
    node = first(bench)
    bench.world.nodes[node.id] = replace(node, extra={"steelyard": {"quarantine": mark}})
    ward = Quarantine(bench.clouds, bench.store)
    put = ward.put(node, "why", by="steelyard")
    assert phase(put) is Phase.QUARANTINED
    assert releasing(ward.open(put, "op")) == "op"
    assert quarantine(ward.lift(put, by="admin")) is None

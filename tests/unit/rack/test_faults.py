"""Faults: which one happens when, and what is not a fault."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.embedded.rack import faults as module
from steelyard.embedded.rack.faults import KINDS, Faults
from steelyard.errors import Invalid, NotFound


def test_every_kind_is_in_the_table_and_the_other_way_round() -> None:
    table = {line.split("``")[0].split("`")[1] for line in (module.__doc__ or "").splitlines() if line.startswith("`")}
    assert {kind for kind in table if kind in KINDS} == KINDS


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"target": "bm-001", "kind": "explode"}, "fault_kind"),
        ({"target": "bm-001"}, "fault_kind"),
        ({"kind": "slow"}, "fault_target"),
        ({"target": "bm-001", "kind": "slow", "match": "dance"}, "fault_match"),
        ({"target": "bm-001", "kind": "slow", "seconds": -1}, "fault_seconds"),
        ({"target": "bm-001", "kind": "slow", "seconds": True}, "fault_seconds"),
        ({"target": "bm-001", "kind": "slow", "times": 0}, "fault_times"),
        ({"target": "bm-001", "kind": "slow", "colour": "red"}, "fault_fields"),
    ],
)
def test_what_is_not_a_fault_is_refused(wanted: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        Faults(frozenset({"power", "read"})).add(wanted)
    assert caught.value.code == code


def test_a_fault_matches_target_and_operation_and_is_used_up() -> None:
    faults = Faults(frozenset({"power", "read"}))
    faults.add({"target": "bm-001", "kind": "drop", "match": "power", "times": 2})
    assert faults.take("read", "bm-001") is None
    assert faults.take("power", "bm-002") is None
    assert [bool(faults.take("power", "bm-001")) for _ in range(3)] == [True, True, False]
    assert faults.all() == []


def test_the_newest_fault_wins_and_a_star_is_everybody() -> None:
    faults = Faults(None)
    faults.add({"target": "*", "kind": "slow"})
    faults.add({"target": "leaf1/Ethernet1", "kind": "refuse"})
    hit = faults.take("plug", "leaf1/Ethernet1", "leaf1")
    other = faults.take("plug", "leaf1/Ethernet2", "leaf1")
    assert hit is not None
    assert hit.kind == "refuse"
    assert other is not None
    assert other.kind == "slow"


def test_clearing() -> None:
    faults = Faults(None)
    first = faults.add({"target": "*", "kind": "slow"})
    faults.add({"target": "*", "kind": "hang"})
    assert faults.clear(first.id) == 1
    with pytest.raises(NotFound):
        faults.clear(first.id)
    assert faults.clear() == 1

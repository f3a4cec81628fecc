"""What proves a node clean, and what does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.clouds.fake import FakeWorld
from steelyard.lifecycle.records import (
    SKEW,
    TEAR_DOWN,
    CleanRecord,
    How,
    Tenancy,
    noted,
    notes_cleans,
    proven_clean,
    stay_of,
    tells_of_cleans,
    told_by_history,
)
from steelyard.nouns import HistoryEntry, Node

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ERASE = [{"interface": "deploy", "step": "erase_devices", "priority": 10}]
MOMENTS = st.integers(-500, 500).map(lambda minutes: T0 + minutes * MINUTE)


def node(*, at: datetime | None = None, steps: Any = ERASE, used: datetime | None = None, **changes: Any) -> Node:
    """A node that has been available since T0; `at`: when its conductor noted a clean."""
    made = FakeWorld().add_node("bm-1")
    notes: dict[str, Any] = {"cleaned": {"at": at.isoformat(), "steps": steps}} if at else {}
    if used:
        notes["used"] = used.isoformat()
    return replace(made, **{"provision_updated_at": T0, "driver_notes": notes, **changes})


def tenancy(since: datetime, *, over: bool = True) -> Tenancy:
    return Tenancy("n", "i", since, since + MINUTE, until=since + 2 * MINUTE if over else None)


def test_without_any_word_nothing_is_proven() -> None:
    verdict = proven_clean(node())
    assert not verdict.proven
    assert "nobody saw it" in verdict.reason
    assert "conductor noted no clean" in proven_clean(node(power_interface="steelyard-redfish")).reason
    assert not proven_clean(node(at=T0, provision_updated_at=None)).proven


def test_the_conductors_note_proves_the_stay_that_it_led_to() -> None:
    verdict = proven_clean(node(at=T0 - MINUTE))
    assert verdict.proven
    assert verdict.record is not None
    assert (verdict.record.how, verdict.record.steps) == (How.CONDUCTOR, ("erase_devices",))


@pytest.mark.parametrize("ago", [TEAR_DOWN + timedelta(seconds=1), -SKEW - timedelta(seconds=1), timedelta(days=9)])
def test_an_old_note_or_one_from_the_future_proves_nothing(ago: timedelta) -> None:
    """As after `manage` and `provide` with automated cleaning switched off."""
    assert not proven_clean(node(at=T0 - ago)).proven


def test_a_clean_that_erases_nothing_proves_nothing() -> None:
    steps = [{"interface": "power", "step": "record_cleaning", "priority": 1}]
    verdict = proven_clean(node(at=T0 - MINUTE, steps=steps))
    assert not verdict.proven
    assert "erased no disk" in verdict.reason


@pytest.mark.parametrize(
    "note",
    [
        None, {}, "2026-03-01", {"at": 5, "steps": ERASE}, {"at": "yesterday", "steps": ERASE}, {"steps": ERASE},
        {"at": T0.isoformat()}, {"at": T0.isoformat(), "steps": "erase_devices"},
        {"at": T0.isoformat(), "steps": ["erase_devices", {"step": 7}, {}]},
    ],
)  # fmt: skip
def test_a_note_that_makes_no_sense_proves_nothing(note: Any) -> None:
    assert not proven_clean(replace(node(), driver_notes={"cleaned": note})).proven


def test_who_had_it_after_the_clean_undoes_the_proof() -> None:
    cleaned = node(at=T0 - 10 * MINUTE)
    assert proven_clean(cleaned, tenancy=tenancy(T0 - 20 * MINUTE)).proven
    assert not proven_clean(cleaned, tenancy=tenancy(T0 - 5 * MINUTE)).proven
    assert not proven_clean(cleaned, tenancy=tenancy(T0 - 20 * MINUTE, over=False)).proven
    assert not proven_clean(node(at=T0 - 10 * MINUTE, used=T0 - 9 * MINUTE)).proven
    assert proven_clean(node(at=T0 - 10 * MINUTE, used=T0 - 11 * MINUTE)).proven


def test_a_record_serves_its_own_stay_and_no_other() -> None:
    available = node()
    record = CleanRecord(available.id, How.STATES, stay_of(available), T0)
    assert proven_clean(available, record).proven
    assert not proven_clean(replace(available, provision_updated_at=T0 + MINUTE), record).proven
    assert not proven_clean(available, record, tenancy(T0 - MINUTE, over=False)).proven
    again = replace(available, provision_updated_at=T0 + MINUTE, driver_notes=node(at=T0 - MINUTE).driver_notes)
    assert proven_clean(again).proven
    assert "out of the offer and in it again" in proven_clean(again, record).reason, "one clean, one stay"
    assert proven_clean(replace(available, power_interface="steelyard-ipmi"), record).proven


def test_a_clean_that_was_seen_before_the_last_tenant_came_is_not_the_one_after() -> None:
    """An operation that stood still through a whole tenancy takes the one that it saw for the proof."""
    free = node()
    record = CleanRecord("n", How.OPERATION, stay_of(free), T0, T0 - 60 * MINUTE, (), "op")
    assert proven_clean(free, record, tenancy(T0 - 90 * MINUTE)).proven
    verdict = proven_clean(free, record, tenancy(T0 - 30 * MINUTE))
    assert not verdict.proven
    assert verdict.reason.startswith("a tenant had it (2026-03-01 11:30")
    assert proven_clean(free, replace(record, started_at=None), tenancy(T0 - 30 * MINUTE)).proven


def test_which_nodes_note_their_cleans() -> None:
    assert notes_cleans(node(power_interface="steelyard-redfish"))
    assert not notes_cleans(node(power_interface="redfish"))
    assert not notes_cleans(node())
    assert noted(node()) is None


def end(at: datetime, kind: str = "automated_cleaning_end", severity: str | None = None) -> HistoryEntry:
    return HistoryEntry(at, "ironic", kind, "x", severity)


def test_ironics_history_tells_of_the_clean_that_led_to_the_stay() -> None:
    there = node()
    told = told_by_history(there, [end(T0 - timedelta(days=2)), end(T0 - timedelta(seconds=2))])
    assert told is not None
    assert (told.how, told.stay, told.ended_at) == (How.HISTORY, stay_of(there), T0 - timedelta(seconds=2))
    assert proven_clean(there, told).proven
    for history in (
        [], [end(T0 - 3 * MINUTE)], [end(T0 + 2 * MINUTE)], [end(T0, "manual_cleaning_end")],
        [end(T0, "automated_cleaning_start")], [end(T0, severity="ERROR")], [end(T0), end(T0, "deployment_start")],
    ):  # fmt: skip
        assert told_by_history(there, history) is None
    assert told_by_history(replace(there, provision_updated_at=None), [end(T0)]) is None
    assert told_by_history(there, [end(T0)], None, tenancy(T0)) is None
    assert told_by_history(there, [end(T0)], None, tenancy(T0 - MINUTE)) is not None
    assert told_by_history(there, [end(T0), end(T0, "cleaning", "ERROR")]) is not None
    earlier = CleanRecord(there.id, How.HISTORY, T0.isoformat(), T0 - MINUTE)
    later = replace(there, provision_updated_at=T0 + MINUTE)
    assert told_by_history(later, [end(T0 - timedelta(seconds=1))], earlier) is None, "it led to the stay before"
    assert told_by_history(later, [end(T0 + timedelta(seconds=1))], earlier) is not None
    assert tells_of_cleans([end(T0, "automated_cleaning_start")])
    assert not tells_of_cleans([end(T0, "deployment_end")])


@given(noted_at=MOMENTS, available=MOMENTS, since=MOMENTS, record_at=st.none() | MOMENTS, over=st.booleans())
def test_never_proven_by_a_clean_from_before_the_last_tenancy(
    noted_at: datetime, available: datetime, since: datetime, record_at: datetime | None, over: bool
) -> None:
    """Whatever is known: what proves it ended after the tenant came, and led to no other stay."""
    there = node(at=noted_at, provision_updated_at=available)
    record = CleanRecord(there.id, How.OPERATION, record_at.isoformat(), record_at) if record_at else None
    verdict = proven_clean(there, record, tenancy(since, over=over))
    if verdict.proven:
        assert over
        assert verdict.record is not None
        assert verdict.record.stay == stay_of(there)
        assert verdict.record is record or verdict.record.ended_at > since
        assert verdict.record is record or record_at is None or noted_at > record_at
        assert verdict.record is record or available - TEAR_DOWN <= noted_at <= available + SKEW
    else:
        assert verdict.reason


@given(minutes=st.integers(0, 14), before=st.integers(2, 10_000))
def test_a_clean_in_good_order_always_proves(minutes: int, before: int) -> None:
    at = T0 - minutes * MINUTE
    assert proven_clean(node(at=at), tenancy=tenancy(at - before * MINUTE)).proven

"""What the guard decides, case by case."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steelyard.attention.model import Severity
from steelyard.clouds.fake import FakeWorld
from steelyard.lifecycle.guard import (
    CLEAN_FAILED,
    GRACE,
    NOT_PROVEN,
    PROTECTION,
    Case,
    Decision,
    FoundAvailable,
    decide,
    is_ours,
)
from steelyard.lifecycle.model import quarantine_note
from steelyard.lifecycle.records import CleanRecord, How, Tenancy, Verdict
from steelyard.nouns import Instance, Node

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROVEN = Verdict(True, "cleaned")
UNPROVEN = Verdict(False, "nobody saw it")
STATES = (
    "enroll", "verifying", "manageable", "inspecting", "inspect wait", "inspect failed", "cleaning", "clean wait",
    "clean hold", "clean failed", "available", "deploying", "wait call-back", "deploy hold", "deploy failed", "active",
    "deleting", "error", "rescuing", "rescue wait", "rescue", "rescue failed", "unrescuing", "unrescue failed",
    "adopting", "adopt failed", "servicing", "service wait", "service hold", "service failed",
)  # fmt: skip


def node(state: str = "available", **changes: Any) -> Node:
    made = FakeWorld().add_node("bm-1", state=state if state in {"available", "active"} else "available")
    return replace(made, **{"provision_state": state, "provision_updated_at": T0, **changes})


def marked(reason: str, state: str = "available", *, releasing: str | None = None, **changes: Any) -> Node:
    mark = quarantine_note(reason, operation=None, by="steelyard", now=T0)
    if releasing:
        mark["releasing"] = releasing
    return node(state, extra={"steelyard": {"quarantine": mark}}, **changes)


def server(status: str = "ACTIVE", task_state: str | None = None) -> Instance:
    return Instance("i1", "web", status, task_state, "on", "p", "u", "f", None, None, (), T0)


def judge(node: Node, verdict: Verdict = UNPROVEN, policy: FoundAvailable | None = None, **more: Any) -> Decision:
    case = Case(node, verdict, **{"now": T0 + timedelta(hours=1), **more})
    return decide(case, policy or FoundAvailable.FINDING)


def kinds(decision: Decision) -> dict[str, Severity]:
    return {finding.kind.removeprefix("lifecycle."): finding.severity for finding in decision.findings}


def test_a_proven_node_stays_in_the_offer() -> None:
    assert judge(node(), PROVEN) == Decision()


def test_an_unproven_node_is_taken_away_and_found() -> None:
    decision = judge(node())
    assert decision.quarantine == f"{NOT_PROVEN}nobody saw it"
    assert kinds(decision) == {"not_proven_clean": Severity.CRITICAL}
    assert decision.findings[0].next == "steelyard node release bm-1"


def test_the_finding_stays_as_long_as_the_mark() -> None:
    for state in ("available", "manageable", "cleaning"):
        there = marked(f"{NOT_PROVEN}nobody saw it", state, maintenance=True)
        assert kinds(judge(there)) == {"not_proven_clean": Severity.CRITICAL}
        assert judge(there).quarantine is None


def test_who_takes_it_out_of_maintenance_does_not_get_it() -> None:
    assert judge(marked("x")).quarantine == "x"
    assert judge(marked("x"), PROVEN).quarantine == "x"
    assert judge(marked("x", releasing="o1"), busy="o1").quarantine is None
    assert judge(marked("x", releasing="o1")).quarantine == "x"
    assert judge(marked("x", releasing="o1"), busy="o2").quarantine == "x"


def test_an_operation_at_work_has_a_moment_to_write_down_what_it_saw() -> None:
    assert judge(node(), busy="o1", now=T0 + GRACE) == Decision()
    assert judge(node(), busy="o1", now=T0 + GRACE + timedelta(seconds=1)).quarantine
    assert judge(node(), now=T0).quarantine
    assert judge(node(), busy="o1", paused=True, now=T0).quarantine, "it writes nothing down"
    assert judge(node(automated_clean=False), busy="o1", now=T0).quarantine
    assert judge(node(provision_updated_at=None), busy="o1").quarantine


def test_what_is_not_offered_is_left_alone() -> None:
    assert judge(node("manageable", retired=True)) == Decision()
    assert judge(node(instance_id="i1")).quarantine is None


def test_a_retired_node_that_ironic_offers_is_taken_away() -> None:
    """Told not to clean, Ironic passes over the flag as well (do_node_clean), and Nova does not know it."""
    assert judge(node(retired=True, automated_clean=False)).quarantine


def test_also_in_maintenance_it_is_marked() -> None:
    """Or it would be in the offer as soon as the maintenance ends."""
    assert judge(node(maintenance=True)).quarantine


def test_only_what_is_offered_or_failed_is_quarantined() -> None:
    for state in STATES:
        wanted = state in {"available", "clean failed", "error", "deploy failed"}
        assert bool(judge(node(state)).quarantine) is wanted, state


def test_what_failed_is_quarantined_with_ironics_reason() -> None:
    decision = judge(node("clean failed", last_error="disk sda is read-only"))
    assert decision.quarantine == f"{CLEAN_FAILED}disk sda is read-only"
    assert kinds(decision) == {"clean_failed": Severity.MAJOR}
    assert judge(node("clean failed"), busy="o1") == Decision()
    assert kinds(judge(node("error"))) == {"reclaim_failed": Severity.MAJOR}
    assert kinds(judge(node("deploy failed"))) == {"deploy_failed": Severity.MAJOR}
    assert kinds(judge(marked("its cleaning failed (clean failed): x", "clean failed"))) == {
        "clean_failed": Severity.MAJOR
    }


@pytest.mark.parametrize("state", ["error", "deploy failed"])
def test_what_nova_still_holds_is_novas_to_take_back(state: str) -> None:
    there = node(state, instance_id="i1")
    assert judge(there, instance=server("ERROR")).quarantine is None
    assert judge(there, nova=False).quarantine is None
    assert judge(there).quarantine


def test_nodes_that_were_there_before_steelyard() -> None:
    trusted = Verdict(True, "trusted", CleanRecord("n", How.TRUSTED, "s", T0))
    assert judge(node(), trusted, FoundAvailable.TRUST) == Decision()
    found = judge(node(), trusted, FoundAvailable.FINDING)
    assert (found.quarantine, kinds(found)) == (None, {"never_seen_clean": Severity.MINOR})
    taken = judge(node(), trusted, FoundAvailable.QUARANTINE)
    assert taken.quarantine is not None
    assert kinds(taken) == {"not_proven_clean": Severity.CRITICAL}
    for policy in FoundAvailable:
        assert judge(node(), PROVEN, policy) == Decision()
        assert judge(node(), UNPROVEN, policy).quarantine


@pytest.mark.parametrize(("state", "told"), [("available", True), ("active", True), ("manageable", False)])
def test_switched_off_cleaning_is_found_before_it_matters(state: str, told: bool) -> None:
    decision = judge(node(state, automated_clean=False), PROVEN)
    assert ("cleaning_switched_off" in kinds(decision)) is told


def test_a_tenant_who_got_an_unproven_node_is_found() -> None:
    there = node("active", instance_id="i1")
    begun = Tenancy("n", "i1", T0, T0, unproven="no clean is known")
    assert kinds(judge(there, tenancy=begun)) == {"given_unproven": Severity.CRITICAL}
    assert judge(there, tenancy=replace(begun, until=T0)) == Decision()
    assert judge(there, tenancy=replace(begun, unproven=None)) == Decision()


def test_a_deployed_node_in_maintenance_is_protected() -> None:
    there = node("active", maintenance=True, maintenance_reason="fan", instance_id="i1")
    assert judge(there, instance=server()).protect is True
    assert judge(there).protect is True
    assert judge(there, nova=False).protect is True
    assert judge(node("rescue", maintenance=True)).protect is True
    assert judge(node("active")).protect is None
    assert judge(there, busy="o1").protect is None


def test_who_leaves_is_not_kept() -> None:
    there = node("active", maintenance=True, instance_id="i1")
    ours = replace(there, protected=True, protected_reason=PROTECTION)
    for gone in (server("ERROR"), server(task_state="deleting"), server("DELETED")):
        assert judge(there, instance=gone).protect is None
        assert judge(ours, instance=gone).protect is False
    assert judge(ours, instance=server()).protect is None


def test_only_our_own_protection_is_lifted() -> None:
    ours = node("active", protected=True, protected_reason=PROTECTION)
    theirs = replace(ours, protected_reason="the queen's")
    assert is_ours(ours)
    assert not is_ours(theirs)
    assert not is_ours(node())
    assert judge(ours).protect is False
    assert judge(theirs).protect is None
    assert judge(replace(theirs, maintenance=True)).protect is None
    assert judge(replace(ours, maintenance=True)).protect is None


def test_ironic_is_asked_only_for_what_it_grants() -> None:
    for state in STATES:
        wanted = judge(node(state, maintenance=True)).protect
        assert wanted is (True if state in {"active", "rescue"} else None), state


def test_nothing_in_the_offer_is_unproven_whatever_else_is_so() -> None:
    """Every combination of what may be known of an available node that nobody has."""
    flags = (False, True)
    for proven, maintenance, mark, busy, policy in itertools.product(flags, flags, flags, flags, FoundAvailable):
        made = marked("x", maintenance=maintenance) if mark else node(maintenance=maintenance)
        decision = judge(made, PROVEN if proven else UNPROVEN, policy, busy="o1" if busy else None)
        offered = decision.quarantine is None and not maintenance
        assert not offered or (proven and not mark)

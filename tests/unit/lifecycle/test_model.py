"""The phase table and the rules that stand on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from steelyard.errors import Refused
from steelyard.lifecycle.model import (
    DEPLOYED,
    Phase,
    Power,
    check_deletable,
    check_power,
    instance_phase,
    leaving_note,
    offered,
    phase,
)
from steelyard.nouns import Instance, Node

NOW = datetime(2026, 1, 1, tzinfo=UTC)

IRONIC_STATES = [
    "enroll", "verifying", "manageable", "inspecting", "inspect wait", "inspect failed", "cleaning", "clean wait",
    "clean hold", "clean failed", "available", "deploying", "wait call-back", "deploy hold", "deploy failed", "active",
    "deleting", "error", "rescuing", "rescue wait", "rescue", "rescue failed", "unrescuing", "unrescue failed",
    "adopting", "adopt failed", "servicing", "service wait", "service hold", "service failed", "deleted",
]  # fmt: skip


def node(state: str, **changes: object) -> Node:
    values: dict[str, object] = {
        "id": "n1", "name": "bm-1", "driver": "redfish", "provision_state": state, "target_provision_state": None,
        "power_state": "on", "maintenance": False, "maintenance_reason": None, "last_error": None,
        "resource_class": "bm-small", "traits": frozenset(), "instance_id": None, "bmc_address": None, "owner": None,
        "lessee": None, "retired": False, "protected": False, "provision_updated_at": NOW, "created_at": NOW,
        "extra": {"steelyard": {"candidate_id": "c1"}},
    }  # fmt: skip
    return Node(**{**values, **changes})  # type: ignore[arg-type]


def instance(status: str = "ACTIVE", task: str | None = None, **changes: object) -> Instance:
    values: dict[str, object] = {
        "id": "i1", "name": "web", "status": status, "task_state": task, "power_state": "on", "project_id": "p",
        "user_id": None, "flavor_name": "f", "image_id": None, "node_id": "n1", "addresses": (), "created_at": NOW,
    }  # fmt: skip
    return Instance(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ("enroll", Phase.ENROLLED), ("manageable", Phase.MANAGEABLE), ("inspect wait", Phase.INSPECTING),
        ("clean wait", Phase.CLEANING), ("available", Phase.AVAILABLE), ("wait call-back", Phase.DEPLOYING),
        ("active", Phase.ACTIVE), ("deleting", Phase.RECLAIMING), ("clean failed", Phase.QUARANTINED),
        ("rescue", Phase.RESCUE), ("service wait", Phase.SERVICING), ("a state of the future", Phase.QUARANTINED),
    ],
)  # fmt: skip
def test_phase_by_state(state: str, wanted: Phase) -> None:
    assert phase(node(state)) is wanted


@pytest.mark.parametrize("state", IRONIC_STATES)
def test_whatever_failed_is_quarantined_and_every_state_has_a_phase(state: str) -> None:
    found = phase(node(state))
    assert (found is Phase.QUARANTINED) == (state.endswith("failed") or state in ("error", "deleted"))


def test_phase_by_more_than_the_state() -> None:
    assert phase(node("active", power_state="off")) is Phase.POWERED_OFF
    assert phase(node("active", power_state=None)) is Phase.ACTIVE
    assert phase(node("active", extra={"steelyard": {"adopted": True}})) is Phase.ADOPTED
    assert phase(node("active"), instance(task="deleting")) is Phase.RECLAIMING
    assert phase(node("cleaning", instance_id="i1")) is Phase.RECLAIMING
    assert phase(node("available", instance_id="i1")) is Phase.DEPLOYING
    assert phase(node("available", retired=True)) is Phase.RETIRED
    assert phase(node("active", retired=True)) is Phase.ACTIVE


def test_offered_only_when_free_clean_and_not_held_back() -> None:
    assert offered(node("available"))
    assert not offered(node("available", maintenance=True))
    assert not offered(node("available", retired=True))
    assert not offered(node("available", instance_id="i1"))
    assert not any(offered(node(state)) for state in IRONIC_STATES if state != "available")


def test_instance_phase() -> None:
    active = node("active", instance_id="i1", power_state="off")
    assert instance_phase(instance("BUILD"), None) is Phase.DEPLOYING
    assert instance_phase(instance("ERROR"), None) is Phase.QUARANTINED
    assert instance_phase(instance("ACTIVE", "deleting"), active) is Phase.RECLAIMING
    assert instance_phase(instance("ACTIVE"), active) is Phase.POWERED_OFF
    assert instance_phase(instance("SHUTOFF"), None) is Phase.POWERED_OFF


class TestDeleting:
    @pytest.mark.parametrize("state", IRONIC_STATES)
    @pytest.mark.parametrize("instance_id", [None, "i1"])
    @pytest.mark.parametrize("offered_before", [False, True])
    def test_every_state(self, state: str, instance_id: str | None, offered_before: bool) -> None:
        vouched = {"unoffered_since": NOW.isoformat()}
        notes = {"candidate_id": "c1"} | vouched | ({"offered": "op"} if offered_before else {})
        subject = node(state, instance_id=instance_id, extra={"steelyard": notes})
        may = instance_id is None and (
            state in ("available", "enroll")
            or (state in ("manageable", "inspect failed", "clean failed") and not offered_before)
        )
        if may:
            check_deletable(subject)
            return
        with pytest.raises(Refused) as caught:
            check_deletable(subject)
        assert caught.value.next
        assert "{" not in caught.value.detail + caught.value.next
        if phase(subject) in DEPLOYED:
            assert caught.value.code == "node_deployed"

    @pytest.mark.parametrize(
        "state", ["inspecting", "inspect wait", "cleaning", "clean wait", "verifying", "manageable"]
    )
    def test_while_it_is_onboarded_the_way_out_is_to_cancel_that(self, state: str) -> None:
        subject = node(state, extra={"steelyard": {"candidate_id": "c1"}})
        with pytest.raises(Refused) as caught:
            check_deletable(subject, onboarding="op-1")
        assert caught.value.next == "steelyard operation cancel op-1"
        assert "being onboarded" in caught.value.detail

    @pytest.mark.parametrize(
        ("state", "wanted"),
        [
            ("inspect wait", "openstack baremetal node abort bm-1"),
            ("clean wait", "steelyard node wait bm-1"),
            ("deleting", "steelyard node wait bm-1"),
        ],
    )
    def test_without_an_onboarding_the_next_command_helps_too(self, state: str, wanted: str) -> None:
        with pytest.raises(Refused) as caught:
            check_deletable(node(state))
        assert caught.value.next == wanted

    @pytest.mark.parametrize("state", ["manageable", "inspect failed", "clean failed"])
    @pytest.mark.parametrize("since", [None, "2020-01-01T00:00:00+00:00"])
    def test_without_a_valid_stamp_nothing_proves_that_it_was_never_offered(self, state: str, since: object) -> None:
        with pytest.raises(Refused) as caught:
            check_deletable(node(state, extra={"steelyard": {"candidate_id": "c1", "unoffered_since": since}}))
        assert caught.value.next == "steelyard node onboard c1"

    def test_what_failed_after_it_was_offered_stays(self) -> None:
        with pytest.raises(Refused) as caught:
            check_deletable(node("clean failed", extra={"steelyard": {"candidate_id": "c1", "offered": "op"}}))
        assert (caught.value.code, caught.value.next) == ("node_quarantined", "steelyard node onboard c1")

    def test_deployed_says_so_and_what_to_do(self) -> None:
        with pytest.raises(Refused) as caught:
            check_deletable(node("active", instance_id="i1"), instance())
        assert caught.value.code == "node_deployed"
        assert caught.value.detail.startswith("Node bm-1 is deployed.")
        assert caught.value.next == "steelyard server delete i1 --wait"

    def test_manageable_of_unknown_past_is_refused(self) -> None:
        with pytest.raises(Refused) as caught:
            check_deletable(node("manageable", extra={}))
        assert caught.value.code == "node_not_clean"
        assert caught.value.next == "steelyard node clean bm-1 --wait"

    def test_one_that_is_on_its_way_out_may_go_on(self) -> None:
        note = leaving_note(node("manageable"), "b")
        check_deletable(node("manageable", extra={"steelyard": {"offered": "a", "deleting": note}}))

    @pytest.mark.parametrize("note", ["b", {}, {"operation": "b"}, {"operation": "b", "since": None}])
    def test_a_note_of_an_earlier_deletion_opens_nothing(self, note: object) -> None:
        """It failed; somebody offered the node again; a tenant had it; its cleaning failed; it was made manageable."""
        later = NOW + timedelta(hours=1)
        for old in (note, leaving_note(node("manageable"), "b")):
            extra = {"steelyard": {"offered": "a", "candidate_id": "c", "deleting": old}}
            with pytest.raises(Refused) as caught:
                check_deletable(node("manageable", provision_updated_at=later, extra=extra))
            assert caught.value.code == "node_not_clean"


class TestPower:
    @pytest.mark.parametrize(
        ("status", "action", "needed"),
        [
            ("ACTIVE", Power.OFF, True), ("ACTIVE", Power.ON, False), ("ACTIVE", Power.REBOOT, True),
            ("SHUTOFF", Power.ON, True), ("SHUTOFF", Power.OFF, False), ("SHUTOFF", Power.SOFT_OFF, False),
        ],
    )  # fmt: skip
    def test_whether_there_is_anything_to_do(self, status: str, action: Power, needed: bool) -> None:
        assert check_power(instance(status), action) is needed

    @pytest.mark.parametrize("action", list(Power))
    @pytest.mark.parametrize(("status", "task"), [("BUILD", "spawning"), ("ERROR", None), ("ACTIVE", "deleting")])
    def test_not_while_busy_or_broken(self, action: Power, status: str, task: str | None) -> None:
        with pytest.raises(Refused) as caught:
            check_power(instance(status, task), action)
        assert caught.value.next

    def test_what_is_off_is_not_rebooted(self) -> None:
        with pytest.raises(Refused) as caught:
            check_power(instance("SHUTOFF"), Power.REBOOT)
        assert caught.value.next == "steelyard server power i1 on"

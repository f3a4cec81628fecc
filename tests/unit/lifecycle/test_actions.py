"""The table of actions, every (phase, action) pair of it, and the one gate that stands on it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
import typer.main

from steelyard import main
from steelyard.errors import Refused
from steelyard.lifecycle.model import (
    AUTOMATIC,
    DEPLOYED,
    RULES,
    Action,
    Phase,
    Power,
    Who,
    check,
    instance_phase,
    leaving_note,
    phase,
    power_action,
    quarantine_note,
    refusal,
)
from steelyard.nouns import Instance, Node

from .test_model import NOW, instance, node

MARK = quarantine_note("a stranger's frame was seen", operation="op", by="steelyard", now=NOW)
NODES: dict[Phase, Node | None] = {
    Phase.CANDIDATE: None,
    Phase.ENROLLED: node("enroll"),
    Phase.MANAGEABLE: node("manageable", extra={"steelyard": {"candidate_id": "c1", "offered": "op"}}),
    Phase.INSPECTING: node("inspect wait"),
    Phase.CLEANING: node("clean wait"),
    Phase.AVAILABLE: node("available", extra={"steelyard": {"candidate_id": "c1", "offered": "op"}}),
    Phase.DEPLOYING: node("wait call-back", instance_id="i1"),
    Phase.ACTIVE: node("active", instance_id="i1"),
    Phase.POWERED_OFF: node("active", instance_id="i1", power_state="off"),
    Phase.SERVICING: node("service wait", instance_id="i1"),
    Phase.RESCUE: node("rescue", instance_id="i1"),
    Phase.RECLAIMING: node("deleting", instance_id="i1"),
    Phase.ADOPTED: node("active", instance_id="i1", extra={"steelyard": {"adopted": True}}),
    Phase.QUARANTINED: node("clean failed", extra={"steelyard": {"candidate_id": "c1", "offered": "op"}}),
    Phase.RETIRED: node("manageable", retired=True, extra={"steelyard": {"withdrawn": leaving_note(node("x"), "op")}}),
}
"""One node in every phase."""
SERVERS: dict[Phase, Instance] = {
    Phase.DEPLOYING: instance("BUILD", "spawning"),
    Phase.POWERED_OFF: instance("SHUTOFF", power_state="off"),
    Phase.RESCUE: instance("RESCUE"),
    Phase.RECLAIMING: instance(task="deleting"),
}
CONDITIONS = {
    (Action.DELETE, Phase.MANAGEABLE), (Action.DELETE, Phase.QUARANTINED), (Action.UNRETIRE, Phase.QUARANTINED),
    *((Action.UNRETIRE, each) for each in (Phase.ACTIVE, Phase.POWERED_OFF, Phase.RESCUE, Phase.ADOPTED)),
}  # fmt: skip
"""What the phase allows and the condition of the rule refuses to these nodes."""
PAIRS = [(action, each) for action in Action for each in Phase]


def server_in(found: Phase) -> Instance | None:
    owner = NODES[found]
    return SERVERS.get(found, instance()) if owner is not None and owner.instance_id else None


def runs(command: str) -> bool:
    """Whether the command line has it, with its options."""
    words = shlex.split(command)
    if words[:3] == ["openstack", "baremetal", "node"]:
        return words[3] == "abort"  # of an inspection: nothing of ours may interrupt what Ironic does for others
    assert words[0] == "steelyard", command
    name, *rest = words[1:]
    found: Any = typer.main.get_command(main._load(name))  # type: ignore[arg-type]
    while hasattr(found, "commands"):
        found, rest = found.commands[rest[0]], rest[1:]
    options = {each for parameter in found.params for each in parameter.opts}
    return {word for word in rest if word.startswith("--")} <= options


def test_every_phase_and_every_action_is_in_the_tables() -> None:
    assert set(RULES) == set(Action)
    assert {found: phase(owner, server_in(found)) for found, owner in NODES.items() if owner} == {
        found: found for found in Phase if found is not Phase.CANDIDATE
    }
    reached = {to for rule in RULES.values() for to in rule.leads.values()} | {to for _, to, _ in AUTOMATIC}
    assert reached == set(Phase)
    left = {found for rule in RULES.values() for found, to in rule.leads.items() if found is not to}
    assert left | {found for found, _, _ in AUTOMATIC} == set(Phase)


@pytest.mark.parametrize(("action", "found"), PAIRS, ids=lambda each: str(each))
def test_every_pair(action: Action, found: Phase) -> None:
    """Allowed as the table has it, or refused in plain words with a next command that exists."""
    rule = RULES[action]
    owner, server = NODES[found], server_in(found)
    if rule.on_server and server is None:
        # A tenant's server is on no node of these phases: the rule is asked by the phase alone.
        refused = refusal(action, found, server="i1", name="web")
        assert (refused is None) == (found in rule.leads)
        if refused is not None:
            assert runs(str(refused.next))
        return
    allowed = found in rule.leads and (action, found) not in CONDITIONS
    if allowed:
        assert check(action, owner, server) is found
        return
    with pytest.raises(Refused) as caught:
        check(action, owner, server)
    error = caught.value
    assert error.next is not None
    assert runs(error.next), error.next
    assert "{" not in error.detail + error.next
    assert error.code not in ("refused", "")
    name = "web" if rule.on_server else "bm-1" if owner else "CANDIDATE"
    assert name in error.detail
    if rule.on_server:
        assert "bm-1" not in error.detail + error.next, "a tenant is told of no node"


@pytest.mark.parametrize("action", list(Action))
def test_every_command_of_the_table_exists(action: Action) -> None:
    assert runs(RULES[action].command)


def test_what_destroys_a_tenants_data_is_a_tenants_or_needs_a_reason() -> None:
    """No administrator's action but the forced removal touches what a tenant owns."""
    touching = {
        action
        for action, rule in RULES.items()
        for found, to in rule.leads.items()
        if found in DEPLOYED and to is not found and rule.who is Who.ADMINISTRATOR
    }
    assert touching == {Action.RECLAIM, Action.FORCED_DELETE}
    assert RULES[Action.FORCED_DELETE].condition == "A reason is given."


def test_only_a_clean_leads_into_the_offer() -> None:
    ways = {
        (found, action) for action, rule in RULES.items() for found, to in rule.leads.items() if to is Phase.AVAILABLE
    }
    assert {found for found, _ in ways} <= {Phase.AVAILABLE}  # maintenance, which stays where it is
    assert {found for found, to, _ in AUTOMATIC if to is Phase.AVAILABLE} == {Phase.CLEANING}


class TestMark:
    """A node with Steelyard's own mark is quarantined whatever Ironic says."""

    @pytest.mark.parametrize("found", [each for each in Phase if each is not Phase.CANDIDATE])
    def test_in_every_state(self, found: Phase) -> None:
        owner = NODES[found]
        assert owner is not None
        marked = replace(owner, extra={"steelyard": {**owner.notes, "quarantine": MARK}})
        assert phase(marked, server_in(found)) is Phase.QUARANTINED
        with pytest.raises(Refused) as caught:
            check(Action.DELETE, marked, server_in(found))
        assert caught.value.code in ("node_quarantined", "node_deployed")
        server = server_in(found)
        if server is not None:
            for action in (Action.POWER_ON, Action.REBUILD, Action.RESCUE):
                with pytest.raises(Refused):
                    check(action, marked, server)
            check(Action.RELEASE, marked, server)

    @pytest.mark.parametrize("mark", ["yes", [], {"reason": ""}, {"reason": 7}, True])
    def test_one_that_makes_no_sense_still_counts(self, mark: object) -> None:
        assert phase(node("available", extra={"steelyard": {"quarantine": mark}})) is Phase.QUARANTINED


class TestConditions:
    def test_one_that_was_never_onboarded_to_the_end_is_onboarded_not_cleaned(self) -> None:
        """Its NICs may be bound to no switch port: available, it would be deployed onto no network or onto any."""
        for state, action in (("manageable", Action.CLEAN), ("inspect failed", Action.FREE)):
            with pytest.raises(Refused) as caught:
                check(action, node(state))
            assert (caught.value.code, caught.value.next) == ("not_onboarded", "steelyard node onboard c1")

    @pytest.mark.parametrize("action", [Action.CLEAN, Action.INSPECT])
    def test_agents_do_nothing_in_maintenance(self, action: Action) -> None:
        with pytest.raises(Refused) as caught:
            check(action, node("manageable", maintenance=True, extra={}))
        assert caught.value.next == "steelyard node maintenance off bm-1"

    def test_an_administrators_maintenance_is_not_ended_by_a_release(self) -> None:
        held = node("clean failed", maintenance=True, extra={"steelyard": {"maintenance": {"by": "ann"}}})
        with pytest.raises(Refused) as caught:
            check(Action.FREE, held)
        assert caught.value.code == "node_in_maintenance"
        check(Action.FREE, replace(held, extra={}))  # Ironic's own, after a failed clean

    def test_a_marked_node_is_not_onboarded_around_its_quarantine(self) -> None:
        with pytest.raises(Refused) as caught:
            check(Action.ONBOARD, node("clean failed", extra={"steelyard": {"quarantine": MARK}}))
        assert caught.value.next == "steelyard node release bm-1 --wait"

    def test_a_retired_node_is_deleted_once_it_left_the_offer_clean(self) -> None:
        clean = NODES[Phase.RETIRED]
        check(Action.DELETE, clean)
        with pytest.raises(Refused) as caught:
            check(Action.DELETE, node("manageable", retired=True))
        assert caught.value.next == "steelyard node unretire bm-1 --wait"


@pytest.mark.parametrize("power", list(Power))
def test_power_is_an_action(power: Power) -> None:
    assert str(power_action(power)).split()[-1] in str(power)


def test_a_server_in_error_is_quarantined_and_may_be_released() -> None:
    broken = instance("ERROR", fault="No valid host")
    assert instance_phase(broken, None) is Phase.QUARANTINED
    check(Action.RELEASE, None, broken)
    with pytest.raises(Refused) as caught:
        check(Action.POWER_ON, None, broken)
    assert caught.value.next == "steelyard server delete i1"

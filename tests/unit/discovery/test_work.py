"""Onboarding: it succeeds; repeating each step changes nothing; failing at each step leaves a way on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.fake import FakeClouds, FakeNic
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.discovery.service import DiscoveryService
from steelyard.discovery.stopping import Watch
from steelyard.errors import Conflict, Invalid, Refused, Unavailable
from steelyard.lifecycle.model import check_deletable, never_offered
from steelyard.nouns import Instance, Node, SwitchLink
from steelyard.operations.model import Done, Operation, Phase, StepContext

if TYPE_CHECKING:
    from .conftest import Bench

PORT = 8443
CREDENTIALS = [{"username": "root", "password": "calvin"}]
STEPS = [
    "enroll", "ask Ironic to verify the BMC", "wait until verified", "ask for inspection", "wait for the inspection",
    "identify and bind switch ports", "start cleaning", "wait until clean", "wait until offered", "record",
]  # fmt: skip


def found(bench: Bench, **server: str) -> DiscoveryService:
    bench.add_server(1, **server)
    service = bench.service()
    service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT)
    return service


def onboard(service: DiscoveryService, bench: Bench, **options: str) -> Operation:
    (operation,) = service.onboard(bench.admin, ["bm-001"], **options)  # type: ignore[arg-type]
    return operation


def only_node(bench: Bench) -> Node:
    (node,) = bench.world.nodes.values()
    return node


def only_candidate(service: DiscoveryService) -> Candidate:
    (candidate,) = service.candidates()
    return candidate


def assert_onboarded(bench: Bench, service: DiscoveryService) -> None:
    node = only_node(bench)
    assert (node.name, node.provision_state, node.maintenance) == ("bm-001", "available", False)
    assert node.resource_class == "bm-small"
    assert node.traits == {"CUSTOM_VENDOR_FAKES_INC", "HW_ARCH_X86_64"}
    assert node.properties["cpu_arch"] == "x86_64"
    assert node.notes["serial"] == only_candidate(service).serial
    ports = [port for port in bench.world.node_ports.values() if port.node_id == node.id]
    assert len(ports) == 2
    assert all(port.link is not None and port.physical_network == "physnet1" for port in ports)
    candidate = only_candidate(service)
    assert (candidate.state, candidate.node_id, candidate.reason) == (CandidateState.ONBOARDED, node.id, None)
    assert set(candidate.links) == {port.mac for port in ports}


def test_succeeds(bench: Bench) -> None:
    service = found(bench)
    operation = onboard(service, bench)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert [step.name for step in operation.steps] == STEPS
    assert_onboarded(bench, service)
    (event,) = bench.store.events.of(f"node:{only_node(bench).id}")
    assert (event.kind, event.actor, event.operation_id) == ("node.onboarded", "admin", operation.id)


def test_repeating_each_step_changes_nothing(bench: Bench) -> None:
    found(bench)
    service = bench.service(repeat_steps=True)
    operation = onboard(service, bench)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert_onboarded(bench, service)
    assert len(bench.store.events.of(f"node:{only_node(bench).id}")) == 1


@pytest.mark.parametrize("step", STEPS)
def test_failing_after_each_step_leaves_a_way_on(bench: Bench, step: str) -> None:
    found(bench)
    operation = onboard(bench.service(fail_step=step), bench)
    assert operation.phase is Phase.FAILED
    service = bench.service()
    candidate = only_candidate(service)
    if step == "record":  # everything was done and written down
        assert candidate.state is CandidateState.ONBOARDED
        return
    assert candidate.state is CandidateState.FAILED
    assert candidate.reason == f"Made to fail after '{step}'."
    assert candidate.next == f"steelyard node onboard {candidate.id}"
    bench.world.settle()
    if step not in ("start cleaning", "wait until clean", "wait until offered"):
        assert only_node(bench).provision_state in ("enroll", "manageable", "inspect failed")
    again = onboard(service, bench)
    assert again.phase is Phase.SUCCEEDED, again.error
    assert_onboarded(bench, service)


def test_a_class_may_be_given(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench, resource_class="gold")
    assert only_node(bench).resource_class == "gold"


def test_nova_never_sees_a_node_without_class_and_ironic_gets_the_credentials(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="enroll"), bench)
    node = only_node(bench)
    assert node.resource_class == "bm-small"
    info = bench.world.driver_info[node.id]
    assert info["redfish_address"] == f"https://10.0.0.1:{PORT}"
    assert (info["redfish_username"], info["redfish_password"]) == ("root", "calvin")
    assert "calvin" not in repr(node)


def test_ironic_refuses_the_bmc(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="enroll"), bench)
    bench.world.break_node(only_node(bench).id, "verify", "Failed to get power state: 401")
    service = bench.service()
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "verify_failed"
    assert "401" in operation.error.detail
    assert only_candidate(service).next == "steelyard discover 10.0.0.1 --credentials FILE"
    assert onboard(service, bench).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("job", "code", "state"),
    [("inspect", "inspection_failed", "inspect failed"), ("clean", "clean_failed", "clean failed")],
)
def test_what_ironic_cannot_do_is_told_and_can_be_asked_again(bench: Bench, job: str, code: str, state: str) -> None:
    found(bench)
    onboard(bench.service(fail_step="enroll"), bench)
    bench.world.break_node(only_node(bench).id, job, "the agent said no")
    service = bench.service()
    operation = onboard(service, bench)
    assert operation.error is not None
    assert (operation.error.code, only_node(bench).provision_state) == (code, state)
    assert "the agent said no" in operation.error.detail
    assert onboard(service, bench).phase is Phase.SUCCEEDED
    assert_onboarded(bench, service)


def test_an_agent_that_never_calls_is_given_up_and_offered_to_nobody(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="wait until verified"), bench)
    bench.world.hang_node(only_node(bench).id)
    service = bench.service()
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "deadline_exceeded"
    assert "within 900 s" in operation.error.detail
    assert operation.error.next == f"steelyard node onboard {only_candidate(service).id}"
    assert only_node(bench).provision_state not in ("available", "manageable")
    bench.world.release_node(only_node(bench).id)
    bench.world.settle()
    assert onboard(service, bench).phase is Phase.SUCCEEDED


def test_crossed_cables_stop_it(bench: Bench) -> None:
    service = found(bench, serial="ANOTHER")
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "identity_conflict"
    assert "ANOTHER" in operation.error.detail
    assert only_node(bench).provision_state == "manageable"


def test_without_lldp_no_port_is_bound(bench: Bench) -> None:
    machine = bench.add_server(1)
    silent = replace(machine, nics=tuple(FakeNic(nic.mac, None, pxe=nic.pxe) for nic in machine.nics))
    bench.world.hardware[f"https://10.0.0.1:{PORT}"] = silent
    service = bench.service()
    service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT)
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "no_lldp"


def test_a_nic_without_cable_gets_no_port(bench: Bench) -> None:
    machine = bench.add_server(1)
    first, second = machine.nics
    bench.world.hardware[f"https://10.0.0.1:{PORT}"] = replace(machine, nics=(first, FakeNic(second.mac, None)))
    service = bench.service()
    service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT)
    operation = onboard(service, bench)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert operation.result["uncabled"] == [second.mac]
    assert [port.mac for port in bench.world.node_ports.values()] == [first.mac]


def test_a_second_onboarding_starts_on_managed_ports_and_notices_a_moved_cable(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    node = only_node(bench)
    bench.world.nodes.clear()
    bench.world.node_ports.clear()
    bench.world.inspections.clear()
    onboard(bench.service(fail_step="enroll"), bench)
    assert only_node(bench).id != node.id
    assert all(port.link is not None for port in bench.world.node_ports.values())
    machine = bench.world.hardware[f"https://10.0.0.1:{PORT}"]
    nic = machine.nics[0]
    assert nic.link is not None
    moved = replace(nic, link=SwitchLink(nic.link.switch_id, "Ethernet99", nic.link.switch_name))
    bench.world.hardware[f"https://10.0.0.1:{PORT}"] = replace(machine, nics=(moved, *machine.nics[1:]))
    operation = onboard(bench.service(), bench)
    assert operation.error is not None
    assert operation.error.code == "cable_moved"
    assert "Ethernet99" in operation.error.detail


def test_a_server_that_somebody_enrolled_meanwhile_is_refused(bench: Bench) -> None:
    service = found(bench)
    candidate = only_candidate(service)
    other = bench.world.add_node("stock")
    bench.world.nodes[other.id] = replace(
        other, extra={"steelyard": {"candidate_id": "x", "serial": candidate.serial, "vendor": candidate.vendor}}
    )
    bench.store.candidates.put(replace(candidate, state=CandidateState.FAILED))
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "already_enrolled"
    assert operation.error.next == f"steelyard node show {other.id}"
    assert list(bench.world.nodes) == [other.id]


def test_a_locked_node_is_waited_for(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="enroll"), bench)
    node = only_node(bench)
    bench.world.lock_node(node.id)
    operation = onboard(bench.service(), bench)
    assert operation.error is not None
    assert operation.error.code == "deadline_exceeded"
    assert "locked" in operation.error.detail
    bench.world.release_node(node.id)
    assert onboard(bench.service(), bench).phase is Phase.SUCCEEDED


def test_a_cloud_that_is_away_for_a_moment_is_waited_for(bench: Bench) -> None:
    service = found(bench)
    bench.world.fail("nodes.get", Unavailable("Ironic does not answer"), times=3)
    bench.world.fail("provisioning.request", Unavailable("Ironic does not answer"), times=2)
    assert onboard(service, bench).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("state", ["deploy failed", "error"])
def test_a_node_that_nova_has_given_up_is_taken_back(bench: Bench, state: str) -> None:
    """Nova deletes a server whose deployment was interrupted, and leaves its name on the node."""
    service = found(bench)
    onboard(service, bench)
    node = only_node(bench)
    bench.world.nodes[node.id] = replace(node, provision_state=state, instance_id="nova-knows-it-no-more")
    again = onboard(service, bench)
    assert again.phase is Phase.SUCCEEDED, again.error
    assert_onboarded(bench, service)
    assert only_node(bench).instance_id is None


def test_a_failed_deployment_that_nova_still_has_is_left_alone(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    node = only_node(bench)
    server = Instance(
        id="11111111-2222-4333-8444-555555555555", name="web", status="ERROR", task_state=None, power_state=None,
        project_id="p1", user_id="u2", flavor_name=None, image_id=None, node_id=node.id, addresses=(), created_at=None,
    )  # fmt: skip
    bench.world.instances[server.id] = server
    bench.world.nodes[node.id] = replace(node, provision_state="deploy failed", instance_id=server.id)
    with pytest.raises(Refused) as refused:
        onboard(service, bench)
    assert refused.value.code == "already_onboarded"
    assert only_node(bench).provision_state == "deploy failed"


def test_what_is_known_of_its_cables_outlives_node_and_candidate(bench: Bench) -> None:
    """Its switch ports were managed and carry nothing now: enrolled as a stranger, its agent would reach nobody."""
    service = found(bench)
    onboard(service, bench)
    bench.world.nodes.clear()
    bench.world.node_ports.clear()
    service.delete_candidate(bench.admin, "bm-001")
    service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT)
    assert only_candidate(service).links == {}
    onboard(bench.service(fail_step="enroll"), bench)
    ports = list(bench.world.node_ports.values())
    assert len(ports) == 2
    assert all(port.link is not None and port.physical_network == "physnet1" for port in ports)


def test_cables_that_were_moved_on_purpose_are_learned_anew(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    bench.world.nodes.clear()
    bench.world.node_ports.clear()
    machine = bench.world.hardware[f"https://10.0.0.1:{PORT}"]
    nic = machine.nics[0]
    assert nic.link is not None
    moved = SwitchLink(nic.link.switch_id, "Ethernet99", nic.link.switch_name)
    bench.world.hardware[f"https://10.0.0.1:{PORT}"] = replace(
        machine, nics=(replace(nic, link=moved), *machine.nics[1:])
    )
    refused = onboard(service, bench)
    assert refused.error is not None
    assert refused.error.next == f"if it was moved on purpose: steelyard node onboard {only_candidate(service).id} --recabled"  # noqa: E501  # fmt: skip
    (operation,) = service.onboard(bench.admin, ["bm-001"], recabled=True)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert bench.store.cables.of([nic.mac]) == {nic.mac: moved}
    assert moved in [port.link for port in bench.world.node_ports.values()]


@pytest.mark.parametrize(("state", "ends"), [("inspect wait", "inspect failed"), ("clean wait", "clean failed")])
def test_cancelling_stops_what_runs_and_leaves_a_way_on(bench: Bench, state: str, ends: str) -> None:
    found(bench)
    operations = bench.operations()
    service = bench.over(operations)

    def cancel_there(seconds: float) -> None:
        bench.world.tick()
        nodes = list(bench.world.nodes.values())
        if nodes and nodes[0].provision_state == state:
            bench.world.hang_node(nodes[0].id)
            for running in [each.id for each in operations.all() if not each.phase.ended]:
                operations.cancel(running, reason="wrong server")

    operations.clock._on_wait = cancel_there
    operation = onboard(service, bench)
    assert operation.phase is Phase.CANCELLED
    candidate = only_candidate(service)
    assert operation.error is not None
    assert operation.error.next == candidate.next == f"steelyard node onboard {candidate.id}"
    assert operation.steps[-1].phase is Phase.SUCCEEDED  # the clean-up
    node = only_node(bench)
    assert node.provision_state == ends
    assert never_offered(node)
    check_deletable(node)
    bench.world.release_node(node.id)
    again = onboard(bench.service(), bench)
    assert again.phase is Phase.SUCCEEDED, again.error


def test_a_first_cleaning_that_fails_under_our_eyes_was_never_offered(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="enroll"), bench)
    bench.world.break_node(only_node(bench).id, "clean", "the disk is dead")
    onboard(bench.service(), bench)
    assert never_offered(only_node(bench))
    check_deletable(only_node(bench))


def test_one_that_was_offered_once_is_not_made_deletable_by_another_cleaning_that_fails(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    bench.world.set_state(only_node(bench).id, "clean failed", error="the disk is dead")
    bench.world.break_node(only_node(bench).id, "clean", "the disk is dead")
    assert onboard(service, bench).phase is Phase.FAILED
    assert not never_offered(only_node(bench))
    with pytest.raises(Refused):
        check_deletable(only_node(bench))


@pytest.mark.parametrize(("away", "proven"), [(2.0, True), (600.0, False), (None, False)])
def test_a_cleaning_that_nobody_watched_proves_nothing(bench: Bench, away: float | None, proven: bool) -> None:
    """Minutes between two looks, or another process (None): a tenant may have had the node meanwhile."""
    now = [0.0]
    node = bench.world.add_node("new", state="manageable")
    bench.world.nodes[node.id] = replace(node, provision_state="enroll", extra={"steelyard": {"candidate_id": "c"}})
    context = StepContext("op", "nodes.onboard", "wait until clean", {}, {}, bench.admin, None, 1)
    watch = Watch(FakeClouds(bench.world), lambda: now[0])
    watch.begin(bench.world.nodes[node.id])
    node = bench.world.set_state(node.id, "cleaning")
    node = bench.world.nodes[node.id] = replace(node, extra={"steelyard": {"candidate_id": "c", "offered": "op"}})
    watch.look(node, context)
    if away is None:
        watch = Watch(FakeClouds(bench.world), lambda: now[0])
    else:
        now[0] += away
    bench.world.set_state(node.id, "clean failed")
    assert isinstance(watch.stop(node.id, context), Done)
    assert never_offered(bench.world.nodes[node.id]) is proven


@pytest.mark.parametrize("fails_at", ["identify and bind switch ports", "start cleaning"])
def test_a_node_that_somebody_else_offered_afterwards_is_not_deletable(bench: Bench, fails_at: str) -> None:
    """Enrolled, its onboarding failed; then an operator offers it by hand, a tenant has it, its cleaning fails."""
    found(bench)
    onboard(bench.service(fail_step=fails_at), bench)
    assert never_offered(only_node(bench))
    bench.world.tick(60)
    for state in ("available", "active", "clean failed"):
        bench.world.tick()
        bench.world.set_state(only_node(bench).id, state)
    assert not never_offered(only_node(bench))
    with pytest.raises(Refused):
        check_deletable(only_node(bench))
    bench.world.break_node(only_node(bench).id, "clean", "the disk is dead")
    assert onboard(bench.service(), bench).phase is Phase.FAILED
    with pytest.raises(Refused):  # nor does an onboarding that began after the tenancy vouch for it
        check_deletable(only_node(bench))


def test_failing_twice_before_the_offer_is_still_never_offered(bench: Bench) -> None:
    found(bench)
    onboard(bench.service(fail_step="identify and bind switch ports"), bench)
    bench.world.break_node(only_node(bench).id, "clean", "the disk is dead")
    bench.world.tick(60)
    onboard(bench.service(), bench)
    assert only_node(bench).provision_state == "clean failed"
    assert never_offered(only_node(bench))


def test_a_node_that_fell_out_of_the_offer_can_be_onboarded_again(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    bench.world.set_state(only_node(bench).id, "clean failed", maintenance=True, error="erase failed")
    assert only_candidate(service).state is CandidateState.ONBOARDED
    assert onboard(service, bench).phase is Phase.SUCCEEDED
    assert_onboarded(bench, service)
    with pytest.raises(Refused) as caught:
        onboard(service, bench)
    assert caught.value.code == "already_onboarded"


def test_a_node_that_people_hold_in_maintenance_is_not_onboarded(bench: Bench) -> None:
    service = found(bench)
    onboard(bench.service(fail_step="identify and bind switch ports"), bench)
    node = only_node(bench)
    bench.world.nodes[node.id] = replace(node, maintenance=True, maintenance_reason="a fan is changed", fault=None)
    with pytest.raises(Refused, match="in maintenance \\(a fan is changed\\)") as caught:
        onboard(service, bench)
    assert (caught.value.code, caught.value.next) == (
        "node_in_maintenance",
        f"steelyard node maintenance off {node.label}",
    )
    assert service.onboard(bench.admin, [], everything=True) == [], "the others go on without it"
    bench.world.nodes[node.id] = replace(only_node(bench), maintenance=False, maintenance_reason=None)
    assert onboard(service, bench).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("state", ["inspect wait", "cleaning", "clean wait"])
def test_a_maintenance_is_waited_for_and_the_cleaning_goes_on(bench: Bench, state: str) -> None:
    service, said = held(bench, state, ends=True)
    operation = onboard(service, bench)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert any("leaves maintenance (a fan is changed): steelyard node maintenance off" in words for words in said)
    assert_onboarded(bench, service)


@pytest.mark.parametrize("state", ["inspect wait", "cleaning", "clean wait"])
def test_a_maintenance_that_lasts_is_given_up_and_ends_where_nobody_is_offered_it(bench: Bench, state: str) -> None:
    bench.settings = bench.settings.model_copy(update={"maintenance_seconds": 0.0})
    service, _ = held(bench, state, ends=False)
    operation = onboard(service, bench)
    assert operation.error is not None
    assert operation.error.code == "node_in_maintenance"
    node = only_node(bench)
    assert operation.error.next == only_candidate(service).next == f"steelyard node maintenance off {node.name}"
    assert (node.provision_state, node.maintenance) in {("manageable", True), ("clean failed", True)}
    FakeClouds(bench.world).own.nodes.set_maintenance(node.id, None)
    assert onboard(bench.service(), bench).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("state", "tenant", "ends"),
    [
        ("active", True, Phase.SUCCEEDED), ("wait call-back", True, Phase.SUCCEEDED),
        ("deploy failed", True, Phase.SUCCEEDED), ("active", False, Phase.FAILED), ("rescue", False, Phase.FAILED),
        ("adopt failed", False, Phase.FAILED), ("inspect failed", False, Phase.FAILED), ("error", False, Phase.FAILED),
    ],
)  # fmt: skip
def test_what_became_of_it_between_two_looks_ends_the_cleaning(
    bench: Bench, state: str, tenant: bool, ends: Phase
) -> None:
    """The operation was paused, or its server was down: it does not wait a day for what cannot come any more."""
    found(bench)
    operations = bench.operations()

    def go_on(seconds: float) -> None:
        bench.world.tick()
        for node in bench.world.nodes.values():
            if node.provision_state == "clean wait":
                bench.world.hang_node(node.id)
                there = bench.world.set_state(node.id, state)
                bench.world.nodes[node.id] = replace(there, instance_id="i1" if tenant else None)

    operations.clock._on_wait = go_on
    operation = onboard(bench.over(operations), bench)
    assert operation.phase is ends, operation.error
    steps = {step.name: step for step in operation.steps}
    clean = steps["wait until clean"]
    assert clean.ended_at is not None
    assert clean.started_at is not None
    assert (clean.ended_at - clean.started_at).total_seconds() < 60


def held(bench: Bench, state: str, *, ends: bool) -> tuple[DiscoveryService, list[str]]:
    """Somebody holds the node once it is in the state; what the operation waits for from then on."""
    operations = bench.operations()
    said: list[str] = []
    looks = 0

    def go_on(seconds: float) -> None:
        nonlocal looks
        for node in bench.world.nodes.values():
            begins = not looks and node.provision_state == state
            waited = any("leaves maintenance" in words for words in said)
            if begins or (node.maintenance and not waited):
                looks += 1
                there = replace(node, maintenance=True, maintenance_reason="a fan is changed")
                bench.world.nodes[node.id] = there
            elif node.maintenance and ends:
                bench.world.nodes[node.id] = replace(node, maintenance=False, maintenance_reason=None)
        said.extend(step.waiting_for or "" for each in operations.all() for step in each.steps)
        bench.world.tick()

    operations.clock._on_wait = go_on
    found(bench)
    return bench.over(operations), said


def test_every_failure_says_what_to_do(bench: Bench) -> None:
    """Also where a service below gives advice that helps nobody."""
    service = found(bench)
    bench.world.fail("nodes.all", Invalid("HTTP 400", next="openstack catalog show baremetal"))
    with pytest.raises(Invalid):
        onboard(service, bench)
    bench.world.fail("nodes.set_traits", Invalid("HTTP 400", next="openstack catalog show baremetal"))
    operation = onboard(service, bench)
    assert operation.error is not None
    assert (
        operation.error.next == only_candidate(service).next == f"steelyard node onboard {only_candidate(service).id}"
    )


def test_the_same_request_again_starts_nothing(bench: Bench) -> None:
    service = found(bench)
    first = service.onboard(bench.admin, [], everything=True, key="k")
    again = service.onboard(bench.admin, [], everything=True, key="k")
    assert [each.id for each in again] == [each.id for each in first] != []
    with pytest.raises(Conflict) as caught:
        service.onboard(bench.admin, ["bm-001"], key="k")
    assert caught.value.code == "key_reused"
    sweep = service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT, key="k")
    assert service.discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=PORT, key="k").id == sweep.id

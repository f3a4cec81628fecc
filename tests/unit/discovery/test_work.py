"""Onboarding: it succeeds; repeating each step changes nothing; failing at each step leaves a way on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.fake import FakeNic
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.discovery.service import DiscoveryService
from steelyard.errors import Unavailable
from steelyard.nouns import Node, SwitchLink
from steelyard.operations.model import Operation, Phase

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

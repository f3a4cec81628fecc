"""The check of the whole fleet: what differs is found, what is on its way is not, and what is done about it is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steelyard.attention.model import Severity
from steelyard.clouds.observing import Observer
from steelyard.errors import Conflict, NotFound, Unavailable
from steelyard.isolation.checking import FleetCheck, FleetReport
from steelyard.isolation.mending import Mending
from steelyard.isolation.model import Verdict
from steelyard.isolation.policy import MOST_AT_ONCE, RAMDISK, Role, Trouble, intended_role, may_attach
from steelyard.lifecycle.model import Phase
from steelyard.nouns import SwitchLink

from .conftest import Bench

Check = Callable[..., FleetCheck]


def fleet(bench: Bench, **settings: Any) -> FleetCheck:
    chosen = bench.settings.model_copy(update=settings)
    mending = Mending(
        clouds=bench.clouds, store=bench.store, switches=bench.readers, settings=chosen, clock=lambda: bench.seconds,
        sleep=bench.sleep,
    )  # fmt: skip
    return FleetCheck(
        clouds=bench.clouds, switches=bench.readers, settings=chosen, store=bench.store, mending=mending,
        observer=Observer(bench.clouds, fresh=0.0), sleep=lambda _: None, clock=lambda: bench.world.now,
    )  # fmt: skip


def found(report: FleetReport) -> list[tuple[str, Trouble | None, bool]]:
    return [(each.node.label, each.nic.trouble, each.differs) for each in report.wrong]


# The rules


def test_an_agent_is_only_on_the_nics_that_ironic_boots_from() -> None:
    for phase in Phase:
        role = intended_role(phase.value)
        assert intended_role(phase.value, pxe=False) is (Role.IDLE if role in RAMDISK else role)


def test_a_quarantined_server_of_a_tenant_leaves_the_tenants_networks_when_it_is_off() -> None:
    assert intended_role("quarantined") is Role.IDLE
    assert intended_role("quarantined", deployed=True, power="on") is Role.TENANT
    assert intended_role("quarantined", deployed=True, power="off") is Role.QUARANTINE
    assert intended_role("quarantined", deployed=True) is Role.TENANT, "nobody knows its power"


def test_who_may_attach_what(deployed: Bench) -> None:
    port, node, instance = deployed.port, deployed.node_id, deployed.instance.id
    ironics = replace(port, device_owner="baremetal:none", device_id=node)
    stranger = replace(port, device_id="another server")
    for role in Role:
        allowed = [may_attach(each, role, node_id=node, instance_id=instance) for each in (port, ironics, stranger)]
        assert allowed == [role is Role.TENANT, role not in (Role.TENANT, Role.IDLE), False], role
    nobodys = replace(port, device_id=None, device_owner=None)
    assert not any(may_attach(nobodys, role, node_id=node, instance_id=None) for role in Role)


# The check


def test_a_fleet_that_is_as_it_must_be_agrees(deployed: Bench) -> None:
    deployed.world.add_node("bm-2")
    report = fleet(deployed).check()
    assert report.agrees, report.wrong
    assert report.totals == {"attachments": 4, "agree": 4, "differ": 0, "changing": 0, "unverified": 0}
    assert (report.nodes, len(report.switches)) == (2, 2)


def test_it_asks_once_for_the_fleet_and_once_for_each_switch(deployed: Bench) -> None:
    for number in range(20):
        deployed.world.add_node(f"more-{number}")
    reads: list[str] = []
    real = deployed.reader.ports
    deployed.reader.ports = lambda switch: reads.append(switch) or real(switch)  # type: ignore[method-assign, func-returns-value]
    deployed.world.calls.clear()
    assert fleet(deployed).check().agrees
    assert set(deployed.world.calls.values()) == {1}
    assert len(reads) == len(set(reads)) == 2


def test_a_vlan_moved_on_the_switch(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    report = fleet(deployed).check()
    assert (report.agrees, found(report)) == (False, [("bm-1", Trouble.SWITCH, True)])
    assert report.totals["differ"] == 1


def test_an_unbound_port_of_a_running_server(deployed: Bench) -> None:
    deployed.world.fabric.unbind(deployed.port)
    assert found(fleet(deployed).check()) == [("bm-1", Trouble.CONTROLLER, True)]


def test_a_strangers_port_on_the_same_network_is_found(deployed: Bench) -> None:
    world = deployed.world
    world.fabric.ports[deployed.port.id] = replace(deployed.port, device_id="another server")
    [each] = fleet(deployed).check().wrong
    assert each.nic.trouble is Trouble.FOREIGN


def test_a_strangers_port_where_nothing_may_be(bench: Bench) -> None:
    [first, _] = bench.world.node_ports.values()
    network = bench.world.add_network("red", project="other")
    port = bench.world.fabric.add_port(
        network.id, now=bench.world.now, mac=first.mac, project_id="p", device_id="x", device_owner="compute:nova"
    )
    bench.world.fabric.bind(port, bench.node_id, first)
    [each] = fleet(bench).check().wrong
    assert (each.nic.trouble, each.nic.intended.idle) == (Trouble.FOREIGN, True)


def test_what_is_so_only_once_is_changing(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed)
    check._sleep = lambda _: deployed.world.tamper_switch(deployed.nic.link, deployed.segment("blue"))  # type: ignore[arg-type]
    assert check.check().agrees
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check._sleep = lambda _: deployed.world.tamper_switch(deployed.nic.link, None)  # type: ignore[arg-type]
    assert not check.check().agrees, "wrong in another way is still wrong"


def test_every_moment_of_a_deployment_and_a_release_agrees_or_is_changing(bench: Bench) -> None:
    check = fleet(bench)
    bench.deploy()
    for _ in range(30):
        report = check.check()
        assert report.agrees, [(each.phase, each.nic) for each in report.wrong]
        bench.world.tick()
    bench.clouds.own.compute.delete(bench.instance.id)
    for _ in range(30):
        report = check.check()
        assert report.agrees, [(each.phase, each.nic) for each in report.wrong]
        bench.world.tick()


def test_changing_for_too_long_is_a_difference(bench: Bench) -> None:
    bench.world.set_state(bench.node_id, "clean wait")
    [nic] = [nic for nic in bench.world.node_ports.values() if nic.node_id == bench.node_id and nic.pxe_enabled]
    assert nic.link is not None
    bench.world.tamper_switch(nic.link, 999)
    check = fleet(bench, isolation_changing_seconds=60.0)
    report = check.check()
    assert (report.agrees, report.totals["changing"]) == (True, 1)
    bench.world.now += timedelta(seconds=61)
    report = check.check()
    assert (report.agrees, report.totals["differ"], report.wrong[0].overdue) == (False, 1, True)


def test_a_power_change_that_never_ends_is_a_difference_too(deployed: Bench) -> None:
    deployed.power("off")
    deployed.world.nodes[deployed.node_id] = replace(deployed.node, target_power_state="power on")
    check = fleet(deployed, isolation_changing_seconds=60.0)
    assert check.check().totals["changing"] == 1
    deployed.world.now += timedelta(seconds=61)
    assert check.check().totals["differ"] == 1


def test_a_server_that_went_off_a_moment_ago_is_changing(deployed: Bench) -> None:
    deployed.power("off")
    report = fleet(deployed).check()
    assert (report.agrees, report.totals["changing"]) == (True, 1)
    deployed.run()
    assert fleet(deployed).check().totals["agree"] == 2


def test_a_switch_that_cannot_be_read_is_said_and_may_be_let_pass(deployed: Bench) -> None:
    deployed.reader.fail("no answer")
    report = fleet(deployed).check()
    assert (report.agrees, report.totals["unverified"], len(report.unread)) == (False, 2, 2)
    lenient = fleet(deployed, isolation_unverified="ignore").check()
    assert (lenient.agrees, lenient.totals["unverified"]) == (True, 2)


def test_only_these_nodes(deployed: Bench) -> None:
    deployed.world.add_node("bm-2")
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed)
    report = check.check(["bm-2"])
    assert (report.agrees, report.nodes, report.totals["attachments"]) == (True, 1, 2)
    assert not check.check(["bm-2", deployed.node_id]).agrees
    with pytest.raises(NotFound):
        check.check(["bm-404"])


def test_without_a_service_there_is_no_comparison(deployed: Bench) -> None:
    deployed.world.fail("attachments.all", Unavailable("Neutron is away"))
    with pytest.raises(Unavailable):
        fleet(deployed).check()


# What is done about it


def test_findings_come_and_go(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed)
    assert check.reconcile().changed == 0
    [opened] = deployed.store.findings.all()
    assert (opened.finding.kind, opened.finding.severity) == ("isolation.switch_differs", Severity.CRITICAL)
    assert opened.finding.next == "steelyard isolation show bm-1"
    [evidence] = opened.finding.evidence["nics"]
    assert "999" in evidence["switch"]
    assert "blue" in evidence["controller"]
    deployed.world.tamper_switch(deployed.nic.link, deployed.segment("blue"))
    check.reconcile()
    assert deployed.store.findings.all() == []


def test_a_nic_on_no_network_at_all_is_less_bad_than_one_on_anothers(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, None)
    fleet(deployed).reconcile()
    [opened] = deployed.store.findings.all()
    assert opened.finding.severity is Severity.MAJOR


def test_a_moved_vlan_is_written_again(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed, isolation_switch_differs="repair")
    report = check.reconcile()
    assert (report.changed, deployed.vlan) == (1, deployed.segment("blue"))
    assert deployed.store.findings.all() == []
    [event] = [e for e in deployed.store.events.of(f"node:{deployed.node_id}") if e.kind == "isolation.repaired"]
    assert (event.actor, "999" in (event.reason or "")) == ("steelyard", True)
    assert check.reconcile().changed == 0, "once"


def test_a_vlan_on_an_idle_port_is_taken_away(bench: Bench) -> None:
    nic = next(iter(bench.world.node_ports.values()))
    assert nic.link is not None
    bench.world.tamper_switch(nic.link, 999)
    ports = set(bench.world.fabric.ports)
    fleet(bench, isolation_switch_differs="repair").reconcile()
    assert bench.world.fabric.switches.vlan(nic.link) is None
    assert set(bench.world.fabric.ports) == ports, "the port for it is gone again"


def test_an_unbound_port_is_bound_again(deployed: Bench) -> None:
    deployed.world.fabric.unbind(deployed.port)
    fleet(deployed, isolation_controller_differs="repair").reconcile()
    assert deployed.on_tenant()


def test_a_foreign_port_is_taken_off(bench: Bench) -> None:
    nic = next(iter(bench.world.node_ports.values()))
    network = bench.world.add_network("red", project="other")
    port = bench.world.fabric.add_port(
        network.id, now=bench.world.now, mac=nic.mac, project_id="p", device_id="x", device_owner="compute:nova"
    )
    bench.world.fabric.bind(port, bench.node_id, nic)
    check = fleet(bench, isolation_foreign_attachment="repair")
    check.reconcile()
    assert bench.world.fabric.ports[port.id].host_id is None, "it is off the NIC, and is still there"
    assert check.check().agrees


def test_a_repair_that_fails_becomes_a_finding_that_says_so(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    deployed.world.jam_switch_port(deployed.nic.link)
    report = fleet(deployed, isolation_switch_differs="repair").reconcile()
    assert report.changed == 0
    [opened] = deployed.store.findings.all()
    assert "could not be repaired" in opened.finding.reason


def test_a_node_whose_nics_are_being_moved_is_left_alone(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    assert deployed.store.flips.take(deployed.node_id, "another", seconds=60)
    fleet(deployed, isolation_switch_differs="repair").reconcile()
    assert deployed.vlan == 999
    [opened] = deployed.store.findings.all()
    assert "being moved" in opened.finding.reason


def test_contained(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed, isolation_switch_differs="contain")
    assert check.reconcile().changed == 1
    assert deployed.node.maintenance
    assert "quarantine" in deployed.node.notes
    assert check.reconcile().changed == 0, "it is in already"
    assert len(deployed.store.findings.all()) == 1


def test_a_whole_fleet_is_never_contained(bench: Bench) -> None:
    for number in range(MOST_AT_ONCE + 5):
        bench.world.add_node(f"more-{number:02d}")
    for nic in bench.world.node_ports.values():
        assert nic.link is not None
        bench.world.tamper_switch(nic.link, 999)
    report = fleet(bench, isolation_switch_differs="contain").reconcile()
    assert report.changed == MOST_AT_ONCE
    findings = bench.store.findings.all()
    assert len(findings) == MOST_AT_ONCE + 6
    assert sum("Nothing was done" in each.finding.reason for each in findings) == 6


def test_what_moved_on_meanwhile_is_not_repaired(deployed: Bench) -> None:
    assert deployed.nic.link is not None
    deployed.world.tamper_switch(deployed.nic.link, 999)
    check = fleet(deployed)
    [each] = check.check().wrong
    deployed.world.set_state(deployed.node_id, "clean wait")
    with pytest.raises(Conflict, match="moved on"):
        check._dealer.repair(each)


def test_a_foreign_cable(deployed: Bench) -> None:
    """A tenant's port that is bound to the switch port of another server's NIC is found on that NIC."""
    world = deployed.world
    other = world.add_node("bm-2")
    nic = next(nic for nic in world.node_ports.values() if nic.node_id == other.id)
    assert nic.link is not None
    link = SwitchLink(nic.link.switch_id.upper(), nic.link.port_id)
    world.fabric.ports[deployed.port.id] = replace(deployed.port, link=link)
    troubles = {(each.node.label, each.nic.trouble) for each in fleet(deployed).check().wrong}
    assert ("bm-2", Trouble.FOREIGN) in troubles
    assert ("bm-1", Trouble.CONTROLLER) in troubles


def test_since_when_is_told(bench: Bench) -> None:
    bench.world.set_state(bench.node_id, "clean wait")
    nic = next(nic for nic in bench.world.node_ports.values() if nic.pxe_enabled)
    assert nic.link is not None
    bench.world.tamper_switch(nic.link, None)
    [each] = fleet(bench).check().wrong
    assert each.nic.verdict is Verdict.CHANGING
    assert each.changing_since is not None
    assert each.changing_since <= bench.world.now
    assert each.changing_since > datetime(2020, 1, 1, tzinfo=UTC)

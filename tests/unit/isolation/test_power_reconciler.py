"""The reconciler isolation.power: what it does to which server, whoever turned it off or on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.attention.model import Severity
from steelyard.clouds.ports import PowerAction
from steelyard.errors import Unavailable
from steelyard.isolation.model import PowerOffPolicy
from steelyard.lifecycle.quarantine import Quarantine

if TYPE_CHECKING:
    from .conftest import Bench


@pytest.fixture
def parked(deployed: Bench) -> Bench:
    deployed.power("off")
    assert deployed.run().changed == 1
    assert deployed.quarantined()
    return deployed


def test_nothing_to_do_asks_for_one_list(deployed: Bench) -> None:
    before = dict(deployed.world.calls)
    report = deployed.run()
    asked = {name for name, count in deployed.world.calls.items() if count != before.get(name, 0)}
    assert asked == {"nodes.all"}
    assert (report.seen, report.changed) == (1, 0)


@pytest.mark.parametrize("action", ["off", "soft off"])
def test_off_by_nova_and_on_by_nova(deployed: Bench, action: PowerAction) -> None:
    cloud = deployed.clouds.on_behalf_of(deployed.world.token(project="demo"))
    cloud.compute.power(deployed.instance.id, action)
    report = deployed.run()
    assert report.detail == "1 to quarantine"
    assert deployed.quarantined()
    assert deployed.service.show("bm-1").agrees
    assert deployed.run().changed == 0
    cloud.compute.power(deployed.instance.id, "on")
    assert deployed.on_tenant(), "before it has power, not after"
    assert deployed.run().detail == "1 tidied"
    assert not deployed.marked
    assert deployed.run().changed == 0


def test_on_by_the_bmc_behind_everybodys_back(parked: Bench) -> None:
    parked.power("on")
    assert parked.run().detail == "1 back"
    assert parked.on_tenant()
    parked.run()
    assert not parked.marked


def test_a_stock_driver_has_no_gate_and_gets_its_networks_as_soon_as_it_is_seen(parked: Bench) -> None:
    parked.world.nodes[parked.node_id] = replace(parked.node, driver="redfish", power_interface="redfish")
    parked.world.instances[parked.instance.id] = replace(parked.instance, task_state="powering-on")
    parked.run()
    assert parked.on_tenant()


@pytest.mark.parametrize("busy", ["rescuing", "rebuilding", "deleting", "powering-off"])
def test_a_server_on_which_nova_works_is_left_alone(deployed: Bench, busy: str) -> None:
    deployed.power("off")
    deployed.world.instances[deployed.instance.id] = replace(deployed.instance, task_state=busy)
    assert deployed.run().changed == 0
    assert deployed.on_tenant()


def test_a_server_whose_power_is_being_changed_is_left_alone(deployed: Bench) -> None:
    deployed.power("off")
    deployed.world.nodes[deployed.node_id] = replace(deployed.node, target_power_state="power off")
    assert deployed.run().changed == 0
    assert deployed.on_tenant()


def test_a_bmc_that_does_not_answer_proves_nothing(deployed: Bench) -> None:
    deployed.world.nodes[deployed.node_id] = replace(deployed.node, power_state=None)
    assert deployed.run().changed == 0
    assert deployed.on_tenant()


def test_a_server_that_nova_does_not_know_is_treated_by_the_default(deployed: Bench) -> None:
    port = deployed.port
    deployed.power("off")
    del deployed.world.instances[deployed.instance.id]
    deployed.run()
    assert deployed.world.fabric.ports[port.id].host_id is None
    assert len(deployed.own) == 1


def test_a_port_that_is_attached_while_the_server_is_off_is_taken_off_too(parked: Bench) -> None:
    network = next(network for network in parked.world.fabric.networks.values() if network.name == "blue")
    other = next(nic for nic in parked.world.node_ports.values() if nic.id != parked.nic.id)
    port = parked.world.fabric.add_port(
        network.id, now=parked.world.now, mac=other.mac, project_id=network.project_id,
        device_id=parked.instance.id, device_owner="compute:nova",
    )  # fmt: skip
    parked.world.fabric.bind(port, parked.node_id, other)
    assert parked.run().changed == 1
    assert parked.world.fabric.ports[port.id].host_id is None
    assert {own.mac for own in parked.own} == {nic.mac for nic in parked.world.node_ports.values()}


class TestPolicy:
    def test_keep_leaves_the_networks(self, deployed: Bench) -> None:
        deployed.store.policies.set(deployed.instance.project_id, PowerOffPolicy.KEEP, actor="root")
        deployed.power("off")
        assert deployed.run().changed == 0
        assert deployed.on_tenant()
        assert deployed.service.show("bm-1").agrees

    def test_it_may_change_while_the_server_is_off(self, parked: Bench) -> None:
        project = parked.instance.project_id
        parked.store.policies.set(project, PowerOffPolicy.KEEP, actor="root")
        parked.run()
        assert parked.on_tenant()
        parked.run()
        assert not parked.marked
        assert parked.run().changed == 0
        parked.store.policies.set(project, PowerOffPolicy.QUARANTINE, actor="root")
        parked.run()
        assert parked.quarantined()

    def test_it_does_not_count_for_a_node_in_quarantine(self, deployed: Bench) -> None:
        deployed.store.policies.set(deployed.instance.project_id, PowerOffPolicy.KEEP, actor="root")
        Quarantine(deployed.clouds, deployed.store).put(deployed.node, "violation", by="test")
        deployed.power("off")
        deployed.run()
        assert deployed.quarantined()
        deployed.power("on")
        deployed.run()
        assert deployed.quarantined(), "an administrator decides, not a power button"


class TestEnds:
    def test_a_release_of_a_parked_server_leaves_nothing(self, parked: Bench) -> None:
        cloud = parked.clouds.on_behalf_of(parked.world.token(project="demo"))
        cloud.compute.delete(parked.instance.id)
        while parked.world.tick():
            parked.run()
        parked.run()
        assert parked.node.provision_state == "available"
        assert not parked.marked
        assert parked.own == []
        assert all(port.untagged_vlan is None for port in parked.world.switch_ports())

    def test_a_port_of_ours_without_a_mark_is_found(self, parked: Bench) -> None:
        extra = {key: value for key, value in parked.node.extra.items() if key != "steelyard_parked"}
        parked.world.nodes[parked.node_id] = replace(parked.node, extra=extra)
        parked.run()
        assert parked.marked
        assert parked.quarantined()

    def test_a_mark_that_makes_no_sense_is_repaired(self, parked: Bench) -> None:
        parked.world.nodes[parked.node_id] = replace(parked.node, extra={"steelyard_parked": ["what?"]})
        parked.power("on")
        parked.run()
        assert parked.on_tenant()
        parked.run()
        assert not parked.marked


class TestFailures:
    def test_a_flip_that_fails_is_a_finding_until_it_succeeds(self, deployed: Bench) -> None:
        deployed.power("off")
        assert deployed.nic.link is not None
        deployed.world.jam_switch_port(deployed.nic.link)
        for _ in range(2):
            report = deployed.run()
        assert report.detail == "1 not yet"
        [found] = deployed.store.findings.all()
        assert (found.source, found.finding.kind) == ("isolation.power", "isolation.flip_failed")
        assert found.finding.severity is Severity.CRITICAL
        assert found.finding.next == "steelyard isolation show bm-1"
        assert "the switch carries VLAN" in found.finding.reason
        assert deployed.events().count("network.flip_failed") == 1
        deployed.world.free_switch_port(deployed.nic.link)
        deployed.run()
        assert deployed.quarantined()
        assert deployed.store.findings.all() == []

    def test_a_flip_of_which_the_switch_alone_knows_is_tried_again(self, parked: Bench) -> None:
        assert parked.nic.link is not None
        parked.store.flips.failed(parked.node_id, "quarantine", "the switch was away")
        parked.world.tamper_switch(parked.nic.link, parked.segment("blue"))
        assert parked.run().changed == 1
        assert parked.quarantined()

    def test_one_node_that_fails_stops_no_other(self, deployed: Bench) -> None:
        deployed.power("off")
        deployed.world.fail("attachments.unbind", Unavailable("away"))
        assert deployed.run().detail == "1 not yet"
        assert deployed.run().detail == "1 to quarantine"
        assert deployed.store.findings.all() == []

    def test_a_node_that_is_gone_is_no_finding(self, parked: Bench) -> None:
        parked.store.flips.failed("00000000-0000-4000-8000-000000000000", "tenant", "gone")
        parked.run()
        assert parked.store.findings.all() == []
        assert parked.store.flips.failures() == []

    def test_a_service_that_is_away_fails_the_run_and_closes_nothing(self, deployed: Bench) -> None:
        deployed.power("off")
        assert deployed.nic.link is not None
        deployed.world.jam_switch_port(deployed.nic.link)
        deployed.run()
        deployed.world.fail("nodes.all", Unavailable("away"))
        with pytest.raises(Unavailable):
            deployed.run()
        assert len(deployed.store.findings.all()) == 1

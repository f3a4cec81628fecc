"""Verified flips: what the conductor changed is looked at in controller and switch, and every doubt is a no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.errors import Conflict, NotFound, Refused, Unavailable
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import By
from steelyard.isolation.policy import Role
from steelyard.isolation.segments import Segment
from steelyard.isolation.verifying import Flip, NicWanted, Verifier
from steelyard.lifecycle.model import quarantine
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import AttachmentSpec, NetworkPort, NodePort, SwitchLink
from steelyard.operations.reconciling import Reconciler
from steelyard.settings import Settings

if TYPE_CHECKING:
    from .conftest import Bench


BY = By("conductor", "Ironic")


class Conductor:
    """What Ironic does with Neutron, and then asks."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.nics = sorted(
            (nic for nic in bench.world.node_ports.values() if nic.node_id == bench.node_id), key=lambda nic: nic.mac
        )

    @property
    def nic(self) -> NodePort:
        return self.nics[0]

    @property
    def link(self) -> SwitchLink:
        assert self.nic.link is not None
        return self.nic.link

    def network(self, role: str) -> str:
        return self.bench.world.role_networks[role]

    def joins(self, role: str) -> Flip:
        """The first NIC's port on a ramdisk's network is made and bound."""
        fabric = self.bench.world.fabric
        port = fabric.add_port(
            self.network(role), now=self.bench.world.now, mac=self.nic.mac, project_id=None,
            device_id=self.bench.node_id, device_owner="baremetal:none",
        )  # fmt: skip
        fabric.bind(port, self.bench.node_id, self.nic)
        return Flip(role, True, (NicWanted(self.nic.mac, port.id, self.network(role)),))  # type: ignore[arg-type]

    def leaves(self, role: str) -> Flip:
        for port in self.ports(role):
            self.bench.world.fabric.remove_port(port.id)
        return Flip(role, False, (NicWanted(self.nic.mac),))  # type: ignore[arg-type]

    def ports(self, role: str) -> list[NetworkPort]:
        return [p for p in self.bench.world.fabric.ports.values() if p.network_id == self.network(role)]


@pytest.fixture
def conductor(bench: Bench) -> Conductor:
    return Conductor(bench)


def verifier(bench: Bench, *, readers: SwitchReaders | None = None, **settings: Any) -> Verifier:
    return Verifier(
        clouds=bench.clouds, store=bench.store, switches=bench.readers if readers is None else readers,
        settings=Settings(home=bench.settings.home, **settings), signal=bench.signals.append,
        clock=lambda: bench.seconds, sleep=bench.sleep,
    )  # fmt: skip


def refusal(bench: Bench, flip: Flip, **settings: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        verifier(bench, **settings).verify(bench.node_id, flip, BY)
    assert caught.value.code == "flip_refused"
    assert caught.value.next == "steelyard isolation show bm-1"
    return caught.value


def passes(bench: Bench, flip: Flip, **settings: Any) -> Any:
    return verifier(bench, **settings).verify(bench.node_id, flip, BY)


def refused_reconciler(bench: Bench) -> Reconciler:
    return bench.service.refusals.reconciler(period=15.0)


class TestVerified:
    def test_a_flip_that_took_place_is_told_with_all_that_was_seen(self, bench: Bench, conductor: Conductor) -> None:
        done = passes(bench, conductor.joins("provisioning"))
        assert done.verified
        assert bench.seconds == 0.0, "the first look is at once"
        [event] = bench.store.events.of(f"node:{bench.node_id}")
        assert (event.kind, event.data["from"], event.data["to"]) == ("network.flipped", "idle", "provisioning")
        assert event.data["verified"] is True
        assert event.data["nics"] == [{
            "mac": conductor.nic.mac, "switch": "leaf1", "port": conductor.link.port_id, "network": "provisioning",
            "vlan": bench.segment("provisioning"),
        }]  # fmt: skip
        assert bench.store.findings.all() == []

    def test_off_again(self, bench: Bench, conductor: Conductor) -> None:
        passes(bench, conductor.joins("cleaning"))
        assert passes(bench, conductor.leaves("cleaning")).verified
        newest = bench.store.events.of(f"node:{bench.node_id}")[0]
        assert (newest.data["from"], newest.data["to"]) == ("cleaning", "idle")
        assert newest.data["nics"][0]["vlan"] is None

    def test_making_sure_that_nothing_is_there_is_no_event(self, bench: Bench, conductor: Conductor) -> None:
        passes(bench, conductor.joins("cleaning"))
        passes(bench, conductor.leaves("cleaning"))
        before = len(bench.store.events.of(f"node:{bench.node_id}"))
        assert passes(bench, Flip("tenant", False, (NicWanted(conductor.nic.mac),))).verified
        assert len(bench.store.events.of(f"node:{bench.node_id}")) == before

    def test_the_tenants_network_is_whatever_its_port_is_on(self, deployed: Bench) -> None:
        flip = Flip("tenant", True, (NicWanted(deployed.nic.mac, deployed.port.id),))
        passes(deployed, flip)
        [event] = deployed.store.events.of(f"node:{deployed.node_id}")
        assert event.data["nics"][0]["network"] == "blue"

    def test_a_late_write_is_waited_for(self, bench: Bench, conductor: Conductor) -> None:
        bench.world.jam_switch_port(conductor.link)
        flip = conductor.joins("provisioning")
        bench.after(3.0, lambda: bench.world.tamper_switch(conductor.link, bench.segment("provisioning")))
        done = passes(bench, flip)
        assert done.verified
        assert 3.0 <= done.seconds < 4.5

    def test_a_port_left_by_an_earlier_failure_may_stay_where_it_is(self, bench: Bench, conductor: Conductor) -> None:
        [left] = conductor.joins("provisioning").nics
        assert passes(bench, Flip("tenant", False, (NicWanted(left.mac, left.port_id),))).verified
        conductor.leaves("provisioning")
        assert passes(bench, Flip("tenant", False, (NicWanted(left.mac, left.port_id),))).verified

    def test_it_asks_little(self, bench: Bench, conductor: Conductor) -> None:
        checking = verifier(bench)
        checking.verify(bench.node_id, conductor.joins("cleaning"), BY)
        bench.world.calls.clear()
        checking.verify(bench.node_id, conductor.leaves("cleaning"), BY)
        assert dict(bench.world.calls) == {"nodes.get": 1, "node_ports.all": 1, "attachments.bound": 1}


Fault = Callable[["Bench", Conductor], None]


def lost(bench: Bench, conductor: Conductor) -> None:
    bench.world.jam_switch_port(conductor.link)


def far_too_late(bench: Bench, conductor: Conductor) -> None:
    lost(bench, conductor)
    bench.after(26.0, lambda: bench.world.tamper_switch(conductor.link, bench.segment("provisioning")))


def to_another_port(bench: Bench, conductor: Conductor) -> None:
    bench.world.fabric.switches.misdirect(conductor.link, replace(conductor.link, port_id="Ethernet99"))


def stale_read(bench: Bench, conductor: Conductor) -> None:
    before = bench.world.switch_ports()
    bench.read_by(lambda: before)


class TestRefused:
    @pytest.mark.parametrize("fault", [lost, far_too_late, to_another_port, stale_read])
    def test_what_the_switch_does_not_carry(self, bench: Bench, conductor: Conductor, fault: Fault) -> None:
        bench.world.tamper_switch(conductor.link, None)
        fault(bench, conductor)
        said = refusal(bench, conductor.joins("provisioning")).detail
        vlan = bench.segment("provisioning")
        where = f"leaf1 {conductor.link.port_id}"
        assert f"the switch carries no VLAN on {where}, wanted VLAN {vlan} (provisioning)" in said
        assert said.startswith("Node bm-1 could not be moved from no network to the provisioning network: ")
        assert said.endswith("(after 25 s)")

    def test_the_wrong_vlan(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.world.tamper_switch(conductor.link, 102)
        assert "the switch carries VLAN 102 on leaf1" in refusal(bench, flip).detail

    def test_more_than_the_right_vlan(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.read_by(lambda: [replace(port, tagged_vlans=frozenset({300})) for port in bench.world.switch_ports()])
        both = f"300, {bench.segment('provisioning')} (tagged among them) on leaf1"
        assert both in refusal(bench, flip).detail

    def test_a_port_that_does_more_than_carry_its_vlan(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.read_by(lambda: [replace(port, extra="mirrored") for port in bench.world.switch_ports()])
        assert f"carries VLAN {bench.segment('provisioning')} (mirrored) on leaf1" in refusal(bench, flip).detail
        conductor.leaves("provisioning")
        bench.read_by(lambda: [replace(port, extra="routed") for port in bench.world.switch_ports()])
        gone = Flip("provisioning", False, (NicWanted(conductor.nic.mac),))
        assert "carries no VLAN (routed) on leaf1" in refusal(bench, gone).detail

    def test_a_port_that_is_shut_down(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.read_by(lambda: [replace(port, enabled=False) for port in bench.world.switch_ports()])
        assert "carries no VLAN (the port is shut down) on leaf1" in refusal(bench, flip).detail
        conductor.leaves("provisioning")
        bench.read_by(lambda: [replace(port, enabled=False) for port in bench.world.switch_ports()])
        assert passes(bench, Flip("provisioning", False, (NicWanted(conductor.nic.mac),))).verified

    def test_a_controller_that_says_active_and_lies(self, bench: Bench, conductor: Conductor) -> None:
        lost(bench, conductor)
        flip = conductor.joins("provisioning")
        assert conductor.ports("provisioning")[0].status == "ACTIVE"
        assert "the switch carries" in refusal(bench, flip).detail

    def test_what_the_switch_keeps_after_the_port_is_gone(self, bench: Bench, conductor: Conductor) -> None:
        conductor.joins("cleaning")
        lost(bench, conductor)
        vlan = bench.segment("cleaning")
        assert (
            f"carries VLAN {vlan} on leaf1 {conductor.link.port_id}, wanted nothing"
            in refusal(bench, conductor.leaves("cleaning")).detail
        )

    def test_what_the_controller_keeps(self, bench: Bench, conductor: Conductor) -> None:
        conductor.joins("cleaning")
        bench.world.tamper_switch(conductor.link, None)
        said = refusal(bench, Flip("cleaning", False, (NicWanted(conductor.nic.mac),))).detail
        assert "the controller has a port of network cleaning on leaf1" in said

    def test_a_second_port_on_the_nic(self, bench: Bench, conductor: Conductor) -> None:
        conductor.joins("cleaning")
        flip = conductor.joins("provisioning")
        assert "the controller has a port of network cleaning on leaf1" in refusal(bench, flip).detail

    @pytest.mark.parametrize(
        ("change", "why"),
        [({"status": "DOWN"}, "status DOWN"), ({"host_id": None}, "it is not bound to the node")],
        ids=["down", "unbound"],
    )
    def test_a_port_that_is_not_bound(
        self, bench: Bench, conductor: Conductor, change: dict[str, Any], why: str
    ) -> None:
        flip = conductor.joins("provisioning")
        [port] = conductor.ports("provisioning")
        bench.world.fabric.ports[port.id] = replace(port, **change)
        assert f"the controller has not bound port {port.id} of NIC {port.mac}: {why}" in refusal(bench, flip).detail

    def test_on_a_network_that_the_controller_does_not_list(
        self, deployed: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody knows what the switch has to carry then, and that it carries nothing is no yes."""
        networks = deployed.clouds.own.networks
        listed = [network for network in networks.all() if network.id != deployed.port.network_id]
        monkeypatch.setattr(type(networks), "all", lambda self: listed)
        flip = Flip("tenant", True, (NicWanted(deployed.nic.mac, deployed.port.id),))
        assert f"on network {deployed.port.network_id}, and does not list it" in refusal(deployed, flip).detail

    def test_bound_to_anothers_cable(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        [port] = conductor.ports("provisioning")
        bench.world.fabric.ports[port.id] = replace(port, link=replace(conductor.link, port_id="Ethernet99"))
        assert "to leaf1 Ethernet99, its cable is in leaf1" in refusal(bench, flip).detail

    def test_on_another_network_than_ironic_asked_for(self, bench: Bench, conductor: Conductor) -> None:
        [nic] = conductor.joins("cleaning").nics
        flip = Flip("provisioning", True, (replace(nic, network_id=conductor.network("provisioning")),))
        assert "on network cleaning, wanted network provisioning" in refusal(bench, flip).detail

    def test_a_partial_flip_is_not_waited_for(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        other = NicWanted(conductor.nics[1].mac, None, conductor.network("provisioning"))
        said = refusal(bench, replace(flip, nics=(*flip.nics, other))).detail
        assert f"the controller has no port for NIC {other.mac}" in said
        assert bench.seconds == 0.0

    def test_a_nic_whose_cable_nobody_knows(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.world.node_ports[conductor.nic.id] = replace(conductor.nic, link=None)
        assert "nobody knows the switch port of NIC" in refusal(bench, flip).detail

    def test_a_switch_that_cannot_be_read(self, bench: Bench, conductor: Conductor) -> None:
        bench.reader.fail("no answer")
        assert "cannot be read: no answer" in refusal(bench, conductor.joins("provisioning")).detail

    def test_a_controller_that_cannot_be_read(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.world.fail("attachments.bound", Unavailable("Neutron is away"), times=1000)
        assert "the controller cannot be read: Neutron is away" in refusal(bench, flip).detail

    def test_a_moment_without_an_answer_is_borne(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        bench.world.fail("attachments.bound", Unavailable("Neutron is away"), times=3)
        assert passes(bench, flip).verified

    def test_an_unknown_node_is_nobodys_fault(self, bench: Bench, conductor: Conductor) -> None:
        with pytest.raises(NotFound):
            verifier(bench).verify("nope", conductor.joins("provisioning"), BY)


class TestWithoutReader:
    def test_it_passes_and_is_said_to_be_unverified(self, bench: Bench, conductor: Conductor) -> None:
        done = passes(bench, conductor.joins("provisioning"), readers=SwitchReaders())
        assert not done.verified
        [event] = bench.store.events.of(f"node:{bench.node_id}")
        assert event.data["verified"] is False
        assert "not verified" in event.detail
        assert conductor.link.switch_id in event.data["unread"][0]

    def test_the_policy_may_refuse_it(self, bench: Bench, conductor: Conductor) -> None:
        said = refusal(bench, conductor.joins("provisioning"), readers=SwitchReaders(), unverified="refuse").detail
        assert f"No way to read switch {conductor.link.switch_id} back" in said

    def test_a_network_without_a_vlan_cannot_be_compared(self, bench: Bench, conductor: Conductor) -> None:
        flip = conductor.joins("provisioning")
        network_id = conductor.network("provisioning")
        flat = replace(bench.world.fabric.networks[network_id], segmentation_id=None, network_type="flat")
        bench.world.fabric.networks[network_id] = flat
        assert not passes(bench, flip).verified


class TestQuarantine:
    @pytest.fixture
    def refused(self, bench: Bench, conductor: Conductor) -> Bench:
        lost(bench, conductor)
        refusal(bench, conductor.joins("provisioning"))
        return bench

    def test_the_node_is_held_back_and_found_at_once_and_marked_by_the_reconciler(self, refused: Bench) -> None:
        assert refused.node_id in refused.world.held_back
        assert refused.signals == ["isolation.refused"]
        [finding] = refused.store.findings.all()
        assert finding.finding.kind == "isolation.flip_refused"
        assert "the switch carries" in finding.finding.reason
        assert quarantine(refused.node) is None

        assert refused_reconciler(refused).run().changed == 1
        reason = quarantine(refused.node)
        assert reason is not None
        assert reason.startswith("its networks could not be verified: the switch carries no VLAN on leaf1")
        assert refused.node.maintenance
        [finding] = refused.store.findings.all()
        assert finding.finding.next == "steelyard node release bm-1"
        assert refused_reconciler(refused).run().changed == 0
        kinds = [event.kind for event in refused.store.events.of(f"node:{refused.node_id}")]
        assert sorted(kinds) == ["finding.opened", "network.flip_failed", "node.quarantined"]

    def test_while_the_conductor_has_the_lock_it_waits(self, refused: Bench) -> None:
        refused.world.lock_node(refused.node_id)
        report = refused_reconciler(refused).run()
        assert (report.changed, report.detail) == (0, "1 not yet")
        assert refused.node_id in refused.world.held_back
        refused.world.release_node(refused.node_id)
        assert refused_reconciler(refused).run().changed == 1
        assert quarantine(refused.node) is not None

    def test_the_first_reason_stays_while_ironic_tidies_up(self, refused: Bench, conductor: Conductor) -> None:
        refused.world.tamper_switch(conductor.link, 102)
        refusal(refused, Flip("provisioning", False, (NicWanted(conductor.nic.mac),)))
        [finding] = refused.store.findings.all()
        assert "carries no VLAN" in finding.finding.reason

    def test_released_it_is_found_no_more_and_may_be_refused_again(self, refused: Bench, conductor: Conductor) -> None:
        reconciler = refused_reconciler(refused)
        reconciler.run()
        refused.service.refusals._quarantine.lift(refused.node, by="admin")
        # Refused once more before the reconciler has seen that it was released.
        refusal(
            refused, Flip("provisioning", True, (NicWanted(conductor.nic.mac, conductor.ports("provisioning")[0].id),))
        )
        reconciler.run()
        assert quarantine(refused.node) is not None
        refused.service.refusals._quarantine.lift(refused.node, by="admin")
        reconciler.run()
        assert refused.store.findings.all() == []
        assert quarantine(refused.node) is None

    def test_until_it_is_in_quarantine_it_joins_nothing_and_then_only_what_is_verified(
        self, refused: Bench, conductor: Conductor
    ) -> None:
        refused.world.free_switch_port(conductor.link)
        conductor.leaves("provisioning")
        flip = conductor.joins("cleaning")
        before = refused.seconds
        said = refusal(refused, flip).detail
        assert said.startswith("It is on its way into quarantine. Node bm-1 could not be moved from no network")
        assert refused.seconds == before
        refused_reconciler(refused).run()
        assert passes(refused, flip).verified

    def test_before_that_it_is_not_even_put_on_a_network(self, refused: Bench) -> None:
        with pytest.raises(Refused) as caught:
            refused.service.segment(refused.node_id, Role.CLEANING)
        assert (caught.value.code, caught.value.next) == ("flip_refused", "steelyard isolation show bm-1")
        refused_reconciler(refused).run()
        assert refused.service.segment(refused.node_id, Role.CLEANING) == Segment(None)

    def test_it_is_in_quarantine_whoever_put_it_there(self, refused: Bench, conductor: Conductor) -> None:
        """Such as the operation whose clean was refused: its release need not wait for the reconciler."""
        Quarantine(refused.clouds, refused.store).put(refused.node, "its cleaning failed", by="ada", operation_id="op")
        [finding] = refused.store.findings.all()
        assert finding.finding.evidence["quarantined"] is True
        assert finding.finding.next == "steelyard node release bm-1"
        refused.world.free_switch_port(conductor.link)
        conductor.leaves("provisioning")
        assert passes(refused, conductor.joins("cleaning")).verified

    def test_what_is_left_on_its_switch_port_is_swept_once_ironic_has_taken_it_off(
        self, refused: Bench, conductor: Conductor
    ) -> None:
        refused.world.free_switch_port(conductor.link)
        flip = conductor.leaves("provisioning")
        refused.world.tamper_switch(conductor.link, 102)
        assert passes(refused, flip).verified
        assert refused.world.fabric.switches.vlan(conductor.link) is None
        assert refused.own == []
        refused.world.jam_switch_port(conductor.link)
        refused.world.tamper_switch(conductor.link, 102)
        assert "carries VLAN 102" in refusal(refused, flip).detail
        assert refused.own == []

    @pytest.mark.parametrize("call", ["networks.all", "attachments.create", "attachments.delete"])
    def test_a_sweep_that_fails_is_taken_up_again(self, refused: Bench, conductor: Conductor, call: str) -> None:
        refused.world.free_switch_port(conductor.link)
        flip = conductor.leaves("provisioning")
        refused.world.tamper_switch(conductor.link, 102)
        verify = verifier(refused).verify
        refused.after(0.5, lambda: refused.world.fail(call, Unavailable("away")))
        assert verify(refused.node_id, flip, BY).verified
        assert refused.world.fabric.switches.vlan(conductor.link) is None
        assert refused.own == []

    def test_what_was_left_of_a_sweep_as_its_server_died_is_taken_away(
        self, bench: Bench, conductor: Conductor
    ) -> None:
        flip = conductor.leaves("cleaning")
        spec = AttachmentSpec(
            "steelyard-quarantine", conductor.network("quarantine"), bench.node_id, conductor.nic.mac, conductor.link,
            "baremetal:none",
        )  # fmt: skip
        bench.clouds.own.attachments.create(spec)
        assert passes(bench, flip).verified
        assert bench.own == []

    def test_a_node_that_was_not_refused_is_not_swept(self, bench: Bench, conductor: Conductor) -> None:
        bench.world.tamper_switch(conductor.link, 102)
        assert "carries VLAN 102" in refusal(bench, Flip("cleaning", False, (NicWanted(conductor.nic.mac),))).detail
        assert bench.world.fabric.switches.vlan(conductor.link) == 102

    def test_one_that_placement_does_not_answer_about_is_refused_all_the_same(
        self, bench: Bench, conductor: Conductor
    ) -> None:
        lost(bench, conductor)
        bench.world.fail("placement.hold_back", Conflict("changed meanwhile"))
        refusal(bench, conductor.joins("provisioning"))
        refused_reconciler(bench).run()
        assert bench.node_id in bench.world.held_back

    def test_a_node_that_is_gone_is_found_no_more(self, refused: Bench) -> None:
        del refused.world.nodes[refused.node_id]
        refused_reconciler(refused).run()
        assert refused.store.findings.all() == []

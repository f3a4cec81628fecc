"""NICs that act as one, and sub-interfaces: every view has all cables and all tags, or it differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.isolation.model import NicIsolation, Trouble, Verdict
from steelyard.isolation.verifying import Flip, NicWanted, Verifier
from steelyard.nouns import NodePort, SwitchLink

from .conftest import BY

if TYPE_CHECKING:
    from .conftest import Bench


@pytest.fixture
def bonded(bench: Bench) -> Bench:
    """Deployed, on a bond over two leaves."""
    bench.world.add_bond(bench.node)
    bench.deploy()
    bench.world.settle()
    return bench


def nics(bench: Bench) -> list[NodePort]:
    return sorted(bench.world.node_ports.values(), key=lambda nic: nic.mac)


def links(bench: Bench) -> list[SwitchLink]:
    return [nic.link for nic in nics(bench) if nic.link is not None]


def vlans(bench: Bench) -> list[int | None]:
    return [bench.world.fabric.switches.vlan(link) for link in links(bench)]


def views(bench: Bench) -> list[NicIsolation]:
    return list(bench.service.show("bm-1").nics)


def test_all_cables_of_a_bond_are_on_the_tenants_network(bonded: Bench) -> None:
    assert len(bonded.port.links) == 2
    assert bonded.port.mac == nics(bonded)[0].mac
    assert [nic.verdict for nic in views(bonded)] == [Verdict.AGREE, Verdict.AGREE]
    assert {nic.intended.network for nic in views(bonded)} == {"blue"}
    assert vlans(bonded) == [bonded.segment("blue")] * 2


@pytest.mark.parametrize("broken", [0, 1])
def test_one_leaf_that_does_not_carry_it_is_found(bonded: Bench, broken: int) -> None:
    bonded.world.tamper_switch(links(bonded)[broken], 99)
    found = views(bonded)
    assert found[broken].trouble is Trouble.SWITCH
    assert found[1 - broken].verdict is Verdict.AGREE


def test_a_bond_that_the_controller_has_on_one_cable_is_found(bonded: Bench) -> None:
    second = links(bonded)[1]
    bonded.world.fabric.ports[bonded.port.id] = replace(bonded.port, more_links=())
    bonded.world.tamper_switch(second, None)
    assert [nic.verdict for nic in views(bonded)] == [Verdict.AGREE, Verdict.DIFFER]


def test_off_the_bond_is_in_quarantine_by_one_nic_and_comes_back_whole(bonded: Bench) -> None:
    bonded.power("off")
    bonded.flips.to_quarantine(bonded.node_id, BY)
    assert vlans(bonded) == [bonded.segment("quarantine"), None]
    assert [nic.verdict for nic in views(bonded)] == [Verdict.AGREE, Verdict.AGREE]
    bonded.flips.to_tenant(bonded.node_id, BY)
    bonded.power("on")
    assert len(bonded.port.links) == 2
    assert vlans(bonded) == [bonded.segment("blue")] * 2
    assert [nic.verdict for nic in views(bonded)] == [Verdict.AGREE, Verdict.AGREE]


def test_a_flip_of_a_bond_is_verified_on_both_leaves(bonded: Bench) -> None:
    flip = Flip("tenant", True, tuple(NicWanted(nic.mac, bonded.port.id) for nic in nics(bonded)))
    verifier = Verifier(
        clouds=bonded.clouds, store=bonded.store, switches=bonded.readers, settings=bonded.settings,
        clock=lambda: bonded.seconds, sleep=bonded.sleep,
    )  # fmt: skip
    assert verifier.verify(bonded.node_id, flip, BY).verified
    bonded.world.tamper_switch(links(bonded)[1], None)
    with pytest.raises(Exception, match="leaf2"):
        verifier.verify(bonded.node_id, flip, BY)


def tag(bench: Bench) -> int:
    network = bench.world.add_network("red", project="demo", cidr="10.2.0.0/24")
    return bench.clouds.own.sub_interfaces.add(bench.port.id, network_id=network.id, name="web-red").vlan


def test_a_sub_interface_is_in_all_three_views(deployed: Bench) -> None:
    vlan = tag(deployed)
    [first, _] = views(deployed)
    assert first.verdict is Verdict.AGREE
    assert first.switch is not None
    assert first.intended.tagged == first.controller.tagged == first.switch.tagged == (vlan,)


def test_a_tag_too_many_and_a_tag_too_few_are_found(deployed: Bench) -> None:
    vlan = tag(deployed)
    link = deployed.nic.link
    assert link is not None
    blue = deployed.segment("blue")
    deployed.world.fabric.switches.tamper(link, blue, frozenset({vlan, 77}))
    assert "more than intended: also tagged 77" in (views(deployed)[0].why or "")
    deployed.world.fabric.switches.tamper(link, blue)
    assert f"less than intended: without the sub-interface VLAN {vlan}" in (views(deployed)[0].why or "")


def test_a_sub_interface_leaves_and_comes_back_with_the_power(deployed: Bench) -> None:
    vlan = tag(deployed)
    deployed.power("off")
    deployed.flips.to_quarantine(deployed.node_id, BY)
    [first, _] = views(deployed)
    assert (first.verdict, first.switch and first.switch.tagged) == (Verdict.AGREE, ())
    deployed.flips.to_tenant(deployed.node_id, BY)
    deployed.power("on")
    [first, _] = views(deployed)
    assert (first.verdict, first.switch and first.switch.tagged) == (Verdict.AGREE, (vlan,))

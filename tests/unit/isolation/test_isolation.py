"""The three views of a NIC, and what they say together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.errors import NotFound
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.model import PowerOffPolicy, Role, Verdict, intended_role
from steelyard.isolation.service import IsolationService
from steelyard.lifecycle.model import Phase
from steelyard.nouns import SwitchLink

if TYPE_CHECKING:
    from .conftest import Bench


def test_every_phase_has_a_role() -> None:
    assert {phase: intended_role(phase.value) for phase in Phase}[Phase.AVAILABLE] is Role.IDLE
    assert intended_role("powered-off") is Role.QUARANTINE
    assert intended_role("powered-off", power_off=PowerOffPolicy.KEEP) is Role.TENANT


def test_a_rescue_ramdisk_that_runs_is_on_the_tenants_network() -> None:
    assert intended_role("rescue", state="rescue wait") is Role.RESCUE
    assert intended_role("rescue", state="rescue") is Role.TENANT


def test_ramdisk_and_tenant_roles_never_mix() -> None:
    with_tenant = {phase for phase in Phase if intended_role(phase.value) is Role.TENANT}
    assert with_tenant == {Phase.ACTIVE, Phase.ADOPTED}
    kept = {phase for phase in Phase if intended_role(phase.value, power_off=PowerOffPolicy.KEEP) is Role.TENANT}
    assert kept == with_tenant | {Phase.POWERED_OFF}


def test_available_is_idle_everywhere(bench: Bench) -> None:
    found = bench.service.show("bm-1")
    assert (found.phase, found.agrees, len(found.nics)) == (Phase.AVAILABLE, True, 2)
    assert all(nic.intended.idle and nic.controller.idle and nic.switch and nic.switch.idle for nic in found.nics)


def test_active_is_on_the_tenants_network_and_the_second_nic_idle(bench: Bench) -> None:
    bench.deploy()
    bench.world.settle()
    found = bench.service.show("bm-1")
    assert found.phase is Phase.ACTIVE
    assert found.agrees, [nic.why for nic in found.nics]
    assert sorted(nic.role for nic in found.nics) == [Role.IDLE, Role.TENANT]
    (nic,) = [nic for nic in found.nics if nic.role is Role.TENANT]
    assert nic.switch is not None
    assert nic.intended.network == nic.controller.network == nic.switch.network == "blue"
    assert nic.intended.vlan == nic.controller.vlan == nic.switch.vlan


def test_every_moment_of_a_deployment_agrees_or_says_that_it_changes(bench: Bench) -> None:
    bench.deploy()
    phases = set()
    while bench.world.tick():
        found = bench.service.show("bm-1")
        phases.add(found.phase)
        assert {nic.verdict for nic in found.nics} <= {Verdict.AGREE, Verdict.CHANGING}
    assert {Phase.DEPLOYING, Phase.ACTIVE} <= phases


def test_a_switch_changed_by_hand_is_found(bench: Bench) -> None:
    bench.deploy()
    bench.world.settle()
    nic = bench.nic
    assert nic.link is not None
    bench.world.tamper_switch(nic.link, 999)
    found = bench.service.show("bm-1")
    assert not found.agrees
    (differing,) = [each for each in found.nics if each.verdict is Verdict.DIFFER]
    assert differing.mac == nic.mac
    assert differing.why is not None
    assert differing.why.endswith("the switch carries VLAN 999")


def test_a_write_that_the_switch_did_not_apply_is_found(bench: Bench) -> None:
    for port in bench.world.node_ports.values():
        assert port.link is not None
        bench.world.jam_switch_port(port.link)
    bench.deploy()
    bench.world.settle()
    found = bench.service.show("bm-1")
    assert [nic.why for nic in found.nics if nic.verdict is Verdict.DIFFER] == [
        f"the controller has blue (VLAN {vlan}), the switch carries no network"
        for vlan in (next(n.segmentation_id for n in bench.world.fabric.networks.values() if n.name == "blue"),)
    ]


def test_an_available_node_left_on_a_network_is_found(bench: Bench) -> None:
    port = next(iter(bench.world.node_ports.values()))
    assert port.link is not None
    bench.world.tamper_switch(port.link, 2002)
    found = bench.service.show("bm-1")
    (nic,) = [nic for nic in found.nics if nic.verdict is Verdict.DIFFER]
    assert nic.switch is not None
    assert nic.switch.network == "cleaning"


def test_a_switch_that_cannot_be_read_is_unverified_and_never_agreement(bench: Bench) -> None:
    bench.reader.fail("no answer")
    found = bench.service.show("bm-1")
    assert not found.agrees
    assert {nic.verdict for nic in found.nics} == {Verdict.UNVERIFIED}
    assert all("no answer" in (nic.why or "") for nic in found.nics)


def test_a_switch_without_reader_is_unverified(bench: Bench) -> None:
    service = IsolationService(
        clouds=bench.clouds, switches=SwitchReaders(), settings=bench.settings, store=bench.store
    )  # fmt: skip
    assert {nic.verdict for nic in service.show("bm-1").nics} == {Verdict.UNVERIFIED}


def test_a_nic_without_known_cable_is_unverified(bench: Bench) -> None:
    bench.world.add_node("bare", lldp=False)
    assert {nic.why for nic in bench.service.show("bare").nics} == {"the NIC's switch port is not known"}


def test_two_networks_of_the_cleaning_networks_name_agree_with_nothing(bench: Bench) -> None:
    bench.world.add_network("cleaning", project="demo")
    bench.world.set_state(bench.node_id, "clean wait")
    found = bench.service.show("bm-1")
    assert not found.agrees
    [nic] = [nic for nic in found.nics if nic.role is Role.CLEANING]
    assert "not known" in (nic.intended.network or "")


def test_unknown_node(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.service.show("bm-404")


def test_bound_to_the_same_port_name_of_another_switch_is_found(bench: Bench) -> None:
    bench.deploy()
    bench.world.settle()
    nic = bench.nic
    assert nic.link is not None
    for port_id, port in bench.world.fabric.ports.items():
        if port.mac == nic.mac and port.link is not None:
            elsewhere = SwitchLink("02:00:00:00:99:99", nic.link.port_id, "leaf9")
            bench.world.fabric.ports[port_id] = replace(port, link=elsewhere)
    found = next(each for each in bench.service.show("bm-1").nics if each.mac == nic.mac)
    assert found.verdict is Verdict.DIFFER
    assert found.why is not None
    assert "leaf9" in found.why

"""A server says itself on which switch port it is. It must not get at another server's port by that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steelyard.clouds.fake import FakeNic
from steelyard.discovery.inband import in_band
from steelyard.nouns import Inspection, SwitchLink
from steelyard.operations.model import Operation, Phase

from .conftest import CREDENTIALS, PORT, Bench


def onboard(bench: Bench, number: int) -> Operation:
    service = bench.service()
    service.discover(bench.admin, [f"10.0.0.{number}"], CREDENTIALS, port=PORT)
    return service.onboard(bench.admin, [f"10.0.0.{number}"])[0]


def heard(bench: Bench, number: int, links: list[SwitchLink | None]) -> None:
    """Let the server's NICs hear these switch ports."""
    url = f"https://10.0.0.{number}:{PORT}"
    machine = bench.world.hardware[url]
    nics = tuple(FakeNic(nic.mac, link, pxe=nic.pxe) for nic, link in zip(machine.nics, links, strict=True))
    bench.world.hardware[url] = replace(machine, nics=nics)


def test_another_nodes_switch_port_is_not_bound(bench: Bench) -> None:
    first = bench.add_server(1)
    bench.add_server(2)
    assert onboard(bench, 1).phase is Phase.SUCCEEDED
    (owner,) = bench.world.nodes
    heard(bench, 2, [first.nics[0].link, None])
    operation = onboard(bench, 2)
    assert operation.error is not None
    assert operation.error.code == "switch_port_taken"
    assert operation.error.next == f"steelyard node show {owner}"
    places = [port.link for port in bench.world.node_ports.values() if port.link is not None]
    assert places.count(first.nics[0].link) == 1  # type: ignore[arg-type]
    assert {node.provision_state for node in bench.world.nodes.values() if node.id != owner} == {"manageable"}


def test_two_nics_on_one_switch_port(bench: Bench) -> None:
    link = bench.add_server(1).nics[0].link
    heard(bench, 1, [link, link])
    operation = onboard(bench, 1)
    assert operation.error is not None
    assert operation.error.code == "switch_port_taken"


def test_a_switch_port_that_was_given_to_another_server_is_not_managed_for_the_old_one(bench: Bench) -> None:
    """The first node is deleted, its cable goes to a second server; the first comes back with what is known of it."""
    first = bench.add_server(1)
    bench.add_server(2)
    assert onboard(bench, 1).phase is Phase.SUCCEEDED
    bench.world.nodes.clear()
    bench.world.node_ports.clear()
    heard(bench, 2, [nic.link for nic in first.nics])
    assert onboard(bench, 2).phase is Phase.SUCCEEDED
    (second,) = bench.world.nodes
    held = {port.link for port in bench.world.node_ports.values()}
    onboard(bench, 1)
    others = [port for port in bench.world.node_ports.values() if port.node_id != second]
    assert others
    assert not held & {port.link for port in others}


def test_a_server_whose_nic_a_tenant_still_has_is_not_inspected(bench: Bench) -> None:
    """Its node was removed with another client while it was deployed; Nova still has the server."""
    bench.add_server(1)
    assert onboard(bench, 1).phase is Phase.SUCCEEDED
    network = bench.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    nic = next(port for port in bench.world.node_ports.values() if port.link is not None)
    fabric = bench.world.fabric
    tenants = fabric.add_port(
        network.id, now=bench.world.now, mac=nic.mac, project_id=network.project_id, device_id="server-1",
        device_owner="compute:nova",
    )  # fmt: skip
    fabric.bind(tenants, nic.node_id, nic)
    bench.world.nodes.clear()
    bench.world.node_ports.clear()
    operation = onboard(bench, 1)
    assert operation.error is not None
    assert (operation.error.code, operation.error.next) == ("nic_in_use", "steelyard server delete server-1 --wait")
    assert bench.world.nodes == {}
    fabric.remove_port(tenants.id)
    assert onboard(bench, 1).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    "port_id", ["Ethernet3\nno shutdown", "Ethernet3; reload", "Eth$(x)", "Ethernet3\x1b[2J", "x" * 200, "`id`", " "]
)
def test_a_port_id_that_could_end_a_command_is_not_believed(port_id: str) -> None:
    assert links_of(port_id) == {}


@pytest.mark.parametrize("port_id", ["Ethernet3", "GigabitEthernet1/0/3", "swp1s0", "ge-0/0/1.0", "Eth 1/1"])
def test_usual_port_ids(port_id: str) -> None:
    assert [link.port_id for link in links_of(port_id).values()] == [port_id]


def links_of(port_id: str) -> Any:
    lldp = {"switch_chassis_id": "02:00:00:00:00:01", "switch_port_id": port_id, "switch_system_name": "leaf1"}
    inventory = {"interfaces": [{"name": "eth0", "mac_address": "02:00:00:00:00:02"}]}
    return in_band(Inspection(inventory, {"parsed_lldp": {"eth0": lldp}})).links

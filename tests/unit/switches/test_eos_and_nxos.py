"""Arista EOS and Cisco NX-OS: ports in every mode, as the two print them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard.hardware.switches import eos, nxos
from steelyard.hardware.switches.outputs import ALL_VLANS, ReadPort, Unreadable
from steelyard.nouns import PortMode

NONE: frozenset[int] = frozenset()


def eos_status(forwarding: str = "bridged", link: str = "connected", **information: Any) -> dict[str, Any]:
    """One interface of `show interfaces status | json`."""
    return {
        "vlanInformation": {**information, "interfaceForwardingModel": forwarding},
        "bandwidth": 10000000000, "interfaceType": "10GBASE-CR", "description": "", "autoNegotiateActive": False,
        "duplex": "duplexFull", "autoNegotigateActive": False, "linkStatus": link, "lineProtocolStatus": "up",
    }  # fmt: skip


def eos_switchport(mode: str, *, access: int = 1, native: int = 1, allowed: str = "ALL") -> dict[str, Any]:
    """One interface of `show interfaces switchport | json`."""
    return {
        "enabled": True,
        "switchportInfo": {
            "mode": mode, "macLearning": True, "dot1qVlanTagRequired": False, "tpid": "0x8100", "tpidStatus": True,
            "accessVlanId": access, "accessVlanName": "default", "trunkingNativeVlanId": native,
            "trunkingNativeVlanName": "default", "trunkAllowedVlans": allowed, "dynamicAllowedVlans": {},
            "staticTrunkGroups": [], "dynamicTrunkGroups": [], "sourceportFilterMode": "enabled",
        },
    }  # fmt: skip


def read_eos(statuses: dict[str, Any], switchports: dict[str, Any]) -> dict[str, ReadPort]:
    version = {"modelName": "DCS-7050", "systemMacAddress": "00:1c:73:00:00:01"}
    texts = [json.dumps(each) for each in (version, {"interfaceStatuses": statuses}, {"switchports": switchports})]
    reading = eos.parse(texts)
    assert reading.macs == {"00:1c:73:00:00:01"}
    return {port.name: port for port in reading.ports}


@pytest.mark.parametrize(
    ("switchport", "expected"),
    [
        (eos_switchport("access", access=44), ReadPort("Ethernet1", PortMode.ACCESS, 44)),
        (eos_switchport("trunk"), ReadPort("Ethernet1", PortMode.TRUNK, 1, ALL_VLANS - {1})),
        (eos_switchport("trunk", native=30, allowed="10-12,30"),
         ReadPort("Ethernet1", PortMode.TRUNK, 30, frozenset({10, 11, 12}))),
        (eos_switchport("trunk", native=1, allowed="10"), ReadPort("Ethernet1", PortMode.TRUNK, None, frozenset({10}))),
        (eos_switchport("trunk", native=0, allowed="10"), ReadPort("Ethernet1", PortMode.TRUNK, None, frozenset({10}))),
        (eos_switchport("trunk", allowed="NONE"), ReadPort("Ethernet1", PortMode.TRUNK)),
        (eos_switchport("dot1q-tunnel", access=9), ReadPort("Ethernet1", PortMode.TUNNEL, 9, extra="802.1Q tunnel")),
        (eos_switchport("tap"), ReadPort("Ethernet1", PortMode.OTHER, extra="mode tap")),
    ],
)  # fmt: skip
def test_eos_modes(switchport: dict[str, Any], expected: ReadPort) -> None:
    assert read_eos({"Ethernet1": eos_status()}, {"Ethernet1": switchport}) == {"Ethernet1": expected}


def test_eos_a_vlan_that_authentication_chose_is_told() -> None:
    statuses = {"Ethernet1": eos_status(interfaceMode="bridged", vlanId=66)}
    port = read_eos(statuses, {"Ethernet1": eos_switchport("access", access=44)})["Ethernet1"]
    assert (port.untagged, port.extra) == (44, "its status says VLAN 66")


@pytest.mark.parametrize("switchport", [eos_switchport("access", access=44), eos_switchport("trunk", allowed="7")])
def test_eos_a_port_that_mirrors_others_is_not_a_plain_one(switchport: dict[str, Any]) -> None:
    """Its configuration as a switch port is listed all the same."""
    port = read_eos({"Ethernet1": eos_status("quietDataLink")}, {"Ethernet1": switchport})["Ethernet1"]
    assert port.extra == "forwarding model quietDataLink"


def test_eos_routed_ports_and_ports_of_the_switch_itself() -> None:
    statuses = {
        "Ethernet49/1": eos_status("routed", interfaceMode="routed"),
        "Ethernet2": eos_status("routed", "disabled", interfaceMode="routed"),
        "Ethernet3": eos_status("quietDataLink"),
        "Management1": eos_status("routed", interfaceMode="routed"),
        "Vlan10": eos_status("routed"),
        "Vxlan1": eos_status("bridged"),
    }
    assert read_eos(statuses, {"Ethernet2": {"enabled": False}}) == {
        "Ethernet49/1": ReadPort("Ethernet49/1", PortMode.ROUTED, extra="routed"),
        "Ethernet2": ReadPort("Ethernet2", PortMode.ROUTED, enabled=False, extra="routed"),
        "Ethernet3": ReadPort("Ethernet3", PortMode.OTHER, extra="forwarding model quietDataLink"),
    }


def test_eos_members_carry_what_their_port_channel_carries() -> None:
    """EOS goes on to list a member's own configuration, which is not in force."""
    statuses = {
        "Ethernet1": eos_status("dataLink", interfaceMode="dataLink", vlanExplanation="in Po21"),
        "Port-Channel21": eos_status(interfaceMode="trunk"),
    }
    switchports = {
        "Ethernet1": eos_switchport("access", access=1),
        "Port-Channel21": eos_switchport("trunk", native=5, allowed="5,6"),
    }
    ports = read_eos(statuses, switchports)
    assert ports["Ethernet1"] == ReadPort("Ethernet1", PortMode.TRUNK, 5, frozenset({6}), lag="Port-Channel21")
    assert ports["Port-Channel21"].lag is None


@pytest.mark.parametrize(
    ("statuses", "switchports", "why"),
    [
        ({"Ethernet1": eos_status("dataLink", vlanExplanation="in Po9")}, {}, "in Port-Channel9, which it does not"),
        ({"Ethernet1": eos_status("dataLink")}, {}, "does not say for which"),
        ({"Ethernet1": eos_status()}, {}, "does not list it"),
        ({"Ethernet1": eos_status()}, {"Ethernet1": eos_switchport("access", access=4095)}, "no VLAN"),
        ({"Ethernet1": eos_status()}, {"Ethernet1": eos_switchport("trunk", allowed="1-9999")}, "no VLAN"),
    ],
)
def test_eos_what_does_not_fit_together(statuses: dict[str, Any], switchports: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_eos(statuses, switchports)


def nxos_interface(name: str, mode: str, admin: str = "up", **more: Any) -> dict[str, Any]:
    """One row of `show interface | json`."""
    return {
        "interface": name, "state": "down", "state_rsn_desc": "Link not connected", "admin_state": admin,
        "share_state": "Dedicated", "eth_hw_desc": "1000/10000 Ethernet", "eth_hw_addr": "88f0.31dc.7de6",
        "eth_bia_addr": "88f0.31dc.7de6", "eth_mtu": "1500", "eth_bw": 10000000, "eth_mode": mode, "eth_duplex": "auto",
        **more,
    }  # fmt: skip


def nxos_switchport(name: str, mode: str, **more: Any) -> dict[str, Any]:
    """One row of `show interface switchport | json`."""
    return {
        "interface": name, "switchport": "Enabled", "switchport_monitor": "Not enabled", "oper_mode": mode,
        "access_vlan": "1", "access_vlan_name": "default", "native_vlan": "1", "native_vlan_name": "default",
        "trunk_vlans": "1-4094", **more,
    }  # fmt: skip


def read_nxos(interfaces: Any, switchports: Any) -> dict[str, ReadPort]:
    texts = [json.dumps({"TABLE_interface": {"ROW_interface": rows}}) for rows in (interfaces, switchports)]
    reading = nxos.parse(texts)
    assert "88:f0:31:dc:7d:e6" in reading.macs
    return {port.name: port for port in reading.ports}


ONE = "Ethernet1/1"


@pytest.mark.parametrize(
    ("interface", "switchport", "expected"),
    [
        (nxos_interface(ONE, "access"), nxos_switchport(ONE, "access", access_vlan="44"),
         ReadPort(ONE, PortMode.ACCESS, 44)),
        (nxos_interface(ONE, "access", "down"), nxos_switchport(ONE, "down", access_vlan=44),
         ReadPort(ONE, PortMode.ACCESS, 44, enabled=False)),
        (nxos_interface(ONE, "access"), nxos_switchport(ONE, "access", access_vlan=44, voice_vlan="9"),
         ReadPort(ONE, PortMode.ACCESS, 44, frozenset({9}))),
        (nxos_interface(ONE, "trunk"), nxos_switchport(ONE, "trunk"),
         ReadPort(ONE, PortMode.TRUNK, 1, ALL_VLANS - {1})),
        (nxos_interface(ONE, "trunk"), nxos_switchport(ONE, "trunk", native_vlan=7, trunk_vlans="7,10-11"),
         ReadPort(ONE, PortMode.TRUNK, 7, frozenset({10, 11}))),
        (nxos_interface(ONE, "trunk"), nxos_switchport(ONE, "trunk", trunk_vlans="10"),
         ReadPort(ONE, PortMode.TRUNK, None, frozenset({10}))),
        (nxos_interface(ONE, "trunk"), nxos_switchport(ONE, "trunk", trunk_vlans="none"),
         ReadPort(ONE, PortMode.TRUNK)),
        (nxos_interface(ONE, "dot1q-tunnel"), nxos_switchport(ONE, "dot1q-tunnel", access_vlan=9),
         ReadPort(ONE, PortMode.TUNNEL, 9, extra="802.1Q tunnel")),
        (nxos_interface(ONE, "fex-fabric"), nxos_switchport(ONE, "fex-fabric"),
         ReadPort(ONE, PortMode.OTHER, extra="mode fex-fabric")),
        (nxos_interface(ONE, "routed"), nxos_switchport(ONE, "down", switchport="Disabled"),
         ReadPort(ONE, PortMode.ROUTED, extra="routed")),
        (nxos_interface(ONE, "access"), nxos_switchport(ONE, "private-vlan host", access_vlan=44),
         ReadPort(ONE, PortMode.ACCESS, 44, extra="operating mode private-vlan host")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("single", [True, False], ids=["row", "rows"])
def test_nxos_modes(interface: Any, switchport: Any, expected: ReadPort, single: bool) -> None:
    """A table with one row is printed as that row."""
    rows = (interface, switchport) if single else ([interface], [switchport])
    assert read_nxos(*rows) == {ONE: expected}


@pytest.mark.parametrize("bundle", ["port-channel10", "10", 10, "Po10"])
def test_nxos_members_carry_what_their_port_channel_carries(bundle: Any) -> None:
    interfaces = [
        nxos_interface(ONE, "trunk", eth_bundle=bundle),
        nxos_interface("port-channel10", "trunk"),
        {"interface": "Vlan10", "svi_admin_state": "up", "svi_mac": "88f0.31dc.7de7"},
        {"interface": "mgmt0", "admin_state": "up", "eth_hw_addr": "88f0.31dc.7de0"},
        {"interface": "loopback0", "admin_state": "up"},
    ]
    ports = read_nxos(interfaces, [nxos_switchport("port-channel10", "trunk", native_vlan=5, trunk_vlans="5-6")])
    assert ports[ONE] == ReadPort(ONE, PortMode.TRUNK, 5, frozenset({6}), lag="port-channel10")
    assert set(ports) == {ONE, "port-channel10"}


@pytest.mark.parametrize(
    ("interfaces", "switchports", "why"),
    [
        ([nxos_interface(ONE, "trunk", eth_bundle="10")], [], "in port-channel10, which it does not"),
        ([nxos_interface(ONE, "trunk", eth_bundle="?")], [], "no port channel"),
        ([nxos_interface(ONE, "access")], [nxos_switchport("Ethernet1/2", "access")], "does not say what it carries"),
        ([nxos_interface(ONE, "access")] * 2, [nxos_switchport(ONE, "access")], "twice"),
        ([nxos_interface(ONE, "access")], [nxos_switchport(ONE, "access")] * 2, "twice"),
        ([nxos_interface(ONE, "access")], [nxos_switchport(ONE, "access", access_vlan="0")], "no VLAN"),
        ([nxos_interface(ONE, "trunk")], [nxos_switchport(ONE, "trunk", trunk_vlans="")], "no list of VLANs"),
    ],
)
def test_nxos_what_does_not_fit_together(interfaces: Any, switchports: Any, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_nxos(interfaces, switchports)

"""Junos, SONiC and Cumulus Linux: ports in every mode, as the three print them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard.hardware.switches import cumulus, junos, sonic
from steelyard.hardware.switches.outputs import ReadPort, Unreadable
from steelyard.nouns import PortMode

from ...contract.switch_personas import MAC, dumped, leaf, link

XE = "xe-0/0/1"
Vlans = list[tuple[int, str]]


def physical(name: str, *families: str, status: str = "up", bundle: str | None = None, unit: int = 0) -> dict[str, Any]:
    """One interface of `show interfaces terse | display json`; without families it has no unit."""
    found: dict[str, Any] = {"name": leaf(name), "admin-status": leaf(status), "oper-status": leaf("down")}
    if families:
        listed = [{"address-family-name": leaf(family)} for family in families]
        if bundle is not None:
            listed[0]["ae-bundle-name"] = leaf(bundle)
        found["logical-interface"] = [
            {
                "name": leaf(f"{name}.{unit}"),
                "admin-status": leaf("up"),
                "oper-status": leaf("up"),
                "address-family": listed,
            }
        ]
    return found


def switched(unit: str, tagness: str, vlans: Vlans) -> list[dict[str, Any]]:
    """One unit of `show ethernet-switching interface | display json`."""
    head = {"l2iff-interface-name": leaf(unit), "l2iff-interface-vlan-name": [{}],
            "l2iff-interface-vlan-member-tagness": leaf(tagness)}  # fmt: skip
    return [head] + [
        {"l2iff-interface-name": [{}], "l2iff-interface-vlan-name": leaf(f"v{vlan}"),
         "l2iff-interface-vlan-id": leaf(str(vlan)), "l2iff-interface-vlan-member-tagness": leaf(tag),
         "l2iff-interface-vlan-member-stp-state": leaf("Forwarding")}
        for vlan, tag in vlans
    ]  # fmt: skip


def read_junos(
    interfaces: list[Any], *units: list[dict[str, Any]], whole_instance: bool = False
) -> dict[str, ReadPort]:
    entries = [{"l2ng-l2ald-iff-interface-entry": unit} for unit in units]
    if whole_instance:
        entries = [{"l2ng-l2ald-iff-interface-entry": [entry for unit in units for entry in unit]}]
    reading = junos.parse(
        [
            json.dumps({"lldp-local-info": [{"lldp-local-chassis-id": leaf(MAC)}]}),
            json.dumps({"interface-information": [{"physical-interface": interfaces}]}),
            json.dumps({"l2ng-l2ald-iff-interface-information": [{"l2ng-l2ald-iff-interface-entry": entries}]}),
        ]
    )
    assert reading.macs == {MAC}
    return {port.name: port for port in reading.ports}


@pytest.mark.parametrize(
    ("tagness", "vlans", "expected"),
    [
        ("untagged", [(44, "untagged")], ReadPort(XE, PortMode.ACCESS, 44)),
        ("untagged", [], ReadPort(XE, PortMode.ACCESS)),
        ("tagged", [(7, "tagged"), (8, "tagged")], ReadPort(XE, PortMode.TRUNK, None, frozenset({7, 8}))),
        ("tagged,untagged", [(5, "untagged"), (7, "tagged")], ReadPort(XE, PortMode.TRUNK, 5, frozenset({7}))),
        ("untagged", [(1, "untagged"), (780, "untagged")],
         ReadPort(XE, PortMode.ACCESS, 1, extra="untagged in VLANs 1, 780")),
    ],
)  # fmt: skip
def test_junos_switched_ports(tagness: str, vlans: Vlans, expected: ReadPort) -> None:
    unit = switched(f"{XE}.0", tagness, vlans)
    assert read_junos([physical(XE, "eth-switch")], unit)[XE] == expected
    other = switched("xe-0/0/2.0", "untagged", [(9, "untagged")])
    both = [physical(XE, "eth-switch"), physical("xe-0/0/2", "eth-switch")]
    assert read_junos(both, unit, other, whole_instance=True)[XE] == expected, "one entry for all units, too"


def test_junos_ports_that_are_not_switched() -> None:
    interfaces = [
        physical("et-0/0/48", "inet", "inet6"),
        physical("xe-0/0/3"),
        physical("xe-0/0/4:1", "ccc", status="down"),
        physical("xe-0/0/5", "eth-switch"),
        physical("irb", "inet"), physical("em0", "inet"), physical("vme", "inet"), physical("gr-0/0/0"),
    ]  # fmt: skip
    assert read_junos(interfaces) == {
        "et-0/0/48": ReadPort("et-0/0/48", PortMode.ROUTED, extra="routed"),
        "xe-0/0/3": ReadPort("xe-0/0/3", PortMode.ACCESS),
        "xe-0/0/4:1": ReadPort("xe-0/0/4:1", PortMode.OTHER, enabled=False, extra="family ccc"),
        "xe-0/0/5": ReadPort(
            "xe-0/0/5", PortMode.OTHER, extra="xe-0/0/5.0 is switched, and the switching table does not have it"
        ),
    }


def test_junos_members_carry_what_their_bundle_carries() -> None:
    interfaces = [physical(XE, "aenet", bundle="ae3.0"), physical("ae3", "eth-switch", status="down")]
    ports = read_junos(interfaces, switched("ae3.0", "tagged", [(7, "tagged")]))
    assert ports[XE] == ReadPort(XE, PortMode.TRUNK, None, frozenset({7}), lag="ae3")
    assert not ports["ae3"].enabled


@pytest.mark.parametrize(
    ("interfaces", "unit", "why"),
    [
        ([physical(XE, "eth-switch")] * 2, [], "twice"),
        ([physical(XE, "aenet", bundle="ae9.0")], [], "in ae9, which it does not report"),
        ([physical(XE, "aenet")], [], "does not say in which"),
        ([physical(XE, "eth-switch", status="testing")], [], "administrative status"),
        ([physical(XE, "eth-switch")], switched(f"{XE}.0", "tagged", [(4095, "tagged")]), "no VLAN"),
        ([physical(XE, "eth-switch")], switched(f"{XE}.0", "tagged", [(5, "maybe")]), "neither tagged nor untagged"),
        ([physical(XE, "eth-switch")], switched(f"{XE}.0", "tagged", [(5, "tagged")])[1:], "belongs to no interface"),
    ],
)
def test_junos_what_does_not_fit_together(interfaces: list[Any], unit: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_junos(interfaces, unit)


def test_junos_the_table_of_the_older_software_is_not_mistaken_for_an_empty_one() -> None:
    terse = json.dumps({"interface-information": [{"physical-interface": [physical(XE, "eth-switch")]}]})
    with pytest.raises(Unreadable, match="another table"):
        junos.parse(["{}", terse, json.dumps({"switching-interface-information": [{"interface": []}]})])


def read_sonic(
    ports: list[str], lags: dict[str, Any] | None = None, members: dict[str, str] | None = None,
    interfaces: list[str] | None = None,
) -> dict[str, ReadPort]:  # fmt: skip
    table = {f"PORT_TABLE:{port}": {"admin_status": "up", "alias": "etp1", "oper_status": "down"} for port in ports}
    reading = sonic.parse(
        [
            dumped({"DEVICE_METADATA|localhost": {"hostname": "leaf1", "mac": MAC.upper()}}),
            dumped({**table, "PORT_TABLE:PortInitDone": {"lanes": "0"}}),
            dumped(lags or {}),
            dumped({f"VLAN_MEMBER_TABLE:{key}": {"tagging_mode": mode} for key, mode in (members or {}).items()}),
            dumped({f"INTF_TABLE:{key}": {"NULL": "NULL"} for key in interfaces or []}),
        ]
    )
    assert reading.macs == {MAC}
    return {port.name: port for port in reading.ports}


def test_sonic_switched_and_routed_ports() -> None:
    members = {
        "Vlan44:Ethernet0": "untagged",
        "Vlan5:Ethernet4": "untagged", "Vlan6:Ethernet4": "tagged",
        "Vlan1:Ethernet8": "priority_tagged",
        "Vlan2:Ethernet24": "untagged", "Vlan3:Ethernet24": "untagged",
    }  # fmt: skip
    interfaces = ["Ethernet12", "Ethernet12:10.0.0.0/31", "Ethernet16.100", "Vlan44", "Vlan44:10.1.0.1/24", "Loopback0"]
    names = [f"Ethernet{number}" for number in (0, 4, 8, 12, 16, 20, 24)]
    assert read_sonic(names, members=members, interfaces=interfaces) == {
        "Ethernet0": ReadPort("Ethernet0", PortMode.ACCESS, 44),
        "Ethernet4": ReadPort("Ethernet4", PortMode.TRUNK, 5, frozenset({6})),
        "Ethernet8": ReadPort("Ethernet8", PortMode.ACCESS, 1, extra="priority tagged"),
        "Ethernet12": ReadPort("Ethernet12", PortMode.ROUTED, extra="routed"),
        "Ethernet16": ReadPort("Ethernet16", PortMode.ROUTED, extra="routed sub-interface"),
        "Ethernet20": ReadPort("Ethernet20", PortMode.ACCESS),
        "Ethernet24": ReadPort("Ethernet24", PortMode.ACCESS, 2, extra="untagged in VLANs 2-3"),
    }


def test_sonic_members_carry_what_their_port_channel_carries() -> None:
    lags = {
        "LAG_TABLE:PortChannel0001": {"admin_status": "down", "mtu": "9100"},
        "LAG_MEMBER_TABLE:PortChannel0001:Ethernet0": {"status": "enabled"},
    }
    ports = read_sonic(["Ethernet0"], lags, {"Vlan7:PortChannel0001": "tagged"})
    assert ports["Ethernet0"] == ReadPort("Ethernet0", PortMode.TRUNK, None, frozenset({7}), lag="PortChannel0001")
    assert not ports["PortChannel0001"].enabled


@pytest.mark.parametrize(
    ("lags", "members", "why"),
    [
        ({}, {"Vlan44:Ethernet99": "untagged"}, "no such port"),
        ({}, {"Vlan4095:Ethernet0": "untagged"}, "no VLAN"),
        ({}, {"Blue:Ethernet0": "untagged"}, "no member of a VLAN"),
        ({}, {"Vlan44:Ethernet0": "sometimes"}, "tagging mode"),
        ({"LAG_MEMBER_TABLE:PortChannel1:Ethernet0": {"status": "enabled"}}, {}, "no such port"),
        ({"LAG_MEMBER_TABLE:PortChannel1": {"status": "enabled"}}, {}, "makes no sense"),
    ],
)
def test_sonic_what_does_not_fit_together(lags: dict[str, Any], members: dict[str, str], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_sonic(["Ethernet0"], lags, members)


def bridged(kind: str = "bridge", master: str = "br_default", **more: Any) -> dict[str, Any]:
    return {"master": master, "linkinfo": {"info_slave_kind": kind, **more}}


def read_cumulus(links: list[dict[str, Any]], vlans: dict[str, dict[str, str]]) -> dict[str, ReadPort]:
    ports = {
        port: {"vlan": {key: {"tag-state": state} for key, state in states.items()}} for port, states in vlans.items()
    }
    reading = cumulus.parse([json.dumps({"domain": {"br_default": {"port": ports}}}), json.dumps(links)])
    return {port.name: port for port in reading.ports}


def test_cumulus_switched_and_routed_ports() -> None:
    links = [
        link("lo"), link("eth0", mac=MAC), link("br_default", linkinfo={"info_kind": "bridge"}),
        link("swp1", **bridged()), link("swp2", **bridged()), link("swp3"),
        link("swp4s0", addr_info=[{"family": "inet", "local": "10.0.0.1", "prefixlen": 31, "scope": "global"}]),
        link("swp5", addr_info=[{"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"}]),
        link("swp6", up=False, **bridged("vrf", "red")), link("swp7", **bridged()),
    ]  # fmt: skip
    vlans = {"swp1": {"44": "access"}, "swp2": {"1": "untagged", "10-12": "tagged", "20": "tagged"}}
    assert read_cumulus(links, vlans) == {
        "swp1": ReadPort("swp1", PortMode.ACCESS, 44),
        "swp2": ReadPort("swp2", PortMode.TRUNK, 1, frozenset({10, 11, 12, 20})),
        "swp3": ReadPort("swp3", PortMode.ACCESS),
        "swp4s0": ReadPort("swp4s0", PortMode.ROUTED, extra="routed"),
        "swp5": ReadPort("swp5", PortMode.ACCESS),
        "swp6": ReadPort("swp6", PortMode.ROUTED, enabled=False, extra="routed"),
        "swp7": ReadPort("swp7", PortMode.OTHER, extra="bridged without VLANs"),
    }


def test_cumulus_members_carry_what_their_bond_carries() -> None:
    links = [
        link("swp1", **bridged("bond", "bond1")),
        link("bond1", **bridged(info_kind="bond")),
    ]
    ports = read_cumulus(links, {"bond1": {"5": "untagged", "7": "tagged"}})
    assert ports["swp1"] == ReadPort("swp1", PortMode.TRUNK, 5, frozenset({7}), lag="bond1")


@pytest.mark.parametrize(
    ("links", "vlans", "why"),
    [
        ([link("swp1")], {"swp9": {"5": "untagged"}}, "no such port"),
        ([link("swp1")] * 2, {}, "twice"),
        ([link("swp1", **bridged())], {"swp1": {"4095": "tagged"}}, "no VLAN"),
        ([link("swp1", **bridged())], {"swp1": {"5": "both"}}, "neither tagged nor untagged"),
        ([link("swp1", **bridged("bond", "bond9"))], {}, "in bond9, which it does not report"),
    ],
)
def test_cumulus_what_does_not_fit_together(links: list[Any], vlans: dict[str, dict[str, str]], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_cumulus(links, vlans)


@pytest.mark.parametrize("printed", ['{"domain": []}', '{"error": "x"}', '{"domain": {"br_default": []}}', "[]"])
def test_cumulus_another_answer_is_not_mistaken_for_no_bridge(printed: str) -> None:
    with pytest.raises(Unreadable):
        cumulus.parse([printed, json.dumps([link("swp1")])])

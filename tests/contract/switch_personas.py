"""What switches print: the state of a few ports, in the shape in which each operating system prints it.

A persona answers the commands of its reader, and what else is typed the way the real one refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAC = "02:00:5e:00:00:01"


@dataclass
class Port:
    untagged: int | None = None
    tagged: frozenset[int] = frozenset()
    enabled: bool = True


@dataclass
class Persona:
    """One switch with two ports."""

    type: str
    first: str
    second: str
    outputs: Callable[[Mapping[str, Port], str], Mapping[str, str]]
    """What each command prints, given the ports and the switch's MAC."""
    refusal: str
    """What it says to a command that it does not know."""
    status: int
    """The exit status of such a command."""
    banner: str
    """Shown before the login."""
    mac: str = MAC
    ports: dict[str, Port] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {self.first: Port(), self.second: Port()}

    def answer(self, command: str) -> tuple[str, int]:
        known = self.outputs(self.ports, self.mac)
        return (known[command], 0) if command in known else (self.refusal, self.status)


def _ranges(vlans: Sequence[int]) -> str:
    return ",".join(map(str, sorted(vlans)))


def _eos(ports: Mapping[str, Port], mac: str) -> dict[str, str]:
    statuses: dict[str, Any] = {
        "Management1": {
            "vlanInformation": {"interfaceMode": "routed", "interfaceForwardingModel": "routed"},
            "bandwidth": 1000000000, "interfaceType": "10/100/1000", "description": "", "autoNegotiateActive": True,
            "duplex": "duplexFull", "linkStatus": "connected", "lineProtocolStatus": "up",
        }
    }  # fmt: skip
    switchports: dict[str, Any] = {}
    for name, port in ports.items():
        trunk = bool(port.tagged) or port.untagged is None
        information = {"interfaceMode": "trunk" if trunk else "bridged", "interfaceForwardingModel": "bridged"}
        statuses[name] = {
            "vlanInformation": information if trunk else {**information, "vlanId": port.untagged},
            "bandwidth": 10000000000, "interfaceType": "10GBASE-SR", "description": "", "autoNegotiateActive": False,
            "autoNegotigateActive": False, "duplex": "duplexFull",
            "linkStatus": "connected" if port.enabled else "disabled", "lineProtocolStatus": "up",
        }  # fmt: skip
        allowed = _ranges([*port.tagged, *([port.untagged] if port.untagged else [])]) or "NONE"
        switchports[name] = {
            "enabled": True,
            "switchportInfo": {
                "mode": "trunk" if trunk else "access", "macLearning": True, "dot1qVlanTagRequired": False,
                "dot1qVlanTagRequiredStatus": False, "tpid": "0x8100", "tpidStatus": True,
                "accessVlanId": 1 if trunk else port.untagged, "accessVlanName": "default",
                "trunkingNativeVlanId": port.untagged or 1, "trunkingNativeVlanName": "default",
                "trunkAllowedVlans": allowed if trunk else "ALL", "dynamicAllowedVlans": {},
                "staticTrunkGroups": [], "dynamicTrunkGroups": [], "sourceportFilterMode": "enabled",
            },
        }  # fmt: skip
    version = {
        "mfgName": "Arista", "modelName": "DCS-7050SX3-48YC8-F", "hardwareRevision": "11.03",
        "serialNumber": "JPE00000000", "systemMacAddress": mac, "hwMacAddress": mac, "version": "4.28.9M",
        "architecture": "i686", "memTotal": 8095656, "memFree": 6021236, "uptime": 86400.5,
    }  # fmt: skip
    return {
        "show version | json": json.dumps(version, indent=4) + "\n",
        "show interfaces status | json": json.dumps({"interfaceStatuses": statuses}, indent=4) + "\n",
        "show interfaces switchport | json": json.dumps({"switchports": switchports, "sourceDetail": ""}, indent=4),
    }


def _nxos(ports: Mapping[str, Port], mac: str) -> dict[str, str]:
    dotted = ".".join(mac.replace(":", "")[at : at + 4] for at in (0, 4, 8))
    interfaces: list[dict[str, Any]] = [
        {
            "interface": "mgmt0", "state": "up", "admin_state": "up", "eth_hw_desc": "Ethernet",
            "eth_hw_addr": dotted, "eth_bia_addr": dotted, "eth_mtu": "1500", "eth_mode": "routed",
        }
    ]  # fmt: skip
    switchports = []
    for name, port in ports.items():
        trunk = bool(port.tagged) or port.untagged is None
        mode = "trunk" if trunk else "access"
        interfaces.append(
            {
                "interface": name, "state": "up" if port.enabled else "down", "state_rsn_desc": "XCVR not inserted",
                "admin_state": "up" if port.enabled else "down", "share_state": "Dedicated",
                "eth_hw_desc": "1000/10000 Ethernet", "eth_hw_addr": "0200.5eff.0001", "eth_bia_addr": "0200.5eff.0001",
                "eth_mtu": "1500", "eth_bw": 10000000, "eth_dly": 10, "medium": "broadcast", "eth_mode": mode,
                "eth_duplex": "auto", "eth_speed": "auto-speed", "eth_ethertype": "0x8100",
            }
        )  # fmt: skip
        allowed = _ranges([*port.tagged, *([port.untagged] if port.untagged else [])]) or "none"
        switchports.append(
            {
                "interface": name, "switchport": "Enabled", "switchport_monitor": "Not enabled",
                "oper_mode": mode if port.enabled else "down", "access_vlan": 1 if trunk else port.untagged,
                "access_vlan_name": "default", "native_vlan": port.untagged or 1 if trunk else 1,
                "native_vlan_name": "default", "trunk_vlans": allowed if trunk else "1-4094",
                "cfg_sw_pvlan_primary_host": "none", "voice_vlan": "none", "ext_trust": "0",
            }
        )  # fmt: skip
    return {
        "show interface | json": json.dumps({"TABLE_interface": {"ROW_interface": interfaces}}) + "\n",
        "show interface switchport | json": json.dumps({"TABLE_interface": {"ROW_interface": switchports}}) + "\n",
    }


def leaf(value: str) -> list[dict[str, str]]:
    """A leaf of Junos' JSON."""
    return [{"data": value}]


def _junos(ports: Mapping[str, Port], mac: str) -> dict[str, str]:
    physical: list[dict[str, Any]] = [
        {"name": leaf("gr-0/0/0"), "admin-status": leaf("up"), "oper-status": leaf("up")},
        {"name": leaf("em0"), "admin-status": leaf("up"), "oper-status": leaf("up")},
    ]
    entries = []
    for name, port in ports.items():
        status = leaf("up" if port.enabled else "down")
        family = [{"address-family-name": leaf("eth-switch")}]
        unit = {"name": leaf(f"{name}.0"), "admin-status": leaf("up"), "oper-status": status, "address-family": family}
        physical.append(
            {"name": leaf(name), "admin-status": status, "oper-status": status, "logical-interface": [unit]}
        )
        tagness = "tagged" if port.tagged else "untagged"
        members = [(vlan, "untagged") for vlan in [port.untagged] if vlan] + [(each, "tagged") for each in port.tagged]
        inner: list[dict[str, Any]] = [
            {
                "attributes": {"junos:style": "brief"}, "l2iff-interface-name": leaf(f"{name}.0"),
                "l2iff-interface-vlan-name": [{}], "l2iff-interface-mac-limit": leaf("65535"),
                "l2iff-interface-vlan-member-stp-state": [{}], "l2iff-interface-flags": [{}],
                "l2iff-interface-vlan-member-tagness": leaf(tagness),
            }
        ]  # fmt: skip
        inner += [
            {
                "attributes": {"junos:style": "brief"}, "l2iff-interface-name": [{}],
                "l2iff-interface-vlan-name": leaf(f"v{vlan}"), "l2iff-interface-vlan-id": leaf(str(vlan)),
                "l2iff-interface-vlan-member-tagness": leaf(tag), "l2iff-interface-mac-limit": leaf("65535"),
                "l2iff-interface-vlan-member-stp-state": leaf("Forwarding"), "l2iff-interface-flags": [{}],
            }
            for vlan, tag in members
        ]  # fmt: skip
        entries.append({"attributes": {"junos:style": "brief"}, "l2iff-interface-rtt-name": leaf("default-switch"),
                        "l2ng-l2ald-iff-interface-entry": inner})  # fmt: skip
    local = {"lldp-local-chassis-subtype": leaf("Mac address"), "lldp-local-chassis-id": leaf(mac),
             "lldp-local-system-name": leaf("leaf1")}  # fmt: skip
    switching = {"l2ng-l2ald-iff-interface-information": [{"l2ng-l2ald-iff-interface-entry": entries}]}
    terse = {"interface-information": [{"attributes": {"junos:style": "terse"}, "physical-interface": physical}]}
    return {
        "show lldp local-information | display json": json.dumps({"lldp-local-info": [local]}, indent=4) + "\n",
        "show interfaces terse | display json": json.dumps(terse, indent=4) + "\n{master:0}\n",
        "show ethernet-switching interface | display json": json.dumps(switching, indent=4) + "\n",
    }


def dumped(entries: Mapping[str, Mapping[str, str]]) -> str:
    """What `sonic-db-dump` prints of these keys."""
    whole = {
        key: {"expireat": 1781732221.073052, "ttl": -0.001, "type": "hash", "value": value}
        for key, value in entries.items()
    }
    return json.dumps(whole, indent=2) + "\n"


def _sonic(ports: Mapping[str, Port], mac: str) -> dict[str, str]:
    table: dict[str, dict[str, str]] = {
        "PORT_TABLE:PortConfigDone": {"count": "2"},
        "PORT_TABLE:PortInitDone": {"lanes": "0"},
    }
    members: dict[str, dict[str, str]] = {}
    for name, port in ports.items():
        status = "up" if port.enabled else "down"
        table[f"PORT_TABLE:{name}"] = {
            "admin_status": status, "alias": "etp1", "index": "1", "lanes": "0,1,2,3", "mtu": "9100",
            "oper_status": status, "speed": "100000", "description": "",
        }  # fmt: skip
        for vlan in port.tagged:
            members[f"VLAN_MEMBER_TABLE:Vlan{vlan}:{name}"] = {"tagging_mode": "tagged"}
        if port.untagged:
            members[f"VLAN_MEMBER_TABLE:Vlan{port.untagged}:{name}"] = {"tagging_mode": "untagged"}
    device = {
        "DEVICE_METADATA|localhost": {"hostname": "leaf1", "hwsku": "ACS-MSN2700", "mac": mac, "type": "LeafRouter"}
    }
    return {
        "sonic-db-dump -n CONFIG_DB -y -k 'DEVICE_METADATA|localhost'": dumped(device),
        "sonic-db-dump -n APPL_DB -y -k 'PORT_TABLE:*'": dumped(table),
        "sonic-db-dump -n APPL_DB -y -k 'LAG_*'": "{}\n",
        "sonic-db-dump -n APPL_DB -y -k 'VLAN_MEMBER_TABLE:*'": dumped(members),
        "sonic-db-dump -n APPL_DB -y -k 'INTF_TABLE:*'": dumped({"INTF_TABLE:Loopback0": {"NULL": "NULL"}}),
    }


def link(name: str, *, up: bool = True, mac: str = "02:00:5e:ff:00:01", **more: Any) -> dict[str, Any]:
    """One link as `ip -json -details address show` prints it."""
    return {
        "ifindex": 3, "ifname": name, "flags": ["BROADCAST", "MULTICAST", *(["UP", "LOWER_UP"] if up else [])],
        "mtu": 9216, "qdisc": "pfifo_fast", "operstate": "UP" if up else "DOWN", "group": "default",
        "txqlen": 1000, "link_type": "ether", "address": mac, "broadcast": "ff:ff:ff:ff:ff:ff", "promiscuity": 1,
        "addr_info": [], **more,
    }  # fmt: skip


def _cumulus(ports: Mapping[str, Port], mac: str) -> dict[str, str]:
    links = [
        link("eth0", mac=mac, master="mgmt", linkinfo={"info_slave_kind": "vrf", "info_slave_data": {"table": 1001}}),
        {},
        link("br_default", linkinfo={"info_kind": "bridge", "info_data": {"vlan_filtering": 1}}),
    ]
    bridged: dict[str, Any] = {}
    for name, port in ports.items():
        carries = bool(port.tagged) or port.untagged is not None
        slave = {"master": "br_default", "linkinfo": {"info_slave_kind": "bridge"}} if carries else {}
        links.append(link(name, up=port.enabled, **slave))
        vlans: dict[str, Any] = {str(vlan): {"tag-state": "tagged"} for vlan in sorted(port.tagged)}
        if port.untagged:
            vlans[str(port.untagged)] = {"tag-state": "untagged"}
        if carries:
            bridged[name] = {"vlan": vlans}
    return {
        "nv show bridge port-vlan -o json": json.dumps({"domain": {"br_default": {"port": bridged}}}, indent=2) + "\n",
        "ip -json -details address show": json.dumps(links) + "\n",
    }


def personas() -> dict[str, Persona]:
    """A fresh one of each."""
    all_of_them = [
        Persona("eos", "Ethernet1", "Ethernet2", _eos, "% Invalid input\n", 1, ""),
        Persona("nxos", "Ethernet1/1", "Ethernet1/2", _nxos, "% Invalid command at '^' marker.\n", 16,
                "User Access Verification\n"),
        Persona("junos", "xe-0/0/0", "xe-0/0/1", _junos, "error: unknown command: foo\n", 0, "Authorized use only!\n"),
        Persona("sonic", "Ethernet0", "Ethernet4", _sonic, "bash: foo: command not found\n", 127,
                "Debian GNU/Linux 12 \\n \\l\n"),
        Persona("cumulus", "swp1", "swp2", _cumulus, "-bash: foo: command not found\n", 127,
                "Welcome to NVIDIA Cumulus\n"),
    ]  # fmt: skip
    return {persona.type: persona for persona in all_of_them}

"""What Neutron's networks, subnets and ports are at the controller: names and contents, pure functions.

The id of an object is Neutron's own, its name the owner's word and that id: both are known before anything is asked,
so that a request can be repeated and a name never collides with that of a tenant's choice, which need not be unique.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]

NETWORK = "virtual-network"
IPAM = "network-ipam"
PORT = "virtual-machine-interface"
ADDRESS = "instance-ip"
GROUP = "virtual-port-group"
INTERFACE = "physical-interface"
PROJECT = "project"

BAREMETAL = "baremetal"
BAREMETAL_OWNER = "baremetal:none"
"""The owner by which the controller knows a server's interface."""
DNS_OPTION = "6"
"""DHCP option of the name servers."""
READ_ONLY, EVERYTHING = 5, 7
"""perms2's bits: reading and referring; that and writing, which is what the controller takes for shared."""
WITHOUT_PROJECT = "default-project"
"""Holds what Neutron gives to no project; every controller has it."""


def name_of(owner: str, neutron_id: str) -> str:
    """The last part of the name of the object that stands for it."""
    return f"{owner}-{neutron_id}"


def owned_id(owner: str, fq_name: Sequence[str]) -> str | None:
    """Neutron's id in such a name; None for an object that this owner has not made."""
    head, dash, rest = fq_name[-1].partition("-") if fq_name else ("", "", "")
    if head != owner or not dash:
        return None
    try:
        return str(uuid.UUID(rest))
    except ValueError:
        return None


def project_uuid(project_id: str) -> str:
    """The controller's id of a Keystone project: the same number, with dashes. Raises ValueError when it is none."""
    return str(uuid.UUID(project_id))


def project(domain: str, project_id: str) -> Object:
    """A project that the controller has not taken over from Keystone yet; its name is the id, the only one known."""
    return {
        "uuid": project_uuid(project_id),
        "fq_name": [domain, project_id],
        "parent_type": "domain",
        "display_name": project_id,
    }


def vlan_of(segments: Iterable[Mapping[str, Any]]) -> tuple[int, str] | None:
    """VLAN and physical network of a network's first VLAN segment; None: it has none, so no server can join it."""
    for segment in segments:
        if segment.get("network_type") == "vlan" and segment.get("segmentation_id"):
            return int(segment["segmentation_id"]), str(segment.get("physical_network") or "")
    return None


def network(
    network: Mapping[str, Any], segments: Iterable[Mapping[str, Any]], parent: Sequence[str], owner: str
) -> Object:
    """A virtual-network; private unless Neutron shares it."""
    vlan = vlan_of(segments)
    provider = {} if vlan is None else {"segmentation_id": vlan[0], "physical_network": vlan[1]}
    shared = bool(network.get("shared"))
    everybody = EVERYTHING if shared else READ_ONLY if network.get("router:external") else 0
    return {
        "uuid": network["id"],
        "fq_name": [*parent, name_of(owner, network["id"])],
        "parent_type": "project",
        **network_changes(network),
        "is_shared": shared,
        "perms2": {
            "owner": _bare(network.get("project_id")),
            "owner_access": EVERYTHING,
            "global_access": everybody,
            "share": [],
        },
        **({"provider_properties": provider} if provider else {}),
    }


def network_changes(network: Mapping[str, Any]) -> Object:
    """What may change of a virtual-network without touching who may use it."""
    return {
        "display_name": network.get("name") or network["id"],
        "router_external": bool(network.get("router:external")),
        "id_perms": {"enable": bool(network.get("admin_state_up", True))},
    }


def ipam(subnet: Mapping[str, Any], parent: Sequence[str], owner: str) -> Object:
    """A network-ipam for one subnet alone: a subnet comes and goes by one reference, which nobody else writes."""
    return {
        "uuid": subnet["id"],
        "fq_name": [*parent, name_of(owner, subnet["id"])],
        "parent_type": "project",
        **ipam_changes(subnet),
    }


def ipam_changes(subnet: Mapping[str, Any]) -> Object:
    """What may change of a network-ipam: its name and the name servers."""
    servers = [str(one) for one in subnet.get("dns_nameservers") or []]
    option = {"dhcp_option_name": DNS_OPTION, "dhcp_option_value": " ".join(servers)}
    return {
        "display_name": subnet.get("name") or subnet["id"],
        "network_ipam_mgmt": {
            "ipam_method": "dhcp",
            "dhcp_option_list": {"dhcp_option": [option] if servers else []},
        },
    }


def subnet_attribute(subnet: Mapping[str, Any]) -> Object:
    """The attribute of the reference from a virtual-network to the network-ipam: the subnet itself.

    The controller's own name server shares the gateway's address; it would take another one out of the pool, of which
    Neutron would not know. Servers ask the name servers that Neutron names, by DHCP.
    """
    prefix, length = str(subnet["cidr"]).split("/")
    # A subnet without a gateway says so; the controller would choose one otherwise.
    none = "::" if ":" in prefix else "0.0.0.0"  # noqa: S104
    return {
        "ipam_subnets": [
            {
                "subnet": {"ip_prefix": prefix, "ip_prefix_len": int(length)},
                "subnet_uuid": subnet["id"],
                "subnet_name": subnet.get("name") or subnet["id"],
                "default_gateway": str(subnet.get("gateway_ip") or none),
                **({"dns_server_address": str(subnet["gateway_ip"])} if subnet.get("gateway_ip") else {}),
                "enable_dhcp": bool(subnet.get("enable_dhcp", True)),
                "addr_from_start": True,
                "allocation_pools": [
                    {"start": str(pool["start"]), "end": str(pool["end"])} for pool in subnet["allocation_pools"]
                ],
                "host_routes": {
                    "route": [
                        {"prefix": str(route["destination"]), "next_hop": str(route["nexthop"])}
                        for route in subnet.get("host_routes") or []
                    ]
                },
            }
        ]
    }


def same_subnet(wanted: Mapping[str, Any], present: Mapping[str, Any] | None) -> bool:
    """Whether the controller's attribute says what ours would; what it adds by itself does not count."""
    subnets = (present or {}).get("ipam_subnets") or []
    if len(subnets) != 1 or not isinstance(subnets[0], Mapping):
        return False
    [ours] = wanted["ipam_subnets"]
    return all(same(value, subnets[0].get(key)) for key, value in ours.items())


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same; the order in a list does not count, an absent list is an empty one."""
    return bool(_plain(one) == _plain(other)) or not (_plain(one) or _plain(other))


def port(port: Mapping[str, Any], network_name: Sequence[str], parent: Sequence[str], owner: str) -> Object:
    """A virtual-machine-interface that is on no switch port yet."""
    return {
        "uuid": port["id"],
        "fq_name": [*parent, name_of(owner, port["id"])],
        "parent_type": "project",
        "virtual_network_refs": [{"to": list(network_name), "uuid": port["network_id"]}],
        **port_changes(port),
        "virtual_machine_interface_bindings": bindings(port, [], None, fabric=""),
    }


def port_changes(port: Mapping[str, Any]) -> Object:
    """What may change of an interface beside its place."""
    return {
        "display_name": port.get("name") or port["id"],
        "virtual_machine_interface_mac_addresses": {"mac_address": [port["mac_address"]]},
        "virtual_machine_interface_device_owner": device_owner(port),
        "id_perms": {"enable": bool(port.get("admin_state_up", True))},
    }


def device_owner(port: Mapping[str, Any]) -> str:
    """Who the interface belongs to, in the controller's words."""
    return BAREMETAL_OWNER if is_baremetal(port) else str(port.get("device_owner") or "")


def is_baremetal(port: Mapping[str, Any]) -> bool:
    """Whether a server's NIC is meant, which only a switch port can connect."""
    return port.get("binding:vnic_type") == BAREMETAL


def links_of(port: Mapping[str, Any]) -> list[dict[str, str]]:
    """The switch ports that a port is to be bound to; several for a bond."""
    profile = port.get("binding:profile") or {}
    links = profile.get("local_link_information") if isinstance(profile, Mapping) else None
    return [dict(link) for link in links or [] if isinstance(link, Mapping)]


def bindings(
    port: Mapping[str, Any],
    links: Sequence[Mapping[str, str]],
    vlan: int | None,
    *,
    fabric: str,
    tagged: bool = False,
    left: bool = False,
) -> dict[str, list[dict[str, str]]]:
    """The map property that binds an interface: to the switch ports in `links` untagged in `vlan`, or to none.

    Without the VLAN the controller lets one switch port into two networks (and says 200), so links demand one; that of
    a `tagged` sub-interface is in a property of its own. An empty profile takes an interface off its switch ports
    (`left`); one that is on none is refused with it.
    """
    pairs = {"vnic_type": str(port.get("binding:vnic_type") or "normal")}
    if port.get("binding:host_id"):
        pairs["host_id"] = str(port["binding:host_id"])
    if links:
        if vlan is None:
            raise ValueError("a binding to a switch port needs a VLAN")
        told = [
            {
                "switch_info": link["switch_info"],
                "switch_id": link.get("switch_id", ""),
                "port_id": link["port_id"].replace(":", "_"),
                "fabric": fabric,
            }
            for link in links
        ]
        pairs["vnic_type"] = BAREMETAL
        pairs["profile"] = json.dumps({"local_link_information": told})
        if not tagged:
            pairs["tor_port_vlan_id"] = str(vlan)
    elif left:
        pairs["profile"] = "{}"
    return {"key_value_pair": [{"key": key, "value": value} for key, value in pairs.items()]}


def interface_name(system: str, link: Mapping[str, str]) -> list[str]:
    """The full name of the physical-interface at the end of a link; the controller writes a colon as `_`."""
    return [system, link["switch_info"], link["port_id"].replace(":", "_")]


def address(
    uuid_: str, name: str, network_uuid: str, network_name: Sequence[str], subnet_id: str, family: int,
    wanted: str | None = None,
) -> Object:  # fmt: skip
    """An instance-ip in one subnet, of `family` 4 or 6: the address `wanted`, or the next that is free.

    The family is always said: when a network's IPv4 addresses run out, the controller gives an IPv6 one otherwise.
    """
    content: Object = {
        "uuid": uuid_,
        "fq_name": [name],
        "display_name": name,
        "virtual_network_refs": [{"to": list(network_name), "uuid": network_uuid}],
        "instance_ip_family": f"v{family}",
        "subnet_uuid": subnet_id,
    }
    if wanted is not None:
        content["instance_ip_address"] = wanted
    return content


def references(content: Mapping[str, Any], kind: str) -> list[str]:
    """Ids of the objects of `kind` that an object refers to."""
    return [str(one["uuid"]) for one in content.get(f"{kind.replace('-', '_')}_refs") or []]


def back_references(content: Mapping[str, Any], kind: str) -> list[str]:
    """Ids of the objects of `kind` that refer to an object."""
    return [str(one["uuid"]) for one in content.get(f"{kind.replace('-', '_')}_back_refs") or []]


def macs(content: Mapping[str, Any]) -> list[str]:
    """The MAC addresses of an interface."""
    return [str(mac) for mac in (content.get("virtual_machine_interface_mac_addresses") or {}).get("mac_address") or []]


def bound_vlan(content: Mapping[str, Any]) -> int | None:
    """The VLAN that an interface's bindings ask for."""
    value = binding(content, "tor_port_vlan_id")
    return int(value) if value and value.isdigit() else None


def tag_of(content: Mapping[str, Any]) -> int | None:
    """The VLAN tag of a sub-interface; None: it is none."""
    tag = (content.get("virtual_machine_interface_properties") or {}).get("sub_interface_vlan_tag")
    return int(tag) if tag else None


def binding(content: Mapping[str, Any], key: str) -> str | None:
    """One value of an interface's bindings."""
    pairs = (content.get("virtual_machine_interface_bindings") or {}).get("key_value_pair") or []
    return next((str(pair.get("value")) for pair in pairs if pair.get("key") == key), None)


def _bare(project_id: Any) -> str:
    return str(project_id or "").replace("-", "")


def _plain(value: Any) -> Any:
    """For comparing: an absent list is an empty one, in any order."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if _plain(inner)}
    if isinstance(value, list):
        return sorted((_plain(inner) for inner in value), key=repr)
    return value

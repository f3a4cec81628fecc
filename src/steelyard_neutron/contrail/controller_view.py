"""What this owner has at the controller, read for a comparison by bulk lists, and whether it is what Neutron says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard_neutron.contrail import group_objects, objects
from steelyard_neutron.contrail.mirror import Mirror
from steelyard_neutron.contrail.parts import segments_of


@dataclass(frozen=True)
class ControllerView:
    """What this owner has at the controller, by Neutron's ids."""

    networks: Mapping[str, Mapping[str, Any]]
    subnets: Mapping[str, Mapping[str, Any]]
    security_groups: Mapping[str, Mapping[str, Any]]
    ports: Mapping[str, Mapping[str, Any]]
    addresses: Mapping[tuple[str, str], Mapping[str, Any]]
    """By subnet and address."""
    places: Mapping[str, frozenset[tuple[str, ...]]]
    """Port -> names of the physical interfaces of its port groups."""
    foreign_macs: Mapping[tuple[str, str], str]
    """Network and MAC address -> an interface of somebody else's that has it."""


def read_controller(mirror: Mirror) -> ControllerView:
    """Everything, in six lists."""
    controller, owner = mirror.controller, mirror.owner

    def owned(listed: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        return {one["uuid"]: one for one in listed if objects.owned_id(owner, one.get("fq_name") or []) == one["uuid"]}

    def mine(kind: str, *fields: str) -> dict[str, Mapping[str, Any]]:
        return owned(controller.every(kind, *fields))

    interfaces_there = controller.every(
        objects.PORT, "display_name", "virtual_network_refs", "virtual_machine_interface_mac_addresses",
        "virtual_machine_interface_device_owner", "virtual_machine_interface_bindings",
        "virtual_machine_interface_properties", group_objects.FIELD,
    )  # fmt: skip
    ports = owned(interfaces_there)
    foreign_macs = {
        (network, mac.lower()): one["uuid"]
        for one in interfaces_there
        if one["uuid"] not in ports
        for network in objects.references(one, objects.NETWORK)
        for mac in objects.macs(one)
    }
    places: dict[str, frozenset[tuple[str, ...]]] = {}
    for group in controller.every(objects.GROUP, "physical_interface_refs", "virtual_machine_interface_refs"):
        interfaces = frozenset(tuple(one["to"]) for one in group.get("physical_interface_refs") or [])
        for port_id in objects.references(group, objects.PORT):
            if port_id in ports:
                places[port_id] = places.get(port_id, frozenset()) | interfaces
    return ControllerView(
        networks=mine(
            objects.NETWORK, "display_name", "is_shared", "router_external", "provider_properties",
            "network_ipam_refs",
        ),
        subnets=mine(objects.IPAM, "display_name", "network_ipam_mgmt"),
        security_groups=mine(group_objects.KIND, "display_name", "security_group_entries"),
        ports=ports,
        addresses={
            (str(one.get("subnet_uuid")), str(one.get("instance_ip_address"))): one
            for one in mine(
                objects.ADDRESS, "instance_ip_address", "subnet_uuid", "virtual_machine_interface_refs"
            ).values()
        },
        places=places,
        foreign_macs=foreign_macs,
    )  # fmt: skip


def same_network(network: Mapping[str, Any], present: Mapping[str, Any] | None) -> bool:
    """Name, sharing and VLAN."""
    if present is None:
        return False
    vlan = objects.vlan_of(segments_of(network))
    provider = present.get("provider_properties") or {}
    return (
        present.get("display_name") == (network.get("name") or network["id"])
        and bool(present.get("is_shared")) == bool(network.get("shared"))
        and bool(present.get("router_external")) == bool(network.get("router:external"))
        and (vlan is None or (provider.get("segmentation_id"), provider.get("physical_network")) == vlan)
    )


def same_subnet(subnet: Mapping[str, Any], controller: ControllerView) -> bool:
    """The subnet itself and its name servers."""
    ipam = controller.subnets.get(subnet["id"])
    network = controller.networks.get(subnet["network_id"])
    if ipam is None or network is None:
        return False
    attribute = next(
        (one.get("attr") for one in network.get("network_ipam_refs") or [] if one["uuid"] == subnet["id"]), None
    )
    wanted = objects.ipam_changes(subnet)
    return objects.same_subnet(objects.subnet_attribute(subnet), attribute) and all(
        objects.same(value, ipam.get(key)) for key, value in wanted.items()
    )


def same_port(port: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    """Name, MAC address, owner and security groups."""
    wanted = objects.port_changes(port)
    return group_objects.same_groups(port, present) and all(
        objects.same(value, present.get(key)) for key, value in wanted.items() if key != "id_perms"
    )

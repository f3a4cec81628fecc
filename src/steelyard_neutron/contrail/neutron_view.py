"""What Neutron has, read for a comparison by bulk lists."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from neutron.objects import ipam as ipam_objects
from neutron.objects import trunk as trunk_objects
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory

from steelyard_neutron.contrail import objects, security_groups
from steelyard_neutron.contrail.parts import segments_of


@dataclass(frozen=True)
class NeutronView:
    """Networks, subnets, security groups and ports by id, as an administrator sees them."""

    networks: Mapping[str, Mapping[str, Any]]
    subnets: Mapping[str, Mapping[str, Any]]
    security_groups: Mapping[str, Mapping[str, Any]]
    """With what their rules name (group_objects.resolved)."""
    ports: Mapping[str, Mapping[str, Any]]
    allocations: Set[tuple[str, str]]
    """Subnet and address of everything that Neutron has given to somebody."""

    subports: Mapping[str, tuple[str, int]]
    """Port -> its parent and its tag, for the subports of trunks."""

    def vlan(self, network_id: str) -> int | None:
        """The VLAN that servers join the network by."""
        network = self.networks.get(network_id)
        vlan = objects.vlan_of(segments_of(network)) if network is not None else None
        return vlan[0] if vlan else None


def read(context: Any) -> NeutronView:
    """Everything, in bulk lists."""
    plugin = directory.get_plugin()
    with db_api.CONTEXT_READER.using(context):
        subnet_of = {one.id: one.neutron_subnet_id for one in ipam_objects.IpamSubnet.get_objects(context)}
        allocations = {
            (subnet_of[one.ipam_subnet_id], str(one.ip_address))
            for one in ipam_objects.IpamAllocation.get_objects(context)
            if one.ipam_subnet_id in subnet_of
        }
        parents = {one.id: one.port_id for one in trunk_objects.Trunk.get_objects(context)}
        subports = {
            one.port_id: (parents[one.trunk_id], int(one.segmentation_id))
            for one in trunk_objects.SubPort.get_objects(context)
            if one.trunk_id in parents
        }
    return NeutronView(
        networks={one["id"]: one for one in plugin.get_networks(context)},
        subnets={one["id"]: one for one in plugin.get_subnets(context)},
        security_groups=security_groups.every(context),
        ports={one["id"]: one for one in plugin.get_ports(context)},
        allocations=allocations,
        subports=subports,
    )


def is_allocated(context: Any, subnet_id: str, address: str) -> bool:
    """Whether Neutron has given the address to somebody."""
    with db_api.CONTEXT_READER.using(context):
        return any(
            ipam_objects.IpamAllocation.objects_exist(context, ipam_subnet_id=one.id, ip_address=address)
            for one in ipam_objects.IpamSubnet.get_objects(context, neutron_subnet_id=subnet_id)
        )

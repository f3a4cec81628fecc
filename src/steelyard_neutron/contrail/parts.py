"""The parts as the two drivers share them, and what they ask Neutron's own database."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neutron.objects import network as network_objects
from neutron.objects import ports as port_objects
from neutron.objects import trunk as trunk_objects
from neutron_lib import constants
from neutron_lib import exceptions as n_exc
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory

from steelyard_neutron.contrail import objects, settings
from steelyard_neutron.contrail.addresses import Addresses
from steelyard_neutron.contrail.mirror import Mirror
from steelyard_neutron.contrail.switch_ports import Subport, SwitchPorts


@dataclass(frozen=True)
class Parts:
    """One set per process."""

    mirror: Mirror
    addresses: Addresses
    switch_ports: SwitchPorts


@functools.cache
def parts() -> Parts:
    """Made when first used, from the section `[contrail]`."""
    options = settings.options()
    mirror = Mirror(settings.controller(), options.owner, options.domain)
    return Parts(mirror, Addresses(mirror), SwitchPorts(mirror, options.fabric, options.global_system_config))


def is_bound_here(port: Mapping[str, Any]) -> bool:
    """Whether Neutron says that the port is bound to switch ports."""
    return (
        objects.is_baremetal(port)
        and port.get(portbindings.VIF_TYPE) == portbindings.VIF_TYPE_OTHER
        and bool(objects.links_of(port))
    )


def is_live(context: Any, port_id: str) -> bool:
    """Whether Neutron has such a port, bound to a switch port; or as a sub-interface of one that is."""
    admin = context.elevated()
    with db_api.CONTEXT_READER.using(admin):
        subport = trunk_objects.SubPort.get_object(admin, port_id=port_id)
        trunk = trunk_objects.Trunk.get_object(admin, id=subport.trunk_id) if subport is not None else None
    try:
        return is_bound_here(stored_port(context, trunk.port_id if trunk is not None else port_id))
    except n_exc.PortNotFound:
        return False


def subports_of(context: Any, port_id: str) -> list[Subport]:
    """The sub-interfaces of a port; none where it is no trunk's parent."""
    admin = context.elevated()
    with db_api.CONTEXT_READER.using(admin):
        trunk = trunk_objects.Trunk.get_object(admin, port_id=port_id)
    return [as_subport(admin, one.port_id, one.segmentation_id) for one in trunk.sub_ports] if trunk is not None else []


def as_subport(context: Any, port_id: str, tag: int) -> Subport:
    """A subport with its port and its network's VLAN. Raises PortNotFound."""
    port = stored_port(context, port_id)
    admin = context.elevated()
    with db_api.CONTEXT_READER.using(admin):
        segments = network_objects.NetworkSegment.get_objects(admin, network_id=port["network_id"], is_dynamic=False)
        vlan = objects.vlan_of(
            {key: one[key] for key in ("network_type", "physical_network", "segmentation_id")} for one in segments
        )
    return Subport(port, int(tag), vlan[0] if vlan else None)


def stored_port(context: Any, port_id: str) -> dict[str, Any]:
    """A port as it is stored, with what the controller is told of it; within a transaction too. Raises PortNotFound.

    The core plugin would have the trunk plugin add the MAC addresses of subports, for which that opens a transaction of
    its own: on SQLite it would wait for ours.
    """
    admin = context.elevated()
    with db_api.CONTEXT_READER.using(admin):
        port = port_objects.Port.get_object(admin, id=port_id)
        if port is None:
            raise n_exc.PortNotFound(port_id=port_id)
        shown = {
            "id": port.id,
            "name": port.name,
            "network_id": port.network_id,
            "project_id": port.project_id,
            "mac_address": str(port.mac_address),
            "device_owner": port.device_owner,
            "admin_state_up": port.admin_state_up,
            "status": port.status,
            "fixed_ips": [{"subnet_id": one.subnet_id, "ip_address": str(one.ip_address)} for one in port.fixed_ips],
        }
        for binding in port.bindings:
            if binding.status == constants.ACTIVE:
                shown |= {
                    portbindings.VNIC_TYPE: binding.vnic_type,
                    portbindings.VIF_TYPE: binding.vif_type,
                    portbindings.HOST_ID: binding.host,
                    portbindings.PROFILE: binding.profile or {},
                }
    return shown


def addresses_of(port: Mapping[str, Any]) -> list[str]:
    """The instance-ips of a port."""
    return parts().addresses.ids(port["fixed_ips"])


def ensure_network_and_subnets(context: Any, network_id: str) -> None:
    """Make at the controller what it has lost, or has not been told: a network with its subnets."""
    plugin = directory.get_plugin()
    admin = context.elevated()
    network = plugin.get_network(admin, network_id)
    mirror = parts().mirror
    mirror.forget()
    mirror.ensure_network(network, segments_of(network))
    for subnet in plugin.get_subnets(admin, filters={"network_id": [network_id]}):
        mirror.ensure_subnet(subnet)


def segments_of(network: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A network's segments as ML2 shows them to an administrator."""
    listed = network.get("segments") or [network]
    return [
        {
            "network_type": one.get("provider:network_type"),
            "physical_network": one.get("provider:physical_network"),
            "segmentation_id": one.get("provider:segmentation_id"),
        }
        for one in listed
    ]

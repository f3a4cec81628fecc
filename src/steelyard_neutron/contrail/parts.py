"""The parts as the two drivers share them, and what they ask Neutron's own database."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neutron_lib import exceptions as n_exc
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins import directory

from steelyard_neutron.contrail import objects, settings
from steelyard_neutron.contrail.addresses import Addresses
from steelyard_neutron.contrail.mirror import Mirror
from steelyard_neutron.contrail.switch_ports import SwitchPorts


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
    """Whether Neutron has such a port, bound to a switch port."""
    try:
        port = directory.get_plugin().get_port(context.elevated(), port_id)
    except n_exc.PortNotFound:
        return False
    return is_bound_here(port)


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

"""`mechanism_drivers = steelyard_contrail`: networks, subnets, ports and security groups are the controller's too.

A port of a server is bound by the controller, to the switch ports in its binding profile, and ACTIVE only when the
controller has it there. What the controller does not say yes to fails: the creation of a network or port is undone by
ML2, a binding is `binding_failed`, and taking a port off its switch port fails the request that wanted it, before
Neutron has forgotten anything. (ML2 swallows what fails after the commit of an update or removal.)
"""

from __future__ import annotations

import threading
import time
from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins.ml2 import api
from oslo_log import log

from steelyard_neutron.contrail import group_objects, objects, security_groups, settings, transactions, trunk
from steelyard_neutron.contrail.client import Refused, Unreachable
from steelyard_neutron.contrail.parts import (
    addresses_of,
    ensure_network_and_subnets,
    is_bound_here,
    is_live,
    parts,
    subports_of,
)

LOG = log.getLogger(__name__)

REMEMBERED = 10.0
"""Seconds for which a refused binding is refused without asking, as ML2 tries ten times in a row; the next request that
changes the port ends it."""

_PORT_ATTRIBUTES = ("name", "mac_address", "device_owner", "admin_state_up", portbindings.VNIC_TYPE)


class ContrailMechanismDriver(api.MechanismDriver):  # type: ignore[misc]
    """Binds `baremetal` ports. Others get their interface and address; their own drivers bind them."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: dict[str, float] = {}
        """Port -> until when."""
        self._refused_lock = threading.Lock()

    def initialize(self) -> None:
        """Read the configuration, and compare with the controller from when the process serves."""
        parts()
        self._trunks = trunk.ContrailTrunkDriver.create()
        security_groups.subscribe()
        registry.subscribe(_start_comparing, resources.PROCESS, events.AFTER_INIT)

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    # Networks

    def create_network_postcommit(self, context: Any) -> None:
        parts().mirror.ensure_network(context.current, context.network_segments)

    def update_network_postcommit(self, context: Any) -> None:
        parts().mirror.ensure_network(context.current, context.network_segments)

    def delete_network_postcommit(self, context: Any) -> None:
        parts().mirror.remove_network(context.current["id"])

    # Subnets: made and removed by the IPAM driver, in whose hands their addresses are

    def update_subnet_postcommit(self, context: Any) -> None:
        parts().mirror.ensure_subnet(context.current)

    # Ports

    def create_port_postcommit(self, context: Any) -> None:
        port = context.current
        addresses = addresses_of(port)
        security_groups.ensure_for(context.plugin_context, port)
        try:
            parts().mirror.ensure_port(port, addresses)
        except Refused as error:
            if error.status not in (400, 404):
                raise
            LOG.warning("%s; network %s is made anew", error, port["network_id"])
            ensure_network_and_subnets(context.plugin_context, port["network_id"])
            parts().mirror.ensure_port(port, addresses)

    def update_port_precommit(self, context: Any) -> None:
        """Off the switch port while the request can still fail."""
        self._forget_refusal(context.current["id"])
        gone = [fixed for fixed in context.original["fixed_ips"] if fixed not in context.current["fixed_ips"]]
        if gone:
            transactions.leave_to_port(context.plugin_context.session, gone)
        if is_bound_here(context.original) and not is_bound_here(context.current):
            parts().switch_ports.release(context.original)

    def update_port_postcommit(self, context: Any) -> None:
        port, original = context.current, context.original
        regrouped = group_objects.groups_of(port) != group_objects.groups_of(original)
        if regrouped or any(port.get(name) != original.get(name) for name in _PORT_ATTRIBUTES):
            security_groups.ensure_for(context.plugin_context, port)
            parts().mirror.change_port(port)
        if port.get("fixed_ips") != original.get("fixed_ips"):
            parts().mirror.keep_addresses(port["id"], port["fixed_ips"], addresses_of(port))

        if is_bound_here(port) != is_bound_here(original):
            trunk.report_status(context.plugin_context, subports_of(context.plugin_context, port["id"]), port)

    def delete_port_precommit(self, context: Any) -> None:
        """Off the switch port while the request can still fail; a port that was never bound is on none."""
        port = context.current
        if objects.is_baremetal(port) and port.get(portbindings.VIF_TYPE) != portbindings.VIF_TYPE_UNBOUND:
            parts().switch_ports.release(port)
        transactions.leave_to_port(context.plugin_context.session, port["fixed_ips"])

    def delete_port_postcommit(self, context: Any) -> None:
        parts().mirror.remove_port(context.current["id"])

    def bind_port(self, context: Any) -> None:
        """Bind at the controller and read back; a refusal leaves the port to `binding_failed`.

        ML2 may throw the result away when the port changes meanwhile: the next comparison takes it off again.
        """
        port = context.current
        links = objects.links_of(port)
        if not objects.is_baremetal(port) or not links:
            return
        segment = next((one for one in context.segments_to_bind if objects.vlan_of([one])), None)
        if segment is None:
            LOG.error("Port %s cannot be bound: its network has no VLAN", port["id"])
            return
        if self._was_refused(port["id"]):
            return
        plugin_context = context.plugin_context
        try:
            security_groups.ensure_for(plugin_context, port)
            parts().switch_ports.bind(
                port,
                int(segment["segmentation_id"]),
                links,
                addresses_of,
                lambda other: is_live(plugin_context, other),
                subports_of(plugin_context, port["id"]),
            )
        except (Refused, Unreachable) as error:
            LOG.error("Port %s is not bound: %s", port["id"], error)
            self._remember_refusal(port["id"])
            return
        context.set_binding(
            segment[api.ID],
            portbindings.VIF_TYPE_OTHER,
            {portbindings.VIF_DETAILS_CONNECTIVITY: portbindings.CONNECTIVITY_L2},
            status=constants.PORT_STATUS_ACTIVE,
        )

    def _was_refused(self, port_id: str) -> bool:
        with self._refused_lock:
            now = time.monotonic()
            self._refused = {one: until for one, until in self._refused.items() if until > now}
            return port_id in self._refused

    def _remember_refusal(self, port_id: str) -> None:
        with self._refused_lock:
            self._refused[port_id] = time.monotonic() + REMEMBERED

    def _forget_refusal(self, port_id: str) -> None:
        with self._refused_lock:
            self._refused.pop(port_id, None)


def _start_comparing(*_: Any, **__: Any) -> None:
    """Where an API process has begun to serve."""
    from steelyard_neutron.contrail.comparing import start

    start(settings.options().sync_interval)

"""Network interface: Ironic's own for Neutron, with every change of a node's networks verified by Steelyard.

Ironic's own goes on when Neutron has taken its request; whether a port was bound, and whether a switch that accepted a
write carries it, it does not look at. This one asks Steelyard after each change, which reads the controller and the
switches back, and fails the step unless both carry exactly what is wanted. What was put on a network that cannot be
verified is taken off it again, as far as that can be done.

A network for an agent is the node's own where Steelyard has segments to lease: before the node is put on any, Steelyard
is asked which. While none is free the node waits, and is on no network.

While a deployed server is off, Steelyard has a Neutron port of its own on each of its NICs. Where Ironic comes to put
the NICs elsewhere (a release, a rebuild, a rescue), those ports must be gone before: two ports bound to one switch port
would take each other's VLAN away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ironic.common import exception, neutron
from ironic.common.i18n import _
from ironic.conf import CONF
from ironic.drivers.modules.network import common
from ironic.drivers.modules.network import neutron as neutron_network
from openstack import exceptions as sdk_exceptions
from oslo_log import log

from steelyard_ironic import NOTES, PARKED, QUARANTINE_PORT
from steelyard_ironic.asking import SteelyardRefused, ask

LOG = log.getLogger(__name__)

ROLES: Mapping[Any, str] = {
    common.NetType.PROVISIONING: "provisioning",
    common.NetType.CLEANING: "cleaning",
    common.NetType.INSPECTION: "inspection",
    common.NetType.RESCUING: "rescue",
    common.NetType.SERVICING: "servicing",
}
"""Ironic's networks, and what Steelyard calls them."""
TENANT = "tenant"
EXHAUSTED = "segments_exhausted"
"""Code of Steelyard's refusal that means: not yet."""
SEGMENTS = "segments"
"""Key of the notes: the network that a node has to itself, by what it is on it for."""

Nic = dict[str, Any]
"""Where a NIC must be: its `mac`, and the `port_id` and `network_id` of Neutron's, or neither."""


def leave_quarantine(task: Any) -> None:
    """No NIC of the node is on the quarantine network any more, and Steelyard puts none there meanwhile.

    Steelyard is asked to let go of a node with its mark; where it is away, nobody there moves anything. The ports are
    removed in any case, those of a node that has lost its mark too: each would be a second network on a NIC. Raises
    NetworkError when one cannot be.
    """
    node = task.node
    if PARKED in node.extra:
        try:
            ask(node.uuid, "network-gate", "change networks")
        except SteelyardRefused as refused:
            LOG.warning("Removing the quarantine ports without Steelyard: %s", refused)
    client = neutron.get_client(context=task.context, auth_from_config=True)
    try:
        for port in list(client.ports(device_id=node.uuid, name=QUARANTINE_PORT)):
            LOG.info("Node %s: removing quarantine port %s", node.uuid, port.id)
            client.delete_port(port.id, ignore_missing=True)
    except sdk_exceptions.SDKException as error:
        raise exception.NetworkError(
            _("Could not remove the quarantine ports of node %(node)s: %(error)s") % {"node": node.uuid, "error": error}
        ) from error
    finally:
        client.close()


def verify(task: Any, role: str, nics: Sequence[Nic], *, joined: bool) -> None:
    """Return when controller and switches carry exactly this. Raises SteelyardRefused, also when nobody can say."""
    if not nics:
        return
    words = f"{'join' if joined else 'leave'} its {role} network"
    ask(
        task.node.uuid,
        "flip-gate",
        words,
        body={"role": role, "joined": joined, "nics": list(nics)},
        timeout=CONF.steelyard.flip_gate_timeout,
        patience=CONF.steelyard.flip_gate_patience,
    )


def ramdisk_nics(task: Any) -> list[Any]:
    """The ports that Ironic puts on a ramdisk's network (ironic/common/neutron.py, add_ports_to_network)."""
    every = CONF.neutron.add_all_ports or "pxe_boot" not in task.driver.boot.capabilities
    return [port for port in task.ports if every or port.pxe_enabled]


def tenant_nics(task: Any) -> list[Nic]:
    """Every NIC with the tenant's Neutron port that belongs on it; those of a bond with the bond's."""
    bonds = {bond.id: bond.internal_info.get(common.NetType.TENANT.vif_key) for bond in task.portgroups}
    nics = []
    for port in task.ports:
        own = port.internal_info.get(common.NetType.TENANT.vif_key)
        vif = bonds.get(port.portgroup_id) if port.portgroup_id else own
        if vif:
            nics.append({"mac": port.address, "port_id": vif})
    return nics


def left_on(ports: Sequence[Any], gone: str | None = None) -> list[Nic]:
    """Where these NICs may be now: on nothing, or on a ramdisk's network that an earlier failure left them on.

    `gone`: the kind of port (its key) that has just been removed.
    """
    nics = []
    for port in ports:
        info = port.internal_info
        kept = [info[kind.vif_key] for kind in ROLES if kind.vif_key != gone and info.get(kind.vif_key)]
        nics.append({"mac": port.address, **({"port_id": kept[0]} if kept else {})})
    return nics


def own_network(task: Any, network: str, role: str) -> str:
    """The network that the node has to itself, as Steelyard says; where it has none to lease, `network`.

    Waits while none is free. Raises SteelyardRefused when it has waited long enough, and when nobody can say.
    """
    said = ask(
        task.node.uuid,
        "segment",
        f"join a {role} network",
        body={"role": role},
        timeout=CONF.steelyard.flip_gate_timeout,
        patience=CONF.steelyard.flip_gate_patience,
        waits=(EXHAUSTED, CONF.steelyard.segment_patience),
    )
    if "network_id" not in said:
        what = _("join a %s network") % role
        raise SteelyardRefused(node=task.node.uuid, what=what, reason=_("Steelyard did not say which network"))
    own = said["network_id"]
    note_segment(task.node, role, own)
    return str(own) if own else network


def noted_segment(node: Any, role: str) -> str | None:
    """The segment that the node was put on for this role, and may be on."""
    segments = (node.driver_internal_info.get(NOTES) or {}).get(SEGMENTS) or {}
    return segments.get(role)


def note_segment(node: Any, role: str, segment: str | None) -> None:
    """Written down before a port is made there, so that it is found there whatever happens. None: it is on none."""
    if noted_segment(node, role) == segment:
        return
    notes = node.driver_internal_info.get(NOTES) or {}
    segments = {kept: id for kept, id in (notes.get(SEGMENTS) or {}).items() if kept != role}
    node.set_driver_internal_info(NOTES, {**notes, SEGMENTS: {**segments, **({role: segment} if segment else {})}})
    node.save()


class SteelyardNetwork(neutron_network.NeutronNetwork):  # type: ignore[misc]
    """Networks of a node, each change verified, whose NICs Steelyard may have put into quarantine."""

    def vif_attach(self, task: Any, vif_info: Any) -> None:
        """No server's port goes on a NIC whose switch port nobody knows: that could never be verified.

        Ironic passes over such NICs for its own interface alone (neutron.validate_port_info).
        """
        every = task.ports
        task.ports = [port for port in every if port.local_link_connection or port.extra.get("client-id")]
        try:
            super().vif_attach(task, vif_info)
        finally:
            task.ports = every

    def _add_network(self, task: Any, network: str, security_groups: Any, net_type: Any) -> Any:
        leave_quarantine(task)
        network = own_network(task, network, ROLES[net_type])
        vifs = super()._add_network(task, network, security_groups, net_type)
        # A NIC for which Ironic could make no port is among them: Ironic only warns of it.
        nics = [
            {"mac": port.address, "network_id": network, **({"port_id": vifs[port.uuid]} if port.uuid in vifs else {})}
            for port in ramdisk_nics(task)
        ]
        try:
            verify(task, ROLES[net_type], nics, joined=True)
        except SteelyardRefused:
            self._roll_back(task, network, net_type)
            raise
        return vifs

    def _roll_back(self, task: Any, network: str, net_type: Any) -> None:
        """The refusal is what counts; a port that cannot be removed either is in the log."""
        try:
            super()._remove_network(task, network, net_type)
        except exception.IronicException:
            LOG.exception("Node %s: could not take it off its %s network", task.node.uuid, ROLES[net_type])

    def _remove_network(self, task: Any, network: str, net_type: Any) -> Any:
        leave_quarantine(task)
        concerned = [port for port in task.ports if net_type.vif_key in port.internal_info]
        role = ROLES[net_type]
        done = super()._remove_network(task, noted_segment(task.node, role) or network, net_type)
        verify(task, role, left_on(concerned, net_type.vif_key), joined=False)
        note_segment(task.node, role, None)
        return done

    def configure_tenant_networks(self, task: Any) -> None:
        leave_quarantine(task)
        super().configure_tenant_networks(task)
        try:
            verify(task, TENANT, tenant_nics(task), joined=True)
        except SteelyardRefused:
            self._take_off(task)
            raise

    def _take_off(self, task: Any) -> None:
        """As `_roll_back`."""
        try:
            super().unconfigure_tenant_networks(task)
        except exception.IronicException:
            LOG.exception("Node %s: could not take it off its tenant's networks", task.node.uuid)

    def unconfigure_tenant_networks(self, task: Any) -> None:
        leave_quarantine(task)
        macs = {nic["mac"] for nic in tenant_nics(task)}
        super().unconfigure_tenant_networks(task)
        verify(task, TENANT, left_on([port for port in task.ports if port.address in macs]), joined=False)

"""Parking: which NICs of a server that is off are in quarantine, and what is to be done about it now. Pure.

The mark on the node (`extra.steelyard_parked`, beside Steelyard's other notes, which are replaced as a whole) is
written before the first NIC leaves the tenant's network. It says what was taken off, so that a crash in the middle is
taken up again, and it is what a conductor with Steelyard's interfaces looks at before it gives the server power.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from steelyard.isolation.model import Leases, PowerOffPolicy, Role
from steelyard.lifecycle.model import IN_TRANSITION, Phase, phase
from steelyard.nouns import IRONICS, Instance, NetworkPort, Node, NodePort, SwitchLink

MARK: Final = "steelyard_parked"
"""Key of a node's `extra`. The same is in steelyard_ironic, which imports nothing of ours."""
PORT_NAME: Final = "steelyard-quarantine"
"""Name of our own ports on the quarantine network. The same is in steelyard_ironic."""
INTERFACE: Final = "steelyard"
"""Name of steelyard_ironic's network interface."""

_POWERING_ON: Final = frozenset({
    "powering-on", "rebooting", "reboot_pending", "reboot_started", "rebooting_hard", "reboot_pending_hard",
    "reboot_started_hard",
})  # fmt: skip
"""Nova's task states (nova/compute/task_states.py) that end with power on."""


@dataclass(frozen=True, slots=True)
class Parked:
    """One NIC that was taken off a tenant's network."""

    port_id: str
    """The tenant's port, which stays reserved."""
    mac: str
    """Of the NIC that it was on."""


def parked(node: Node) -> tuple[Parked, ...] | None:
    """What the node's mark says was taken off; None when there is no mark. A mark that makes no sense is an empty one:
    the ports themselves tell where they belong, by their owner and their MAC."""
    mark = node.extra.get(MARK)
    if mark is None:
        return None
    nics = mark.get("nics") if isinstance(mark, Mapping) else None
    return tuple(
        Parked(nic["port"], nic["mac"].lower())
        for nic in (nics if isinstance(nics, list) else [])
        if isinstance(nic, Mapping) and isinstance(nic.get("port"), str) and isinstance(nic.get("mac"), str)
    )


def mark_of(nics: Iterable[Parked], *, now: datetime) -> dict[str, object]:
    """The mark to write. It changes at each writing, so that the bare metal service takes its lock for it."""
    return {"at": now.isoformat(), "nics": [{"port": nic.port_id, "mac": nic.mac} for nic in nics]}


def tenant_ports(node: Node, attachments: Iterable[NetworkPort]) -> list[NetworkPort]:
    """The ports of the instance that is on the node, bound or not."""
    return [port for port in attachments if port.is_of(node.instance_id)]


def own_ports(node: Node, attachments: Iterable[NetworkPort]) -> list[NetworkPort]:
    """Steelyard's own ports by which the node's NICs are in quarantine."""
    return [
        port
        for port in attachments
        if port.device_id == node.id and port.name == PORT_NAME and port.device_owner == IRONICS
    ]


def to_park(node: Node, nics: Iterable[NodePort], attachments: Sequence[NetworkPort]) -> list[Parked]:
    """Every NIC that carries a tenant's port, or did when the mark was written."""
    known = {nic.mac for nic in nics}
    ports = {port.id: port for port in tenant_ports(node, attachments)}
    found = {each.mac: each for each in parked(node) or () if each.port_id in ports and each.mac in known}
    placed = {each.port_id for each in found.values()}
    for port in ports.values():
        if port.mac in known and port.id not in placed:
            found.setdefault(port.mac, Parked(port.id, port.mac))
    return [found[mac] for mac in sorted(found)]


def has_own_segment(node: Node) -> bool:
    """Whether Ironic asks for a segment before it puts the node on a network for an agent."""
    return node.network_interface == INTERFACE


def in_quarantine(
    node: Node, nics: Sequence[NodePort], attachments: Sequence[NetworkPort], leases: Leases | None = None
) -> bool:
    """Whether, for the controller, no port of the tenant is bound and each parked NIC is on the quarantine network: on
    the node's segment, or where none was left for it, on no network."""
    if any(port.host_id is not None for port in tenant_ports(node, attachments)):
        return False
    own = {port.mac: port for port in own_ports(node, attachments)}
    if leases is not None and not leases.sharing:
        segment = leases.by_node.get(node.id)
        if any(port.network_id != segment for port in own.values()):
            return False
        if segment is None:
            return True
    links = {nic.mac: nic.link for nic in nics}
    return all(
        (port := own.get(each.mac)) is not None and port.status == "ACTIVE" and same_place(port.link, links[each.mac])
        for each in to_park(node, nics, attachments)
        if links[each.mac] is not None
    )


def same_place(one: SwitchLink | None, other: SwitchLink | None) -> bool:
    """Whether two cables end in the same switch port."""
    if one is None or other is None:
        return False
    return (one.switch_id.lower(), one.port_id) == (other.switch_id.lower(), other.port_id)


def is_on(port: NetworkPort, link: SwitchLink | None) -> bool:
    """Whether the port is bound to this switch port, as one of a bond's or alone."""
    return any(same_place(each, link) for each in port.links)


class Move(StrEnum):
    """What is to be done with a node's NICs."""

    QUARANTINE = "quarantine"
    TENANT = "tenant"
    CLEAR = "clear"
    """The server is no tenant's any more, or runs again: the mark and ports of ours that were left go."""


def wanted_move(
    node: Node,
    instance: Instance | None,
    *,
    policy: PowerOffPolicy,
    nics: Sequence[NodePort],
    attachments: Sequence[NetworkPort],
    failed_to: str | None = None,
    leases: Leases | None = None,
) -> Move | None:
    """What a look at one node asks for; None: nothing, or not now.

    `failed_to`: the role of a flip that failed and has not succeeded since; it is tried again although the controller
    alone sees nothing wrong. `leases`: of segments, where there is a pool.
    """
    own = bool(own_ports(node, attachments))
    left = own or parked(node) is not None
    found = phase(node, instance)
    if node.provision_state != "active" or node.instance_id is None:
        return Move.CLEAR if left and _at_rest(node, found, own=own) else None
    if becomes_on(node, instance):
        return _back(node, instance, nics, attachments, failed_to) if found is not Phase.QUARANTINED else None
    if node.power_state != "off" or is_busy(node, instance) or found not in (Phase.POWERED_OFF, Phase.QUARANTINED):
        return None
    if policy is PowerOffPolicy.KEEP and found is Phase.POWERED_OFF:
        return _back(node, instance, nics, attachments, failed_to)
    if parked(node) is not None and failed_to != Role.QUARANTINE and in_quarantine(node, nics, attachments, leases):
        return None
    return Move.QUARANTINE


def _back(
    node: Node,
    instance: Instance | None,
    nics: Sequence[NodePort],
    attachments: Sequence[NetworkPort],
    failed_to: str | None,
) -> Move | None:
    """Back to the tenant, as far as it is not done; then the mark can go."""
    own = bool(own_ports(node, attachments))
    if not own and parked(node) is None:
        return None
    if own or failed_to == Role.TENANT or _unbound(node, nics, attachments):
        return Move.TENANT
    return None if is_busy(node, instance) else Move.CLEAR


def becomes_on(node: Node, instance: Instance | None) -> bool:
    """Whether the server has power, or is about to get it."""
    if node.power_state == "on" and node.target_power_state in (None, "power on", "rebooting"):
        return True
    if node.target_power_state is not None:
        return node.target_power_state in ("power on", "rebooting", "soft rebooting")
    return instance is not None and instance.task_state in _POWERING_ON


def is_busy(node: Node, instance: Instance | None) -> bool:
    """Whether somebody is changing the power, or something else, at this moment."""
    return node.target_power_state is not None or (instance is not None and instance.task_state is not None)


def _unbound(node: Node, nics: Sequence[NodePort], attachments: Sequence[NetworkPort]) -> bool:
    """Whether a parked NIC is not back yet, for the controller."""
    ports = {port.id: port for port in attachments}
    return any(ports[each.port_id].host_id is None for each in to_park(node, nics, attachments))


def _at_rest(node: Node, found: Phase, *, own: bool) -> bool:
    """Whether nobody else has the NICs in hand. Our ports must not be removed from under a clean or a rescue: on some
    switches that takes the VLAN of the other port away too."""
    if node.target_power_state is not None or found in IN_TRANSITION:
        return False
    return not (own and found is Phase.RESCUE)

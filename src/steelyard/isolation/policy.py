"""The rules of isolation: which network a NIC must be on, who may attach what to it, what is done about a breach. Pure.

Everything that moves or checks NICs asks here: flips, the views, the check of the fleet, drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from steelyard.nouns import IRONICS, NetworkPort


class Role(StrEnum):
    """What a network is for. `IDLE` is none at all."""

    TENANT = "tenant"
    PROVISIONING = "provisioning"
    CLEANING = "cleaning"
    INSPECTION = "inspection"
    RESCUE = "rescue"
    QUARANTINE = "quarantine"
    IDLE = "idle"


class PowerOffPolicy(StrEnum):
    """Where the NICs of a deployed server go while it is off."""

    KEEP = "keep"
    """They stay on the tenant's networks."""
    QUARANTINE = "quarantine"
    """They leave for the quarantine network until it is powered on again."""


_BY_PHASE: Final[Mapping[str, Role]] = {
    "candidate": Role.IDLE,
    "enrolled": Role.IDLE,
    "manageable": Role.IDLE,
    "inspecting": Role.INSPECTION,
    "cleaning": Role.CLEANING,
    "available": Role.IDLE,
    "deploying": Role.PROVISIONING,
    "active": Role.TENANT,
    "servicing": Role.PROVISIONING,
    "rescue": Role.RESCUE,  # on its way there; see `intended_role`
    "reclaiming": Role.CLEANING,
    "adopted": Role.TENANT,
    "quarantined": Role.IDLE,
    "retired": Role.IDLE,
}
RAMDISK: Final = frozenset({Role.PROVISIONING, Role.CLEANING, Role.INSPECTION, Role.RESCUE})
"""Roles in which an agent runs. It boots by the NICs that Ironic boots from, and Ironic attaches no other one."""


def intended_role(
    phase: str,
    *,
    power_off: PowerOffPolicy = PowerOffPolicy.QUARANTINE,
    state: str = "",
    pxe: bool = True,
    deployed: bool = False,
    power: str | None = None,
) -> Role:
    """The role that the phase (`lifecycle.model.Phase`) demands of a NIC.

    `state` is Ironic's provision state: a rescue ramdisk boots on the rescue network, and once it runs (`rescue`)
    Ironic puts the tenant's networks back under it. `pxe`: whether Ironic boots from the NIC; only such a one is on an
    agent's network. A quarantined server that no tenant has is idle here: on no network at all, which is stricter than
    a quarantine network; one that a tenant has (`deployed`) leaves the tenant's networks as soon as it is off (`power`:
    on, off or None).
    """
    if phase == "powered-off":
        return Role.QUARANTINE if power_off is PowerOffPolicy.QUARANTINE else Role.TENANT
    if phase == "quarantined" and deployed:
        return Role.QUARANTINE if power == "off" else Role.TENANT
    if phase == "rescue" and state == "rescue":
        return Role.TENANT
    role = _BY_PHASE[phase]
    return Role.IDLE if role in RAMDISK and not pxe else role


def may_attach(port: NetworkPort, role: Role, *, node_id: str, instance_id: str | None) -> bool:
    """Whether a port of the controller's may be on a NIC of this role, whatever its network is.

    A tenant's NIC carries a port of the instance that is on the node, and none of Ironic's. An agent's NIC, and one in
    quarantine, carries a port that Ironic or Steelyard made for this very node; while a server is being deployed,
    Ironic's ports may carry the instance's id. An idle NIC carries none.
    """
    if role is Role.IDLE:
        return False
    if role is Role.TENANT:
        return port.is_of(instance_id)
    owners = {owner for owner in (node_id, instance_id) if owner}
    return port.device_owner == IRONICS and port.device_id in owners


class Trouble(StrEnum):
    """What can be wrong with a NIC."""

    FOREIGN = "foreign_attachment"
    """The controller has a port on it that may not be there."""
    CONTROLLER = "controller_differs"
    """The controller does not have it on the network that it must be on."""
    SWITCH = "switch_differs"
    """The switch does not carry what the controller has."""
    UNVERIFIED = "unverified"
    """The switch could not be read."""


class Dealing(StrEnum):
    """What is done about a NIC with which something is wrong."""

    IGNORE = "ignore"
    """Nothing; it is shown, and is no finding."""
    REPORT = "report"
    """It becomes a finding."""
    REPAIR = "repair"
    """It is put right, and proven; what cannot be put right becomes a finding."""
    CONTAIN = "contain"
    """The node goes into quarantine, and it becomes a finding."""


MOST_AT_ONCE: Final = 10
"""Nodes that one run repairs or contains, at most. More that are wrong at once are a fault of another kind, a switch
that answers nonsense or a controller restored from an old backup, which must not take a fleet out of service."""

"""The life cycle of a server: in which phase it is, and what may be done in each. Pure.

A phase is computed from what Ironic and Nova say and stored nowhere; the tables below are the specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from steelyard.errors import Refused
from steelyard.nouns import Instance, Node


class Phase(StrEnum):
    """Where a server is in its life."""

    CANDIDATE = "candidate"
    """Found by a sweep, not a node."""
    ENROLLED = "enrolled"
    """A node whose BMC has not been verified yet, or could not be."""
    MANAGEABLE = "manageable"
    """Its BMC obeys; not clean, offered to nobody."""
    INSPECTING = "inspecting"
    """An agent looks at it from within."""
    CLEANING = "cleaning"
    """Its disks are being erased."""
    AVAILABLE = "available"
    """Clean and free."""
    DEPLOYING = "deploying"
    """An image is being written for a tenant."""
    ACTIVE = "active"
    """A tenant has it, and it runs."""
    POWERED_OFF = "powered-off"
    """A tenant has it, and it is off."""
    SERVICING = "servicing"
    """A tenant has it, and an administrator's agent works on it (firmware, settings)."""
    RESCUE = "rescue"
    """A tenant has it, and it runs a rescue ramdisk."""
    RECLAIMING = "reclaiming"
    """It is being taken back from a tenant."""
    ADOPTED = "adopted"
    """Taken over while it ran; Steelyard has not deployed it."""
    QUARANTINED = "quarantined"
    """Something failed; offered to nobody until an administrator decides."""
    RETIRED = "retired"
    """Out of service for good."""


_BY_STATE: Final[Mapping[str, Phase]] = {
    "enroll": Phase.ENROLLED,
    "verifying": Phase.ENROLLED,
    "manageable": Phase.MANAGEABLE,
    "inspecting": Phase.INSPECTING,
    "inspect wait": Phase.INSPECTING,
    "cleaning": Phase.CLEANING,
    "clean wait": Phase.CLEANING,
    "clean hold": Phase.CLEANING,
    "available": Phase.AVAILABLE,
    "deploying": Phase.DEPLOYING,
    "wait call-back": Phase.DEPLOYING,
    "deploy hold": Phase.DEPLOYING,
    "active": Phase.ACTIVE,
    "servicing": Phase.SERVICING,
    "service wait": Phase.SERVICING,
    "service hold": Phase.SERVICING,
    "rescuing": Phase.RESCUE,
    "rescue wait": Phase.RESCUE,
    "rescue": Phase.RESCUE,
    "unrescuing": Phase.RESCUE,
    "deleting": Phase.RECLAIMING,
    "adopting": Phase.ADOPTED,
}
"""Ironic's provision states (ironic.common.states). What is not in here has failed, and is quarantined."""

WITH_TENANT: Final = frozenset({
    Phase.DEPLOYING, Phase.ACTIVE, Phase.POWERED_OFF, Phase.SERVICING, Phase.RESCUE, Phase.RECLAIMING, Phase.ADOPTED,
})  # fmt: skip
"""Phases in which a tenant's data may be on the disks."""

DEPLOYED: Final = frozenset({Phase.ACTIVE, Phase.POWERED_OFF, Phase.SERVICING, Phase.RESCUE, Phase.ADOPTED})
"""Phases in which a tenant owns the server."""

IN_TRANSITION: Final = frozenset({
    Phase.INSPECTING, Phase.CLEANING, Phase.DEPLOYING, Phase.SERVICING, Phase.RECLAIMING,
})  # fmt: skip
"""Phases that end by themselves."""


def phase(node: Node, instance: Instance | None = None) -> Phase:
    """The phase of a node, given the instance that Nova has on it (None: none, or not known)."""
    found = _BY_STATE.get(node.provision_state, Phase.QUARANTINED)
    if found is Phase.ACTIVE:
        if node.notes.get("adopted"):
            return Phase.ADOPTED
        if instance is not None and instance.task_state == "deleting":
            return Phase.RECLAIMING
        return Phase.POWERED_OFF if node.power_state == "off" else Phase.ACTIVE
    if found is Phase.CLEANING and node.instance_id is not None:
        return Phase.RECLAIMING
    if found is Phase.AVAILABLE and node.instance_id is not None:
        return Phase.DEPLOYING  # Nova has claimed it, Ironic has not begun yet
    if node.retired and found in (Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE):
        return Phase.RETIRED
    return found


def instance_phase(instance: Instance, node: Node | None) -> Phase:
    """The phase of a tenant's server, whose node may not have been chosen yet or may be on its way to the next."""
    if instance.status == "ERROR":
        return Phase.QUARANTINED
    if instance.task_state == "deleting" or instance.status == "DELETED":
        return Phase.RECLAIMING
    if instance.status == "BUILD":
        return Phase.DEPLOYING
    if node is not None and node.instance_id == instance.id:
        return phase(node, instance)
    return Phase.POWERED_OFF if instance.status == "SHUTOFF" else Phase.ACTIVE


def offered(node: Node) -> bool:
    """Whether a tenant may get the node next: clean, free and not held back by anybody."""
    return phase(node) is Phase.AVAILABLE and not node.maintenance and not node.retired


# Power


class Power(StrEnum):
    """What a tenant may ask of a server's power."""

    ON = "on"
    OFF = "off"
    SOFT_OFF = "soft off"
    REBOOT = "reboot"

    @property
    def target(self) -> str:
        """The Nova status that shows that it is done."""
        return "SHUTOFF" if self.power == "off" else "ACTIVE"

    @property
    def power(self) -> str:
        """The power state that shows that it is done: on or off."""
        return "off" if self in (Power.OFF, Power.SOFT_OFF) else "on"


_POWER_STATES: Final = frozenset({"ACTIVE", "SHUTOFF"})


def check_power(instance: Instance, action: Power) -> bool:
    """Whether there is anything to do. Raises `Refused` where power cannot be changed now."""
    if instance.status not in _POWER_STATES or instance.task_state is not None:
        busy = f"is {instance.status.lower()}" + (f" ({instance.task_state})" if instance.task_state else "")
        raise Refused(
            f"Server {instance.name} {busy}; its power can be changed when it is active or shut off.",
            code="server_busy",
            next=f"steelyard server delete {instance.id}"
            if instance.status == "ERROR"
            else f"steelyard server show {instance.id}",
        )
    if action is Power.REBOOT and instance.status == "SHUTOFF":
        raise Refused(
            f"Server {instance.name} is off; it can be powered on, not rebooted.",
            code="server_off",
            next=f"steelyard server power {instance.id} on",
        )
    return action is Power.REBOOT or instance.status != action.target


# Deleting a node


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    next: str
    code: str = "node_busy"


_DELETE_REFUSED: Final[Mapping[Phase, _Refusal]] = {
    Phase.INSPECTING: _Refusal("is being inspected", "openstack baremetal node abort {node}"),
    Phase.CLEANING: _Refusal("is being cleaned", "steelyard node wait {node}"),
    Phase.DEPLOYING: _Refusal("is being deployed for a tenant", "steelyard node show {node}", "node_deployed"),
    Phase.ACTIVE: _Refusal("is deployed", "steelyard server delete {instance} --wait", "node_deployed"),
    Phase.POWERED_OFF: _Refusal(
        "is deployed (and powered off)", "steelyard server delete {instance} --wait", "node_deployed"
    ),
    Phase.SERVICING: _Refusal("is deployed and being serviced", "steelyard node show {node}", "node_deployed"),
    Phase.RESCUE: _Refusal("is deployed and in rescue", "steelyard server delete {instance} --wait", "node_deployed"),
    Phase.RECLAIMING: _Refusal("is being taken back from a tenant", "steelyard node wait {node}"),
    Phase.ADOPTED: _Refusal("runs a tenant's adopted system", "steelyard node show {node}", "node_deployed"),
    Phase.QUARANTINED: _Refusal(
        "is quarantined ({state}), so its disks may hold a tenant's data",
        "steelyard node onboard {candidate}",
        "node_quarantined",
    ),
}


UNOFFERED: Final = frozenset({"manageable", "inspect failed", "clean failed"})
"""Ironic's states at rest in which a node may be deleted if it was never offered to anybody."""


def never_offered(node: Node) -> bool:
    """Whether no tenant can ever have had it: an onboarding vouches for it, and it has not changed its state since."""
    since = node.provision_updated_at
    notes = node.notes
    return since is not None and "offered" not in notes and notes.get("unoffered_since") == since.isoformat()


def unoffered_note(node: Node) -> dict[str, object]:
    """What an onboarding that failed notes on a node at rest of which it knows that it was never offered."""
    since = node.provision_updated_at
    return {"unoffered_since": since.isoformat() if since else None}


def leaving_note(node: Node, operation_id: str) -> dict[str, object]:
    """What a deletion notes on a node under `deleting`: which operation, and since when it is in its present state.

    Anybody may offer the node again after a deletion that failed, and a tenant may get it. Ironic's time of the last
    transition is another one then, so an old note opens nothing.
    """
    since = node.provision_updated_at
    return {"operation": operation_id, "since": since.isoformat() if since else None}


def is_leaving(node: Node, operation_id: str | None = None) -> bool:
    """Whether a deletion took it out of the offer and it has not changed its state since.

    For the deletion itself (`operation_id`) its own note is enough: between its request and its note nobody else acts.
    """
    note = node.notes.get("deleting")
    if not isinstance(note, Mapping):
        return False
    if operation_id is not None and note.get("operation") == operation_id:
        return True
    since = node.provision_updated_at
    return since is not None and note.get("since") == since.isoformat()


def check_deletable(
    node: Node, instance: Instance | None = None, *, onboarding: str | None = None, leaving: str | None = None
) -> None:
    """The rule: a deployed server must be unprovisioned and made available before it can be deleted.

    Allowed: available; never verified (enroll, where no node that was ever managed can be); at rest in a state of
    `UNOFFERED` if it has verifiably never been offered; manageable on its way out by this very rule. Raises `Refused`
    for all else. `onboarding`: the operation that works on it now, which may be cancelled. `leaving`: the deletion that
    asks.
    """
    found = phase(node, instance)
    notes = node.notes
    name = node.name or node.id
    values = {
        "node": name,
        "instance": node.instance_id or (instance.id if instance else "SERVER"),
        "candidate": notes.get("candidate_id") or "CANDIDATE",
        "state": node.provision_state,
    }
    if node.instance_id is not None:
        refusal = _DELETE_REFUSED.get(found) or _DELETE_REFUSED[Phase.ACTIVE]
    elif onboarding is not None and found is not Phase.AVAILABLE:
        doing = found if found in IN_TRANSITION else node.provision_state
        refusal = _Refusal(f"is being onboarded ({doing})", f"steelyard operation cancel {onboarding}")
    elif found in (Phase.ENROLLED, Phase.AVAILABLE) or (
        found is Phase.RETIRED and node.provision_state != "manageable"
    ):
        if node.provision_state != "verifying":
            return
        refusal = _Refusal("is being verified", "steelyard node show {node}")
    elif node.provision_state in UNOFFERED and never_offered(node):
        return
    elif node.provision_state == "manageable":
        if is_leaving(node, leaving):
            return
        refusal = _Refusal(
            "is manageable, and nothing proves that its disks are clean",
            "steelyard node onboard {candidate}"
            if "candidate_id" in notes
            else "openstack baremetal node provide {node}",
            "node_not_clean",
        )
    else:
        refusal = _DELETE_REFUSED[found]
    raise Refused(
        f"Node {name} {refusal.reason.format(**values)}. A node can be deleted once it is unprovisioned and available.",
        code=refusal.code,
        next=refusal.next.format(**values),
    )

"""The phases of a server, computed from what Ironic and Nova say and stored nowhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from steelyard.nouns import Instance, Node


class Phase(StrEnum):
    """Where a server is in its life; `PHASES` says what each means."""

    CANDIDATE = "candidate"
    ENROLLED = "enrolled"
    MANAGEABLE = "manageable"
    INSPECTING = "inspecting"
    CLEANING = "cleaning"
    AVAILABLE = "available"
    DEPLOYING = "deploying"
    ACTIVE = "active"
    POWERED_OFF = "powered-off"
    SERVICING = "servicing"
    RESCUE = "rescue"
    RECLAIMING = "reclaiming"
    ADOPTED = "adopted"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


PHASES: Final[Mapping[Phase, str]] = {
    Phase.CANDIDATE: "Found by a sweep, not a node.",
    Phase.ENROLLED: "A node whose BMC has not been verified yet, or could not be.",
    Phase.MANAGEABLE: "Its BMC obeys; not clean, offered to nobody.",
    Phase.INSPECTING: "An agent looks at it from within.",
    Phase.CLEANING: "Its disks are being erased.",
    Phase.AVAILABLE: "Clean and free.",
    Phase.DEPLOYING: "An image is being written for a tenant.",
    Phase.ACTIVE: "A tenant has it, and it runs.",
    Phase.POWERED_OFF: "A tenant has it, and it is off.",
    Phase.SERVICING: "A tenant has it, and an administrator's agent works on it (firmware, settings).",
    Phase.RESCUE: "A tenant has it, and it runs a rescue ramdisk.",
    Phase.RECLAIMING: "It is being taken back from a tenant.",
    Phase.ADOPTED: "Taken over while it ran; Steelyard has not deployed it.",
    Phase.QUARANTINED: "Something failed; offered to nobody until an administrator decides.",
    Phase.RETIRED: "Out of service for good.",
}
"""What each phase means, in a sentence."""

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

QUARANTINE: Final = "quarantine"
"""The key of the quarantine mark in Steelyard's notes on a node (`extra.steelyard`)."""
MAINTENANCE: Final = "maintenance"
"""The key of the note on a node that an administrator has put into maintenance: by, reason, since, until, operation."""
RELEASING: Final = "releasing"
"""The key in the mark that names the operation which cleans the node in order to let it out."""
MAINTENANCE_PREFIX: Final = "steelyard: "
"""How the reason of an Ironic maintenance begins that Steelyard set, and may lift."""


def noting(node: Node, notes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes (for `Nodes.update`) that add notes of Steelyard's to a node; None takes one away.

    Each note by itself, so that two who write different ones at the same time do not undo each other's.
    """
    if node.notes:
        return {f"/extra/steelyard/{key}": value for key, value in notes.items()}
    return {"/extra/steelyard": {key: value for key, value in notes.items() if value is not None}}


def quarantine_note(reason: str, *, operation: str | None, by: str, now: datetime) -> dict[str, object]:
    """The mark of a node in quarantine: why, since when (UTC, ISO 8601), by which operation and by whom."""
    return {"reason": reason, "since": now.isoformat(), "operation": operation, "by": by}


def quarantine(node: Node) -> str | None:
    """Why Steelyard holds the node in quarantine; None when it does not.

    A mark that makes no sense still counts as one: only an administrator's release takes it away.
    """
    mark = node.notes.get(QUARANTINE)
    if mark is None:
        return None
    reason = mark.get("reason") if isinstance(mark, Mapping) else None
    return reason if isinstance(reason, str) and reason else "no reason was written down"


def releasing(node: Node) -> str | None:
    """The operation that cleans a node in quarantine in order to let it out; None when none does.

    Such a node keeps its mark and is out of maintenance meanwhile, as Ironic's agent does nothing in maintenance.
    Nobody may be offered it, and nobody may put the maintenance back while that operation runs.
    """
    mark = node.notes.get(QUARANTINE)
    operation = mark.get(RELEASING) if isinstance(mark, Mapping) else None
    return operation if isinstance(operation, str) else None


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
    """The phase of a node, given the instance that Nova has on it (None: none, or not known).

    Steelyard's own quarantine mark comes before whatever Ironic says.
    """
    if quarantine(node) is not None:
        return Phase.QUARANTINED
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

"""The rule by which a node may be deleted: a deployed server must be unprovisioned and made available first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from steelyard.errors import Refused
from steelyard.lifecycle.phases import IN_TRANSITION, Phase, phase, quarantine
from steelyard.nouns import Instance, Node


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node may not be deleted, and what to do; `{node}`, `{instance}`, `{candidate}`, `{state}` are filled in."""

    reason: str
    next: str
    code: str = "node_busy"


DELETE_REFUSED: Final[Mapping[Phase, Refusal]] = {
    Phase.INSPECTING: Refusal("is being inspected", "openstack baremetal node abort {node}"),
    Phase.CLEANING: Refusal("is being cleaned", "steelyard node wait {node}"),
    Phase.DEPLOYING: Refusal("is being deployed for a tenant", "steelyard node show {node}", "node_deployed"),
    Phase.ACTIVE: Refusal("is deployed", "steelyard server delete {instance} --wait", "node_deployed"),
    Phase.POWERED_OFF: Refusal(
        "is deployed (and powered off)", "steelyard server delete {instance} --wait", "node_deployed"
    ),
    Phase.SERVICING: Refusal("is deployed and being serviced", "steelyard node show {node}", "node_deployed"),
    Phase.RESCUE: Refusal("is deployed and in rescue", "steelyard server delete {instance} --wait", "node_deployed"),
    Phase.RECLAIMING: Refusal("is being taken back from a tenant", "steelyard node wait {node}"),
    Phase.ADOPTED: Refusal("runs a tenant's adopted system", "steelyard node show {node}", "node_deployed"),
    Phase.QUARANTINED: Refusal(
        "is quarantined ({state}), so its disks may hold a tenant's data",
        "steelyard node onboard {candidate}",
        "node_quarantined",
    ),
}


LEAVING: Final = "deleting"
WITHDRAWN: Final = "withdrawn"
"""Keys of Steelyard's notes on a node that was available and was taken out of the offer."""
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
    """What is noted on a node that leaves the offer clean: which operation, and since when it is in its present state.

    A deletion notes it under `LEAVING`, a retirement under `WITHDRAWN`.

    Anybody may offer the node again after a deletion that failed, and a tenant may get it. Ironic's time of the last
    transition is another one then, so an old note opens nothing.
    """
    since = node.provision_updated_at
    return {"operation": operation_id, "since": since.isoformat() if since else None}


def is_leaving(node: Node, operation_id: str | None = None) -> bool:
    """Whether it was taken out of the offer, clean, and has not changed its state since.

    For the deletion itself (`operation_id`) its own note is enough: between its request and its note nobody else acts.
    """
    since = node.provision_updated_at
    for key in (LEAVING, WITHDRAWN):
        note = node.notes.get(key)
        if not isinstance(note, Mapping):
            continue
        if operation_id is not None and note.get("operation") == operation_id:
            return True
        if since is not None and note.get("since") == since.isoformat():
            return True
    return False


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
    name = node.label
    values = {
        "node": name,
        "instance": node.instance_id or (instance.id if instance else "SERVER"),
        "candidate": notes.get("candidate_id") or "CANDIDATE",
        "state": node.provision_state,
    }
    if node.instance_id is not None:
        refusal = DELETE_REFUSED.get(found) or DELETE_REFUSED[Phase.ACTIVE]
    elif (mark := quarantine(node)) is not None:
        refusal = Refusal(
            "is quarantined by Steelyard ({mark})", "steelyard node release {node} --wait", "node_quarantined"
        )
        values["mark"] = mark
    elif onboarding is not None and found is not Phase.AVAILABLE:
        doing = found if found in IN_TRANSITION else node.provision_state
        refusal = Refusal(f"is being onboarded ({doing})", f"steelyard operation cancel {onboarding}")
    elif found in (Phase.ENROLLED, Phase.AVAILABLE) or (
        found is Phase.RETIRED and node.provision_state != "manageable"
    ):
        if node.provision_state != "verifying":
            return
        refusal = Refusal("is being verified", "steelyard node show {node}")
    elif node.provision_state in UNOFFERED and never_offered(node):
        return
    elif node.provision_state == "manageable":
        if is_leaving(node, leaving):
            return
        refusal = Refusal(
            "is manageable, and nothing proves that its disks are clean",
            _proof(node),
            "node_not_clean",
        )
    else:
        refusal = DELETE_REFUSED[found]
    raise Refused(
        f"Node {name} {refusal.reason.format(**values)}. A node can be deleted once it is unprovisioned and available.",
        code=refusal.code,
        next=refusal.next.format(**values),
    )


def _proof(node: Node) -> str:
    """What makes a manageable node available, and so proves that its disks are clean."""
    if node.retired:
        return "steelyard node unretire {node} --wait"
    if "candidate_id" in node.notes:
        return "steelyard node onboard {candidate}"
    return "steelyard node clean {node} --wait"

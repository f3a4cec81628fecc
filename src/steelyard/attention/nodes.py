"""Which nodes need a human, told from what Ironic and Nova say of them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from steelyard.attention.model import Finding, Seen, Severity
from steelyard.lifecycle.holding import ends_it, held
from steelyard.lifecycle.model import QUARANTINE, Phase, phase, quarantine, releasing
from steelyard.nouns import Instance, Node

QUARANTINED: Final = "lifecycle.quarantined"
MAINTENANCE: Final = "lifecycle.maintenance"
HELD: Final = "lifecycle.held_in_maintenance"
NOT_VERIFIED: Final = "lifecycle.not_verified"

VERIFY_WITHIN = timedelta(minutes=15)
"""A BMC that is there answers within a minute; Ironic tries three times."""
_AGENTS_TURN: Final = frozenset({
    "cleaning", "clean wait", "deploying", "wait call-back", "rescuing", "rescue wait", "servicing", "service wait",
})  # fmt: skip
"""Ironic's states that an agent's heartbeat leads on, which Ironic takes no notice of in maintenance."""


def out_of_use(nodes: Iterable[Node], instances: Iterable[Instance], now: datetime, busy: frozenset[str]) -> list[Seen]:
    """Nodes that are out of use until somebody acts. `busy`: subjects that an operation works on."""
    by_id = {each.id: each for each in instances}
    found: list[Seen] = []
    for node in nodes:
        candidate = node.notes.get("candidate_id")
        at_work = f"node:{node.id}" in busy or f"candidate:{candidate}" in busy
        if (at_work or node.provision_state in _AGENTS_TURN) and held(node) and _not_quarantined(node):
            found.append(_held(node))
            continue
        if at_work:
            continue  # an operation is at it, and says itself when it fails
        now_in = phase(node, by_id.get(node.instance_id or ""))
        if now_in is Phase.QUARANTINED:
            found.append(_quarantined(node))
        elif node.maintenance and node.fault is not None:
            found.append(_at_fault(node))
        elif now_in is Phase.ENROLLED and (since := _state_since(node)) is not None and now - since > VERIFY_WITHIN:
            found.append(_not_verified(node, since))
    return found


def _quarantined(node: Node) -> Seen:
    name = node.label
    ours = quarantine(node)
    why = ours or node.last_error or node.maintenance_reason or "Ironic does not say why"
    says = "Steelyard" if ours else "Ironic"
    mark = node.notes.get(QUARANTINE)
    since = _moment(mark.get("since")) if isinstance(mark, Mapping) else None
    return Seen(
        Finding(
            kind=QUARANTINED,
            subject=f"node:{node.id}",
            name=name,
            severity=Severity.MAJOR,
            reason=f"quarantined ({node.provision_state}); {says} says: {why}",
            next=f"steelyard node release {shlex.quote(name)}",
            evidence={"provision_state": node.provision_state, "last_error": node.last_error, "quarantine": ours},
        ),
        since or _state_since(node),
    )


def _not_quarantined(node: Node) -> bool:
    """Whether nothing, or a release, is to be waited for by people."""
    return quarantine(node) is None or releasing(node) is not None


def _held(node: Node) -> Seen:
    return Seen(
        Finding(
            kind=HELD,
            subject=f"node:{node.id}",
            name=node.label,
            severity=Severity.MAJOR,
            reason=f"what goes on with it ({node.provision_state}) waits for the end of its maintenance: "
            f"{node.maintenance_reason or 'no reason given'}",
            next=ends_it(node),
            evidence={"provision_state": node.provision_state, "maintenance_reason": node.maintenance_reason},
        )
    )  # Ironic keeps no time of it


def _at_fault(node: Node) -> Seen:
    name = node.label
    why = node.maintenance_reason or node.last_error or "no reason given"
    return Seen(
        Finding(
            kind=MAINTENANCE,
            subject=f"node:{node.id}",
            name=name,
            severity=Severity.MAJOR,
            reason=f"Ironic took it out of use ({node.fault}): {why}",
            next=f"steelyard node show {shlex.quote(name)}",
            evidence={"fault": node.fault, "maintenance_reason": node.maintenance_reason},
        )
    )  # Ironic keeps no time of it


def _not_verified(node: Node, since: datetime) -> Seen:
    candidate = node.notes.get("candidate_id")
    return Seen(
        Finding(
            kind=NOT_VERIFIED,
            subject=f"node:{node.id}",
            name=node.label,
            severity=Severity.MINOR,
            reason="enrolled, but Ironic has not verified its BMC"
            + (f"; it says: {node.last_error}" if node.last_error else ""),
            next=f"steelyard node onboard {candidate}"
            if isinstance(candidate, str)
            else f"steelyard node show {shlex.quote(node.label)}",
            evidence={"last_error": node.last_error},
        ),
        since,
    )


def _state_since(node: Node) -> datetime | None:
    return node.provision_updated_at or node.created_at


def _moment(text: object) -> datetime | None:
    """A time as Steelyard notes it; None for anything else that somebody wrote there."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None

"""The life cycle of a server: in which phase it is, and what may be done in each. Pure.

A phase is computed from what Ironic and Nova say and stored nowhere; the tables are the specification, and
docs/lifecycle.md is made from them. The parts: `phases`, `switching` (power), `deletion` (the delete rule), `actions`
(every action with the phases that allow it). Other rooms import from here.
"""

from __future__ import annotations

from steelyard.lifecycle.actions import AUTOMATIC, RULES, Action, Rule, Who, check, not_onboarded, power_action, refusal
from steelyard.lifecycle.deletion import (
    LEAVING,
    UNOFFERED,
    WITHDRAWN,
    check_deletable,
    is_leaving,
    leaving_note,
    never_offered,
    unoffered_note,
)
from steelyard.lifecycle.phases import (
    DEPLOYED,
    IN_TRANSITION,
    MAINTENANCE,
    MAINTENANCE_PREFIX,
    PHASES,
    QUARANTINE,
    RELEASING,
    WITH_TENANT,
    Phase,
    instance_phase,
    noting,
    offered,
    phase,
    quarantine,
    quarantine_note,
    releasing,
)
from steelyard.lifecycle.switching import Power, check_power

__all__ = [
    "AUTOMATIC", "DEPLOYED", "IN_TRANSITION", "LEAVING", "MAINTENANCE", "MAINTENANCE_PREFIX", "PHASES", "QUARANTINE",
    "RELEASING", "RULES", "UNOFFERED", "WITHDRAWN", "WITH_TENANT", "Action", "Phase", "Power", "Rule", "Who", "check",
    "check_deletable", "check_power", "instance_phase", "is_leaving", "leaving_note", "never_offered",
    "not_onboarded", "noting", "offered", "phase", "power_action", "quarantine", "quarantine_note", "refusal",
    "releasing", "unoffered_note",
]  # fmt: skip

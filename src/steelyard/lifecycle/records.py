"""Who had a node, when it was cleaned, and whether that proves it clean now. Pure.

Ironic gives every stay of a node in `available` a time of its own, that of the transition into it
(`provision_updated_at`). Whatever happens to its disks happens in another state, so one proof serves one stay:
a node is proven clean when a clean is known that led to the very stay in which it is now.

Three things prove it. The conductor's own note (`Node.driver_notes`), which our power interfaces write as the last
step of an automated clean, after every other step succeeded. The node history, in which newer Ironics tell of the end
of every automated clean at the moment in which the stay begins. Or a record of ours: an operation, or where Ironic
keeps no such history the reconciler, saw the agent at work in `clean wait`, and then this stay begin. That Ironic was
in `cleaning` proves nothing: it passes that state as well when automated cleaning is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from steelyard.nouns import HistoryEntry, Node

TEAR_DOWN: Final = timedelta(minutes=15)
"""How long Ironic may take from the last clean step to `available`: it powers off and changes the network first."""
MOMENT: Final = timedelta(minutes=2)
"""How long Ironic may take from its line in the node history to `available`."""
CLEAN_END: Final = "automated_cleaning_end"
"""Ironic's type of that line (ironic.conductor.utils.StepFlow)."""
SKEW: Final = timedelta(minutes=1)
"""By how much the clocks of two conductors may differ."""
LOOKS_APART: Final = timedelta(seconds=5)
"""How old the list may be in which a tenant was first seen, and by how much two of our servers' clocks may differ."""
ERASES: Final = "erase_devices"
"""How the names of the clean steps begin that erase disks (ironic-python-agent)."""
NOTING: Final = "steelyard-"
"""How the names of the power interfaces begin that note every clean."""


class How(StrEnum):
    """How a clean is known."""

    CONDUCTOR = "conductor"
    """Ironic's conductor noted it when its last step had ended."""
    OPERATION = "operation"
    """An operation of Steelyard watched it."""
    HISTORY = "history"
    """Ironic's node history tells of its end, just before the node became available."""
    STATES = "states"
    """The reconciler saw the node's states go through it."""
    TRUSTED = "trusted"
    """Nobody saw it: the node was available when Steelyard came, and the operator trusts those."""


@dataclass(frozen=True, slots=True)
class CleanRecord:
    """One clean of a node that led to a stay in `available`."""

    node_id: str
    how: How
    stay: str
    """`stay_of` the node when it became available by it."""
    ended_at: datetime
    started_at: datetime | None = None
    steps: tuple[str, ...] = ()
    """Names of the steps that are known to have run, in their order; not all of them where they were only watched."""
    operation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A time in which a tenant had a node, as it was observed."""

    node_id: str
    instance_id: str | None
    """None for an adopted system that Nova does not know."""
    since: datetime
    """When it was first seen. Ironic cleans no node that is in use, so a clean that ended later ended after it."""
    seen_at: datetime
    """When it was last seen; as old as `since` while it lasts."""
    until: datetime | None = None
    """When it was first seen to be over; None while it lasts."""
    name: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    unproven: str | None = None
    """Why the node was not proven clean when the tenant got it; None when it was."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a node is proven clean, and by what, or why not."""

    proven: bool
    reason: str
    """For people, without the node's name: "erased by the conductor at …"."""
    record: CleanRecord | None = None


def stay_of(node: Node) -> str:
    """What tells one stay in a state from the next; empty when Ironic does not say."""
    since = node.provision_updated_at
    return since.astimezone(UTC).isoformat() if since else ""


def notes_cleans(node: Node) -> bool:
    """Whether its conductor notes every clean, so that no note means no clean."""
    return (node.power_interface or "").startswith(NOTING)


def noted(node: Node) -> CleanRecord | None:
    """The clean that the conductor noted, attached to the node's present stay; None without a note that can be read."""
    note = node.driver_notes.get("cleaned")
    at = _moment(note.get("at")) if isinstance(note, Mapping) else None
    if at is None or not isinstance(note, Mapping):
        return None
    return CleanRecord(node.id, How.CONDUCTOR, stay_of(node), ended_at=at, steps=_names(note.get("steps")))


def told_by_history(
    node: Node, history: Iterable[HistoryEntry], record: CleanRecord | None = None, tenancy: Tenancy | None = None
) -> CleanRecord | None:
    """The automated clean whose end Ironic's node history tells of, at the moment in which the present stay began.

    ironic/conductor/cleaning.py writes it just before the transition, and not for a clean that is switched off.
    `history`: the oldest first. `record`: the newest one that is kept; a clean that led to its stay leads to no other.
    `tenancy`: the last that is known.
    """
    since = node.provision_updated_at
    last = next((entry for entry in reversed([*history]) if entry.kind.endswith(("_start", "_end"))), None)
    if since is None or last is None or last.kind != CLEAN_END or last.severity == "ERROR":
        return None  # what was begun or ended last is something else: a deployment, another clean
    if not -SKEW <= since - last.at <= MOMENT or is_spent(last.at, record):
        return None
    if tenancy is not None and last.at <= tenancy.since:
        return None
    return CleanRecord(node.id, How.HISTORY, stay_of(node), last.at)


def is_spent(ended_at: datetime, record: CleanRecord | None) -> bool:
    """Whether a clean that ended then is the one of this record, or an older one. Both times are Ironic's own."""
    stay = _moment(record.stay) if record is not None else None
    return stay is not None and ended_at <= stay


def tells_of_cleans(history: Iterable[HistoryEntry]) -> bool:
    """Whether this Ironic writes its cleans into the history: then one that is not there did not end well."""
    return any(entry.kind.startswith("automated_cleaning_") for entry in history)


def proven_clean(node: Node, record: CleanRecord | None = None, tenancy: Tenancy | None = None) -> Verdict:
    """Whether the node is proven clean in the stay in which it is now.

    `record` is the newest one of its own, `tenancy` the last that is known; both may be missing. Says nothing of the
    node's state: it is asked for nodes that are available.
    """
    stay = stay_of(node)
    if not stay:
        return Verdict(False, "Ironic does not say since when it is available")
    if tenancy is not None and tenancy.until is None:
        return Verdict(False, f"it was last seen with a tenant ({_when(tenancy.seen_at)}), and no clean since")
    if record is not None and record.stay == stay:
        if tenancy is not None and _before(record, tenancy):
            return Verdict(False, f"a tenant had it ({_when(tenancy.since)}) after the clean that was seen", record)
        return Verdict(True, f"{_words(record)} {_when(record.ended_at)}", record)
    return _proven_by_note(node, record, tenancy)


def _before(record: CleanRecord, tenancy: Tenancy) -> bool:
    """Whether the clean was seen before the last tenant came: who stood still meanwhile, and then found the node
    available, took it for the one after."""
    if record.how is not How.OPERATION or record.started_at is None:
        return False
    return record.started_at < tenancy.since - LOOKS_APART


def _proven_by_note(node: Node, record: CleanRecord | None, tenancy: Tenancy | None) -> Verdict:
    note = noted(node)
    since = node.provision_updated_at
    if note is None or since is None:
        if notes_cleans(node):
            return Verdict(False, "Ironic's conductor noted no clean of it")
        return Verdict(False, "nobody saw it being cleaned before it became available")
    when = _when(note.ended_at)
    used = _moment(node.driver_notes.get("used"))
    if not any(step.startswith(ERASES) for step in note.steps):
        return Verdict(False, f"the clean {when} erased no disk: it had no step {ERASES}…", note)
    if used is not None and used >= note.ended_at:
        return Verdict(False, f"it was cleaned {when}, and in use after that ({_when(used)})", note)
    if tenancy is not None and note.ended_at <= tenancy.since:
        return Verdict(False, f"it was cleaned {when}, and a tenant had it after that ({_when(tenancy.since)})", note)
    if is_spent(note.ended_at, record):
        return Verdict(False, f"it was cleaned {when}, and has been out of the offer and in it again since", note)
    if not -SKEW <= since - note.ended_at <= TEAR_DOWN:
        return Verdict(False, f"its last clean {when} is not the one that made it available {_when(since)}", note)
    return Verdict(True, f"{_words(note)} {when}", note)


def _names(steps: Any) -> tuple[str, ...]:
    found = (step.get("step") for step in steps if isinstance(step, Mapping)) if isinstance(steps, list) else ()
    return tuple(name[:64] for name in found if isinstance(name, str))


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _words(record: CleanRecord) -> str:
    return {
        How.CONDUCTOR: "cleaned by Ironic, as its conductor noted,",
        How.OPERATION: "cleaned, watched by an operation,",
        How.HISTORY: "cleaned by Ironic, as the node's history tells,",
        How.STATES: "cleaned, as its states showed,",
        How.TRUSTED: "trusted since Steelyard first saw it",
    }[record.how]


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

"""Noticing what happened to nodes since the last look: for their timelines, their tenancies and their clean records.

Everything that was noticed in one look is kept in one transaction, together with the look itself: after a crash the
next look notices it again, and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Final

from steelyard.clouds.ports import Clouds
from steelyard.errors import SteelyardError
from steelyard.lifecycle.phases import MAINTENANCE_PREFIX
from steelyard.lifecycle.records import (
    SKEW,
    CleanRecord,
    How,
    Tenancy,
    noted,
    proven_clean,
    stay_of,
    tells_of_cleans,
    told_by_history,
)
from steelyard.lifecycle.sighting import Change, Sighting, clean_ended, node_changes, node_seen, tenant_of
from steelyard.nouns import HistoryEntry, Instance, Node
from steelyard.store import Store
from steelyard.store.sightings import AtWork

OUTSIDE: Final = "outside"
"""The actor of what was done with other clients and is only observed."""
OURS: Final = "steelyard"
SLACK: Final = timedelta(seconds=5)
"""An operation that ended so long before the last look may still be the cause of a change."""
GAP: Final = timedelta(minutes=3)
"""After a longer time without a look nothing is concluded from what was seen before: anything may have happened."""
BY_TENANTS: Final = frozenset({"node.state", "node.power", "node.taken", "node.freed"})
"""Changes of a node that an operation on a tenant's server brings about."""
LAST_RUN: Final = "run:nodes"
LOST: Final = "lost:"
"""What is kept of a node that was removed while a tenant had it."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """What one look at all nodes told."""

    now: datetime
    working: Mapping[str, AtWork]
    """Operations that are at work, or were until a moment ago, by what they work on."""
    changed: int
    lost: Mapping[str, Sighting]
    """Nodes that are gone although a tenant had them, by id."""
    undecided: frozenset[str] = frozenset()
    """Nodes of which Ironic could not be asked what made them available; they are asked about at the next look."""


@dataclass(slots=True)
class _Look:
    """What is to be written at the end of one."""

    seen: dict[str, Sighting] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    writes: list[Callable[[], object]] = field(default_factory=list)
    changed: int = 0
    undecided: set[str] = field(default_factory=set)


class Noticing:
    """Compares the nodes with the last look at them."""

    def __init__(self, clouds: Clouds, store: Store, *, clock: Callable[[], datetime] | None = None) -> None:
        self._clouds = clouds
        self._store = store
        self._clock = clock or (lambda: datetime.now(UTC))

    def look(self, nodes: Iterable[Node], instances: Mapping[str, Instance] | None) -> Noticed:
        """Notice what is new, and keep it. `instances`: Nova's, by id; None when Nova could not be asked."""
        now = self._clock()
        last = self._store.sightings.of(LAST_RUN).get(LAST_RUN)
        before = datetime.fromisoformat(last["at"]) if last else None
        working = self._store.sightings.at_work(since=(before or now) - SLACK)
        look = _Look()
        known = self._store.sightings.of("node:")
        lost: dict[str, Sighting] = {**self._store.sightings.of(LOST)}
        tenancies = cache(self._store.tenancies.last)  # asked for only when something has changed
        cleans = cache(self._store.tenancies.newest_cleans)
        for node in nodes:
            subject = f"node:{node.id}"
            was: Sighting | None = known.pop(subject, None)
            seen = node_seen(node, was, now)
            if seen == was:
                continue
            look.seen[subject] = seen
            look.changed += 1
            self._tell(look, node, was, seen, working, first=last is None)
            self._notice_clean(look, node, was, cleans, tenancies, now, before)
            if tenant_of(seen) != tenant_of(was):
                self._notice_tenant(look, node, seen, instances or {}, tenancies(), cleans(), now, before)
        for subject, old in known.items():
            self._notice_gone(look, subject, old, working, now, before)
        for subject, away in lost.items():
            if instances is not None and away["instance"] not in instances:
                look.gone.append(subject)  # Nova has let go of it too
        with self._store.unit_of_work():
            self._store.sightings.keep({**look.seen, LAST_RUN: {"at": now.isoformat()}}, gone=look.gone)
            for write in look.writes:
                write()
        lost |= {subject: seen for subject, seen in look.seen.items() if subject.startswith(LOST)}
        still_lost = {s.removeprefix(LOST): seen for s, seen in lost.items() if s not in look.gone}
        return Noticed(now, working, look.changed, still_lost, frozenset(look.undecided))

    def know(self, node: Node) -> None:
        """What Steelyard itself has just done to the node is nothing to be noticed at the next look."""
        subject = f"node:{node.id}"
        was = self._store.sightings.of(subject).get(subject)
        self._store.sightings.keep({subject: node_seen(node, was, self._clock())})

    # Timelines

    def _tell(
        self, look: _Look, node: Node, was: Sighting | None, seen: Sighting, working: Mapping[str, AtWork], *,
        first: bool,
    ) -> None:  # fmt: skip
        if was is None:
            changes = [] if first else [Change("node.appeared", f"node {node.label} is new")]
        else:
            changes = node_changes(was, seen)
        for change in changes:
            cause = _cause(node, was, change, working)
            look.writes.append(partial(self._append, f"node:{node.id}", change, _actor(change, seen, cause), cause))

    def _append(self, subject: str, change: Change, actor: str, cause: AtWork | None) -> None:
        self._store.events.append(
            subject, change.kind, actor=actor, detail=change.detail, data=change.data,
            operation_id=cause.operation_id if cause else None,
        )  # fmt: skip

    # Cleans

    def _notice_clean(
        self, look: _Look, node: Node, was: Sighting | None, cleans: Callable[[], Mapping[str, CleanRecord]],
        tenancies: Callable[[], Mapping[str, Tenancy]], now: datetime, before: datetime | None,
    ) -> None:  # fmt: skip
        """A stay in `available` has begun: what led to it? It costs a call for each such stay, at most."""
        if node.provision_state != "available" or (was is not None and was["stay"] == stay_of(node)):
            return
        known = cleans().get(node.id)
        verdict = proven_clean(node, known, tenancies().get(node.id))
        made = verdict.record if verdict.proven else None
        if made is None and before is None:
            made = CleanRecord(node.id, How.TRUSTED, stay_of(node), now) if noted(node) is None else None
        elif made is None:
            try:
                history = self._clouds.own.provisioning.history(node.id)
            except SteelyardError:
                look.undecided.add(node.id)
                look.seen[f"node:{node.id}"] = {**look.seen[f"node:{node.id}"], "stay": ""}  # so that it is asked again
                return
            made = told_by_history(node, history, known, tenancies().get(node.id))
            if made is None and before is not None and now - before <= GAP and not tells_of_cleans(history):
                made = _seen_to_end(node, was, history, now)
        if made is not None:
            look.writes.append(partial(self._store.tenancies.record, made))

    # Tenancies

    def _notice_tenant(
        self, look: _Look, node: Node, seen: Sighting, instances: Mapping[str, Instance],
        tenancies: Mapping[str, Tenancy], cleans: Mapping[str, CleanRecord], now: datetime, before: datetime | None,
    ) -> None:  # fmt: skip
        """The tenant is another one than at the last look, or there is one no more."""
        seen_at = before or now
        tenant = tenant_of(seen)
        last = tenancies.get(node.id)
        if tenant is None:
            look.writes.append(lambda: self._store.tenancies.end(node.id, at=now, seen_at=seen_at))
            return
        if last is not None and last.until is None and (last.instance_id or "") == tenant:
            return
        instance = instances.get(tenant)
        unproven = _unproven(node, last, cleans.get(node.id))
        begun = Tenancy(
            node.id, tenant[:36] or None, now, now, name=instance.name[:255] if instance else None,
            project_id=instance.project_id if instance else node.lessee,
            user_id=instance.user_id if instance else None, unproven=unproven,
        )  # fmt: skip
        look.writes.append(lambda: self._store.tenancies.begin(begun, before=seen_at))

    def _notice_gone(
        self, look: _Look, subject: str, was: Sighting, working: Mapping[str, AtWork], now: datetime,
        before: datetime | None,
    ) -> None:  # fmt: skip
        node_id = subject.partition(":")[2]
        cause = working.get(subject)
        look.gone.append(subject)
        look.changed += 1
        tenant = tenant_of(was)
        if tenant is not None:
            look.writes.append(lambda: self._store.tenancies.end(node_id, at=now, seen_at=before or now))
        if tenant and cause is None:
            look.seen[f"{LOST}{node_id}"] = was
        if cause is None:  # our own deletions tell by themselves
            detail = f"node {was['name'] or node_id} was removed" + (f" while {was['state']}" if tenant else "")
            data = {"state": was["state"], "instance": was["instance"]}
            look.writes.append(lambda: self._append(subject, Change("node.removed", detail, data), OUTSIDE, None))


def _seen_to_end(
    node: Node, was: Sighting | None, history: Iterable[HistoryEntry], now: datetime
) -> CleanRecord | None:
    """The clean that the states showed, unless Ironic remembers an error since: then something else made it available,
    between two looks."""
    clean = clean_ended(node, was)
    if clean is None:
        return None
    since = datetime.fromisoformat(clean["since"])
    if any(entry.severity == "ERROR" and entry.at >= since - SKEW for entry in history):
        return None
    return CleanRecord(node.id, How.STATES, stay_of(node), now, since, tuple(clean["steps"]))


def _unproven(node: Node, last: Tenancy | None, record: CleanRecord | None) -> str | None:
    """Why nothing proves that the node was cleaned between its last tenant and this one; None if something does."""
    if last is None:
        return None
    ends = [clean.ended_at for clean in (record, noted(node)) if clean is not None and clean.how is not How.TRUSTED]
    if any(end > last.since for end in ends):
        return None
    return f"no clean is known since its last tenant came ({last.since:%Y-%m-%d %H:%M:%S UTC})"


def _cause(node: Node, was: Sighting | None, change: Change, working: Mapping[str, AtWork]) -> AtWork | None:
    """The operation that works, or did, on the node or its candidate; on its tenant's server, where that can be why."""
    subjects = [f"node:{node.id}"]
    if isinstance(candidate := node.notes.get("candidate_id"), str):
        subjects.append(f"candidate:{candidate}")
    if change.kind in BY_TENANTS:
        subjects += [f"server:{node.instance_id}", f"server:{was['instance'] if was else None}"]
    return next((working[subject] for subject in subjects if subject in working), None)


def _actor(change: Change, seen: Sighting, cause: AtWork | None) -> str:
    if cause is not None:
        return cause.actor or OURS
    mine = change.kind == "node.maintenance" and (seen["maintenance"] or "").startswith(MAINTENANCE_PREFIX)
    return OURS if mine else OUTSIDE

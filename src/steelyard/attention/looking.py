"""What needs a human, told from what the cloud's lists, the operations and the reconcilers say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from steelyard.attention.model import Finding, Seen, Severity
from steelyard.attention.nodes import HELD, MAINTENANCE, NOT_VERIFIED, QUARANTINED
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.events.hooks import Webhook
from steelyard.nouns import Instance, Node
from steelyard.operations import stuck
from steelyard.operations.model import Phase as OperationPhase
from steelyard.operations.reconciling import ReconcilerStatus
from steelyard.store.workload import FailedWork, OpenWork

SERVER_ERROR: Final = "lifecycle.server_error"
NOT_ONBOARDED: Final = "discovery.onboarding_failed"
FAILED: Final = "operations.failed"
STUCK: Final = "operations.stuck"
PAUSED: Final = "operations.paused"
RECONCILER_FAILING: Final = "operations.reconciler_failing"
RECONCILER_LATE: Final = "operations.reconciler_late"
WEBHOOK_FAILING: Final = "events.webhook_failing"
UNREADABLE: Final = "attention.unreadable"

FROM_THE_CLOUD: Final = frozenset({QUARANTINED, MAINTENANCE, HELD, NOT_VERIFIED, SERVER_ERROR, FAILED})
"""What cannot be told while the cloud's lists cannot be read."""

TURN_WITHIN = timedelta(minutes=15)
"""For how long an operation may wait for its turn."""
NEWS_FOR = timedelta(days=1)
"""For how long the failure of an operation that is about nothing in particular is told."""
FAILED_FOR = timedelta(days=7)
"""For how long the failure of one that is about a server is, if nothing has made it good."""
DELIVER_WITHIN = timedelta(minutes=10)
"""For how long a webhook may not be reached: whoever receives may be restarted."""
LATE_PERIODS = 3
"""Periods without success after which a reconciler is late."""
_STARTING = timedelta(seconds=60)

_SERVERS = frozenset({"node", "server", "candidate", "release"})
"""What an operation that concerns the operator is about, where it is about something. An image is its tenant's."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers as the bulk lists show them at one moment."""

    nodes: Sequence[Node]
    instances: Sequence[Instance]
    candidates: Sequence[Candidate]

    def names(self) -> dict[str, str]:
        """What people call each subject."""
        return {
            **{f"candidate:{each.id}": each.name for each in self.candidates},
            **{f"server:{each.id}": each.name for each in self.instances},
            **{f"node:{each.id}": each.label for each in self.nodes},
        }

    def home(self) -> dict[str, str]:
        """The node's subject of each candidate that became one, and of each server that is on one."""
        there = {each.id for each in self.nodes}
        homes = {f"candidate:{c.id}": f"node:{c.node_id}" for c in self.candidates if c.node_id in there}
        for instance in self.instances:
            if instance.node_id in there:
                homes[f"server:{instance.id}"] = f"node:{instance.node_id}"
        for node in self.nodes:
            if node.instance_id is not None:
                homes[f"server:{node.instance_id}"] = f"node:{node.id}"
        return homes


def servers(fleet: Fleet) -> list[Seen]:
    """Tenants' servers that Nova has given up."""
    return [
        Seen(
            Finding(
                kind=SERVER_ERROR,
                subject=f"server:{each.id}",
                name=each.name,
                severity=Severity.MAJOR,
                reason=f"the tenant's server is in ERROR; Nova says: {each.fault or 'no reason given'}",
                next=f"steelyard server show {each.id}",
                evidence={"project_id": each.project_id, "fault": each.fault},
            ),
            each.updated_at,
        )
        for each in fleet.instances
        if each.status == "ERROR" and each.task_state != "deleting"
    ]


def candidates(fleet: Fleet) -> list[Seen]:
    """Candidates whose onboarding failed."""
    return [
        Seen(
            Finding(
                kind=NOT_ONBOARDED,
                subject=f"candidate:{each.id}",
                name=each.name,
                severity=Severity.MAJOR,
                reason=f"its onboarding failed: {each.reason or 'no reason was written down'}",
                next=each.next or f"steelyard candidate show {each.id}",
                evidence={"bmc": each.address},
            )
        )
        for each in fleet.candidates
        if each.state is CandidateState.FAILED
    ]


def failed(work: Iterable[FailedWork], fleet: Fleet, now: datetime) -> list[Seen]:
    """Operations that failed, and nothing has made it good since.

    Left out: what is about a thing that is no more, or about a node that has gone on since (it was cleaned after all);
    a candidate's whose own state tells of it; an image's, which is its tenant's.
    """
    there = fleet.names()
    moved = {f"node:{each.id}": each.provision_updated_at for each in fleet.nodes}
    homes = fleet.home()
    failing = {f"candidate:{each.id}" for each in fleet.candidates if each.state is CandidateState.FAILED}
    found: list[Seen] = []
    for each in work:
        subject = each.subject
        if subject is None:
            if now - each.ended_at <= NEWS_FOR:
                found.append(_failed(each, f"operation:{each.id}", each.kind, Severity.MINOR))
            continue
        what = subject.partition(":")[0]
        if what not in _SERVERS:
            continue
        about = _about(subject, each.node_id)
        if about not in there or about in failing:
            continue
        last_moved = moved.get(homes.get(about, about))
        if not about.startswith("server:") and last_moved is not None and last_moved > each.ended_at:
            continue
        found.append(_failed(each, about, there[about], Severity.MINOR if what == "server" else Severity.MAJOR))
    return found


def _about(subject: str, node_id: str | None) -> str:
    """Whom an operation on this subject concerns: giving back a server is its node's matter, if one is known."""
    what, _, id = subject.partition(":")
    if what != "release":
        return subject
    return f"node:{node_id}" if node_id is not None else f"server:{id}"


def _failed(work: FailedWork, subject: str, name: str, severity: Severity) -> Seen:
    error = work.error
    at = f" at '{error.step}'" if error and error.step else ""
    return Seen(
        Finding(
            kind=FAILED,
            subject=subject,
            name=name,
            severity=severity,
            reason=f"{work.kind} failed{at}: {error.detail if error else 'no reason was written down'}",
            next=(error.next if error else None) or f"steelyard operation show {work.id}",
            evidence={"operation_id": work.id, "actor": work.actor, "code": error.code if error else None},
        ),
        work.ended_at,
    )


def unfinished(work: Iterable[OpenWork], names: Mapping[str, str], now: datetime) -> list[Seen]:
    """Operations that stand still: paused, past their deadline, or waiting for too long."""
    found: list[Seen] = []
    for each in work:
        if each.paused_at is not None:
            reason = f"{each.kind} is paused: {each.pause_reason or 'no reason given'}"
            go_on = f"steelyard operation resume {each.id}"
            found.append(_standing(each, names, PAUSED, go_on, reason, each.paused_at, Severity.MINOR))
        elif (standing := stuck_since(each, now)) is not None:
            since, reason = standing
            look = f"steelyard operation show {each.id}"
            found.append(_standing(each, names, STUCK, look, reason, since, Severity.MAJOR))
    return found


def stuck_since(work: OpenWork, now: datetime) -> tuple[datetime, str] | None:
    """Since when an operation makes no progress that it should, and why one thinks so; None while all is well."""
    if work.paused_at is not None:
        return None
    if work.phase is OperationPhase.PENDING:
        if now - work.created_at > TURN_WITHIN:
            return work.created_at, f"{work.kind} still waits for its turn"
        return None
    since = stuck.stuck_since(
        started_at=work.step_started_at,
        deadline_at=work.deadline_at,
        waiting_since=work.waiting_since,
        now=now,
    )
    if since is None:
        return None
    waits = f", waiting for: {work.waiting_for}" if work.waiting_for else ""
    late = work.deadline_at is not None and now > work.deadline_at
    how = "is past the deadline of" if late else "does not get on at"
    return since, f"{work.kind} {how} '{work.step}'{waits}"


def _standing(
    work: OpenWork,
    names: Mapping[str, str],
    kind: str,
    next: str,
    reason: str,
    since: datetime,
    severity: Severity,
) -> Seen:
    of_a_server = work.subject is not None and work.subject.partition(":")[0] in _SERVERS
    about = _about(work.subject, work.node_id) if of_a_server and work.subject else f"operation:{work.id}"
    return Seen(
        Finding(
            kind=kind,
            subject=about,
            name=names.get(about, work.kind),
            severity=severity,
            reason=reason,
            next=next,
            evidence={"operation_id": work.id, "step": work.step},
        ),
        since,
    )


def reconcilers(statuses: Iterable[ReconcilerStatus], started_at: datetime, now: datetime) -> list[Seen]:
    """Reconcilers that fail or do not run. Those that fail for one reason share a line: it is one trouble.

    `started_at`: since when this server runs; what has never succeeded is not late before it had the time for it.
    """
    failing: dict[str, list[ReconcilerStatus]] = {}
    found: list[Seen] = []
    for each in statuses:
        since = each.last_succeeded_at or started_at
        late = now - max(since, started_at) > LATE_PERIODS * timedelta(seconds=each.period) + _STARTING
        if each.last_error is not None:
            if late:
                failing.setdefault(each.last_error, []).append(each)
        elif late:
            running = f"; it has run since {each.running_since:%H:%M:%S}" if each.running_since else ""
            found.append(_reconciler([each], RECONCILER_LATE, f"has not succeeded for too long{running}", since))
    for error, several in failing.items():
        oldest = min(each.last_succeeded_at or started_at for each in several)
        found.append(_reconciler(several, RECONCILER_FAILING, f"fails: {error}", oldest))
    return found


def _reconciler(several: Sequence[ReconcilerStatus], kind: str, reason: str, since: datetime) -> Seen:
    first, *others = sorted(several, key=lambda each: each.name)
    return Seen(
        Finding(
            kind=kind,
            subject=f"reconciler:{first.name}",
            name=first.name + (f" and {len(others)} more" if others else ""),
            severity=Severity.MAJOR,
            reason=f"the reconciler {reason}",
            next=f"steelyard reconciler show {first.name}",
            evidence={"reconcilers": [each.name for each in (first, *others)]},
        ),
        since,
    )


def webhooks(listed: Iterable[Webhook], now: datetime) -> list[Seen]:
    """Webhooks that cannot be reached. Events wait for a while, then they are given up."""
    return [
        Seen(
            Finding(
                kind=WEBHOOK_FAILING,
                subject=f"webhook:{each.id}",
                name=each.name,
                severity=Severity.MINOR,
                reason=f"the webhook cannot be delivered to: {each.last_error or 'no reason given'}"
                + (f"; {each.given_up} events were given up" if each.given_up else ""),
                next=f"steelyard webhook deliveries {each.id}",
                evidence={"failures": each.failures, "given_up": each.given_up},
            ),
            each.failing_since,
        )
        for each in listed
        if each.failing_since is not None and now - each.failing_since > DELIVER_WITHIN
    ]

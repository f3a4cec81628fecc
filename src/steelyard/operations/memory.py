"""The journal and the servers in memory: for `operations.fake`, and as twins of those in the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from steelyard.errors import NotFound
from steelyard.operations.journal import NewOperation, ended, not_paused, reused, running, unknown_marker
from steelyard.operations.leases import Beat
from steelyard.operations.model import Operation, OperationError, Phase, StepRecord


class MemoryJournal:
    """The journal in a dictionary."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}
        self._exclusive: dict[str, str] = {}

    def create(self, new: NewOperation) -> tuple[Operation, bool]:
        for known in self._operations.values():
            same_key = (known.actor.user_id, known.kind, known.key) == (new.actor.user_id, new.kind, new.key)
            if new.key is not None and same_key:
                return reused(known, new), False
        if new.exclusive and new.subject is not None:
            if (holder := self._exclusive.get(new.subject)) is not None:
                raise running(new.subject, holder)
            self._exclusive[new.subject] = new.id
        self._operations[new.id] = Operation(
            id=new.id,
            kind=new.kind,
            phase=Phase.PENDING,
            subject=new.subject,
            actor=new.actor,
            reason=new.reason,
            key=new.key,
            request_id=new.request_id,
            params=new.params,
            result={},
            error=None,
            cancel_requested=False,
            created_at=new.created_at,
            started_at=None,
            ended_at=None,
            steps=tuple(StepRecord(name, Phase.PENDING, None, None, 0, None, None) for name in new.step_names),
            project_id=new.project_id,
            parent_id=new.parent_id,
        )
        return self._operations[new.id], True

    def get(self, operation_id: str) -> Operation:
        try:
            return self._operations[operation_id]
        except KeyError:
            raise NotFound(f"There is no operation {operation_id}.", next="steelyard operation list") from None

    def all(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        phase: Phase | None = None,
        kind: str | None = None,
        parent_id: str | None = None,
        paused: bool | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]:
        ordered = sorted(self._operations.values(), key=lambda o: (o.created_at, o.id), reverse=True)
        if marker is not None:
            if marker not in self._operations:
                raise unknown_marker()
            seen = self._operations[marker]
            ordered = [o for o in ordered if (o.created_at, o.id) < (seen.created_at, seen.id)]
        wanted = [
            o
            for o in ordered
            if (project_id is None or o.project_id == project_id)
            and (subject is None or o.subject == subject)
            and (phase is None or o.phase is phase)
            and (kind is None or o.kind == kind)
            and (parent_id is None or o.parent_id == parent_id)
            and (paused is None or (o.paused_at is not None) is paused)
        ]
        return wanted[:limit]

    def by_key(self, user_id: str, kind: str, key: str) -> list[Operation]:
        return [
            o
            for o in self._operations.values()
            if (o.actor.user_id, o.kind) == (user_id, kind)
            and o.key is not None
            and (o.key == key or o.key.startswith(f"{key}:"))
        ]

    def found(self, ids: Sequence[str]) -> list[Operation]:
        return [self._operations[each] for each in dict.fromkeys(ids) if each in self._operations]

    def claimable(self, owner: str, live: Collection[str]) -> list[str]:
        return [o.id for o in self._operations.values() if _claimable(o, owner, live)]

    def claim(self, operation_id: str, owner: str, replica: str, live: Collection[str]) -> bool:
        operation = self.get(operation_id)
        if not _claimable(operation, owner, live):
            return False
        self._operations[operation_id] = replace(operation, owner=owner, replica=replica)
        return True

    def step_begins(
        self, operation_id: str, owner: str, position: int, name: str, at: datetime, deadline_at: datetime
    ) -> bool:
        operation = self.get(operation_id)
        if operation.owner != owner:
            return False
        steps = list(operation.steps)
        if position == len(steps):
            steps.append(StepRecord(name, Phase.PENDING, None, None, 0, None, None))
        begun = steps[position].started_at or at
        steps[position] = replace(steps[position], phase=Phase.RUNNING, started_at=begun, deadline_at=deadline_at)
        self._operations[operation_id] = replace(
            operation, phase=Phase.RUNNING, started_at=operation.started_at or at, steps=tuple(steps)
        )
        return True

    def step_waits(
        self,
        operation_id: str,
        owner: str,
        position: int,
        attempts: int,
        waiting_for: str,
        since: datetime,
        result: Mapping[str, Any],
    ) -> bool:
        return self._change(
            operation_id, owner, position, result, attempts=attempts, waiting_for=waiting_for, waiting_since=since
        )

    def step_ends(
        self,
        operation_id: str,
        owner: str,
        position: int,
        phase: Phase,
        at: datetime,
        *,
        attempts: int,
        result: Mapping[str, Any] | None = None,
        error: OperationError | None = None,
        waiting_for: str | None = None,
    ) -> bool:
        return self._change(
            operation_id,
            owner,
            position,
            result or {},
            phase=phase,
            ended_at=at,
            attempts=attempts,
            error=error,
            waiting_for=waiting_for,
        )

    def finish(self, operation_id: str, owner: str, phase: Phase, at: datetime, error: OperationError | None) -> bool:
        operation = self.get(operation_id)
        if operation.owner != owner:
            return False
        if not operation.phase.ended:
            self._operations[operation_id] = replace(operation, phase=phase, ended_at=at, error=error)
            self._exclusive = {s: holder for s, holder in self._exclusive.items() if holder != operation_id}
        return True

    def pauses(self, operation_id: str, owner: str, at: datetime, reason: str | None) -> bool:
        operation = self.get(operation_id)
        if operation.owner != owner:
            return False
        if operation.cancel_requested or (reason is None and not operation.pause_requested):
            return True
        self._operations[operation_id] = replace(
            operation,
            pause_requested=True,
            paused_at=at,
            owner=None,
            pause_reason=operation.pause_reason if reason is None else reason,
        )
        return True

    def request_cancel(self, operation_id: str, reason: str | None, by: str | None) -> Operation:  # noqa: ARG002 - Journal's
        operation = self._unended(operation_id)
        self._operations[operation_id] = replace(
            operation, cancel_requested=True, pause_requested=False, pause_reason=None, paused_at=None
        )
        return self._operations[operation_id]

    def request_pause(self, operation_id: str, reason: str | None, by: str | None) -> Operation:  # noqa: ARG002 - Journal's
        operation = self._unended(operation_id)
        if not operation.pause_requested:
            stopped = datetime.now(UTC) if operation.owner is None else None
            self._operations[operation_id] = replace(
                operation, pause_requested=True, pause_reason=reason, paused_at=stopped
            )
        return self._operations[operation_id]

    def request_resume(self, operation_id: str, reason: str | None, by: str | None) -> Operation:  # noqa: ARG002 - Journal's
        operation = self._unended(operation_id)
        if not operation.pause_requested:
            raise not_paused(operation)
        self._operations[operation_id] = replace(operation, pause_requested=False, pause_reason=None, paused_at=None)
        return self._operations[operation_id]

    def _unended(self, operation_id: str) -> Operation:
        operation = self.get(operation_id)
        if operation.phase.ended:
            raise ended(operation)
        return operation

    def _change(self, operation_id: str, owner: str, position: int, result: Mapping[str, Any], **changes: Any) -> bool:
        operation = self.get(operation_id)
        if operation.owner != owner:
            return False
        steps = list(operation.steps)
        steps[position] = replace(steps[position], **changes)
        self._operations[operation_id] = replace(operation, steps=tuple(steps), result={**operation.result, **result})
        return True


def _claimable(operation: Operation, owner: str, live: Collection[str]) -> bool:
    others = set(live) - {owner}
    return not operation.phase.ended and operation.paused_at is None and operation.owner not in others


class MemoryServers:
    """The servers in a dictionary."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Beat, float]] = {}
        """By replica: the last beat, and until when (monotonic) it is alive."""

    def take(self, replica: str, boot: str, seconds: float, *, alone: bool) -> Beat | None:
        with self._lock:
            known = self._known.get(replica)
            if known is not None and known[0].boot != boot and known[1] > time.monotonic() and not alone:
                return known[0]
            self._known[replica] = Beat(boot, datetime.now(UTC)), time.monotonic() + seconds
            return None

    def renew(self, boot: str, seconds: float) -> bool:
        with self._lock:
            for replica, (beat, _) in self._known.items():
                if beat.boot == boot:
                    self._known[replica] = Beat(boot, datetime.now(UTC)), time.monotonic() + seconds
                    return True
            return False

    def release(self, boot: str) -> None:
        with self._lock:
            self._known = {replica: known for replica, known in self._known.items() if known[0].boot != boot}

    def live(self) -> set[str]:
        with self._lock:
            return {beat.boot for beat, until in self._known.values() if until > time.monotonic()}

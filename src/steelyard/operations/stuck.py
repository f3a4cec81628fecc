"""When an operation is stuck: it is late, or says the same for a long time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from steelyard.operations.model import Operation, Phase

SHARE = 0.5
"""Of a step's time. Who waits for the same thing for longer than that is unlikely to get it in the rest."""
LONGEST = 3600.0
"""Seconds after which waiting for the same thing is being stuck, however long the step may take."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """An operation that needs somebody to look at it."""

    operation: Operation
    since: datetime
    why: str


def stuck_since(
    *, started_at: datetime | None, deadline_at: datetime | None, waiting_since: datetime | None, now: datetime
) -> datetime | None:
    """Since when a running step is stuck; None when it is not.

    It is when its deadline has passed (nobody runs it, or its one attempt does not return), or when it has waited for
    the same thing for longer than half of its time, or than an hour. The answer is the deadline, or the moment when it
    began to wait for that.
    """
    if deadline_at is None or started_at is None:
        return None
    if waiting_since is not None:
        bearable = min((deadline_at - started_at).total_seconds() * SHARE, LONGEST)
        if now - waiting_since > timedelta(seconds=bearable):
            return waiting_since
    return deadline_at if now > deadline_at else None


def stuck(operations: Iterable[Operation], now: datetime) -> list[Stuck]:
    """Those of the operations that need somebody: stuck in a step, or paused by themselves."""
    found = []
    for operation in operations:
        step = next((step for step in operation.steps if step.phase is Phase.RUNNING), None)
        if operation.phase.ended:
            continue
        if operation.paused_at is not None:
            found.append(
                Stuck(operation, operation.paused_at, f"paused: {operation.pause_reason or 'no reason given'}")
            )
        elif step is not None:
            since = stuck_since(
                started_at=step.started_at,
                deadline_at=step.deadline_at,
                waiting_since=step.waiting_since,
                now=now,
            )
            if since is not None:
                found.append(Stuck(operation, since, f"{step.name}: {step.waiting_for or 'does not return'}"))
    return found

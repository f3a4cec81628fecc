"""What a reconciler is: work that nobody asked for, periodic and signalled, which takes no argument. Pure; no I/O.

A reconciler looks at the whole fleet by bulk lists and brings one thing to where it should be. There is one way to do
it: also who wants it done at once only signals it. It has no retries inside; the next period is the retry. In a fleet
of several servers on one database, each reconciler runs in one of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found and did. JSON-able, no secrets."""

    seen: int
    """How many things were looked at."""
    changed: int
    """How many it changed, in the cloud or in our own index."""
    detail: str = ""
    """Short words for people: `3 nodes new, 1 gone`. Empty: nothing to tell."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One kind of convergence."""

    name: str
    """`room.noun`: `inventory.index`."""
    about: str
    """One sentence for people."""
    run: Callable[[], Report]
    """Idempotent. Raises nothing but `steelyard.errors`; any raise is the run's recorded failure."""
    period: float = 30.0
    """Seconds between the starts of two runs; jittered by up to a quarter, so that a fleet does not march in step."""


@dataclass(frozen=True, slots=True)
class ReconcilerStatus:
    """What people see of it. Times are UTC."""

    name: str
    about: str
    period: float
    running_since: datetime | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_succeeded_at: datetime | None
    last_report: Report | None
    """Of the last run that succeeded."""
    last_error: str | None
    """Of the last run, if it failed."""
    runs: int
    failures: int
    replica: str | None
    """Which server ran it last."""

    @property
    def duration(self) -> float | None:
        """Seconds that the last ended run took."""
        if self.last_started_at is None or self.last_ended_at is None or self.last_ended_at < self.last_started_at:
            return None
        return (self.last_ended_at - self.last_started_at).total_seconds()


class Reconcilers(Protocol):
    """The engine of reconcilers as rooms see it."""

    def register(self, *reconcilers: Reconciler) -> None:
        """Make them known; wiring calls it before the launch. Raises `ValueError` for a name given twice."""

    def signal(self, name: str) -> None:
        """Run it as soon as it can; signals that come while it runs make one more run. Never blocks, never raises."""

    def run_now(self, name: str) -> ReconcilerStatus:
        """Run it in this thread (after the run that is under way) and say how it went. Raises `NotFound`."""

    def all(self) -> list[ReconcilerStatus]: ...

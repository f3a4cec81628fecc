"""What an operator watches, as Prometheus metrics: read from the database and from memory, never from the cloud."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import steelyard
from steelyard.attention.looking import stuck_since
from steelyard.errors import SteelyardError
from steelyard.operations.reconciling import Reconcilers, ReconcilerStatus
from steelyard.store import Store

log = structlog.get_logger("steelyard.metrics")

MAX_POOLS: Final = 100
"""Pools that have a label of their own, those with the most servers; the others are counted as `other`."""
OTHER: Final = "other"
BUCKETS: Final = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 6 * 3600, 24 * 3600)
"""Seconds: from a change of power to the erasing of large disks."""


class FleetMetrics(Collector):
    """Everything that the database and the reconcilers tell, read anew at each scrape.

    What cannot be read is left out, and `steelyard_metrics_unreadable` says which part: an empty database and a
    database that does not answer must not look the same.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        store: Store,
        reconcilers: Reconcilers,
        replica: str,
        streams: Callable[[], int] = lambda: 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._reconcilers = reconcilers
        self._replica = replica
        self._streams = streams
        self._now = now
        self._lock = threading.Lock()
        self._counted_to: int | None = None
        self._ended = Counter(
            "steelyard_operations_ended",
            "Operations that this server has brought to their end.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "steelyard_operation_duration_seconds",
            "How long these took from their begin to their end.",
            ["kind"],
            buckets=BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def begin(self) -> None:
        """What ends from now on is counted. Raises `Unavailable` when the database does not answer."""
        with self._lock:
            if self._counted_to is None:
                self._counted_to = self._store.events.newest()

    def count(self) -> None:
        """Count what has ended since the last time; `web.metrics` calls it before each scrape."""
        with self._lock:
            if self._counted_to is None:
                self._counted_to = self._store.events.newest()
                return
            ended, self._counted_to = self._store.numbers.ended(self._replica, self._counted_to)
            for each in ended:
                self._ended.labels(each.kind, each.outcome.value).inc()
                if each.seconds is not None:
                    self._seconds.labels(each.kind).observe(each.seconds)

    def collect(self) -> Iterator[Metric]:
        yield _gauge("steelyard_build_info", "Always 1; the release.", ["version"], {(steelyard.__version__,): 1})
        yield _gauge("steelyard_event_streams", "Open streams of events.", [], {(): self._streams()})
        parts: Mapping[str, Callable[[], Iterable[Metric]]] = {
            "servers": self._servers,
            "operations": self._operations,
            "reconcilers": self._of_reconcilers,
            "findings": self._findings,
            "segments": self._segments,
            "webhooks": self._webhooks,
            "database": self._database,
        }
        unreadable: dict[tuple[str, ...], float] = {}
        for name, part in parts.items():
            try:
                yield from list(part())
                unreadable[name,] = 0
            except SteelyardError as error:
                log.warning("metrics cannot be read", part=name, code=error.code, detail=error.detail)
                unreadable[name,] = 1
        yield _gauge(
            "steelyard_metrics_unreadable", "1 for a part of these metrics that cannot be read now.", ["part"],
            unreadable,
        )  # fmt: skip

    def _servers(self) -> Iterator[Metric]:
        yield _gauge(
            "steelyard_servers",
            "Servers in the inventory, by phase (candidates, too) and pool.",
            ["phase", "pool"],
            _bounded(self._store.numbers.servers()),
        )

    def _operations(self) -> Iterator[Metric]:
        yield _gauge(
            "steelyard_operations",
            "Operations that have not ended, by kind and phase: pending, running, paused.",
            ["kind", "phase"],
            {(kind, phase): number for (kind, phase), number in self._store.workload.counts().items()},
        )
        now = self._now()
        stuck = Tally(work.kind for work in self._store.workload.open() if stuck_since(work, now) is not None)
        yield _gauge(
            "steelyard_operations_stuck",
            "Of these, those past a deadline, or waiting for too long.",
            ["kind"],
            {(kind,): number for kind, number in stuck.items()},
        )

    def _of_reconcilers(self) -> Iterator[Metric]:
        statuses = self._reconcilers.all()

        def of(value: Callable[[ReconcilerStatus], float | None]) -> dict[tuple[str, ...], float]:
            values = {(each.name,): value(each) for each in statuses}
            return {name: number for name, number in values.items() if number is not None}

        yield _gauge(
            "steelyard_reconciler_last_success_timestamp_seconds",
            "When it last succeeded (Unix time); 0: never.",
            ["reconciler"],
            of(lambda each: each.last_succeeded_at.timestamp() if each.last_succeeded_at else 0),
        )
        yield _gauge(
            "steelyard_reconciler_period_seconds", "How often it should run.", ["reconciler"], of(lambda r: r.period)
        )
        yield _gauge(
            "steelyard_reconciler_duration_seconds", "How long the last run took.", ["reconciler"],
            of(lambda each: each.duration),
        )  # fmt: skip
        yield _gauge(
            "steelyard_reconciler_failing",
            "1 when the last run failed.",
            ["reconciler"],
            of(lambda each: float(each.last_error is not None)),
        )
        yield _counter("steelyard_reconciler_runs", "Runs.", ["reconciler"], of(lambda each: each.runs))
        yield _counter("steelyard_reconciler_failures", "Runs that failed.", ["reconciler"], of(lambda r: r.failures))

    def _findings(self) -> Iterator[Metric]:
        yield _gauge(
            "steelyard_findings",
            "Open findings: what is not as it should be.",
            ["kind", "severity"],
            {(kind, severity.value): number for (kind, severity), number in self._store.findings.counts().items()},
        )

    def _segments(self) -> Iterator[Metric]:
        counts = self._store.segments.counts()
        yield _gauge(
            "steelyard_segments", "Networks of which each node in transition has one to itself.", ["state"],
            {("free",): counts.free, ("leased",): counts.leased},
        )  # fmt: skip
        yield _gauge("steelyard_segments_waiting", "Nodes that wait for one.", [], {(): counts.waiting})

    def _webhooks(self) -> Iterator[Metric]:
        webhooks = self._store.webhooks.all()
        newest = self._store.events.newest()
        failing = sum(each.failing_since is not None for each in webhooks)
        yield _gauge(
            "steelyard_webhooks", "Webhooks, by whether they can be reached.", ["state"],
            {("failing",): failing, ("ok",): len(webhooks) - failing},
        )  # fmt: skip
        yield _gauge(
            "steelyard_webhook_backlog",
            "Events that a webhook has not been brought yet, wanted or not.",
            ["webhook"],
            {(each.name,): max(0, newest - each.cursor) for each in webhooks},
        )
        yield _counter(
            "steelyard_webhook_given_up",
            "Events that could not be delivered for so long that they were given up.",
            ["webhook"],
            {(each.name,): each.given_up for each in webhooks},
        )

    def _database(self) -> Iterator[Metric]:
        pool = self._store.numbers.connections()
        yield _gauge(
            "steelyard_database_connections", "Connections of this server to its database.", ["state"],
            {("in_use",): pool.in_use, ("idle",): pool.idle},
        )  # fmt: skip
        yield _gauge("steelyard_database_connections_limit", "The most there may be.", [], {(): pool.limit})
        yield _counter("steelyard_events", "Id of the newest event.", [], {(): self._store.events.newest()})
        yield _gauge(
            "steelyard_replicas",
            "Servers that share the database: live, or dead (they did not say good-bye).",
            ["state"],
            {(state,): number for state, number in self._store.numbers.replicas().items()},
        )


def _gauge(name: str, help: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _counter(name: str, help: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(name, help, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _bounded(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, ...], float]:
    """At most `MAX_POOLS` pools: whoever names resource classes decides how many there are, and each is a series."""
    sizes: Tally[str] = Tally()
    for (_, pool), number in counts.items():
        sizes[pool] += number
    named = {pool for pool, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:MAX_POOLS]}
    bounded: Tally[tuple[str, ...]] = Tally()
    for (phase, pool), number in counts.items():
        bounded[phase, pool if pool in named else OTHER] += number
    return dict(bounded)

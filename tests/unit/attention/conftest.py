"""A fake cloud, a store on both databases, and the service over them at a time that tests choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from steelyard.attention.model import Line, Severity
from steelyard.attention.service import AttentionService
from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.nouns import Actor, Instance, Node
from steelyard.operations.reconciling import Reconciler, ReconcilerStatus
from steelyard.store import Store
from steelyard.store.tables import operation_steps, operations

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADMIN = Actor("u1", "ada", "p1", "admin", frozenset({"admin"}))


@dataclass
class Reconcilers:
    """States of reconcilers, as tests want them."""

    statuses: list[ReconcilerStatus] = field(default_factory=list)

    def register(self, *reconcilers: Reconciler) -> None: ...

    def signal(self, name: str) -> None: ...

    def run_now(self, name: str) -> ReconcilerStatus:
        raise NotImplementedError

    def all(self) -> list[ReconcilerStatus]:
        return self.statuses


def status(name: str = "inventory.index", **changes: Any) -> ReconcilerStatus:
    fine = ReconcilerStatus(
        name=name, about="", period=30, running_since=None, last_started_at=NOW, last_ended_at=NOW,
        last_succeeded_at=NOW, last_report=None, last_error=None, runs=1, failures=0, replica="a",
    )  # fmt: skip
    return replace(fine, **changes)


@dataclass
class Bench:
    world: FakeWorld
    store: Store
    reconcilers: Reconcilers
    observer: Observer
    service: AttentionService
    now: datetime = NOW

    def clock(self) -> datetime:
        return self.now

    def go_on(self, **span: float) -> None:
        self.now += timedelta(**span)

    def lines(self, severity: Severity | None = None, *, everything: bool = False) -> list[Line]:
        self.observer.forget()
        return self.service.screen(severity=severity, everything=everything).lines

    def only(self) -> Line:
        (line,) = self.lines()
        return line

    def told(self) -> list[tuple[str, str]]:
        """Name and kind of each line."""
        return [(line.lead.finding.name, line.lead.finding.kind) for line in self.lines()]

    def node(self, name: str = "bm-1", **changes: Any) -> Node:
        """A node in some condition, that has been in it for an hour."""
        made = self.world.add_node(name)
        usual = {"provision_updated_at": NOW - timedelta(hours=1), "created_at": NOW - timedelta(days=1)}
        self.world.nodes[made.id] = replace(made, **(usual | changes))
        return self.world.nodes[made.id]

    def server(self, node: Node | None = None, name: str = "web", **changes: Any) -> Instance:
        made = Instance(
            id=f"{name}-id", name=name, status="ACTIVE", task_state=None, power_state="on",
            project_id=self.world.project("demo"), user_id=None, flavor_name=None, image_id=None,
            node_id=node.id if node else None, addresses=(), created_at=NOW, updated_at=NOW - timedelta(minutes=5),
        )  # fmt: skip
        self.world.instances[made.id] = replace(made, **changes)
        return self.world.instances[made.id]

    def candidate(self, name: str = "rack-7", **changes: Any) -> Candidate:
        made = Candidate(
            id=f"{name}-id", address="192.0.2.7", port=443, system_path="/redfish/v1/Systems/1",
            state=CandidateState.FOUND, first_seen_at=NOW, last_seen_at=NOW, asset_tag=name,
        )  # fmt: skip
        self.store.candidates.put(replace(made, **changes))
        return replace(made, **changes)

    def operation(self, id: str, *, step: dict[str, Any] | None = None, **values: Any) -> str:
        """An operation as the journal would have written it; by default it failed an hour ago."""
        given = {
            "id": id, "kind": "nodes.clean", "phase": "failed", "subject": None, "actor": {"user_name": "ada"},
            "user_id": "u1", "params": {}, "result": {}, "cancel_requested": False, "pause_requested": False,
            "created_at": NOW - timedelta(hours=2), "started_at": NOW - timedelta(hours=2),
            "ended_at": NOW - timedelta(hours=1),
            "error": {"detail": "the agent did not call back", "code": "late", "next": None, "step": "clean"},
        } | values  # fmt: skip
        with self.store.database.write() as connection:
            connection.execute(operations.insert().values(**given))
            if step is not None:
                row = {"operation_id": id, "position": 0, "name": "deploy", "phase": "running", "attempts": 1} | step
                connection.execute(operation_steps.insert().values(**row))
        return id

    def running(self, id: str, *, step: dict[str, Any] | None = None, **values: Any) -> str:
        return self.operation(id, step=step, **({"phase": "running", "ended_at": None, "error": sa.null()} | values))


BOTH = pytest.mark.parametrize("bench", ["sqlite", "postgresql"], indirect=True)
"""For tests of questions that the database answers."""


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    sqlite = getattr(request, "param", "sqlite") == "sqlite"
    url = f"sqlite:///{tmp_path / 's.sqlite'}" if sqlite else request.getfixturevalue("new_postgresql")()
    store = Store.open(url, key_file=tmp_path / "keys")
    world, reconcilers = FakeWorld(), Reconcilers()
    observer = Observer(FakeClouds(world))
    made = Bench(world, store, reconcilers, observer, service=None)  # type: ignore[arg-type]
    made.service = AttentionService(observer=observer, store=store, reconcilers=reconcilers, now=made.clock)
    yield made
    store.close()

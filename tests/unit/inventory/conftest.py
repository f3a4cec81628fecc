"""A fake cloud with five nodes, and the inventory over it on either database, with a clock that tests hold."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.inventory.query import Sort, query_of, sort_of
from steelyard.inventory.service import InventoryService
from steelyard.nouns import Actor, FlavorSpec, ImageSpec, ServerSpec
from steelyard.store import Store
from steelyard.store.tables import metadata

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """The time that the inventory believes in."""

    now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Bench:
    """Five nodes: one deployed as `web`, two available, one in maintenance, one failed."""

    store: Store
    world: FakeWorld = field(default_factory=FakeWorld)
    clock: Clock = field(default_factory=Clock)
    signals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clouds = FakeClouds(self.world)
        self.service = InventoryService(
            clouds=self.clouds,
            store=self.store,
            observer=Observer(self.clouds, clock=lambda: self.clock.now.timestamp()),
            signal=self.signals.append,
            now=self.clock,
        )
        for number in range(1, 6):
            self.world.add_node(f"bm-{number}", resource_class="bm-small" if number < 4 else "bm-large")
        network = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        cloud = self.clouds.on_behalf_of(self.world.token(project="demo"))
        image = cloud.images.create(
            ImageSpec("debian", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1), io.BytesIO(b"x")
        )
        flavor = self.clouds.own.flavors.create(FlavorSpec("metal", "CUSTOM_BM_SMALL"))
        cloud.compute.create(ServerSpec("web", flavor.id, image.id, (network.id,)))
        self.world.settle()
        self.clouds.own.nodes.set_maintenance(self.id_of("bm-4"), "fan replacement")
        self.world.set_state(self.id_of("bm-5"), "clean failed", maintenance=True, error="disk on fire")
        notes = {"steelyard": {"serial": "SN-5", "vendor": "Acme"}}
        self.change("bm-5", extra=notes)

    def id_of(self, name: str) -> str:
        return next(node.id for node in self.world.nodes.values() if node.name == name)

    def change(self, name: str, **values: Any) -> None:
        """Change a node behind everybody's back."""
        node = self.world.nodes[self.id_of(name)]
        self.world.nodes[node.id] = replace(node, **values)

    def candidate(self, number: int, **values: Any) -> Candidate:
        """A candidate that is in the store."""
        made = Candidate(
            id=f"c{number:07d}-0000-4000-8000-000000000000", address=f"192.0.2.{100 + number}", port=443,
            system_path="/redfish/v1/Systems/1", state=CandidateState.FOUND, first_seen_at=BEGIN, last_seen_at=BEGIN,
            **{"serial": f"CAND-{number}", "vendor": "Acme", "hostname": f"found-{number}", **values},
        )  # fmt: skip
        self.store.candidates.put(made)
        return made

    def records(self, text: str | None = None, *, gone: bool = False, sort: Sort | None = None, **filters: str) -> Any:
        query = query_of(text, {name: [value] for name, value in filters.items()}, gone=gone)
        page = self.service.page(query, sort or Sort(), limit=1000)
        return [json.loads(each) for each in page.documents]

    def names(self, text: str | None = None, *, gone: bool = False, sort: str = "name", **filters: str) -> list[str]:
        return [record["name"] for record in self.records(text, gone=gone, sort=sort_of(sort), **filters)]

    def changes(self, reference: str) -> list[tuple[str, str | None, str | None]]:
        """The history of a server, the oldest first."""
        _, lines = self.service.history(reference, limit=1000)
        return [(line.field, line.before, line.after) for line in reversed(lines)]

    @property
    def admin(self) -> Actor:
        return self.clouds.identity.validate(self.world.token(project="admin", roles={"admin"}, user="ada"))


@pytest.fixture(scope="session")
def postgresql_store(new_postgresql: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for the whole run: a fresh schema for each test would take longer than the tests."""
    opened = Store.open(new_postgresql(), key_file=tmp_path_factory.mktemp("keys") / "keys")
    yield opened
    opened.close()


def emptied(store: Store) -> Store:
    """A store without anything of this room."""
    with store.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name.startswith(("inventory_", "candidates", "operation")):
                connection.execute(sa.delete(table))
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "postgresql":
        yield emptied(request.getfixturevalue("postgresql_store"))
        return
    opened = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield opened
    opened.close()


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)

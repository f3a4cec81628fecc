"""One list of all servers, joined and filtered, from bulk lists only."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import NotFound
from steelyard.inventory.model import Group
from steelyard.inventory.service import InventoryService
from steelyard.nouns import FlavorSpec, ImageSpec, ServerSpec
from steelyard.store import Store


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Five nodes: one deployed as `web`, two available, one in maintenance, one failed."""

    def __init__(self, store: Store):
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.clock = Clock()
        self.store = store
        self.service = InventoryService(clouds=self.clouds, store=store, clock=self.clock)
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
        failed = self.world.nodes[self.id_of("bm-5")]
        notes = {"steelyard": {"serial": "SN-5", "vendor": "Acme", "candidate_id": "c5"}}
        self.world.nodes[failed.id] = replace(failed, extra=notes)

    def id_of(self, name: str) -> str:
        return next(node.id for node in self.world.nodes.values() if node.name == name)

    def names(self, **filters: object) -> list[str]:
        return sorted(record.name for record in self.service.all(**filters))  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield Bench(store)
    store.close()


def test_three_heaps(bench: Bench) -> None:
    assert bench.names(group=Group.DEPLOYED) == ["bm-1"]
    assert bench.names(group=Group.AVAILABLE) == ["bm-2", "bm-3"]
    assert bench.names(group=Group.OTHER) == ["bm-4", "bm-5"]


def test_a_deployed_one_shows_who_has_it_and_how(bench: Bench) -> None:
    (record,) = bench.service.all(group=Group.DEPLOYED)
    assert (record.phase, record.instance, record.project, record.image) == ("active", "web", "demo", "debian")
    assert record.flavor == "metal"
    assert record.addresses == ("10.1.0.2",)
    assert [(nic.switch, nic.port) for nic in record.nics] == [("leaf1", "Ethernet1"), ("leaf2", "Ethernet1")]
    assert (record.hardware.cpus, record.hardware.memory_mib) == (16, 65536)


def test_a_free_one_shows_no_tenant(bench: Bench) -> None:
    record = bench.service.get("bm-2").record
    assert (record.project_id, record.instance_id, record.addresses) == (None, None, ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web", ["bm-1"]), ("WEB demo", ["bm-1"]), ("10.1.0", ["bm-1"]), ("leaf1 ethernet3", ["bm-3"]),
        ("sn-5", ["bm-5"]), ("on fire", ["bm-5"]), ("fan", ["bm-4"]), ("web fan", []), ("quarantined", ["bm-5"]),
        ("52:54:00:00:02", ["bm-2"]),
    ],
)  # fmt: skip
def test_search_in_all_fields(bench: Bench, text: str, names: list[str]) -> None:
    assert bench.names(text=text) == names


@pytest.mark.parametrize("pool", ["bm-large", "BM_LARGE", "CUSTOM_BM_LARGE", "bm.large"])
def test_a_pool_in_any_spelling(bench: Bench, pool: str) -> None:
    assert bench.names(pool=pool) == ["bm-4", "bm-5"]


def test_found_by_id_name_or_serial(bench: Bench) -> None:
    for reference in (bench.id_of("bm-5"), "bm-5", "SN-5"):
        assert bench.service.get(reference).record.name == "bm-5"
    with pytest.raises(NotFound):
        bench.service.get("bm-404")


def test_bulk_lists_only_and_once_in_two_seconds(bench: Bench) -> None:
    bench.world.calls.clear()
    for _ in range(5):
        bench.service.all()
    lists = {"nodes.all", "compute.all", "node_ports.all", "images.all"}
    assert {name: count for name, count in bench.world.calls.items() if name in lists} == dict.fromkeys(lists, 1)
    assert not any(name.endswith(".get") for name in bench.world.calls)
    bench.clock.now += 2.1
    bench.service.all()
    assert bench.world.calls["nodes.all"] == 2


def test_a_list_is_not_kept_beyond_an_event(bench: Bench) -> None:
    """Who has deleted a node does not find it in the list, however short the time."""
    assert "bm-2" in bench.names()
    gone = bench.world.nodes.pop(bench.id_of("bm-2"))
    assert "bm-2" in bench.names()
    bench.store.events.append(f"node:{gone.id}", "node.deleted", actor="admin", detail="node bm-2 was deleted")
    assert "bm-2" not in bench.names()


def test_one_node_is_read_afresh(bench: Bench) -> None:
    bench.service.all()
    bench.world.set_state(bench.id_of("bm-2"), "clean failed", error="x")
    assert bench.service.get("bm-2").record.phase == "quarantined"


def test_no_secret_of_a_bmc(bench: Bench) -> None:
    assert "password" not in repr(bench.service.all())

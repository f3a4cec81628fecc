"""One list of all servers, joined and filtered, from bulk lists only."""

from __future__ import annotations

import pytest

from steelyard.errors import NotFound

from .conftest import Bench


def test_three_heaps(bench: Bench) -> None:
    assert bench.names(state="deployed") == ["bm-1"]
    assert bench.names(state="available") == ["bm-2", "bm-3"]
    assert bench.names(state="other") == ["bm-4", "bm-5"]


def test_a_deployed_one_shows_who_has_it_and_how(bench: Bench) -> None:
    (record,) = bench.records(state="deployed")
    assert {"phase": "active", "instance": "web", "project": "demo", "image": "debian"}.items() <= record.items()
    assert record["flavor"] == "metal"
    assert record["addresses"] == ["10.1.0.2"]
    assert [(nic["switch"], nic["port"]) for nic in record["nics"]] == [("leaf1", "Ethernet1"), ("leaf2", "Ethernet1")]
    assert {"cpus": 16, "memory_mib": 65536}.items() <= record["hardware"].items()


def test_a_free_one_shows_no_tenant(bench: Bench) -> None:
    record = bench.service.get("bm-2").document
    assert (record["project_id"], record["instance_id"], record["addresses"]) == (None, None, [])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web", ["bm-1"]), ("WEB demo", ["bm-1"]), ("10.1.0", ["bm-1"]), ("leaf1 ethernet3", ["bm-3"]),
        ("sn-5", ["bm-5"]), ("on fire", ["bm-5"]), ("fan", ["bm-4"]), ("web fan", []), ("quarantined", ["bm-5"]),
        ("52:54:00:00:02", ["bm-2"]),
    ],
)  # fmt: skip
def test_search_in_all_fields(bench: Bench, text: str, names: list[str]) -> None:
    assert bench.names(text) == names


@pytest.mark.parametrize("pool", ["bm-large", "BM_LARGE", "CUSTOM_BM_LARGE", "bm.large"])
def test_a_pool_in_any_spelling(bench: Bench, pool: str) -> None:
    assert bench.names(pool=pool) == ["bm-4", "bm-5"]


def test_found_by_id_name_or_serial(bench: Bench) -> None:
    for reference in (bench.id_of("bm-5"), "bm-5", "SN-5"):
        assert bench.service.get(reference).document["name"] == "bm-5"
    with pytest.raises(NotFound):
        bench.service.get("bm-404")


def test_bulk_lists_only_and_once_in_two_seconds(bench: Bench) -> None:
    bench.world.calls.clear()
    for _ in range(5):
        bench.names()
    lists = {"nodes.all", "compute.all", "node_ports.all", "images.all"}
    assert {name: count for name, count in bench.world.calls.items() if name in lists} == dict.fromkeys(lists, 1)
    assert not any(name.endswith(".get") for name in bench.world.calls)
    bench.clock.pass_(2.1)
    bench.names()
    assert bench.world.calls["nodes.all"] == 2


def test_a_list_is_not_kept_beyond_an_event(bench: Bench) -> None:
    """Who has deleted a node does not find it in the list, however short the time."""
    assert "bm-2" in bench.names()
    gone = bench.world.nodes.pop(bench.id_of("bm-2"))
    assert "bm-2" in bench.names()
    bench.store.events.append(f"node:{gone.id}", "node.deleted", actor="admin", detail="node bm-2 was deleted")
    assert "bm-2" not in bench.names()


def test_one_node_is_read_afresh(bench: Bench) -> None:
    bench.names()
    bench.world.set_state(bench.id_of("bm-2"), "clean failed", error="x")
    assert bench.service.get("bm-2").document["phase"] == "quarantined"


def test_no_secret_of_a_bmc(bench: Bench) -> None:
    assert "password" not in repr(bench.records())

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import naming
from steelyard.errors import Duplicate, Invalid, Refused
from steelyard.flavors import model
from steelyard.nouns import Flavor, Node

NODE = Node(
    id="n", name="bm", driver="redfish", provision_state="available", target_provision_state=None, power_state="off",
    maintenance=False, maintenance_reason=None, last_error=None, resource_class="bm.large", traits=frozenset(),
    instance_id=None, bmc_address=None, owner=None, lessee=None, retired=False, protected=False,
    provision_updated_at=None, created_at=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ironic", "placement"),
    [
        ("bm.large", "CUSTOM_BM_LARGE"),
        ("baremetal", "CUSTOM_BAREMETAL"),
        ("a--b..c", "CUSTOM_A_B_C"),
        ("CUSTOM_X", "CUSTOM_CUSTOM_X"),
        ("größe", "CUSTOM_GR_E"),
    ],
)
def test_a_class_is_spelled_as_nova_spells_it(ironic: str, placement: str) -> None:
    assert naming.placement_class(ironic) == placement


@given(st.text(min_size=1))
def test_a_class_is_always_one_that_placement_takes(name: str) -> None:
    assert re.fullmatch("CUSTOM_[A-Z0-9_]*", naming.placement_class(name))


STATES = st.sampled_from(["available", "active", "cleaning", "clean failed", "enroll", "manageable", "deploying"])


@st.composite
def fleets(draw: st.DrawFn) -> list[Node]:
    return [
        replace(
            NODE,
            id=str(number),
            provision_state=draw(STATES),
            maintenance=draw(st.booleans()),
            retired=draw(st.booleans()),
            instance_id=draw(st.none() | st.just(f"i{number}")),
            resource_class=draw(st.sampled_from([None, "bm.small", "bm.large", "BM-LARGE"])),
            traits=draw(st.frozensets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"]))),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


@given(fleets(), st.frozensets(st.integers(0, 11).map(str)))
def test_every_node_is_counted_once_and_free_ones_are_really_free(nodes: list[Node], free: frozenset[str]) -> None:
    capacity = model.count(nodes, free)
    assert capacity.total == len(nodes) == capacity.free + capacity.deployed + capacity.other
    truly = [
        node
        for node in nodes
        if node.id in free
        and node.provision_state == "available"
        and not (node.maintenance or node.retired or node.instance_id)
    ]
    assert capacity.free == len(truly)


@given(fleets())
def test_pools_hold_every_node_that_has_a_class(nodes: list[Node]) -> None:
    free = {"CUSTOM_BM_LARGE": frozenset(node.id for node in nodes)}
    found = model.pools(nodes, free)
    assert sum(pool.capacity.total for pool in found) == sum(1 for node in nodes if node.resource_class)
    assert len({pool.resource_class for pool in found}) == len(found)
    for pool in found:
        members = model.nodes_for(nodes, pool.resource_class)
        assert len(members) == pool.capacity.total
        for trait, number in pool.traits.items():
            assert number == len(model.nodes_for(nodes, pool.resource_class, frozenset({trait}))) > 0
        if pool.resource_class != "CUSTOM_BM_LARGE":
            assert pool.capacity.free == 0


def test_a_pool_may_be_named_as_ironic_or_placement_does() -> None:
    nodes = [NODE, replace(NODE, id="m", resource_class="CUSTOM_ODD")]
    assert model.wanted_class("bm.large", nodes) == "CUSTOM_BM_LARGE"
    assert model.wanted_class("BM_LARGE", nodes) == "CUSTOM_BM_LARGE"
    assert model.wanted_class("CUSTOM_BM_LARGE", nodes) == "CUSTOM_BM_LARGE"
    assert model.wanted_class("CUSTOM_ODD", nodes) == "CUSTOM_CUSTOM_ODD"
    assert model.wanted_class("later", nodes) == "CUSTOM_LATER"
    for nonsense in ("", "...", "x" * 300):
        with pytest.raises(Invalid) as refusal:
            model.wanted_class(nonsense, nodes)
        assert refusal.value.code == "invalid_pool"


def test_a_pool_that_nobody_is_in_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused, match=r"The pools are: bm\.large") as refusal:
        model.require_nodes("CUSTOM_BM_HUGE", frozenset(), [NODE])
    assert (refusal.value.code, refusal.value.next) == ("no_node_can_serve", "steelyard pool list")
    with pytest.raises(Refused, match="no nodes with a class"):
        model.require_nodes("CUSTOM_BM_HUGE", frozenset(), [])
    with pytest.raises(Refused, match="none has CUSTOM_GPU"):
        model.require_nodes("CUSTOM_BM_LARGE", frozenset({"CUSTOM_GPU"}), [NODE])
    split = [replace(NODE, traits=frozenset({"CUSTOM_A"})), replace(NODE, traits=frozenset({"CUSTOM_B"}))]
    with pytest.raises(Refused, match="no single one has all"):
        model.require_nodes("CUSTOM_BM_LARGE", frozenset({"CUSTOM_A", "CUSTOM_B"}), split)
    model.require_nodes("CUSTOM_BM_LARGE", frozenset({"CUSTOM_A"}), split)


@given(st.lists(st.integers(1, 10_000), min_size=1), st.integers(1, 20_000))
def test_a_flavor_promises_no_more_than_the_smallest_node_has(sizes: list[int], asked: int) -> None:
    nodes = [replace(NODE, properties={"cpus": size, "memory_mb": str(size), "local_gb": size}) for size in sizes]
    least = min(sizes)
    assert model.size_of(nodes) == model.Size(least, least, least)
    if asked <= least:
        assert model.size_of(nodes, vcpus=asked).vcpus == asked
    else:
        with pytest.raises(Invalid) as refusal:
            model.size_of(nodes, vcpus=asked)
        assert refusal.value.code == "flavor_too_large"


def test_nonsense_in_properties_is_no_size() -> None:
    nodes = [replace(NODE, properties={"cpus": "many", "memory_mb": -1, "local_gb": None})]
    assert model.size_of(nodes) == model.Size(1, 1024, 10)
    assert model.size_of([], ram_mib=5) == model.Size(1, 5, 10)


@pytest.mark.parametrize("trait", ["", "custom_gpu", "CUSTOM GPU", "CUSTOM_GPÜ", "_X", "C" * 256, "A\n"])
def test_what_is_no_trait_is_refused(trait: str) -> None:
    with pytest.raises(Invalid) as refusal:
        model.parse_traits(["CUSTOM_OK", trait])
    assert refusal.value.code == "invalid_trait"


def test_a_name_is_used_once() -> None:
    flavor = Flavor("id-1", "metal", 1, 1, 1, None, frozenset())
    model.require_free_name("other", [flavor])
    with pytest.raises(Duplicate, match="id-1"):
        model.require_free_name("metal", [flavor])

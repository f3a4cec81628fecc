"""The contracts of `Flavors` and `Placement`."""

from __future__ import annotations

import uuid

import pytest

from steelyard.clouds.ports import Flavors, Placement
from steelyard.errors import Duplicate, Forbidden, NotFound
from steelyard.nouns import AllocationRecord, Flavor, FlavorSpec

from .stages import Stage

NOWHERE = "00000000-0000-4000-8000-000000000000"


def add(stage: Stage, **changes: object) -> Flavor:
    spec = {"name": stage.name("flavor"), "resource_class": "bm.contract", "traits": frozenset({"CUSTOM_CONTRACT"})}
    flavor = stage.own.flavors.create(FlavorSpec(**{**spec, **changes}))  # type: ignore[arg-type]
    stage.after.callback(stage.own.flavors.delete, flavor.id)
    return flavor


def test_a_flavor_takes_one_of_its_class(stage: Stage) -> None:
    assert isinstance(stage.own.flavors, Flavors)
    flavor = add(stage, vcpus=16, ram_mib=65536, disk_gib=400)
    assert flavor.resource_class == "CUSTOM_BM_CONTRACT"
    assert flavor.traits == {"CUSTOM_CONTRACT"}
    assert (flavor.vcpus, flavor.ram_mib, flavor.disk_gib) == (16, 65536, 400)
    assert flavor in stage.own.flavors.all()


def test_tenants_see_flavors_and_make_none(stage: Stage) -> None:
    flavor = add(stage)
    seen = {found.id: found for found in stage.tenant.flavors.all()}
    assert seen[flavor.id].resource_class == "CUSTOM_BM_CONTRACT"
    name = stage.name("flavor")
    with pytest.raises(Forbidden):
        stage.tenant.flavors.create(FlavorSpec(name, "bm.contract"))
    with pytest.raises(Forbidden):
        stage.tenant.flavors.delete(flavor.id)
    assert name not in {found.name for found in stage.own.flavors.all()}


def test_a_name_is_taken_once(stage: Stage) -> None:
    flavor = add(stage)
    with pytest.raises(Duplicate):
        stage.own.flavors.create(FlavorSpec(flavor.name, "bm.contract"))


def test_deleting_twice_is_fine(stage: Stage) -> None:
    flavor = add(stage)
    stage.own.flavors.delete(flavor.id)
    stage.own.flavors.delete(flavor.id)
    assert flavor.id not in {found.id for found in stage.own.flavors.all()}


def test_of_a_class_that_nobody_has_nothing_is_free(stage: Stage) -> None:
    assert isinstance(stage.own.placement, Placement)
    assert stage.own.placement.free("bm.never-was") == frozenset()
    assert stage.own.placement.free("CUSTOM_BM_NEVER_WAS", frozenset({"CUSTOM_NEVER_WAS"})) == frozenset()


def test_an_available_node_is_free_and_a_class_is_found_by_either_name(stage: Stage) -> None:
    node = stage.add_node(resource_class="contract.free")
    stage.own.nodes.set_traits(node.id, frozenset({"CUSTOM_CONTRACT"}))
    assert node.id not in stage.own.placement.free("contract.free")
    stage.make_available(node)
    stage.until(lambda: node.id in stage.own.placement.free("contract.free"))
    assert node.id in stage.own.placement.free("CUSTOM_CONTRACT_FREE", frozenset({"CUSTOM_CONTRACT"}))
    assert node.id not in stage.own.placement.free("contract.free", frozenset({"CUSTOM_OTHER_CONTRACT"}))
    assert node.id not in stage.own.placement.free("contract.other")


def test_a_node_that_is_held_back_is_not_free(stage: Stage) -> None:
    node = stage.add_node(resource_class="contract.held")
    stage.make_available(node)
    stage.until(lambda: node.id in stage.own.placement.free("contract.held"))
    stage.own.nodes.set_maintenance(node.id, "held back")
    stage.own.placement.hold_back(node.id)
    assert node.id not in stage.own.placement.free("contract.held")
    stage.own.placement.hold_back(node.id)
    for _ in range(15):  # through Nova's periodic update, which must see the maintenance to end it
        assert node.id not in stage.own.placement.free("contract.held")
        stage.move()
    stage.own.nodes.set_maintenance(node.id, None)
    stage.until(lambda: node.id in stage.own.placement.free("contract.held"))


def test_what_placement_does_not_know_is_not_held_back(stage: Stage) -> None:
    stage.own.placement.hold_back(NOWHERE)
    stage.own.placement.hold_back(stage.add_node().id)
    assert stage.own.placement.allocations([NOWHERE]) == []
    stage.own.placement.delete_allocation(NOWHERE)


def test_allocations_name_node_and_consumer(stage: Stage) -> None:
    node = stage.add_node(resource_class="contract.taken")
    stage.make_available(node)
    stage.until(lambda: node.id in stage.own.placement.free("contract.taken"))
    assert stage.own.placement.allocations([node.id]) == []
    consumer = str(uuid.uuid4())
    stage.allocate(consumer, node)
    record = AllocationRecord(node.id, consumer, {"CUSTOM_CONTRACT_TAKEN": 1})
    assert stage.own.placement.allocations([node.id]) == [record]
    assert record in stage.own.placement.allocations()
    assert record not in stage.own.placement.allocations([NOWHERE])
    assert node.id not in stage.own.placement.free("contract.taken")
    stage.own.placement.delete_allocation(consumer)
    stage.own.placement.delete_allocation(consumer)
    assert stage.own.placement.allocations([node.id]) == []
    assert node.id in stage.own.placement.free("contract.taken")


def test_traits_and_classes_of_providers(stage: Stage) -> None:
    node = stage.add_node(resource_class="contract.traits")
    stage.own.nodes.set_traits(node.id, frozenset({"CUSTOM_CONTRACT", "HW_ARCH_X86_64"}))
    stage.make_available(node)
    stage.until(lambda: node.id in stage.own.placement.free("contract.traits"))
    placement = stage.own.placement
    stage.until(lambda: placement.traits().get(node.id) == {"CUSTOM_CONTRACT", "HW_ARCH_X86_64"})
    assert placement.classes([node.id, NOWHERE]) == {
        node.id: frozenset({"CUSTOM_CONTRACT_TRAITS"}), NOWHERE: frozenset(),
    }  # fmt: skip
    changed = frozenset({"CUSTOM_CONTRACT_NEVER_WAS_BEFORE", "HW_ARCH_X86_64"})
    placement.set_traits(node.id, changed)
    placement.set_traits(node.id, changed)
    assert placement.traits()[node.id] == changed
    with pytest.raises(NotFound):
        placement.set_traits(NOWHERE, frozenset())


def test_tenants_do_not_ask_placement(stage: Stage) -> None:
    node = stage.add_node()
    for act in (
        lambda: stage.tenant.placement.free("contract.free"),
        lambda: stage.tenant.placement.hold_back(node.id),
        lambda: stage.tenant.placement.allocations([node.id]),
        lambda: stage.tenant.placement.delete_allocation(NOWHERE),
        lambda: stage.tenant.placement.traits(),
        lambda: stage.tenant.placement.set_traits(node.id, frozenset()),
        lambda: stage.tenant.placement.classes([node.id]),
    ):
        with pytest.raises(Forbidden):
            act()

"""The contracts of `Flavors` and `Placement`."""

from __future__ import annotations

import pytest

from steelyard.clouds.ports import Flavors, Placement
from steelyard.errors import Duplicate, Forbidden
from steelyard.nouns import Flavor, FlavorSpec

from .stages import Stage


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


def test_tenants_do_not_ask_placement(stage: Stage) -> None:
    with pytest.raises(Forbidden):
        stage.tenant.placement.free("contract.free")

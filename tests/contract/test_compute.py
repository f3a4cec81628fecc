"""The contract of `Compute`, with the attachments that an instance has."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.clouds.ports import Compute
from steelyard.errors import Conflict, Forbidden, Invalid, NotFound
from steelyard.nouns import FlavorSpec, Instance, ServerSpec, SubnetSpec

from .stages import Stage


@pytest.fixture
def wanted(stage: Stage) -> ServerSpec:
    """A server of a class that no node has: it goes through Nova's API and scheduler, and fails there."""
    network = stage.tenant.networks.create(stage.name("network"))
    stage.after.callback(stage.own.networks.delete, network.id)
    stage.tenant.networks.create_subnet(SubnetSpec("servers", network.id, "10.90.0.0/24"))
    flavor = stage.own.flavors.create(FlavorSpec(stage.name("flavor"), "contract.nobody"))
    stage.after.callback(stage.own.flavors.delete, flavor.id)
    return ServerSpec(stage.name("server"), flavor.id, stage.add_image().id, (network.id,), metadata={"a": "b"})


def create(stage: Stage, spec: ServerSpec) -> Instance:
    instance = stage.tenant.compute.create(spec)
    stage.after.callback(remove, stage, instance.id)
    return instance


def remove(stage: Stage, instance_id: str) -> None:
    stage.own.compute.delete(instance_id)
    stage.until(lambda: instance_id not in {i.id for i in stage.own.compute.all(all_projects=True)})


def test_a_server_that_nobody_can_serve_ends_in_error(stage: Stage, wanted: ServerSpec) -> None:
    assert isinstance(stage.tenant.compute, Compute)
    instance = create(stage, wanted)
    assert instance.project_id == stage.project_id
    assert instance.image_id == wanted.image_id
    assert instance.name == wanted.name
    assert instance.created_at is not None
    stage.until(lambda: stage.tenant.compute.get(instance.id).status == "ERROR")
    failed = stage.tenant.compute.get(instance.id)
    assert "No valid host" in (failed.fault or "")
    assert failed.node_id is None
    with pytest.raises(Conflict):
        stage.tenant.compute.power(instance.id, "off")
    assert instance.id in {found.id for found in stage.tenant.compute.all()}
    assert instance.id in {found.id for found in stage.own.compute.all(all_projects=True)}
    assert instance.id not in {found.id for found in stage.own.compute.all()}


def test_tenants_do_not_see_or_touch_each_others(stage: Stage, wanted: ServerSpec) -> None:
    instance = create(stage, wanted)
    assert instance.id not in {found.id for found in stage.other.compute.all()}
    for act in (
        lambda: stage.other.compute.get(instance.id),
        lambda: stage.other.compute.power(instance.id, "off"),
    ):
        with pytest.raises(NotFound):
            act()
    stage.other.compute.delete(instance.id)
    assert stage.tenant.compute.get(instance.id).id == instance.id
    with pytest.raises(Forbidden):
        stage.other.compute.all(all_projects=True)


@pytest.mark.parametrize("part", ["flavor_id", "image_id", "network_ids"])
def test_what_is_asked_for_must_exist(stage: Stage, wanted: ServerSpec, part: str) -> None:
    from dataclasses import replace

    nowhere = "00000000-0000-4000-8000-000000000000"
    values: dict[str, Any] = {part: (nowhere,) if part == "network_ids" else nowhere}
    bad = replace(wanted, **values)
    with pytest.raises(Invalid):
        stage.tenant.compute.create(bad)
    assert wanted.name not in {found.name for found in stage.tenant.compute.all()}


def test_another_tenants_network_cannot_be_used(stage: Stage, wanted: ServerSpec) -> None:
    with pytest.raises((Invalid, Forbidden)):
        stage.other.compute.create(wanted)


def test_the_administrators_networks_cannot_be_used(stage: Stage, wanted: ServerSpec) -> None:
    from dataclasses import replace

    provisioning = next(n for n in stage.own.networks.all() if n.name == "provisioning")
    with pytest.raises((Invalid, Forbidden)):
        stage.tenant.compute.create(replace(wanted, network_ids=(provisioning.id,)))


def test_readers_make_nothing(stage: Stage, wanted: ServerSpec) -> None:
    with pytest.raises(Forbidden):
        stage.reader.compute.create(wanted)


def test_deleting_twice_is_fine(stage: Stage, wanted: ServerSpec) -> None:
    instance = create(stage, wanted)
    stage.tenant.compute.delete(instance.id)
    stage.until(lambda: instance.id not in {found.id for found in stage.tenant.compute.all()})
    stage.tenant.compute.delete(instance.id)
    with pytest.raises(NotFound):
        stage.tenant.compute.get(instance.id)

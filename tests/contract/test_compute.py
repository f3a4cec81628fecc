"""The contract of `Compute`, with the attachments that an instance has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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


def gone(stage: Stage, instance_id: str) -> bool:
    try:
        stage.tenant.compute.get(instance_id)
    except NotFound:
        return True
    return False


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


def test_a_server_carries_its_mark_beside_the_tenants_metadata(stage: Stage, wanted: ServerSpec) -> None:
    marked = create(stage, replace(wanted, mark="3f2a"))
    plain = create(stage, replace(wanted, name=f"{wanted.name}-2"))
    shown = {each.id: each.mark for each in stage.tenant.compute.all()}
    assert (marked.mark, shown[marked.id], stage.own.compute.get(marked.id).mark) == ("3f2a",) * 3
    assert (plain.mark, shown[plain.id]) == (None, None)


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
    # One that no node was found for leaves the list before Nova's conductor has buried it in cell 0, where it is once
    # more for a moment.
    stage.until(partial(gone, stage, instance.id))


def test_nova_remembers_what_was_asked_for(stage: Stage, wanted: ServerSpec) -> None:
    instance = create(stage, wanted)
    stage.until(lambda: stage.tenant.compute.get(instance.id).status == "ERROR")
    stage.until(lambda: [entry.severity for entry in stage.tenant.compute.history(instance.id)] == ["ERROR"])
    (made,) = stage.tenant.compute.history(instance.id)
    assert (made.source, made.kind) == ("nova", "create")
    assert made.at.tzinfo is not None
    assert made.request_id
    assert made.user_id == instance.user_id
    with pytest.raises(NotFound):
        stage.other.compute.history(instance.id)
    remove(stage, instance.id)
    kept = stage.own.compute.history(instance.id)
    assert [entry.kind for entry in kept] == ["create", "delete"], "also of one that is deleted"
    assert kept == sorted(kept, key=lambda entry: entry.at)


def test_there_is_no_history_of_what_never_was(stage: Stage) -> None:
    with pytest.raises(NotFound):
        stage.own.compute.history("00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("act", ["rebuild", "rescue", "unrescue"])
def test_a_server_that_never_ran_is_neither_rebuilt_nor_rescued(stage: Stage, wanted: ServerSpec, act: str) -> None:
    instance = create(stage, wanted)
    stage.until(lambda: stage.tenant.compute.get(instance.id).status == "ERROR")
    before = stage.tenant.compute.get(instance.id)
    with pytest.raises(Conflict):
        renew(stage.tenant.compute, act, instance.id, wanted.image_id)
    after = stage.tenant.compute.get(instance.id)
    assert (after.status, after.task_state, after.image_id) == (before.status, None, before.image_id)


@pytest.mark.parametrize("act", ["rebuild", "rescue", "unrescue"])
def test_anothers_server_is_not_found(stage: Stage, wanted: ServerSpec, act: str) -> None:
    instance = create(stage, wanted)
    nowhere = "00000000-0000-4000-8000-000000000000"
    for compute, server_id in ((stage.other.compute, instance.id), (stage.tenant.compute, nowhere)):
        with pytest.raises(NotFound):
            renew(compute, act, server_id, wanted.image_id)


@pytest.mark.parametrize("act", ["rebuild", "rescue", "unrescue"])
def test_a_reader_changes_nothing(stage: Stage, wanted: ServerSpec, act: str) -> None:
    instance = create(stage, wanted)
    stage.until(lambda: stage.tenant.compute.get(instance.id).status == "ERROR")
    with pytest.raises((Forbidden, Conflict)):
        renew(stage.reader.compute, act, instance.id, wanted.image_id)
    assert stage.tenant.compute.get(instance.id).status == "ERROR"


@pytest.mark.parametrize("password", ["", "  "])
def test_an_empty_password_is_none(stage: Stage, wanted: ServerSpec, password: str) -> None:
    instance = create(stage, wanted)
    with pytest.raises((Invalid, Conflict)):
        stage.tenant.compute.rescue(instance.id, password=password)


def renew(compute: Compute, act: str, instance_id: str, image_id: str) -> None:
    if act == "rebuild":
        compute.rebuild(instance_id, image_id)
    else:
        compute.rescue(instance_id, leave=act == "unrescue", password=None if act == "unrescue" else "a-password-1")

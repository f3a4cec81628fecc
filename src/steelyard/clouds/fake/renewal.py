"""The fake Nova's rebuild, rescue and unrescue: what it asks of Ironic, and how each ends.

Source: nova/compute/api.py (which states allow it), nova/compute/manager.py and nova/virt/ironic/driver.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake import ironic
from steelyard.clouds.ports import ProvisionVerb
from steelyard.errors import Conflict
from steelyard.nouns import Instance

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

REBUILDING, SPAWNING = "rebuilding", "rebuild_spawning"
RESCUING, RESCUE_WAIT = "rescuing", "rescuing "
UNRESCUING, UNRESCUE_WAIT = "unrescuing", "unrescuing "
"""Nova's task states; with a space at the end once Ironic has been asked, which Nova itself keeps in its thread."""
_VERBS: dict[str, tuple[ProvisionVerb, str]] = {
    REBUILDING: ("rebuild", SPAWNING), RESCUING: ("rescue", RESCUE_WAIT), UNRESCUING: ("unrescue", UNRESCUE_WAIT)
}  # fmt: skip
_ENDS: dict[str, tuple[str, frozenset[str]]] = {
    SPAWNING: ("active", frozenset({"deploy failed", "error"})),
    RESCUE_WAIT: ("rescue", frozenset({"rescue failed"})),
    UNRESCUE_WAIT: ("active", frozenset({"unrescue failed", "rescue failed"})),
}
"""Ironic's state that Nova waits for, and those at which it gives up."""
TASKS = frozenset(_VERBS) | frozenset(_ENDS)


def begin(world: FakeWorld, instance: Instance, task: str, *, states: frozenset[str], image_id: str | None) -> None:
    """Nova accepts the request. Raises `Conflict` in another state."""
    launched = instance.node_id is not None  # Nova: must_have_launched
    if instance.task_state is not None or instance.status not in states or not launched:
        raise Conflict(f"cannot do that with instance {instance.id} while it is in vm_state {instance.status.lower()}")
    status = "REBUILD" if task == REBUILDING else instance.status
    world.instances[instance.id] = replace(
        instance, task_state=task, status=status, image_id=image_id or instance.image_id
    )


def step(world: FakeWorld, instance: Instance) -> bool:
    """One step of a task of `TASKS`. False while it waits for Ironic."""
    task = instance.task_state or ""
    node = world.nodes.get(instance.node_id or "")
    if node is None or node.instance_id != instance.id:
        return _fail(world, instance, "the node is gone")
    if task in _VERBS:
        if world.is_locked(node.id):
            return False  # Nova asks again
        verb, after = _VERBS[task]
        if task == RESCUING:
            node = world.nodes[node.id] = replace(node, power_state="off")
        try:
            ironic.start(world, node, verb)
        except Conflict as error:
            return _fail(world, instance, error.detail)
        world.instances[instance.id] = replace(instance, task_state=after)
        return True
    wanted, given_up = _ENDS[task]
    if node.provision_state in given_up:
        return _fail(world, instance, node.last_error or f"node is {node.provision_state}")
    if node.provision_state != wanted:
        return False
    status, power = ("RESCUE" if wanted == "rescue" else "ACTIVE"), "on"
    if task == SPAWNING and instance.power_state == "off":  # it was stopped, and is stopped again
        status, power = "SHUTOFF", "off"
    world.nodes[node.id] = replace(world.nodes[node.id], power_state=power)
    world.instances[instance.id] = replace(instance, status=status, task_state=None, power_state=power, fault=None)
    return True


def _fail(world: FakeWorld, instance: Instance, fault: str) -> bool:
    world.instances[instance.id] = replace(instance, status="ERROR", task_state=None, fault=fault)
    return True

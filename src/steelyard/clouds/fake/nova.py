"""The fake Nova's inside: finds a node for an instance, attaches it, follows it to ACTIVE and to its end."""

from __future__ import annotations

import ipaddress
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake import ironic, renewal
from steelyard.clouds.fake.machines import EMPTY, STARTS, serves
from steelyard.clouds.fake.units import units
from steelyard.errors import Conflict, NotFound
from steelyard.nouns import Flavor, Instance, Node

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

VIRTUAL_HOST = "virtual-1"
"""The compute host of virtual machines, which has room for as many as there are."""
NO_HOST = "No valid host was found. There are not enough hosts available."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an instance asked for and needs no more once it is ACTIVE."""

    flavor: Flavor
    network_ids: tuple[str, ...]
    security_groups: tuple[str, ...] = ()


def pools(cidr: str) -> tuple[tuple[str, str], ...]:
    """Neutron's default allocation pool: everything but the network, the gateway (first) and the broadcast."""
    net = ipaddress.ip_network(cidr)
    return ((str(net[2]), str(net[-2])),)


def gateway(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr)[1])


def free_nodes(world: FakeWorld, resource_class: str | None, traits: frozenset[str]) -> list[Node]:
    """Nodes that Placement would offer, oldest name first."""
    taken = world.held_back | {record.node_id for record in world.allocations.values()}
    return sorted(
        (
            node
            for node in world.nodes.values()
            if node.provision_state == "available"
            and not node.maintenance
            and node.instance_id is None
            and node.id not in taken
            and serves(node.resource_class, node.traits, resource_class, traits)
        ),
        key=lambda node: node.label,
    )


def update_inventories(world: FakeWorld) -> None:
    """Nova's periodic update of Placement: what Ironic offers again is not held back any more."""
    for node_id in tuple(world.held_back):
        node = world.nodes.get(node_id)
        if node is None or (node.provision_state == "available" and not node.maintenance and node.instance_id is None):
            world.held_back.discard(node_id)


def step(world: FakeWorld, instance: Instance) -> bool:
    """One step of a build or a deletion. False if there is nothing to do or to wait for."""
    if instance.task_state == "deleting":
        return _end(world, instance)
    if instance.task_state in renewal.TASKS:
        return renewal.step(world, instance)
    if instance.status != "BUILD":
        return _follow(world, instance)
    if instance.task_state == "scheduling":
        return _schedule(world, instance)
    if instance.task_state == "networking":
        return _attach(world, instance)
    return _spawn(world, instance)


def _schedule(world: FakeWorld, instance: Instance) -> bool:
    flavor = world.wanted[instance.id].flavor
    if flavor.resource_class is None:
        world.instances[instance.id] = replace(instance, node_id=VIRTUAL_HOST, task_state="networking")
        return True
    candidates = free_nodes(world, flavor.resource_class, flavor.traits)
    if not candidates:
        world.instances[instance.id] = replace(instance, status="ERROR", task_state=None, fault=NO_HOST)
        world.history.failed(instance.id)
        return True
    lessee = instance.project_id if world.lessees else None
    node = replace(candidates[0], instance_id=instance.id, lessee=lessee)
    world.nodes[node.id] = node
    world.allocate(instance.id, node.id)
    world.instances[instance.id] = replace(instance, node_id=node.id, task_state="networking")
    return True


def _attach(world: FakeWorld, instance: Instance) -> bool:
    if instance.node_id == VIRTUAL_HOST:
        return _attach_virtual(world, instance)
    nics = units((port for port in world.node_ports.values() if port.node_id == instance.node_id), world.bonds)
    nics = [nic for nic in nics if nic.vif_id is None and nic.links]
    wanted = world.wanted[instance.id].network_ids
    try:
        if len(wanted) > len(nics):
            raise Conflict("there are not enough free physical ports")
        ports = [
            world.fabric.add_port(
                network_id, now=world.now, mac=nic.mac, project_id=instance.project_id, device_id=instance.id,
                device_owner="compute:nova",
            )
            for network_id, nic in zip(wanted, nics, strict=False)
        ]  # fmt: skip
        for port in ports:
            groups = tuple(
                world.group(name, instance.project_id).id for name in world.wanted[instance.id].security_groups
            )
            world.fabric.ports[port.id] = replace(port, security_groups=groups)
        for port, nic in zip(ports, nics, strict=False):
            world.put_vif(nic.id, port.id)
        node = ironic.start(world, world.nodes[instance.node_id or ""], "active")
    except (Conflict, NotFound) as error:
        return _fail(world, instance, f"Failed to allocate the network(s): {error.detail}")
    addresses = tuple(fixed.address for port in ports for fixed in port.addresses)
    world.instances[instance.id] = replace(instance, task_state="spawning", addresses=addresses, node_id=node.id)
    return True


def _attach_virtual(world: FakeWorld, instance: Instance) -> bool:
    """A virtual machine's ports are made with its id; whose they are is said in a second call."""
    try:
        for network_id in world.wanted[instance.id].network_ids:
            mac = "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in uuid.uuid4().bytes[:3])
            world.fabric.add_port(
                network_id, now=world.now, mac=mac, project_id=instance.project_id, device_id=instance.id,
                device_owner="", vnic_type="normal",
            )  # fmt: skip
    except (Conflict, NotFound) as error:
        return _fail(world, instance, f"Failed to allocate the network(s): {error.detail}")
    world.instances[instance.id] = replace(instance, task_state="spawning")
    return True


def _run_virtual(world: FakeWorld, instance: Instance) -> bool:
    """Its ports are Nova's and bound at its host."""
    ports = world.fabric.instance_ports(instance.id)
    for port in ports:
        world.fabric.ports[port.id] = replace(port, device_owner="compute:nova", host_id=VIRTUAL_HOST, status="ACTIVE")
    addresses = tuple(fixed.address for port in ports for fixed in port.addresses)
    world.instances[instance.id] = replace(
        instance, status="ACTIVE", task_state=None, power_state="on", addresses=addresses
    )
    return True


def _spawn(world: FakeWorld, instance: Instance) -> bool:
    if instance.node_id == VIRTUAL_HOST:
        return _run_virtual(world, instance)
    node = world.nodes.get(instance.node_id or "")
    if node is None or node.provision_state in {"deploy failed", "error"}:
        reason = (node.last_error if node else None) or "the node is gone"
        return _fail(world, instance, f"Failed to provision instance {instance.id}: {reason}")
    if node.provision_state == "active":
        world.instances[instance.id] = replace(instance, status="ACTIVE", task_state=None, power_state="on")
        return True
    return False


def _fail(world: FakeWorld, instance: Instance, fault: str) -> bool:
    """The build fails: Nova takes the node's deployment down and keeps the instance in ERROR."""
    world.history.failed(instance.id)
    _release(world, instance)
    world.instances[instance.id] = replace(
        instance, status="ERROR", task_state=None, fault=fault, addresses=(), node_id=None
    )
    return True


def _release(world: FakeWorld, instance: Instance) -> None:
    world.allocations.pop(instance.id, None)
    for port in world.fabric.instance_ports(instance.id):
        world.fabric.remove_port(port.id)
        world.drop_vif(port.id)
    node = world.nodes.get(instance.node_id or "")
    if node is None or node.instance_id != instance.id:
        return
    if (node.provision_state, "deleted") in STARTS:
        with suppress(Conflict):  # locked or protected: Nova logs it and gives the node up
            ironic.start(world, node, "deleted")
    elif node.provision_state in EMPTY:
        world.nodes[node.id] = replace(node, instance_id=None, lessee=None)


def _follow(world: FakeWorld, instance: Instance) -> bool:
    """Nova's periodic power sync."""
    node = world.nodes.get(instance.node_id or "")
    if node is None or instance.status not in {"ACTIVE", "SHUTOFF"} or instance.id != node.instance_id:
        return False
    if node.power_state is None or node.power_state == instance.power_state:
        return False
    status = "ACTIVE" if node.power_state == "on" else "SHUTOFF"
    world.instances[instance.id] = replace(instance, status=status, power_state=node.power_state)
    return True


def _end(world: FakeWorld, instance: Instance) -> bool:
    node = world.nodes.get(instance.node_id or "")
    if node is None or node.instance_id != instance.id or node.provision_state in EMPTY:
        _release(world, instance)
        del world.instances[instance.id]
        world.wanted.pop(instance.id, None)
        return True
    if (node.provision_state, "deleted") in STARTS and not world.is_locked(node.id):
        try:
            ironic.start(world, node, "deleted")
        except Conflict as error:  # protected: the deletion ends in an error, and may be asked for again
            world.instances[instance.id] = replace(instance, status="ERROR", task_state=None, fault=error.detail)
        return True
    return False

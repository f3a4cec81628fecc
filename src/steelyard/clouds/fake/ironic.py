"""The fake conductor: moves nodes along `machines.WORK` and keeps their networks as their state wants."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake.hardware import report
from steelyard.clouds.fake.machines import NETWORK_ROLE, POWERED_ON, STARTS, WORK
from steelyard.errors import Conflict
from steelyard.nouns import Node, NodePort

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld


def put(world: FakeWorld, node: Node) -> Node:
    """Store a node whose state may have changed; networks, power and time follow."""
    before = world.nodes.get(node.id)
    if before is not None and before.provision_state != node.provision_state:
        node = replace(node, provision_updated_at=world.now)
        if node.provision_state in POWERED_ON:
            node = replace(node, power_state="on")
        elif node.provision_state in {"manageable", "available", "clean failed", "inspect failed"}:
            node = replace(node, power_state="off")
    world.nodes[node.id] = node
    arrange_networks(world, node)
    return node


def arrange_networks(world: FakeWorld, node: Node) -> None:
    role = NETWORK_ROLE.get(node.provision_state)
    world.fabric.flip(
        node,
        [port for port in world.node_ports.values() if port.node_id == node.id],
        role_network=world.role_networks[role] if role else None,
        tenant=node.provision_state == "active",
        now=world.now,
        project_id=world.service_project,
    )


def start(world: FakeWorld, node: Node, verb: str) -> Node:
    """Accept a verb. Raises `Conflict` if the state does not allow it or the node is locked."""
    if node.id in world.locked:
        raise Conflict(f"node {node.id} is locked by host fake, please retry after the current operation is completed")
    started = STARTS.get((node.provision_state, verb))
    if started is None:
        raise Conflict(
            f'the requested action "{verb}" can not be performed on node "{node.id}" '
            f'while it is in state "{node.provision_state}"'
        )
    if node.maintenance and verb in {"active", "rebuild", "provide", "clean", "rescue"}:
        raise Conflict(f"node {node.id} is in maintenance")
    if node.retired and verb == "provide":
        raise Conflict(f"node {node.id} is retired and can not be made available")
    if node.protected and verb in {"deleted", "rebuild"}:
        raise Conflict(f"node {node.id} is protected")
    state, target = started
    return put(world, replace(node, provision_state=state, target_provision_state=target, last_error=None))


def step(world: FakeWorld, node: Node) -> bool:
    """One step of whatever the node is doing. False if it is at rest."""
    node = world.nodes.get(node.id, node)
    work = WORK.get(node.provision_state)
    if work is None or node.id in world.hung:
        return False
    state = work.next or node.target_provision_state or "available"
    is_last = state not in WORK or WORK[state].job != work.job
    reason = world.broken.pop((node.id, work.job), None) if is_last else None
    if reason is not None:
        node = replace(
            node, provision_state=work.failed, target_provision_state=None, last_error=reason,
            maintenance=node.maintenance or work.job == "clean",
            maintenance_reason=reason if work.job == "clean" else node.maintenance_reason,
        )  # fmt: skip
    else:
        if work.job == "verify":
            node = replace(node, power_state="off")
        if work.job == "inspect" and is_last:
            node = _inspected(world, node)
        if work.job == "delete":
            node = replace(node, instance_id=None, lessee=None)
        if state == "active":
            node = replace(node, power_state="on")
        target = None if state not in WORK else node.target_provision_state
        node = replace(node, provision_state=state, target_provision_state=target)
    put(world, node)
    return True


def _inspected(world: FakeWorld, node: Node) -> Node:
    """Store what the agent found and make the ports that Ironic's hook `ports` makes: the booting NICs'."""
    machine = world.hardware.get(node.id) or world.hardware.get(node.bmc_address or "")
    if machine is None:
        return node
    world.inspections[node.id] = report(machine)
    known = {port.mac for port in world.node_ports.values()}
    for nic in machine.nics:
        if nic.link is not None:
            world.fabric.switches.know(nic.link)
        if nic.pxe and nic.mac not in known:
            port = NodePort(str(uuid.uuid4()), node.id, nic.mac, pxe_enabled=True, physical_network=None, link=None)
            world.node_ports[port.id] = port
    found = {"cpus": machine.cpus, "memory_mb": machine.memory_mib, "cpu_arch": "x86_64"}
    return replace(node, properties={**node.properties, **found})

"""The fake conductor: moves nodes along `machines.WORK` and keeps their networks as their state wants."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake import gate
from steelyard.clouds.fake.hardware import report
from steelyard.clouds.fake.machines import (
    CLEAN_STEP,
    HELD,
    NETWORK_ROLE,
    NOT_IN_MAINTENANCE,
    POWERED_ON,
    STARTS,
    TENANCY,
    TENANTS,
    UPDATABLE,
    WORK,
    skips_cleaning,
)
from steelyard.errors import Conflict, Invalid
from steelyard.nouns import Node, NodePort

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

ABORTED = "aborted as node is in maintenance mode"


def put(world: FakeWorld, node: Node) -> Node:
    """Store a node whose state may have changed; networks, power and time follow."""
    before = world.nodes.get(node.id)
    if before is not None and before.provision_state != node.provision_state:
        node = replace(node, provision_updated_at=world.now)
        node = replace(node, step=CLEAN_STEP if node.provision_state == "clean wait" else None)
        if node.provision_state in POWERED_ON and not skips_cleaning(world, node):
            node = replace(node, power_state="on")
        elif node.provision_state in {"manageable", "available", "clean failed", "inspect failed"}:
            node = replace(node, power_state="off")
        if node.provision_state in TENANCY and (node.power_interface or "").startswith("steelyard-"):
            used = world.now.isoformat(timespec="seconds")  # steelyard_ironic.power.note_use
            node = replace(node, driver_notes={**node.driver_notes, "used": used})
    world.nodes[node.id] = node
    world.history.moved(before, node)
    arrange_networks(world, node)
    return node


def checked(before: Node, after: Node) -> Node:
    """A changed node with what Ironic makes of it (ConductorManager.update_node). Raises what it refuses."""
    state = after.provision_state
    if after.retired and not before.retired and state == "available":
        raise Conflict(f"node {after.id} can not have 'retired' set in provision state 'available'")
    if before.resource_class and after.resource_class != before.resource_class and state not in UPDATABLE:
        raise Conflict(f"node {after.id} can not have resource_class updated in state '{state}'")
    if after.instance_id and before.instance_id and after.instance_id != before.instance_id:
        raise Conflict(f"node {after.id} is associated with instance {before.instance_id}")
    if after.protected and not before.protected and after.provision_state not in {"active", "rescue"}:
        raise Conflict(
            f"node {after.id} can only be made protected in provision states 'active' or 'rescue', "
            f"the current state is '{after.provision_state}'"
        )
    if before.protected and not after.protected:
        return replace(after, protected_reason=None)
    if after.protected_reason and not after.protected:
        raise Invalid("the protected_reason field can only be set when protected is True")
    return after


def clean_note(world: FakeWorld) -> dict[str, object]:
    """What our power interfaces note as the last step of an automated clean (steelyard_ironic)."""
    steps = [
        {"interface": "deploy", "step": CLEAN_STEP, "priority": 10},
        {"interface": "power", "step": "record_cleaning", "priority": 1},
    ]
    return {"at": world.now.isoformat(timespec="seconds"), "steps": steps}


def arrange_networks(world: FakeWorld, node: Node) -> None:
    role = None if skips_cleaning(world, node) else NETWORK_ROLE.get(node.provision_state)
    world.fabric.flip(
        node,
        [port for port in world.node_ports.values() if port.node_id == node.id],
        role_network=gate.network(world, node, role),
        tenant=node.provision_state in TENANTS,
        now=world.now,
        project_id=world.service_project,
        bonds=world.bonds,
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
    refused = verb in NOT_IN_MAINTENANCE or (verb == "provide" and not world.provisioning_in_maintenance)
    if node.maintenance and refused:
        raise Conflict(f"the {verb} operation can't be performed on node {node.id} because it's in maintenance mode")
    if node.retired and verb == "provide":
        raise Conflict(f"node {node.id} is retired and can not be made available")
    if node.protected and verb in {"deleted", "rebuild"}:
        raise Conflict(f"node {node.id} is protected")
    state, target = started
    world.truth.asked(node.id)
    return put(world, replace(node, provision_state=state, target_provision_state=target, last_error=None))


def step(world: FakeWorld, node: Node) -> bool:
    """One step of whatever the node is doing. False if it is at rest."""
    node = world.nodes.get(node.id, node)
    work = WORK.get(node.provision_state)
    if work is None or node.id in world.hung:
        return False
    if node.id in world.waiting:
        arrange_networks(world, node)  # asks again
        return node.id not in world.waiting
    state = work.next or node.target_provision_state or "available"
    if node.id in world.unreachable:
        world.broken.setdefault((node.id, work.job), "the BMC does not answer")
    if work.job == "clean" and node.retired and state == "available":
        state = "manageable"  # cleaning.do_next_clean_step: a retired node is not offered again
    if node.maintenance and (held := _in_maintenance(world, node)) is not None:
        return held
    if skips_cleaning(world, node):
        put(world, replace(node, provision_state="available", target_provision_state=None))
        return True
    is_last = state not in WORK or WORK[state].job != work.job
    reason = world.broken.pop((node.id, work.job), None) if is_last else None
    if work.job == "delete":  # also when it fails: do_node_tear_down
        node = replace(node, instance_id=None, lessee=None)
    if reason is not None:
        node = replace(
            node, provision_state=work.failed, target_provision_state=None, last_error=reason,
            maintenance=node.maintenance or work.job == "clean",
            maintenance_reason=node.maintenance_reason or (reason if work.job == "clean" else None),
            fault="clean failure" if work.job == "clean" else node.fault,
        )  # fmt: skip
    else:
        if work.job == "verify":
            node = replace(node, power_state="off")
        if work.job == "inspect" and is_last:
            node = _inspected(world, node)
        if state == "active":
            node = replace(node, power_state="on")
        if work.job == "clean" and state == "available" and (node.power_interface or "").startswith("steelyard-"):
            node = replace(node, driver_notes={**node.driver_notes, "cleaned": clean_note(world)})
        target = None if state not in WORK else node.target_provision_state
        node = replace(node, provision_state=state, target_provision_state=target)
    put(world, node)
    return True


def _in_maintenance(world: FakeWorld, node: Node) -> bool | None:
    """What maintenance makes of the work: nothing moves, it is aborted, or (None) it goes on.

    An agent's heartbeat is ignored, or where `provisioning_in_maintenance` is off, aborts what the agent is there for
    (AgentBase._heartbeat_in_maintenance); an automated clean does not begin then (cleaning.do_node_clean).
    """
    state = node.provision_state
    if world.provisioning_in_maintenance:
        return False if state in HELD else None
    begins = state == "cleaning" and node.target_provision_state == "available" and not skips_cleaning(world, node)
    if state not in HELD and not begins:
        return None
    why = "Cleaning a node in maintenance mode is not allowed" if begins else f"{HELD[state]} {ABORTED}"
    put(world, replace(node, provision_state=WORK[state].failed, target_provision_state=None, last_error=why))
    return True


def watch_power(world: FakeWorld, node: Node) -> bool:
    """Ironic's periodic power sync: a BMC that does not answer is maintenance, one that answers again ends that."""
    down = node.id in world.unreachable
    if down and not node.maintenance and node.provision_state not in {"enroll", *WORK}:
        reason = "During sync_power_state, max retries exceeded: the BMC does not answer"
        world.nodes[node.id] = replace(
            node, maintenance=True, maintenance_reason=reason, fault="power failure", power_state=None
        )
        return True
    if not down and node.maintenance and node.fault == "power failure":
        power = "on" if node.provision_state in {"active", "rescue"} else "off"
        world.nodes[node.id] = replace(node, maintenance=False, maintenance_reason=None, fault=None, power_state=power)
        return True
    return False


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
    return replace(node, properties={**node.properties, **found}, inspected_at=world.now)

"""The fake conductor: moves nodes along `machines.WORK` and keeps their networks as their state wants."""

from __future__ import annotations

import uuid
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake import conductor, gate
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
    Work,
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
    gated = conductor.gated(world, node)
    if before is not None and before.provision_state != node.provision_state:
        node = replace(node, provision_updated_at=world.now)
        node = replace(node, step=CLEAN_STEP if node.provision_state == "clean wait" else None)
        if gated and conductor.changes(world, node, conductor.wanted(world, node, node.provision_state)):
            node = replace(node, power_state="off")  # until its networks are verified
        elif node.provision_state in POWERED_ON and not skips_cleaning(world, node):
            node = replace(node, power_state="on")
        elif node.provision_state in {"manageable", "available", "clean failed", "inspect failed"}:
            node = replace(node, power_state="off")
        if node.provision_state in TENANCY and (node.power_interface or "").startswith("steelyard-"):
            used = world.now.isoformat(timespec="seconds")  # steelyard_ironic.power.note_use
            node = replace(node, driver_notes={**node.driver_notes, "used": used})
    world.nodes[node.id] = node
    world.history.moved(before, node)
    if not gated:
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
    if world.is_locked(node.id):
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
    started_node = replace(node, provision_state=state, target_provision_state=target, last_error=None)
    if verb == "abort":
        return _end(world, node, started_node, failed=None)
    return put(world, started_node)


def _end(world: FakeWorld, node: Node, after: Node, *, failed: Work | None) -> Node:
    """Work ends and leads to `after`, once the networks are as they are to be then, where that is verified.

    `failed`: the work that fails where it cannot be verified; None: it has failed already.
    """
    if not conductor.gated(world, node) or after.provision_state in WORK:
        return put(world, after)
    stages = conductor.changes(world, node, conductor.wanted(world, after, after.provision_state))
    if not stages:
        return put(world, after)
    changed = {
        each.name: getattr(after, each.name)
        for each in fields(Node)
        if getattr(after, each.name) != getattr(node, each.name)
    }
    if after.provision_state in TENANTS:
        changed["power_state"] = "on"  # it is off while its NICs change networks
    conductor.begin(
        world, node, stages, done=lambda present: replace(present, **changed),
        failed=None if failed is None else lambda present, why: _failed(present, failed, why),
        running=after.provision_state == "rescue",
    )  # fmt: skip
    return world.nodes[node.id]


def _failed(node: Node, work: Work, reason: str) -> Node:
    """The node when its work has failed."""
    cleaning = work.job == "clean"
    if work.job == "delete":  # do_node_tear_down
        node = replace(node, instance_id=None, lessee=None)
    return replace(
        node, provision_state=work.failed, target_provision_state=None, last_error=reason,
        maintenance=node.maintenance or cleaning,
        maintenance_reason=node.maintenance_reason or (reason if cleaning else None),
        fault="clean failure" if cleaning else node.fault,
    )  # fmt: skip


def _arranges(world: FakeWorld, node: Node, work: Work) -> bool:
    """Whether the networks that the node's work needs are being seen to; where they are, it goes on with the work."""
    if not conductor.gated(world, node) or node.provision_state == "adopting":
        return False
    stages = conductor.changes(world, node, conductor.wanted(world, node, node.provision_state))
    if not stages:
        return False
    boots = node.provision_state in POWERED_ON and not skips_cleaning(world, node)
    conductor.begin(
        world, node, stages, done=lambda present: replace(present, power_state="on") if boots else present,
        failed=lambda present, why: _failed(present, work, why),
    )  # fmt: skip
    return True


def step(world: FakeWorld, node: Node) -> bool:
    """One step of whatever the node is doing. False if it is at rest."""
    node = world.nodes.get(node.id, node)
    if (move := world.moves.get(node.id)) is not None:
        after = conductor.advance(world, node, move)
        if after is not None:
            put(world, after)
        return after is not None or (move.answer is None and node.id not in world.waiting)
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
    if _arranges(world, node, work):
        return True
    if skips_cleaning(world, node):
        put(world, replace(node, provision_state="available", target_provision_state=None))
        return True
    before = node
    is_last = state not in WORK or WORK[state].job != work.job
    reason = world.broken.pop((node.id, work.job), None) if is_last else None
    if work.job == "delete":  # also when it fails: do_node_tear_down
        node = replace(node, instance_id=None, lessee=None)
        world.drop_vifs(node.id)
    if reason is not None:
        node = _failed(node, work, reason)
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
    _end(world, before, node, failed=None if reason is not None else work)
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
    after = replace(node, provision_state=WORK[state].failed, target_provision_state=None, last_error=why)
    _end(world, node, after, failed=None)
    return True


def watch_power(world: FakeWorld, node: Node) -> bool:
    """Ironic's periodic power sync: a BMC that does not answer is maintenance, one that answers again ends that."""
    down = node.id in world.unreachable
    if down and not node.maintenance and node.provision_state not in {"enroll", *WORK}:
        reason = "During sync_power_state, max retries exceeded: the BMC does not answer"
        world.power_lost[node.id] = node.power_state
        world.nodes[node.id] = replace(
            node, maintenance=True, maintenance_reason=reason, fault="power failure", power_state=None
        )
        return True
    if not down and node.maintenance and node.fault == "power failure":
        power = node.power_state or world.power_lost.pop(node.id, None) or "off"  # nobody has switched it meanwhile
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

"""The fake of `steelyard_ironic`'s network interface: every change of a node's networks is verified before it goes on.

What the real one does in a thread of the conductor's is a `Move` here: one change after the other is made in the
controller and asked about, and the node is locked meanwhile. Its power is off while its NICs change networks, but for
the end of a rescue's beginning, where the rescue system runs already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from steelyard.clouds.fake import gate
from steelyard.clouds.fake.gate import PARKED
from steelyard.clouds.fake.machines import NETWORK_ROLE, TENANTS, skips_cleaning
from steelyard.errors import Refused, SteelyardError, Unavailable, UpstreamError
from steelyard.nouns import NetworkPort, Node, NodePort

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

QUARANTINE_PORT: Final = "steelyard-quarantine"
PATIENCE: Final = timedelta(seconds=60)
"""For so long it is asked again when nobody answers (`[steelyard]flip_gate_patience`)."""
SEGMENT_PATIENCE: Final = timedelta(seconds=900)
"""For so long it waits for a network of the node's own (`[steelyard]segment_patience`)."""
TENANT: Final = "tenant"
QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class AskedNic:
    """Where one NIC has to be; neither port nor network: on nothing."""

    mac: str
    port_id: str | None = None
    network_id: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A change of networks that was made, as it is asked about."""

    role: str
    joined: bool
    nics: tuple[AskedNic, ...]


Answer = Callable[[], bool]
"""Called again and again: False while there is no answer. Raises `Unavailable` or `UpstreamError` where nobody gave
one, and any other `SteelyardError` for a refusal."""
FlipGate = Callable[[str, Asked], Answer]
NetworkGate = Callable[[str], Answer]


@dataclass(frozen=True, slots=True)
class Stage:
    """One change: the NICs join the network of a role, or leave it."""

    role: str
    joined: bool


@dataclass
class Move:
    """A change of a node's networks that the conductor has in hand."""

    stages: deque[Stage]
    done: Callable[[Node], Node]
    """The node once everything is verified."""
    failed: Callable[[Node, str], Node] | None
    """The node after a refusal, which gives the reason; None: it goes on, as where Ironic tidies up after a failure."""
    asked: Asked | None = None
    answer: Answer | None = None
    until: datetime | None = None
    again_at: datetime | None = None
    story: list[Stage] = field(default_factory=list)
    """What has been verified."""


def gated(world: FakeWorld, node: Node) -> bool:
    """Whether the changes of the node's networks are asked about."""
    return world.flip_gate is not None and node.network_interface == gate.NETWORK_INTERFACE


def wanted(world: FakeWorld, node: Node, state: str) -> str | None:
    """The role of the network that a node's NICs are on in a state; None: on none."""
    if state in TENANTS or state == "unrescuing":
        return TENANT
    if skips_cleaning(world, replace(node, provision_state=state)):
        return None
    return NETWORK_ROLE.get(state)


def changes(world: FakeWorld, node: Node, role: str | None) -> list[Stage]:
    """What has to be changed so that the node's NICs are on the network of a role and on no other."""
    own = world.fabric.own_ports(node)
    there = {found for port in own if (found := role_of(world, node, port)) is not None}
    pairs = world.fabric.tenant_pairs(node, nics_of(world, node), world.bonds)
    parked = any(port.name == QUARANTINE_PORT for port in own)
    stages = []
    if role != TENANT and pairs and (parked or any(port.host_id is not None for port, _ in pairs)):
        stages.append(Stage(TENANT, False))
    stages += [Stage(each, False) for each in sorted(there - {role, QUARANTINE})]
    if role == TENANT:
        if any(port.status != "ACTIVE" or port.host_id != node.id for port, _ in pairs):
            stages.append(Stage(TENANT, True))
    elif role is not None and role not in there and any(nic.pxe_enabled for nic in nics_of(world, node)):
        stages.append(Stage(role, True))
    return [Stage(QUARANTINE, False), *stages] if parked or (stages and PARKED in node.extra) else stages


def begin(
    world: FakeWorld,
    node: Node,
    stages: list[Stage],
    *,
    done: Callable[[Node], Node],
    failed: Callable[[Node, str], Node] | None,
    running: bool = False,
) -> None:
    """Take the node in hand. `running`: its power stays as it is."""
    world.moves[node.id] = Move(deque(stages), done, failed)
    if not running and node.power_state == "on":
        world.nodes[node.id] = replace(node, power_state="off")


def advance(world: FakeWorld, node: Node, move: Move) -> Node | None:
    """Go on with it; returns the node as it is to be stored when the move is over."""
    if move.answer is None and move.asked is None:
        if not move.stages:
            del world.moves[node.id]
            return move.done(node)
        try:
            there = _has_segment(world, node, move.stages[0])
        except Refused as error:
            return _refused(world, node, move, error.detail)
        if not there:
            move.until = move.until or world.now + SEGMENT_PATIENCE
            waits = world.now < move.until
            return None if waits else _refused(world, node, move, "no network that it could have to itself is free")
        move.asked = _make(world, node, move.stages[0])
        move.until = world.now + PATIENCE
    stage = move.stages[0]
    if move.answer is None:
        if move.again_at is not None and world.now < move.again_at:
            return None
        move.answer = _ask(world, node, stage, move.asked)
    try:
        if not move.answer():
            return None
    except (Unavailable, UpstreamError) as error:
        if move.until is not None and world.now < move.until:
            move.answer, move.again_at = None, world.now + timedelta(seconds=1)
            return None
        return _refused(world, node, move, error.detail)
    except SteelyardError as error:
        return _refused(world, node, move, error.detail)
    return _next(world, node, move)


def _next(world: FakeWorld, node: Node, move: Move) -> Node | None:
    stage = move.stages.popleft()
    move.story.append(stage)
    move.asked = move.answer = move.again_at = move.until = None
    if stage.role == QUARANTINE:
        for port in world.fabric.own_ports(node):
            if port.name == QUARANTINE_PORT:
                world.fabric.remove_port(port.id)
    return None


def _refused(world: FakeWorld, node: Node, move: Move, why: str) -> Node | None:
    """What was put on a network is taken off it; a step that fails ends the job, one that tidies up does not."""
    stage = move.stages[0]
    world.waiting.discard(node.id)
    if stage.role == QUARANTINE:
        return _next(world, node, move)  # its ports are removed without Steelyard
    if stage.joined:
        _unmake(world, node, stage.role)
    if move.failed is None:
        return _next(world, node, move)
    del world.moves[node.id]
    what = f"{'join' if stage.joined else 'leave'} its {stage.role} network"
    return move.failed(node, f"Steelyard does not let node {node.id} {what}: {why}")


def _make(world: FakeWorld, node: Node, stage: Stage) -> Asked | None:
    """Make the change in the controller."""
    nics, fabric = nics_of(world, node), world.fabric
    if stage.role == QUARANTINE:
        return Asked(QUARANTINE, False, ())
    if not stage.joined:
        pairs = fabric.tenant_pairs(node, nics, world.bonds)
        macs = (
            [unit.mac for _, unit in pairs] if stage.role == TENANT else [port.mac for port in _own(world, node, stage)]
        )
        _unmake(world, node, stage.role)
        return Asked(stage.role, False, tuple(AskedNic(mac) for mac in macs))
    if stage.role == TENANT:
        for port, unit in fabric.tenant_pairs(node, nics, world.bonds):
            if port.host_id != node.id or port.status != "ACTIVE":
                fabric.bind_at(port, node.id, unit.mac, unit.links[0], unit.lag)
        pairs = fabric.tenant_pairs(node, nics, world.bonds)
        return Asked(TENANT, True, tuple(AskedNic(unit.mac, port.id) for port, unit in pairs))
    network_id = world.segments.get(node.id, ("", ""))[1] or world.role_networks[stage.role]
    made = fabric.join(node, nics, network_id, now=world.now, project_id=world.service_project)
    return Asked(stage.role, True, tuple(AskedNic(nic.mac, port.id, network_id) for nic, port in made))


def _unmake(world: FakeWorld, node: Node, role: str) -> None:
    if role == TENANT:
        world.fabric.leave_tenant(node)
        return
    for port in _own(world, node, Stage(role, False)):
        world.fabric.remove_port(port.id)


def _ask(world: FakeWorld, node: Node, stage: Stage, asked: Asked | None) -> Answer:
    if stage.role == QUARANTINE:
        if world.network_gate is None or PARKED not in node.extra:
            return lambda: True
        return world.network_gate(node.id)
    if asked is None or not asked.nics or world.flip_gate is None:
        return lambda: True
    return world.flip_gate(node.id, asked)


def _own(world: FakeWorld, node: Node, stage: Stage) -> list[NetworkPort]:
    return [port for port in world.fabric.own_ports(node) if role_of(world, node, port) == stage.role]


def role_of(world: FakeWorld, node: Node, port: NetworkPort) -> str | None:
    """What a port of the node's own is for: on its role's network, or on one that the node has to itself."""
    if port.name == QUARANTINE_PORT:
        return QUARANTINE
    for role, network_id in world.role_networks.items():
        if port.network_id == network_id:
            return role
    joined, segment_id = world.segments.get(node.id, ("", ""))
    return joined if port.network_id == segment_id else None


def _has_segment(world: FakeWorld, node: Node, stage: Stage) -> bool:
    """Whether it is known which network the node's NICs join; it waits while it is to have one to itself, and none is
    free."""
    if not stage.joined or stage.role == TENANT:
        return True
    network_id = gate.network(world, node, stage.role)
    if network_id is None:
        return False
    world.segments[node.id] = (stage.role, network_id)
    return True


def nics_of(world: FakeWorld, node: Node) -> list[NodePort]:
    return [port for port in world.node_ports.values() if port.node_id == node.id]

"""The fake of what `steelyard_ironic` asks: before a deployed node gets power, and for a network of the node's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.errors import Refused, SteelyardError
from steelyard.nouns import Node

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

DRIVER = "steelyard-redfish"
PARKED = "steelyard_parked"
NETWORK_INTERFACE = "steelyard"


def passes(world: FakeWorld, node: Node) -> bool:
    """Whether the node may get power. The node is locked while `world.power_gate` is asked, as a conductor locks it.

    A refusal is seen as in Ironic: the request was accepted, the power stays as it was, the node has a last error.
    """
    if node.driver != DRIVER or node.provision_state != "active" or PARKED not in node.extra:
        return True
    world.locked.add(node.id)
    try:
        if world.power_gate is None:
            raise SteelyardError("Steelyard cannot be reached")
        world.power_gate(node.id)
    except SteelyardError as error:
        world.nodes[node.id] = replace(
            world.nodes[node.id], last_error=f"Steelyard does not let node {node.id} get power: {error.detail}"
        )
        return False
    finally:
        world.locked.discard(node.id)
    return True


def network(world: FakeWorld, node: Node, role: str | None) -> str | None:
    """Id of the network that the node is put on for this role; None: on none, or not yet, as it waits for its own.

    Raises `Refused` where it is let on none.
    """
    world.waiting.discard(node.id)
    if role is None:
        return None
    if world.segment_gate is None or node.network_interface != NETWORK_INTERFACE:
        return world.role_networks[role]
    try:
        return world.segment_gate(node.id, role) or world.role_networks[role]
    except Refused:
        raise
    except SteelyardError:
        world.waiting.add(node.id)
        return None

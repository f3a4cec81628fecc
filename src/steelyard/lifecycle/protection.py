"""Ironic's `protected` flag, where Steelyard asked for it: set while a deployed node is in maintenance, and lifted.

Ironic deletes any node that is in maintenance, also a deployed one, unless it is protected
(ironic/conductor/manager.py, destroy_node); and a protected node is neither undeployed nor rebuilt. A protection that
somebody else asked for, with another reason, is never touched.
"""

from __future__ import annotations

from steelyard.clouds.ports import Clouds
from steelyard.lifecycle.guard import PROTECTION, is_ours
from steelyard.nouns import Node


class Protection:
    """Sets and lifts it; doing it twice changes nothing more."""

    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds

    def put(self, node: Node) -> None:
        """Have Ironic refuse to delete, undeploy or rebuild it. Raises `Conflict` if it is locked or not deployed."""
        nodes = self._clouds.own.nodes
        if not nodes.get(node.id).protected:
            nodes.update(node.id, {"/protected": True, "/protected_reason": PROTECTION})

    def lift(self, node: Node) -> None:
        """End it if it is Steelyard's. Whoever is about to undeploy, rebuild or remove a node calls this first."""
        nodes = self._clouds.own.nodes
        if is_ours(nodes.get(node.id)):
            nodes.update(node.id, {"/protected": False})

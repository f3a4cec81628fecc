"""The ports of what a node's cables go into: its NICs and their bonds. The rules are those of `clouds.ports`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from steelyard.nouns import Bond, BondSpec, NodePort, NodePortSpec


@runtime_checkable
class NodePorts(Protocol):
    """Ironic's ports: the NICs of all nodes (Bare Metal API v1, /ports)."""

    def all(self, *, node_id: str | None = None, mac: str | None = None) -> list[NodePort]:
        """Of all nodes, or of one; all, or the one with this MAC."""

    def create(self, spec: NodePortSpec) -> NodePort: ...

    def update(self, port_id: str, changes: Mapping[str, Any]) -> NodePort:
        """As `Nodes.update`; `/local_link_connection` takes a `SwitchLink`."""

    def delete(self, port_id: str) -> None: ...

    def detach(self, node_id: str, vif_id: str) -> None:
        """Have Ironic forget that a port of the controller's is on the node's NIC or bond (`vif_id` of those), as Nova
        does (/nodes/{id}/vifs). While the node is available, active or being taken back, Ironic unbinds the port, too,
        wherever that is bound. What is not on it is detached. Raises `Conflict` while the node is locked."""


@runtime_checkable
class Bonds(Protocol):
    """Ironic's port groups: the bonds of all nodes (Bare Metal API v1, /portgroups).

    A NIC becomes a member by `NodePorts.update` of `/portgroup_uuid`.
    """

    def all(self, *, node_id: str | None = None) -> list[Bond]:
        """Of all nodes, or of one."""

    def create(self, spec: BondSpec) -> Bond:
        """Raises `Duplicate` for a name or MAC that a bond has."""

    def delete(self, bond_id: str) -> None:
        """Raises `Conflict` while it has members, or its node is locked or in a state that does not allow it."""

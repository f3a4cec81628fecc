"""Ports of servers that are gone, which Ironic still keeps on the NICs of nodes that nobody has (VIFs).

Nova notes a server's ports in Ironic before it asks for the deployment. If it is killed in between, nobody takes them
off: a release that Ironic never hears of clears nothing. The node is offered all the same, and every deployment on it
fails, since it has no free NIC.

Runbook of the reconciler `lifecycle.vifs`: find such ports by bulk lists; leave those that were not there in the last
look, since Nova may be about to take them off; look at the node once more, and have Ironic detach them. Where the port
itself is on another node by now, that is left to a person: Ironic would unbind it there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.lifecycle.leaks import LeftVif, left_vifs
from steelyard.nouns import Bond, NodePort
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store

NAME: Final = "lifecycle.vifs"
PERIOD: Final = 60.0


def take_off(cloud: Cloud, node_id: str, vif_id: str) -> bool:
    """Have Ironic detach the port, unless it is bound to another node. Raises what the ports raise."""
    with suppress(NotFound):
        port = cloud.attachments.get(vif_id)
        if port.host_id not in (None, node_id):
            return False
    cloud.node_ports.detach(node_id, vif_id)
    return True


def holders(cloud: Cloud, node_id: str) -> list[NodePort | Bond]:
    """The node's NICs and bonds. Raises what the ports raise."""
    return [*cloud.node_ports.all(node_id=node_id), *cloud.bonds.all(node_id=node_id)]


def take_all_off(cloud: Cloud, node_id: str) -> None:
    """The same with everything that is on the node. Raises what the ports raise."""
    for unit in holders(cloud, node_id):
        if unit.vif_id is not None:
            take_off(cloud, node_id, unit.vif_id)


class LeftVifs:
    """The reconciler; see the module."""

    def __init__(
        self, clouds: Clouds, store: Store, observer: Observer, *, changed: Callable[[], object] = lambda: None
    ) -> None:
        """`changed`: called when something was taken off, for whoever tells of what is left."""
        self._clouds = clouds
        self._changed = changed
        self._store = store
        self._observer = observer
        self._before: frozenset[tuple[str, str]] = frozenset()
        """Node and port of what the last look found."""

    def reconciler(self) -> Reconciler:
        about = "Takes ports of servers that are gone off the NICs of free nodes: what a killed Nova left behind."
        return Reconciler(NAME, about, self.run, period=PERIOD)

    def run(self) -> Report:
        """One look at everything. Raises what the lists raise."""
        nodes, nics, bonds = self._observer.nodes(), self._observer.node_ports(), self._observer.bonds()
        servers = {server.id: server for server in self._observer.instances() if server.status != "DELETED"}
        found = list(left_vifs(nodes, nics, bonds, servers))
        stayed = [left for left in found if (left.node.id, left.vif_id) in self._before]
        self._before = frozenset((left.node.id, left.vif_id) for left in found)
        if done := sum(self._mend(left) for left in stayed):
            self._observer.forget()
            self._changed()
        return Report(len(nodes), done, f"{done} taken off" if done else "")

    def _mend(self, left: LeftVif) -> bool:
        """Whether it was taken off. A node that is locked, or has been claimed meanwhile, is for the next look."""
        own = self._clouds.own
        try:
            node = own.nodes.get(left.node.id)
            if (node.provision_state, node.instance_id) != (left.node.provision_state, left.node.instance_id):
                return False
            if not take_off(own, node.id, left.vif_id):
                return False
        except SteelyardError:
            return False
        self._store.events.append(
            f"node:{node.id}", "node.vif_detached", actor="steelyard",
            detail=f"port {left.vif_id} of a server that is gone was taken off NIC {left.mac}",
        )  # fmt: skip
        return True

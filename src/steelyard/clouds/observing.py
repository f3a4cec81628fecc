"""Bulk observations of a cloud, shared by all who look at the whole fleet at about the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from steelyard.clouds.ports import Clouds
from steelyard.nouns import AllocationRecord, Bond, Image, Instance, Network, NetworkPort, Node, NodePort, Subnet

T = TypeVar("T")

FRESH = 2.0
"""Seconds for which a list serves everybody who asks."""


class Observer:
    """The cloud's bulk lists, with Steelyard's own rights; each asked for once, however many look.

    A list is never older than `fresh` seconds at the moment it is given; who has changed something and looks again
    calls `forget()` first. Raises what the ports raise. Thread-safe: two who ask for one list wait for one call.
    """

    def __init__(self, clouds: Clouds, *, fresh: float = FRESH, clock: Callable[[], float] = time.monotonic) -> None:
        self._clouds = clouds
        self.fresh = fresh
        self._clock = clock
        self._locks: dict[str, threading.Lock] = {}
        self._lists: dict[str, tuple[float, Any]] = {}
        self._guard = threading.Lock()
        self._generation = 0

    def nodes(self) -> Sequence[Node]:
        return self._list("nodes", lambda: tuple(self._clouds.own.nodes.all()))

    def known_node(self, node_id: str) -> Node | None:
        """The node as the last list of all nodes has it, if that is fresh still. Asks nobody; None where it is not."""
        nodes: Sequence[Node] = self._kept("nodes") or ()
        return next((node for node in nodes if node.id == node_id), None)

    def node_ports(self) -> Sequence[NodePort]:
        return self._list("node_ports", lambda: tuple(self._clouds.own.node_ports.all()))

    def bonds(self) -> Sequence[Bond]:
        return self._list("bonds", lambda: tuple(self._clouds.own.bonds.all()))

    def instances(self) -> Sequence[Instance]:
        return self._list("instances", lambda: tuple(self._clouds.own.compute.all(all_projects=True)))

    def attachments(self) -> Sequence[NetworkPort]:
        return self._list("attachments", lambda: tuple(self._clouds.own.attachments.all()))

    def networks(self) -> Sequence[Network]:
        return self._list("networks", lambda: tuple(self._clouds.own.networks.all()))

    def subnets(self) -> Sequence[Subnet]:
        return self._list("subnets", lambda: tuple(self._clouds.own.networks.subnets()))

    def images(self) -> Sequence[Image]:
        return self._list("images", lambda: tuple(self._clouds.own.images.all()))

    def projects(self) -> Mapping[str, str]:
        """Names by id."""
        return self._list("projects", lambda: dict(self._clouds.identity.project_names()))

    def free(self, resource_class: str) -> frozenset[str]:
        """Ids of the nodes of a class that Placement offers."""
        return self._list(f"free {resource_class}", lambda: self._clouds.own.placement.free(resource_class))

    def allocations(self) -> Sequence[AllocationRecord]:
        """Costs a call for each node that is taken (see `Placement.allocations`): not for a period."""
        return self._list("allocations", lambda: tuple(self._clouds.own.placement.allocations()))

    def forget(self) -> None:
        """What was seen before is old: the next look asks the cloud."""
        with self._guard:
            self._generation += 1
            self._lists.clear()

    def _kept(self, name: str) -> Any:
        """The last answer while it is fresh; None when it is not."""
        found = self._lists.get(name)
        return found[1] if found is not None and self._clock() - found[0] <= self.fresh else None

    def _list(self, name: str, ask: Callable[[], T]) -> T:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            known: T | None = self._kept(name)
            if known is not None:
                return known
            generation = self._generation
            asked_at = self._clock()  # before the call: what it tells may be as old as that
            answer = ask()
            with self._guard:
                if generation == self._generation:
                    self._lists[name] = (asked_at, answer)
            return answer

"""How onboardings look at the nodes that they wait for.

Tens of them wait at the same time, and every look at one node is work of Ironic's that it cannot do for the servers
themselves. While the reconcilers list all nodes every few seconds anyway, that is enough to know that one still works.
"""

from __future__ import annotations

from collections.abc import Collection

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.discovery.binding import node_id_of, node_of
from steelyard.discovery.stopping import Watch
from steelyard.nouns import Node
from steelyard.operations.model import StepContext
from steelyard.store import Store

POLL, LATER_POLL, SLOW_POLL = 1.0, 2.0, 5.0
"""Seconds between two looks at a node that works: at first, from `LATER` looks on, and from `SLOW` on. Servers with
firmware take minutes where simulated ones take seconds, and each look is Ironic's work."""
LATER, SLOW = 5, 20
NOW_AND_THEN = 8
"""Of so many looks at what Placement offers, one is also at the node itself."""


class Looks:
    """Every look is also one of the watch's."""

    def __init__(self, clouds: Clouds, store: Store, observer: Observer) -> None:
        self.watch = Watch(clouds)
        self._clouds = clouds
        self._store = store
        self._observer = observer

    def node(self, ctx: StepContext, *, at_work: Collection[str] = ()) -> Node:
        """The candidate's node, asked for, unless a list of a moment ago has it in one of these states.

        Raises `NotFound`, and what the ports raise.
        """
        listed = self.listed(ctx, at_work) if at_work else None
        return listed or self.watch.look(node_of(ctx, self._clouds.own, self._store), ctx)

    def listed(self, ctx: StepContext, at_work: Collection[str]) -> Node | None:
        """The node where a list of a moment ago has it in one of these states, and not in maintenance. Asks nobody.

        The list may be older than what the step before has asked for: a state in `at_work` must be one in which the
        step would wait whatever came before.
        """
        node = self._observer.known_node(node_id_of(ctx, self._store))
        if node is None or node.provision_state not in at_work or node.maintenance:
            return None
        return self.watch.look(node, ctx, age=self._observer.fresh)

    def not_offered_yet(self, ctx: StepContext, resource_class: str) -> bool:
        """Whether it is enough to ask again later: Placement did not offer the node a moment ago.

        All that wait for one class share an answer. Now and then it is not enough: the node may be somebody's already.
        """
        if ctx.attempt % NOW_AND_THEN == 0:
            return False
        return node_id_of(ctx, self._store) not in self._observer.free(resource_class)


def pause(ctx: StepContext) -> float:
    """Seconds until the next look of a step that waits."""
    return POLL if ctx.attempt <= LATER else LATER_POLL if ctx.attempt <= SLOW else SLOW_POLL

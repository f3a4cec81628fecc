"""Giving an onboarding up: what still runs on the server is stopped, and what is known of its disks is kept straight.

The rule that a node may only be deleted clean has one exception: a node that was verifiably never offered to anybody.
The proof is a stamp (`unoffered_since`) that a failed onboarding leaves when it has watched the node from its enrolment
(or from the last valid stamp) to its rest: the time of Ironic's last transition. If anybody moves the node later, by
whatever means, the times differ and the stamp proves nothing. Watched means: by one process, in looks so close that no
tenancy fits between two. The mark `offered` is set before the first cleaning, because a node is available the moment
that it is clean; if that cleaning fails under watch, it is taken off again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, NotFound
from steelyard.lifecycle.model import UNOFFERED, never_offered, noting, unoffered_note
from steelyard.nouns import Node
from steelyard.operations.model import Done, Outcome, Retry, StepContext

POLL = 1.0
UNBROKEN = 20.0
"""Seconds between two looks in which no server can be cleaned, deployed, used, released and fail its next cleaning."""
_BEFORE_OFFER = frozenset({
    "enroll", "verifying", "manageable", "inspecting", "inspect wait", "inspect failed", "cleaning", "clean wait",
    "clean failed",
})  # fmt: skip
_ABORTABLE = frozenset({"inspect wait", "clean wait"})
_STARTING = frozenset({"inspecting", "cleaning"})
"""States that cannot be aborted, and lead to one that can (or to the end)."""


class Watch:
    """Remembers which nodes are known never to have been offered. Lost with the process, on purpose."""

    def __init__(self, clouds: Clouds, clock: Callable[[], float] = time.monotonic):
        self._clouds = clouds
        self._clock = clock
        self._seen: dict[str, float] = {}

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def begin(self, node: Node) -> None:
        """An onboarding begins. It vouches for a node that was never managed, or that an earlier one vouches for."""
        if node.instance_id is None and (node.provision_state == "enroll" or never_offered(node)):
            self._seen[node.id] = self._clock()

    def look(self, node: Node, ctx: StepContext, *, age: float = 0.0) -> Node:
        """Take note of the node's state, which may be so many seconds old. Returns the node, without the mark if its
        first cleaning just failed."""
        last = self._seen.pop(node.id, None)
        now = self._clock()
        if last is None or now - last > UNBROKEN:
            return node
        if node.instance_id is not None or node.provision_state not in _BEFORE_OFFER:
            return node
        self._seen[node.id] = max(last, now - age)
        if node.provision_state == "clean failed" and node.notes.get("offered") == ctx.operation_id:
            with suppress(Conflict):  # locked for a moment; the next look does it
                return self._cloud.nodes.update(node.id, noting(node, {"offered": None}))
        return node

    def stop(self, node_id: str, ctx: StepContext) -> Outcome:
        """Abort an inspection or a cleaning that still runs, and wait until it has ended. Powers nothing on."""
        try:
            node = self.look(self._cloud.nodes.get(node_id), ctx)
            if node.provision_state in _ABORTABLE:
                self._cloud.provisioning.request(node.id, "abort")
                node = self.look(self._cloud.nodes.get(node_id), ctx)
            if node.id in self._seen and node.provision_state in UNOFFERED and "offered" not in node.notes:
                self._cloud.nodes.update(node.id, noting(node, unoffered_note(node)))
        except NotFound:
            return Done()
        except Conflict as error:
            return Retry(POLL, f"the change is accepted: {error.detail}")
        if node.provision_state in _ABORTABLE | _STARTING:
            return Retry(POLL, f"what runs on the server is stopped: it is {node.provision_state}")
        self._seen.pop(node_id, None)
        return Done()

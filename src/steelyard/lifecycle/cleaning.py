"""Following a clean to its end, the same way for every operation that waits for one.

A clean that Steelyard has seen at work (`clean wait`: the agent runs its steps) and that ended in `available` is
recorded as the proof which the node needs to be offered. A clean that failed or was interrupted puts the node into
quarantine: its disks may hold a tenant's data. One that does not get on, as somebody holds the node in maintenance, is
waited for (`holding`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound
from steelyard.lifecycle.holding import HELD_SECONDS, Holding, ends_it
from steelyard.lifecycle.model import WITHDRAWN, leaving_note, noting, quarantine, releasing
from steelyard.lifecycle.patience import POLL
from steelyard.lifecycle.progress import cleaning
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node
from steelyard.operations.model import Done, Failed, Outcome, Retry, StepContext
from steelyard.store import Store

SEEN = "clean_seen_at"
"""In an operation's result: when the agent was first seen at work."""
STOPPED = frozenset({
    "clean failed", "error", "manageable", "enroll", "deploy failed", "inspect failed", "adopt failed", "rescue failed",
    "unrescue failed", "service failed",
})  # fmt: skip
"""Ironic's states that a clean which went well does not end in."""
BEGUN = frozenset({"deleting", "cleaning", "clean wait", "clean failed", "error"})
"""Ironic's states of a node whose disks are being erased, or were to be."""
CLEAN_SECONDS = 24 * 3600.0


class Cleaning:
    """Watches cleans, records those that ended well, and quarantines what did not."""

    def __init__(self, clouds: Clouds, store: Store, *, held_seconds: float = HELD_SECONDS) -> None:
        """`held_seconds`: how long a node is waited for that somebody holds in maintenance."""
        self._clouds = clouds
        self._store = store
        self._holding = Holding(held_seconds)
        self.quarantine = Quarantine(clouds, store)

    def follow(self, node: Node, ctx: StepContext, *, last_tenant: str | None = None) -> Outcome:
        """One look at a node that is being cleaned, or has been. `last_tenant`: the server that it is cleaned after."""
        state = node.provision_state
        seen = ctx.results.get(SEEN)
        if state == "available":
            # An operation that stood still for a while may have seen an earlier clean than the one before this stay.
            if isinstance(seen, str) and node.automated_clean is not False:
                since = datetime.fromisoformat(seen)
                self._store.tenancies.watched(node, operation_id=ctx.operation_id, since=since)
            return Done({"provision_state": state})
        if node.instance_id not in (None, last_tenant):
            return Done({"next_tenant": True})  # it was available between two looks, and somebody has it
        if state == "manageable" and node.retired and isinstance(seen, str):
            # Ironic offers no retired node again: it rests here, and may leave as clean as one that was available.
            note = leaving_note(node, ctx.operation_id)
            if node.notes.get(WITHDRAWN) != note:
                self._clouds.own.nodes.update(node.id, noting(node, {WITHDRAWN: note}))
            return Done({"provision_state": state, "retired": True})
        if taken := self.taken(node, ctx):
            return taken
        # With the stock client, instead of being cleaned.
        adopted = state in ("active", "rescue") and node.instance_id is None
        if state in STOPPED or adopted:
            why = node.last_error or ("it was stopped" if state == "manageable" else "no reason given")
            return self.failed(node, ctx, f"its cleaning failed ({state}): {why}")
        at_work = state == "clean wait" and node.automated_clean is not False
        result = {SEEN: datetime.now(UTC).isoformat()} if at_work and not isinstance(seen, str) else {}
        if node.maintenance:
            waits = self.wait(node, ctx)
            return replace(waits, result={**waits.result, **result}) if isinstance(waits, Retry) else waits
        return Retry(POLL, cleaning(node), {**self._holding.over(ctx), **result})

    def wait(self, node: Node, ctx: StepContext) -> Retry | Failed:
        """Somebody holds it in maintenance. If that lasts too long, it is quarantined."""
        waits = self._holding.look(node, ctx)
        if isinstance(waits, Retry):
            return waits
        failed = self.failed(node, ctx, f"its cleaning did not go on: {waits}")
        return Failed(failed.reason, code="node_in_maintenance", next=ends_it(node))

    def taken(self, node: Node, ctx: StepContext) -> Failed | None:
        """Whether somebody else has put it into quarantine meanwhile: in maintenance no agent ends a clean."""
        why = quarantine(node)
        if why is None or releasing(node) == ctx.operation_id:
            return None
        name = node.label
        return Failed(
            f"Node {name} was quarantined meanwhile: {why}", code="quarantined",
            next=f"steelyard node release {name} --wait",
        )  # fmt: skip

    def failed(self, node: Node, ctx: StepContext, why: str) -> Failed:
        """Quarantine the node; what the operation says then."""
        self.quarantine.put(node, why, by=ctx.actor.user_name, operation_id=ctx.operation_id)
        name = node.label
        return Failed(
            f"Node {name} was quarantined: {why}", code="clean_failed", next=f"steelyard node release {name} --wait"
        )

    def keep(self, ctx: StepContext) -> Outcome:
        """The end of an operation that was to make a node available and did not: it stays, or is put, in quarantine.

        One of which nothing had been touched yet, or that a tenant has, stays as it is.
        """
        try:
            node = self._clouds.own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Done()
        touched = node.instance_id is None and node.provision_state in BEGUN
        if quarantine(node) is None and not touched:
            return Done()
        why = ctx.error.detail if ctx.error else "the operation did not end well"
        by, operation_id = ctx.actor.user_name, ctx.operation_id
        self.quarantine.put(node, f"not cleaned to the end: {why}", by=by, operation_id=operation_id)
        return Done()

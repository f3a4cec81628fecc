"""Putting a node into quarantine, and letting it out: one way to do it, whoever finds that it must be done.

A node in quarantine carries Steelyard's mark, is in Ironic's maintenance with a reason that begins with "steelyard: "
(Nova reports its whole inventory as reserved then), and Placement holds it back at once. Its power, its disks and its
networks are not touched here: moving its NICs is the isolation's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from steelyard.clouds.ports import Clouds
from steelyard.isolation.refusal import note_mark
from steelyard.lifecycle.model import (
    MAINTENANCE_PREFIX,
    QUARANTINE,
    RELEASING,
    noting,
    quarantine,
    quarantine_note,
    releasing,
)
from steelyard.nouns import Node
from steelyard.store import Event, Store

PUT, LIFTED = "node.quarantined", "node.released"
"""The events."""
LOOKS = 50
"""How many of a node's newest events are looked through for the last of them."""


class Quarantine:
    """Marks nodes that must not be offered, and takes the mark away."""

    def __init__(self, clouds: Clouds, store: Store) -> None:
        self._clouds = clouds
        self._store = store

    def put(self, node: Node, reason: str, *, by: str, operation_id: str | None = None) -> Node:
        """Put it into quarantine; returns it as it is then. Repeating it, also after a crash, changes nothing more.

        A node that is in already keeps its first reason; a release that was on its way is over then. `by` is who did
        it: "steelyard" for a reconciler. `reason` tells people why; no secret may be in it. Raises what `Nodes` and
        `Placement` raise: `Conflict` while Ironic has locked the node, in which case it is to be called again.
        """
        cloud = self._clouds.own
        node = cloud.nodes.get(node.id)
        cloud.placement.hold_back(node.id)  # first: it needs no lock of Ironic's, which another request may hold
        if quarantine(node) is None:
            note = quarantine_note(reason, operation=operation_id, by=by, now=datetime.now(UTC))
            node = cloud.nodes.update(node.id, noting(node, {QUARANTINE: note}))
        elif releasing(node) is not None:  # its release has failed
            node = cloud.nodes.update(node.id, {f"/extra/steelyard/{QUARANTINE}/{RELEASING}": None})
        why = quarantine(node) or reason
        if not node.maintenance:
            cloud.nodes.set_maintenance(node.id, f"{MAINTENANCE_PREFIX}{why}")
            cloud.placement.hold_back(node.id)  # again: Nova may have lifted it while there was no maintenance
        self._record(node, why, by=by, operation_id=operation_id)
        note_mark(self._store, node)
        return cloud.nodes.get(node.id)

    def open(self, node: Node, operation_id: str) -> Node:
        """Let a release begin: the mark stays and names the operation, Ironic's maintenance goes, whoever set it.

        An agent does nothing in maintenance. The caller has seen that nobody is offered the node in its state.
        """
        cloud = self._clouds.own
        if (why := quarantine(node)) is not None and releasing(node) != operation_id:
            mark = node.notes[QUARANTINE]
            if not isinstance(mark, Mapping):  # somebody else wrote it, and it makes no sense
                mark = quarantine_note(why, operation=None, by="unknown", now=datetime.now(UTC))
            node = cloud.nodes.update(node.id, noting(node, {QUARANTINE: {**mark, RELEASING: operation_id}}))
        if node.maintenance:
            cloud.nodes.set_maintenance(node.id, None)
        return cloud.nodes.get(node.id)

    def lift(self, node: Node, *, by: str, reason: str | None = None, operation_id: str | None = None) -> Node:
        """Take the mark away, and Ironic's maintenance if it is Steelyard's; returns it as it is then.

        Whoever calls it vouches that the node may be offered: that is the operation `nodes.release`, which has cleaned
        it before. Nova lifts what Placement holds back. Nothing happens to a node that is not in quarantine.
        """
        cloud = self._clouds.own
        node = cloud.nodes.get(node.id)
        if node.maintenance and (node.maintenance_reason or "").startswith(MAINTENANCE_PREFIX):
            cloud.nodes.set_maintenance(node.id, None)
        if quarantine(node) is not None:
            cloud.nodes.update(node.id, noting(node, {QUARANTINE: None}))
        if (last := self._last(node)) is not None and last.kind == PUT:
            self._store.events.append(
                f"node:{node.id}", LIFTED, actor=by, reason=reason, operation_id=operation_id,
                detail=f"node {node.label} left quarantine", data={"since": last.data.get("since")},
            )  # fmt: skip
        return cloud.nodes.get(node.id)

    def _record(self, node: Node, why: str, *, by: str, operation_id: str | None) -> None:
        """One event per mark, also when a crash came between the mark and its event."""
        mark = node.notes.get(QUARANTINE)
        since = mark.get("since") if isinstance(mark, Mapping) else None
        last = self._last(node)
        if last is None or (last.kind, last.data.get("since")) != (PUT, since):
            self._store.events.append(
                f"node:{node.id}", PUT, actor=by, operation_id=operation_id, data={"since": since},
                detail=f"node {node.label} was put into quarantine: {why}",
            )  # fmt: skip

    def _last(self, node: Node) -> Event | None:
        """The newest event that tells of the node's quarantine."""
        found = self._store.events.of(f"node:{node.id}", limit=LOOKS)
        return next((event for event in found if event.kind in (PUT, LIFTED)), None)

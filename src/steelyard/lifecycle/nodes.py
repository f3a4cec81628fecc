"""Use cases on nodes, for administrators: out of quarantine, clean and inspect again, maintenance, retire, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from steelyard.clouds.ports import Clouds
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.errors import Invalid, NotFound, Refused
from steelyard.isolation.mending import Mending
from steelyard.lifecycle.holding import HELD_SECONDS
from steelyard.lifecycle.model import Action, check
from steelyard.nouns import Actor, Instance, Node
from steelyard.operations.keys import REQUEST, Turns, digest, repeated, turn
from steelyard.operations.model import Operation, Operations
from steelyard.store import Store

RELEASE = "nodes.release"
CLEAN = "nodes.clean"
INSPECT = "nodes.inspect"
MAINTENANCE = "nodes.maintenance"
RETIRE = "nodes.retire"
UNRETIRE = "nodes.unretire"
DELETE_NODE = "nodes.delete"
REMOVE = "nodes.remove"
MIN_REASON = 3
"""Characters of a reason that counts as one."""
_ACTIONS: Mapping[str, Action] = {
    RELEASE: Action.FREE, CLEAN: Action.CLEAN, INSPECT: Action.INSPECT, RETIRE: Action.RETIRE,
    UNRETIRE: Action.UNRETIRE, DELETE_NODE: Action.DELETE, REMOVE: Action.FORCED_DELETE,
}  # fmt: skip


class NodeLifecycle:
    """What administrators do with nodes. Every function starts one operation on one node, by id or name.

    All raise `NotFound`, and `Refused` in a phase that does not allow it, with the next safe command. The same `key`
    again returns what the first request started.
    """

    def __init__(
        self, *, clouds: Clouds, store: Store, operations: Operations, held_seconds: float = HELD_SECONDS,
        mending: Mending | None = None,
    ):  # fmt: skip
        """`held_seconds`: how long an operation waits for the end of a maintenance that holds its node; `mending`: puts
        NICs right, without it (nothing reads switches) they are left as they are."""
        self.held_seconds = held_seconds
        self.mending = mending
        self.clouds = clouds
        self.store = store
        self._operations = operations
        self._turns = Turns(store.locks, scope="nodes")

    def release(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Let a node out of quarantine: it is cleaned first, whatever brought it there."""
        return self._start(RELEASE, actor, reference, reason=reason, key=key, request_id=request_id)

    def clean(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Erase the disks of a node that nobody has, and make it available."""
        return self._start(CLEAN, actor, reference, reason=reason, key=key, request_id=request_id)

    def inspect(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Look at a node from within again. One that was available is cleaned afterwards and available again."""
        return self._start(INSPECT, actor, reference, reason=reason, key=key, request_id=request_id)

    def retire(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Take a node out of service for good; a tenant's server stays until it is released."""
        return self._start(RETIRE, actor, reference, reason=reason, key=key, request_id=request_id)

    def unretire(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Take a retired node back into service: it is cleaned and made available."""
        return self._start(UNRETIRE, actor, reference, reason=reason, key=key, request_id=request_id)

    def maintenance(
        self, actor: Actor, reference: str, *, on: bool, reason: str | None = None, until: datetime | None = None,
        key: str | None = None, request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Begin or end a maintenance. It needs a reason to begin; `until` is a wish for people, nothing ends by it."""
        if on:
            _check_reason(reason, "A maintenance", "steelyard node maintenance on NODE --reason TEXT")
        if until is not None and until.tzinfo is None:
            raise Invalid("The time has no time zone.", code="invalid_time", next="--until 2030-01-31T18:00:00+00:00")
        params = {"on": on, "until": until.isoformat() if on and until else None}
        return self._start(
            MAINTENANCE, actor, reference, reason=reason, key=key, request_id=request_id, params=params,
            action=Action.MAINTENANCE_ON if on else Action.MAINTENANCE_OFF,
        )  # fmt: skip

    def delete(
        self, actor: Actor, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Delete a node. Refused (`node_deployed`, ...) unless it is unprovisioned and available."""
        return self._start(DELETE_NODE, actor, reference, reason=reason, key=key, request_id=request_id)

    def remove(
        self, actor: Actor, reference: str, *, reason: str | None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Remove a node by force, whatever it is doing and whoever has it. Raises `Invalid` without a reason."""
        _check_reason(reason, "A forced removal", "steelyard node delete NODE --force --reason TEXT")
        return self._start(REMOVE, actor, reference, reason=reason, key=key, request_id=request_id)

    def instance_on(self, node: Node) -> Instance | None:
        """The tenant's server that Nova has on the node; None where Nova knows of none."""
        if node.instance_id is None:
            return None
        try:
            found = self.clouds.own.compute.get(node.instance_id)
        except NotFound:
            return None  # not one of Nova's; the node's own word counts
        return None if found.status == "DELETED" else found

    def forget_node(self, candidate: Candidate, *, note: str | None = None) -> None:
        """A candidate whose node is gone is a mere candidate again; what is known of it stays."""
        self.store.candidates.change(
            candidate.id,
            lambda now: replace(now, state=CandidateState.FOUND, node_id=None, reason=note, next=None),
        )

    def _start(
        self, kind: str, actor: Actor, reference: str, *, reason: str | None, key: str | None, request_id: str | None,
        params: Mapping[str, Any] | None = None, action: Action | None = None,
    ) -> Operation:  # fmt: skip
        request = digest(actor, {"node": reference, "reason": reason, **(params or {})})
        with self._turns.at(turn(actor, key)):
            if known := repeated(self._operations, actor, kind, key, request):
                return known[0]
            node = self.clouds.own.nodes.get(reference)
            self._check(action or _ACTIONS[kind], node)
            return self._operations.start(
                kind,
                {"node_id": node.id, "node": node.label, **(params or {}), REQUEST: request},
                actor,
                reason=reason,
                key=key,
                subject=f"node:{node.id}",
                request_id=request_id,
            )

    def require(self, action: Action, node: Node) -> None:
        """For other rooms' work on nodes. Raises `Refused` where the node's phase does not allow the action."""
        self._check(action, node)

    def _check(self, action: Action, node: Node) -> None:
        instance = self.instance_on(node)
        onboarding = self._onboarding_of(node)
        check(action, node, instance, onboarding=onboarding)
        if onboarding is not None and action not in (Action.DELETE, Action.FORCED_DELETE):
            raise Refused(
                f"Node {node.label} is being onboarded.",
                code="node_busy",
                next=f"steelyard operation cancel {onboarding}",
            )
        if action is Action.FREE and instance is not None:
            raise Refused(
                f"Node {node.label} has server {instance.name} of a tenant on it.",
                code="node_deployed",
                next=f"steelyard server delete {instance.id} --wait",
            )

    def _onboarding_of(self, node: Node) -> str | None:
        """The operation that is making it available at this moment, by its candidate; None when there is none."""
        candidate_id = node.notes.get("candidate_id")
        if not isinstance(candidate_id, str):
            return None
        newest = self._operations.all(subject=f"candidate:{candidate_id}", limit=1)
        return newest[0].id if newest and not newest[0].phase.ended else None


def _check_reason(reason: str | None, what: str, next: str) -> None:
    if reason is None or len(reason.strip()) < MIN_REASON:
        raise Invalid(f"{what} needs a reason.", code="reason_needed", next=next)

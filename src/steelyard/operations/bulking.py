"""Bulk operations as rooms and routes see them: starting one, and what may be done to it while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from steelyard.errors import Forbidden, Invalid
from steelyard.nouns import Actor
from steelyard.operations.bulk import (
    BULK,
    BULK_ADMIN,
    MAX_CONCURRENCY,
    MAX_ITEMS,
    BulkAction,
    BulkItem,
    BulkLimits,
    ItemPhase,
)
from steelyard.operations.bulk_steps import BulkSteps, BulkStore, forget_token, result_of
from steelyard.operations.journal import plain_json
from steelyard.operations.keys import REQUEST, Turns, digest, repeated, turn
from steelyard.operations.model import Operation, OperationKind, Operations, Step
from steelyard.operations.reconciling import Reconciler, Report

MOST = 100
"""Bulk operations at a time in one server; the others wait as pending."""
BEGINS_WITHIN = timedelta(hours=1)
"""Between the writing down of a batch and of its operation lies a moment; after that long nobody is coming."""
LASTS = 30 * 86400.0
"""Seconds that a bulk operation may take."""
NAMED_BY = ("name", "server", "node", "candidate", "id")


class Bulk:
    """Bulk operations as rooms and routes see them; it registers its two kinds of operation with the engine."""

    def __init__(self, operations: Operations, store: BulkStore) -> None:
        self._operations = operations
        self._store = store
        self._actions: dict[str, BulkAction] = {}
        self._turns = Turns(store.locks, scope="bulk")
        self._steps = steps = BulkSteps(operations, store, self._actions)
        for name, administrators in ((BULK, False), (BULK_ADMIN, True)):
            operations.register(
                OperationKind(
                    name,
                    [
                        Step("items", steps.items, deadline=LASTS),
                        Step("end", steps.end, next="steelyard operation show {operation_id}"),
                    ],
                    on_failure=steps.stop,
                    failure_deadline=LASTS,
                    next="steelyard operation show {operation_id}",
                    administrators=administrators,
                    concurrency=MOST,  # in a queue of its own, so that parents never take the places of their children
                )
            )

    def register(self, *actions: BulkAction) -> None:
        """Make actions known. Raises `ValueError` for a name given twice."""
        for action in actions:
            if action.name in self._actions:
                raise ValueError(f"bulk action {action.name} is registered twice")
            self._actions[action.name] = action

    def actions(self, actor: Actor) -> list[BulkAction]:
        """Those that the actor may ask for."""
        return [each for each in self._actions.values() if actor.is_admin or not each.administrators]

    def start(
        self,
        actor: Actor,
        token: str,
        action: str,
        items: Sequence[Mapping[str, Any]],
        *,
        limits: BulkLimits | None = None,
        reason: str | None = None,
        key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:
        """Start one operation that starts one for each item.

        Raises `Invalid` for an action that is not known, limits or items that make no sense; `Forbidden` for what
        only administrators may ask for; `Conflict` (`key_reused`).
        """
        known = self._action(actor, action)
        limits = limits or BulkLimits()
        if limits.concurrency is None:
            limits = replace(limits, concurrency=known.concurrency)
        check_limits(limits)
        named = [(_label(known, item), plain_json(item, "item")) for item in items]
        if not 1 <= len(named) <= MAX_ITEMS:
            raise Invalid(f"Name 1 to {MAX_ITEMS} items; these are {len(named)}.", code="too_many")
        if known.check is not None:
            for _, item in named:
                known.check(item)
        request = digest(actor, {"action": action, "items": [item for _, item in named], **asdict(limits)})
        kind = BULK_ADMIN if known.administrators else BULK
        with self._turns.at(turn(actor, key)):
            if earlier := repeated(self._operations, actor, kind, key, request):
                return earlier[0]
            with self._store.unit_of_work():
                secret_id = self._store.secrets.put({"token": token}) if known.needs_token else None
                batch_id = self._store.bulk.put(action, named, secret_id)
            try:
                return self._operations.start(
                    kind,
                    {"action": action, "batch": batch_id, "count": len(named), **asdict(limits), REQUEST: request},
                    actor,
                    reason=reason,
                    key=key,
                    request_id=request_id,
                )
            except Exception:
                self._store.bulk.delete(batch_id)
                if secret_id is not None:
                    self._store.secrets.delete(secret_id)
                raise

    def _action(self, actor: Actor, name: str) -> BulkAction:
        known = self._actions.get(name)
        if known is None:
            there_are = ", ".join(sorted(each.name for each in self.actions(actor))) or "none"
            raise Invalid(f"There is no such bulk action; there are: {there_are}.", code="unknown_action")
        if known.administrators and not actor.is_admin:
            raise Forbidden("Only administrators may do this.")
        if not actor.may_write:
            raise Forbidden("Your role lets you look, not change anything; it takes the role member.")
        return known

    def items(
        self,
        operation: Operation,
        *,
        phase: ItemPhase | None = None,
        limit: int | None = None,
        after: int | None = None,
    ) -> list[BulkItem]:
        """How far each item is, in order. Raises `Invalid` for an operation that is not a bulk one."""
        phases = None if phase is None else [phase]
        return self._store.bulk.items(_batch_of(operation), phases=phases, limit=limit, after=after)

    def note_ended(self, operation: Operation) -> Operation:
        """Write down which children have ended since the bulk operation stood still, so that what is shown is so.

        While it runs it does that by itself. Returns the operation with the counts of now.
        """
        if not is_bulk(operation) or operation.paused_at is None:
            return operation
        batch = _batch_of(operation)
        self._steps.observe(batch, operation.id)
        return replace(operation, result={**operation.result, **result_of(self._store.bulk.counts(batch))})

    def cancel_children(self, operation: Operation) -> None:
        """Note that what is at work is to be cancelled with the bulk operation."""
        self._store.bulk.change(_batch_of(operation), cancel_children=True)

    def fresh_token(self, operation: Operation, actor: Actor, token: str) -> None:
        """Go on with this token, if it is of the same user in the same project; nobody acts for somebody else."""
        if not is_bulk(operation) or not self._needs_token(operation):
            return
        if (actor.user_id, actor.project_id) != (operation.actor.user_id, operation.actor.project_id):
            return
        with self._store.unit_of_work():
            batch = self._store.bulk.get(_batch_of(operation))
            self._store.bulk.change(batch.id, secret_id=self._store.secrets.put({"token": token}))
            if batch.secret_id is not None:
                self._store.secrets.delete(batch.secret_id)

    def reconcilers(self) -> tuple[Reconciler, ...]:
        """What keeps order among bulk operations."""
        about = "Forgets the tokens and items of bulk operations that a crash kept from forgetting them."
        return (Reconciler("operations.leftovers", about, self._forget_leftovers, period=600.0),)

    def _forget_leftovers(self) -> Report:
        leftovers = self._store.bulk.leftovers(datetime.now(UTC) - BEGINS_WITHIN)
        for batch in leftovers:
            forget_token(self._store, batch)
        return Report(len(leftovers), len(leftovers), f"{len(leftovers)} forgotten" if leftovers else "")

    def _needs_token(self, operation: Operation) -> bool:
        known = self._actions.get(str(operation.params.get("action")))
        return known is not None and known.needs_token


def is_bulk(operation: Operation) -> bool:
    return operation.kind in (BULK, BULK_ADMIN)


def check_limits(limits: BulkLimits) -> None:
    """Raises `Invalid` for limits that cannot be."""
    if limits.concurrency is not None and not 1 <= limits.concurrency <= MAX_CONCURRENCY:
        raise Invalid(f"The concurrency must be between 1 and {MAX_CONCURRENCY}.", code="invalid_limits")
    if limits.wave is not None and not 1 <= limits.wave <= MAX_ITEMS:
        raise Invalid(f"A wave has between 1 and {MAX_ITEMS} items.", code="invalid_limits")
    if not 0 <= limits.wave_pause <= 86400:
        raise Invalid("The pause between waves must be between 0 and 86400 seconds.", code="invalid_limits")
    if limits.max_failures is not None and limits.max_failures < 0:
        raise Invalid("The number of failures to bear is not negative.", code="invalid_limits")


def _batch_of(operation: Operation) -> str:
    if not is_bulk(operation):
        raise Invalid(
            f"Operation {operation.id} is not a bulk one; it has no items.",
            code="not_bulk",
            next=f"steelyard operation show {operation.id}",
        )
    return str(operation.params["batch"])


def _label(action: BulkAction, item: Mapping[str, Any]) -> str:
    if action.label is not None:
        return action.label(item)
    return next((str(item[key]) for key in NAMED_BY if item.get(key)), "")

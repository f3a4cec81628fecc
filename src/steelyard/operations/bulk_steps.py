"""The steps of a bulk operation, and its token. The runbook is in `operations.bulk`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from steelyard.errors import Conflict, NotFound, SteelyardError, Unauthenticated, Unavailable
from steelyard.operations.bulk import (
    MAX_ITEMS,
    Batch,
    Batches,
    BulkAction,
    BulkContext,
    BulkItem,
    BulkLimits,
    ItemPhase,
    child_key,
)
from steelyard.operations.journal import parent
from steelyard.operations.keys import Locks
from steelyard.operations.model import (
    Done,
    Failed,
    Operation,
    OperationError,
    Operations,
    Outcome,
    Pause,
    Retry,
    StepContext,
)

LOOK = 0.5
"""Seconds between two looks at the children; more where they are many."""
NO_TOKEN = "the token of who asked has run out; whoever asked gives a fresh one with a resume"  # noqa: S105 - words


class Secrets(Protocol):
    """Where a tenant's token is kept."""

    def put(self, value: Mapping[str, str]) -> str: ...
    def get(self, secret_id: str) -> dict[str, str]: ...
    def delete(self, secret_id: str) -> None: ...


class BulkStore(Protocol):
    """What of the store a bulk operation needs."""

    @property
    def bulk(self) -> Batches: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def locks(self) -> Locks: ...

    def unit_of_work(self) -> AbstractContextManager[None]: ...


class BulkSteps:
    """The steps of a bulk operation. What has been started is in the batch, so each may be called at any time."""

    def __init__(self, operations: Operations, store: BulkStore, actions: Mapping[str, BulkAction]) -> None:
        self._operations = operations
        self._store = store
        self._actions = actions

    def items(self, ctx: StepContext) -> Outcome:
        """Start what may be started. Done when all items have ended, or all at work when no more are to be started."""
        action = self._actions.get(ctx.params["action"])
        if action is None:
            return Failed(f"This release has no bulk action {ctx.params['action']}.", code="unknown_action")
        limits = limits_of(ctx.params)
        batch = ctx.params["batch"]
        self.observe(batch, ctx.operation_id)
        counts = self._store.bulk.counts(batch)
        if _too_many(limits, counts):
            if counts[ItemPhase.RUNNING]:
                return Retry(_look(counts), f"{_words(counts)}; no more are started", result_of(counts))
            return Done(result_of(counts))
        wait = 0.0
        if counts[ItemPhase.PENDING]:
            first, last, wait = self._wave(batch, limits)
            room = (limits.concurrency or action.concurrency) - counts[ItemPhase.RUNNING]
            if wait <= 0 and room > 0:
                pending = self._store.bulk.items(
                    batch, phases=[ItemPhase.PENDING], after=first - 1, before=last, limit=room
                )
                for item in pending:
                    try:
                        self._start(action, item, batch, ctx)
                    except Unauthenticated:
                        return Pause(NO_TOKEN)
                    if limits.max_failures is not None and _too_many(limits, self._store.bulk.counts(batch)):
                        break
                counts = self._store.bulk.counts(batch)
        if not counts[ItemPhase.PENDING] and not counts[ItemPhase.RUNNING]:
            return Done(result_of(counts))
        words = _words(counts) + (f"; next wave in {max(1, round(wait))} s" if wait > 0 else "")
        return Retry(min(LOOK, wait) if wait > 0 else _look(counts), words, result_of(counts))

    def _wave(self, batch: str, limits: BulkLimits) -> tuple[int, int, float]:
        """The numbers of the wave that is on (from, up to), and how many seconds it is too early for it."""
        if limits.wave is None:
            return 0, MAX_ITEMS, 0.0
        pending = self._store.bulk.items(batch, phases=[ItemPhase.PENDING], limit=1)
        first = pending[0].number // limits.wave * limits.wave
        last = first + limits.wave
        if pending[0].number > first or first == 0:
            return first, last, 0.0  # it has begun
        running = self._store.bulk.items(batch, phases=[ItemPhase.RUNNING], limit=1)
        if running:
            return first, first, 0.0  # nothing of it before all of the last one have ended
        before = self._store.bulk.items(batch, after=first - limits.wave - 1, before=first)
        ended_at = max((each.ended_at for each in before if each.ended_at is not None), default=None)
        if ended_at is None:
            return first, last, 0.0
        return first, last, limits.wave_pause - (datetime.now(UTC) - ended_at).total_seconds()

    def _start(self, action: BulkAction, item: BulkItem, batch: str, ctx: StepContext) -> None:
        """Start one child. Its refusal is the item's failure; raises `Unauthenticated` and `Unavailable`."""
        token = _Token(self._store, batch)
        # Before the child is there, so that a crash between its start and the note of it leaves no child unseen.
        self._store.bulk.note(batch, item.number, ItemPhase.RUNNING)
        context = BulkContext(ctx.actor, ctx.reason, ctx.request_id, ctx.operation_id, item.number, token)
        # An operation that the starter starts is a child of this one.
        mark = parent.set(ctx.operation_id)
        try:
            child = action.start(item.item, context)
        except (Unauthenticated, Unavailable):
            self._store.bulk.note(batch, item.number, ItemPhase.PENDING)
            raise
        except SteelyardError as error:
            failure = OperationError(error.detail, error.code, next=error.next, step=None)
            self._store.bulk.note(batch, item.number, ItemPhase.FAILED, error=failure, ended_at=datetime.now(UTC))
            return
        finally:
            parent.reset(mark)
        self._note(batch, item.number, child, running=True)

    def _note(self, batch: str, number: int, child: Operation, *, running: bool) -> None:
        if child.phase.ended:
            phase = ItemPhase(child.phase.value)
            self._store.bulk.note(
                batch, number, phase, operation_id=child.id, error=child.error, ended_at=child.ended_at
            )
        elif running:
            self._store.bulk.note(batch, number, ItemPhase.RUNNING, operation_id=child.id)

    def observe(self, batch: str, parent_id: str) -> list[Operation]:
        """Write down which children have ended. Returns those that have not."""
        running = self._store.bulk.items(batch, phases=[ItemPhase.RUNNING])
        if any(each.operation_id is None for each in running):
            self._find_again([each for each in running if each.operation_id is None], batch, parent_id)
            running = self._store.bulk.items(batch, phases=[ItemPhase.RUNNING])
        items = {each.operation_id: each.number for each in running if each.operation_id is not None}
        found = self._operations.found(list(items))
        for child in found:
            self._note(batch, items[child.id], child, running=False)
        return [child for child in found if not child.phase.ended]

    def _find_again(self, lost: list[BulkItem], batch: str, parent_id: str) -> None:
        """A crash came between the start of a child and the note of it: the child knows by its key whose it is."""
        children = self._operations.all(parent_id=parent_id, limit=MAX_ITEMS)
        for item in lost:
            key = child_key(parent_id, item.number)
            own = next((c for c in children if c.key == key or str(c.key).startswith(f"{key}:")), None)
            if own is None:
                self._store.bulk.note(batch, item.number, ItemPhase.PENDING)
            else:
                self._note(batch, item.number, own, running=True)

    def end(self, ctx: StepContext) -> Outcome:
        """Forget the token, and say how it went."""
        self._forget_token(ctx.params["batch"])
        counts = self._store.bulk.counts(ctx.params["batch"])
        missed = counts[ItemPhase.FAILED] + counts[ItemPhase.CANCELLED]
        if not missed and not counts[ItemPhase.PENDING]:
            return Done(result_of(counts))
        limits = limits_of(ctx.params)
        show = f"steelyard operation items {ctx.operation_id} --phase failed"
        if counts[ItemPhase.PENDING]:
            return Failed(
                f"{counts[ItemPhase.FAILED]} of {ctx.params['count']} failed, more than the {limits.max_failures} "
                f"allowed; {counts[ItemPhase.PENDING]} were not started.",
                next=show,
                code="too_many_failures",
            )
        return Failed(f"{missed} of {ctx.params['count']} did not succeed.", next=show, code="items_failed")

    def stop(self, ctx: StepContext) -> Outcome:
        """After a cancel (or a failure): start no more; let those at work end, or cancel them where that was asked."""
        batch = self._store.bulk.get(ctx.params["batch"])
        running = self.observe(batch.id, ctx.operation_id)
        if batch.cancel_children:
            for child in running:
                if not child.cancel_requested:
                    try:
                        self._operations.cancel(child.id, reason=f"its bulk operation {ctx.operation_id} is cancelled")
                    except (Conflict, NotFound):
                        continue  # it has just ended by itself
        counts = self._store.bulk.counts(batch.id)
        if running:
            return Retry(_look(counts), f"{_words(counts)}; no more are started", result_of(counts))
        self._forget_token(batch.id)
        return Done(result_of(counts))

    def _forget_token(self, batch_id: str) -> None:
        forget_token(self._store, self._store.bulk.get(batch_id))


def forget_token(store: BulkStore, batch: Batch) -> None:
    """Nobody acts with it any more, and nobody needs to know what exactly each item was. Forgetting twice is once."""
    with store.unit_of_work():
        if batch.secret_id is not None:
            store.secrets.delete(batch.secret_id)
            store.bulk.change(batch.id, secret_id="")
        store.bulk.forget_items(batch.id)


class _Token:
    """Gives the token that is kept for a batch."""

    def __init__(self, store: BulkStore, batch_id: str) -> None:
        self._store = store
        self._batch_id = batch_id

    def __call__(self) -> str:
        secret_id = self._store.bulk.get(self._batch_id).secret_id
        try:
            return self._store.secrets.get(secret_id or "")["token"]
        except NotFound:
            raise Unauthenticated("There is no token to act with.", code="no_token") from None


def limits_of(params: Mapping[str, Any]) -> BulkLimits:
    """As they were asked for."""
    return BulkLimits(
        concurrency=params["concurrency"],
        wave=params["wave"],
        wave_pause=params["wave_pause"],
        max_failures=params["max_failures"],
    )


def _too_many(limits: BulkLimits, counts: Mapping[ItemPhase, int]) -> bool:
    return limits.max_failures is not None and counts[ItemPhase.FAILED] > limits.max_failures


def result_of(counts: Mapping[ItemPhase, int]) -> dict[str, int]:
    """As the operation shows them."""
    return {phase.value: counts[phase] for phase in ItemPhase}


def _look(counts: Mapping[ItemPhase, int]) -> float:
    """Seconds until the next look."""
    return min(2.0, max(LOOK, counts[ItemPhase.RUNNING] / 200))


def _words(counts: Mapping[ItemPhase, int]) -> str:
    """`12 of 20 done, 1 failed, 4 running`."""
    words = [f"{counts[ItemPhase.SUCCEEDED]} of {sum(counts.values())} done"]
    for phase in (ItemPhase.FAILED, ItemPhase.CANCELLED, ItemPhase.RUNNING):
        if counts[phase]:
            words.append(f"{counts[phase]} {phase.value}")
    return ", ".join(words)

"""REST: operations. Administrators see all, everybody else those of their project that tell of no node or BMC."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.errors import Invalid, NotFound
from steelyard.nouns import Actor
from steelyard.operations.bulk import MAX_CONCURRENCY, MAX_ITEMS, BulkLimits, ItemPhase
from steelyard.operations.bulking import Bulk
from steelyard.operations.model import Operation, Operations, Phase
from steelyard.operations.views import ItemList, OperationAnswer, OperationList, accepted, item_view, operation_view
from steelyard.web.context import Caller, Context, IdempotencyKey, Writer
from steelyard.web.paging import Page
from steelyard.web.schemas import Body, View


class Because(Body):
    reason: str | None = Field(default=None, max_length=1000)


class Cancel(Because):
    children: bool = Field(default=False, description="Of a bulk operation: cancel what is at work, too.")


class BulkBody(Body):
    action: str = Field(max_length=64, description="One of GET /v1/bulk/actions.")
    items: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_ITEMS)
    concurrency: int | None = Field(
        default=None, ge=1, le=MAX_CONCURRENCY, description="Most at work at a time. Without it the action's own limit."
    )
    wave: int | None = Field(
        default=None, ge=1, le=MAX_ITEMS, description="Items a wave; the next begins after its end."
    )
    wave_pause: float = Field(default=0.0, ge=0, le=86400, description="Seconds between two waves.")
    max_failures: int | None = Field(default=None, ge=0, description="When more have failed, no more are started.")
    reason: str | None = Field(default=None, max_length=1000)


class ActionView(View):
    name: str
    about: str
    administrators: bool


class ActionList(View):
    actions: list[ActionView]


PhaseQuery = Annotated[Phase | None, Query(description="Only those in this phase.")]
SubjectQuery = Annotated[str | None, Query(max_length=255, description="Only those about this, e.g. `node:<id>`.")]
ParentQuery = Annotated[str | None, Query(max_length=36, description="Only those that this bulk operation started.")]
PausedQuery = Annotated[bool | None, Query(description="Only those that are paused, or (false) are not.")]
ItemPhaseQuery = Annotated[ItemPhase | None, Query(description="Only those in this phase.")]
KindQuery = Annotated[str | None, Query(max_length=64, description="Only those of this kind, e.g. `nodes.onboard`.")]


def router(operations: Operations, bulk: Bulk) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    def shown(caller: Context, operation: Operation) -> OperationAnswer:
        return accepted(bulk.note_ended(operation), administrators=caller.actor.is_admin)

    @routes.get("/operations")
    def list_operations(
        caller: Caller,
        page: Page,
        phase: PhaseQuery = None,
        subject: SubjectQuery = None,
        kind: KindQuery = None,
        parent: ParentQuery = None,
        paused: PausedQuery = None,
    ) -> OperationList:
        """List operations, the newest first."""
        project_id = None if caller.actor.is_admin else _project(caller.actor)
        if page.marker is not None:
            _visible(operations, page.marker, caller, marker=True)
        found = operations.all(
            project_id=project_id,
            subject=subject,
            phase=phase,
            kind=kind,
            parent_id=parent,
            paused=paused,
            limit=page.limit + 1,
            marker=page.marker,
        )
        cut = found[: page.limit]
        more = len(found) > page.limit
        return OperationList(
            operations=[operation_view(each, administrators=caller.actor.is_admin) for each in cut],
            next=page.next_url(cut[-1].id) if more else None,
        )

    @routes.get("/operations/{operation_id}")
    def show_operation(caller: Caller, operation_id: str) -> OperationAnswer:
        """Show one operation with its steps."""
        return shown(caller, _visible(operations, operation_id, caller))

    @routes.get("/operations/{operation_id}/items")
    def list_items(caller: Caller, operation_id: str, page: Page, phase: ItemPhaseQuery = None) -> ItemList:
        """List the items of a bulk operation, in their order, with the reason and the next of those that failed."""
        operation = bulk.note_ended(_visible(operations, operation_id, caller))
        if page.marker is not None and not page.marker.isdecimal():
            raise Invalid("The marker names no item.", code="unknown_marker", next="ask again without marker")
        after = None if page.marker is None else min(int(page.marker), MAX_ITEMS)
        found = bulk.items(operation, phase=phase, limit=page.limit + 1, after=after)
        cut = found[: page.limit]
        more = len(found) > page.limit
        return ItemList(
            items=[item_view(each) for each in cut], next=page.next_url(str(cut[-1].number)) if more else None
        )

    @routes.post("/operations/{operation_id}/cancel", status_code=202)
    def cancel_operation(caller: Writer, operation_id: str, body: Cancel) -> OperationAnswer:
        """Ask an operation to end. It does so between two attempts of a step, never in the middle of one.

        A bulk operation starts no more and ends when those at work have.
        """
        operation = _visible(operations, operation_id, caller)
        if body.children:
            bulk.cancel_children(operation)
        return shown(caller, operations.cancel(operation_id, reason=body.reason, by=caller.actor.user_name))

    @routes.post("/operations/{operation_id}/pause", status_code=202)
    def pause_operation(caller: Writer, operation_id: str, body: Because) -> OperationAnswer:
        """Have an operation stop between two attempts of a step.

        A bulk operation starts no more; those at work go on.
        """
        _visible(operations, operation_id, caller)
        return shown(caller, operations.pause(operation_id, reason=body.reason, by=caller.actor.user_name))

    @routes.post("/operations/{operation_id}/resume", status_code=202)
    def resume_operation(caller: Writer, operation_id: str, body: Because) -> OperationAnswer:
        """Have a paused operation go on; a bulk operation that acts with the token of this user gets this one."""
        bulk.fresh_token(_visible(operations, operation_id, caller), caller.actor, caller.token)
        return shown(caller, operations.resume(operation_id, reason=body.reason, by=caller.actor.user_name))

    @routes.get("/bulk/actions")
    def list_bulk_actions(caller: Caller) -> ActionList:
        """List what can be done to many things at a time."""
        return ActionList(actions=[ActionView.model_validate(each) for each in bulk.actions(caller.actor)])

    @routes.post("/bulk", status_code=202)
    def start_bulk(caller: Writer, body: BulkBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Start one operation that starts one for each item, so many at a time."""
        operation = bulk.start(
            caller.actor,
            caller.token,
            body.action,
            body.items,
            limits=BulkLimits(body.concurrency, body.wave, body.wave_pause, body.max_failures),
            reason=body.reason,
            key=key,
            request_id=caller.request_id,
        )
        return shown(caller, operation)

    return routes


def _project(actor: Actor) -> str:
    return actor.project_id or ""  # no operation is of the project ''


def _visible(operations: Operations, operation_id: str, caller: Context, *, marker: bool = False) -> Operation:
    """The operation, if the caller may see it. What they may not see does not exist, as far as they are told."""
    try:
        operation = operations.get(operation_id)
        if caller.actor.is_admin or operation.project_id == _project(caller.actor):
            return operation
    except NotFound:
        pass
    if marker:
        raise Invalid("The marker names no operation.", code="unknown_marker", next="ask again without marker")
    raise NotFound(f"There is no operation {operation_id[:64]}.", next="steelyard operation list")

"""REST: operations. Administrators see all, everybody else those of their project that tell of no node or BMC."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.errors import Invalid, NotFound
from steelyard.nouns import Actor
from steelyard.operations.model import Operation, Operations, Phase
from steelyard.operations.views import OperationAnswer, OperationList, accepted, operation_view
from steelyard.web.context import Caller, Context, Writer
from steelyard.web.paging import Page
from steelyard.web.schemas import Body


class Cancel(Body):
    reason: str | None = Field(default=None, max_length=1000)


PhaseQuery = Annotated[Phase | None, Query(description="Only those in this phase.")]
SubjectQuery = Annotated[str | None, Query(max_length=255, description="Only those about this, e.g. `node:<id>`.")]
KindQuery = Annotated[str | None, Query(max_length=64, description="Only those of this kind, e.g. `nodes.onboard`.")]


def router(operations: Operations) -> APIRouter:
    routes = APIRouter(prefix="/operations", tags=["operations"])

    @routes.get("")
    def list_operations(
        caller: Caller, page: Page, phase: PhaseQuery = None, subject: SubjectQuery = None, kind: KindQuery = None
    ) -> OperationList:
        """List operations, the newest first."""
        project_id = None if caller.actor.is_admin else _project(caller.actor)
        if page.marker is not None:
            _visible(operations, page.marker, caller, marker=True)
        found = operations.all(
            project_id=project_id, subject=subject, phase=phase, kind=kind, limit=page.limit + 1, marker=page.marker
        )
        shown = found[: page.limit]
        more = len(found) > page.limit
        return OperationList(
            operations=[operation_view(operation) for operation in shown],
            next=page.next_url(shown[-1].id) if more else None,
        )

    @routes.get("/{operation_id}")
    def show_operation(caller: Caller, operation_id: str) -> OperationAnswer:
        """Show one operation with its steps."""
        return accepted(_visible(operations, operation_id, caller))

    @routes.post("/{operation_id}/cancel", status_code=202)
    def cancel_operation(caller: Writer, operation_id: str, body: Cancel) -> OperationAnswer:
        """Ask an operation to end. It does so between two attempts of a step, never in the middle of one."""
        _visible(operations, operation_id, caller)
        return accepted(operations.cancel(operation_id, reason=body.reason))

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

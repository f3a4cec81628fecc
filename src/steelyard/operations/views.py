"""Operations as the REST API shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from steelyard.operations.bulk import BulkItem, ItemPhase
from steelyard.operations.model import Operation, Phase
from steelyard.operations.reconciling import ReconcilerStatus
from steelyard.operations.stuck import stuck
from steelyard.web.schemas import View


class ErrorView(View):
    detail: str
    code: str
    next: str | None
    step: str | None


class StepView(View):
    name: str
    phase: Phase
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    attempts: int
    waiting_for: str | None
    waiting_since: datetime | None
    deadline_at: datetime | None
    error: str | None


class OperationView(View):
    id: str
    kind: str
    phase: Phase
    subject: str | None
    actor: str
    project_id: str | None
    reason: str | None
    request_id: str | None
    params: dict[str, Any]
    result: dict[str, Any]
    error: ErrorView | None
    waiting_for: str | None
    cancel_requested: bool
    pause_requested: bool
    paused_at: datetime | None
    parent_id: str | None = Field(description="The bulk operation that started it.")
    stuck_since: datetime | None = Field(description="Since when it needs somebody to look at it; null: it does not.")
    replica: str | None = Field(description="The server that works on it, or did last. Administrators only.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    steps: list[StepView]


class OperationAnswer(View):
    """The body of every 202 and of one operation shown: `{"operation": {...}}`."""

    operation: OperationView


class OperationList(View):
    operations: list[OperationView]
    next: str | None = None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None


class ItemView(View):
    number: int
    name: str
    phase: ItemPhase
    operation_id: str | None
    error: ErrorView | None
    ended_at: datetime | None


class ItemList(View):
    items: list[ItemView]
    next: str | None = None


class ReportView(View):
    seen: int
    changed: int
    detail: str
    data: dict[str, Any]


class ReconcilerView(View):
    name: str
    about: str
    period: float = Field(description="Seconds between two runs.")
    running_since: datetime | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_succeeded_at: datetime | None
    seconds: float | None = Field(description="That the last run took.")
    last_report: ReportView | None = Field(description="Of the last run that succeeded.")
    last_error: str | None = Field(description="Of the last run, if it failed.")
    runs: int
    failures: int
    replica: str | None


class ReconcilerAnswer(View):
    reconciler: ReconcilerView


class ReconcilerList(View):
    reconcilers: list[ReconcilerView]


def reconciler_view(status: ReconcilerStatus) -> ReconcilerView:
    report = status.last_report
    return ReconcilerView(
        **{
            name: getattr(status, name)
            for name in (
                "name", "about", "period", "running_since", "last_started_at", "last_ended_at", "last_succeeded_at",
                "last_error", "runs", "failures", "replica",
            )
        },
        seconds=status.duration,
        last_report=None
        if report is None
        else ReportView(seen=report.seen, changed=report.changed, detail=report.detail, data=dict(report.data)),
    )  # fmt: skip


def item_view(item: BulkItem) -> ItemView:
    return ItemView(
        number=item.number,
        name=item.name,
        phase=item.phase,
        operation_id=item.operation_id,
        error=ErrorView.model_validate(item.error) if item.error else None,
        ended_at=item.ended_at,
    )


def operation_view(operation: Operation, *, administrators: bool = False) -> OperationView:
    """The view of one operation. Its actor is shown by name."""
    late = stuck([operation], datetime.now(UTC))
    return OperationView(
        id=operation.id,
        kind=operation.kind,
        phase=operation.phase,
        subject=operation.subject,
        actor=operation.actor.user_name,
        project_id=operation.actor.project_id,
        reason=operation.reason,
        request_id=operation.request_id,
        params=dict(operation.params),
        result=dict(operation.result),
        error=ErrorView.model_validate(operation.error) if operation.error else None,
        waiting_for=operation.waiting_for,
        cancel_requested=operation.cancel_requested,
        pause_requested=operation.pause_requested,
        paused_at=operation.paused_at,
        parent_id=operation.parent_id,
        stuck_since=late[0].since if late else None,
        replica=operation.replica if administrators else None,
        created_at=operation.created_at,
        started_at=operation.started_at,
        ended_at=operation.ended_at,
        seconds=_seconds(operation.started_at, operation.ended_at),
        steps=[
            StepView(
                name=step.name,
                phase=step.phase,
                started_at=step.started_at,
                ended_at=step.ended_at,
                seconds=_seconds(step.started_at, step.ended_at),
                attempts=step.attempts,
                waiting_for=step.waiting_for,
                waiting_since=step.waiting_since,
                deadline_at=step.deadline_at,
                error=step.error.detail if step.error else None,
            )
            for step in operation.steps
        ],
    )


def accepted(operation: Operation, *, administrators: bool = False) -> OperationAnswer:
    """The answer of a route that started an operation (status 202)."""
    return OperationAnswer(operation=operation_view(operation, administrators=administrators))


def accepted_list(operations: list[Operation]) -> OperationList:
    """The answer of a route that started several (status 202)."""
    return OperationList(operations=[operation_view(operation) for operation in operations])

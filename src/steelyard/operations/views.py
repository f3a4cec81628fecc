"""Operations as the REST API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from steelyard.operations.model import Operation, Phase
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


def operation_view(operation: Operation) -> OperationView:
    """The view of one operation. Its actor is shown by name."""
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
                deadline_at=step.deadline_at,
                error=step.error.detail if step.error else None,
            )
            for step in operation.steps
        ],
    )


def accepted(operation: Operation) -> OperationAnswer:
    """The answer of a route that started an operation (status 202)."""
    return OperationAnswer(operation=operation_view(operation))


def accepted_list(operations: list[Operation]) -> OperationList:
    """The answer of a route that started several (status 202)."""
    return OperationList(operations=[operation_view(operation) for operation in operations])

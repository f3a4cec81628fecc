"""REST: drift. Administrators only: it compares every tenant's things."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.attention.model import Severity
from steelyard.drift.model import Action, Drift
from steelyard.drift.plan import Plan
from steelyard.drift.service import DriftService
from steelyard.operations.views import OperationAnswer, accepted
from steelyard.web.context import Admin, IdempotencyKey
from steelyard.web.schemas import Body, View

SHOWN = 1000
"""Findings in one answer, at most."""


class DriftView(View):
    kind: str = Field(examples=["allocation_without_server"])
    subject: str = Field(examples=["port:5f0b6c1e-0c0d-4f8e-8c63-6d1f7c3a9d10"])
    name: str
    severity: Severity
    reason: str
    next: str = Field(description="The command that shows more, or that a person would type.")
    evidence: dict[str, Any] = Field(description="What each system says.")
    action: Action | None = Field(description="What a plan would do; none where only a person can say.")
    since: datetime | None = Field(description="When it was first seen.")


class DriftAnswer(View):
    drift: list[DriftView] = Field(description="The worst first, then the oldest; the first thousand.")
    left_out: int = Field(description="How many more there are.")
    compared: dict[str, int] = Field(description="How many things of each kind were compared.")
    unverified: int = Field(description="NICs of which the switch could not be read.")
    unread: dict[str, str] = Field(description="Why, of each switch that could not be read, by its chassis id.")
    at: datetime


class PlanAnswer(View):
    plan: Plan


class ApplyBody(Body):
    plan: Plan
    reason: str | None = Field(default=None, max_length=1000, description="Why, for the record.")


def router(service: DriftService) -> APIRouter:
    routes = APIRouter(prefix="/drift", tags=["drift"])

    @routes.get("")
    def compare_systems(caller: Admin) -> DriftAnswer:
        """Compare Ironic, Nova, Placement, Neutron, the switches and Steelyard. Takes seconds; changes nothing."""
        report = service.report()
        return DriftAnswer(
            drift=[_view(each) for each in report.drifts[:SHOWN]],
            left_out=max(len(report.drifts) - SHOWN, 0),
            compared=dict(report.compared),
            unverified=report.unverified,
            unread=dict(report.unread),
            at=report.at,
        )

    @routes.get("/plan")
    def make_plan(
        caller: Admin,
        kind: Annotated[list[str] | None, Query(max_length=100, description="Only of these kinds.")] = None,
        subject: Annotated[list[str] | None, Query(max_length=500, description="Only of these subjects.")] = None,
    ) -> PlanAnswer:
        """A plan that would mend it, with what each step saw. Takes seconds; changes nothing."""
        return PlanAnswer(plan=service.plan(caller.actor, kinds=kind or (), subjects=subject or ()))

    @routes.post("/apply", status_code=202)
    def apply_plan(caller: Admin, body: ApplyBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Do exactly what a plan says, step by step. One of which the world has changed since is refused as a whole."""
        operation = service.apply(
            caller.actor, body.plan, reason=body.reason, key=key, request_id=caller.request_id
        )  # fmt: skip
        return accepted(operation, administrators=True)

    return routes


def _view(drift: Drift) -> DriftView:
    return DriftView(
        kind=drift.kind, subject=drift.subject, name=drift.name, severity=drift.severity, reason=drift.reason,
        next=drift.next, evidence=dict(drift.evidence), action=drift.action, since=drift.since,
    )  # fmt: skip

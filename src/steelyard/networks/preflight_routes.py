"""REST: /v1/network-controller/preflight. Administrators only."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from steelyard.networks.preflight import Check, Status, passed
from steelyard.networks.set_up import PreflightService
from steelyard.web.context import Admin
from steelyard.web.schemas import View


class CheckView(View):
    name: str = Field(description="Stable, for scripts.")
    title: str
    status: Status = Field(description="`unknown`: it could not be checked.")
    reason: str
    next: str | None = Field(description="What to do, or where to look, where it is not ok.")
    subjects: list[str] = Field(description="What it failed for.")


class PreflightAnswer(View):
    controller: str = Field(description="neutron or contrail.")
    passed: bool = Field(description="Nothing failed.")
    complete: bool = Field(description="And everything could be checked.")
    checks: list[CheckView]
    at: datetime


def router(service: PreflightService) -> APIRouter:
    routes = APIRouter(prefix="/network-controller", tags=["networks"])

    @routes.get("/preflight")
    def preflight(caller: Admin) -> PreflightAnswer:
        """Check the network controller's set-up before the first deployment; changes nothing."""
        found = service.run()
        return PreflightAnswer(
            controller=found.controller,
            passed=passed(found.checks),
            complete=passed(found.checks, strict=True),
            checks=[_view(each) for each in found.checks],
            at=found.at,
        )

    return routes


def _view(check: Check) -> CheckView:
    return CheckView(
        name=check.name,
        title=check.title,
        status=check.status,
        reason=check.reason,
        next=check.next,
        subjects=list(check.subjects),
    )

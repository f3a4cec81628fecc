"""REST: what was left behind. Administrators only: it compares every tenant's things."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.lifecycle.leaking import LeakService
from steelyard.web.context import Admin
from steelyard.web.schemas import View


class LeakView(View):
    kind: str = Field(examples=["port_without_server"])
    id: str = Field(description="Of the thing, in the service that has it.")
    name: str
    reason: str
    next: str = Field(description="The command that removes it, or shows more.")
    evidence: dict[str, Any]


class LeakList(View):
    leaks: list[LeakView]
    compared: dict[str, int] = Field(description="How many things of each kind were looked at.")
    at: datetime


class ForgottenView(View):
    forgotten: int = Field(description="How many secrets were deleted.")


def router(service: LeakService) -> APIRouter:
    routes = APIRouter(prefix="/leaks", tags=["leaks"])

    @routes.get("")
    def check_leaks(
        caller: Admin,
        thorough: Annotated[
            bool, Query(description="Ask Placement about every node that it does not offer, one by one.")
        ] = False,
    ) -> LeakList:
        """Compare all services and list what was left behind. Takes a few seconds; changes nothing."""
        report = service.check(thorough=thorough)
        return LeakList(
            leaks=[
                LeakView(
                    kind=leak.kind, id=leak.id, name=leak.name, reason=leak.reason, next=leak.next,
                    evidence=dict(leak.evidence),
                )
                for leak in report.leaks
            ],
            compared=report.compared,
            at=report.at,
        )  # fmt: skip

    @routes.delete("/secrets")
    def forget_secrets(caller: Admin) -> ForgottenView:
        """Delete the secrets of Steelyard's own that nothing refers to. Repeating it deletes nothing more."""
        return ForgottenView(forgotten=service.forget_secrets(caller.actor, request_id=caller.request_id))

    return routes

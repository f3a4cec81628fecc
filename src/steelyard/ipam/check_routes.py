"""REST: the check of all addresses. Administrators only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.attention.model import Severity
from steelyard.ipam.checking import IpamCheck
from steelyard.web.context import Admin
from steelyard.web.schemas import View

SHOWN = 1000
"""Conflicts in one answer, at most."""


class ConflictView(View):
    kind: str
    subject: str
    name: str
    severity: Severity
    reason: str
    next: str = Field(description="The next safe command.")
    evidence: dict[str, Any]


class IpamCheckAnswer(View):
    agrees: bool = Field(description="Nothing was found.")
    totals: dict[str, int] = Field(description="How many subnets, addresses, ports and servers were looked at.")
    conflicts: list[ConflictView] = Field(description="The worst kinds first; the first thousand.")
    left_out: int = Field(description="How many more there are.")
    at: datetime


def router(check: IpamCheck) -> APIRouter:
    routes = APIRouter(prefix="/ipam", tags=["ipam"])

    @routes.get("/check")
    def check_addresses(
        caller: Admin,
        subnet: Annotated[str | None, Query(max_length=255, description="Id, name or CIDR. Default: all.")] = None,
    ) -> IpamCheckAnswer:
        """Look for addresses and MACs with two owners, outside of their pools, without an owner; changes nothing."""
        report = check.check(subnet)
        return IpamCheckAnswer(
            agrees=not report.conflicts,
            totals=dict(report.totals),
            conflicts=[ConflictView.model_validate(each) for each in report.conflicts[:SHOWN]],
            left_out=max(len(report.conflicts) - SHOWN, 0),
            at=report.at,
        )

    return routes

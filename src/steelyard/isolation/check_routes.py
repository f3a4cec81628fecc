"""REST: the check of the whole fleet's NICs. Administrators only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.isolation.checking import FleetCheck, FleetReport
from steelyard.isolation.fleet import Attachment, severity
from steelyard.isolation.policy import Dealing, Trouble
from steelyard.isolation.routes import NicIsolationView, nic_view
from steelyard.lifecycle.model import Phase
from steelyard.web.context import Admin
from steelyard.web.schemas import View

SHOWN = 1000
"""NICs in one answer, at most."""


class WrongView(NicIsolationView):
    node_id: str
    node: str
    phase: Phase
    trouble: Trouble
    severity: str
    dealing: Dealing = Field(description="What the reconciler isolation.compare does about it.")
    changing_since: datetime | None = Field(description="Since when its server is between two phases, where it is.")
    overdue: bool = Field(description="It has been changing for too long, and counts as differing.")


class Totals(View):
    nodes: int
    attachments: int
    agree: int
    differ: int
    changing: int
    unverified: int
    switches: int = Field(description="That were read.")


class CheckAnswer(View):
    agrees: bool = Field(
        description="Every NIC is where it must be for the controller and on the switch, but for those that are "
        "changing and for kinds of trouble that the settings let pass."
    )
    totals: Totals
    attachments: list[WrongView] = Field(description="Those that do not agree, the first thousand.")
    left_out: int = Field(description="How many more there are.")
    unread: dict[str, str] = Field(description="Why, of each switch that could not be read, by its chassis id.")
    at: datetime


def router(check: FleetCheck) -> APIRouter:
    routes = APIRouter(prefix="/isolation", tags=["isolation"])

    @routes.get("/check")
    def check_fleet(
        caller: Admin,
        node: Annotated[
            list[str] | None, Query(description="Ids or names; several times for several.", max_length=500)
        ] = None,
    ) -> CheckAnswer:
        """Compare intended network, controller and switch for every NIC of the fleet; changes nothing."""
        return answer(check.check(node or []), check)

    return routes


def answer(report: FleetReport, check: FleetCheck) -> CheckAnswer:
    wrong = sorted(report.wrong, key=_urgency)
    return CheckAnswer(
        agrees=report.agrees,
        totals=Totals(nodes=report.nodes, switches=len(report.switches), **report.totals),
        attachments=[_wrong_view(each, check) for each in wrong[:SHOWN]],
        left_out=max(len(wrong) - SHOWN, 0),
        unread=dict(report.unread),
        at=report.at,
    )


def _urgency(found: Attachment) -> tuple[int, str, str]:
    return 0 if found.differs else 1 if found.unverified else 2, found.node.label, found.nic.mac


def _wrong_view(found: Attachment, check: FleetCheck) -> WrongView:
    trouble = found.nic.trouble
    assert trouble is not None  # it does not agree
    return WrongView(
        **nic_view(found.nic).model_dump(),
        node_id=found.node.id,
        node=found.node.label,
        phase=found.phase,
        trouble=trouble,
        severity=severity(found).value,
        dealing=check.dealing[trouble],
        changing_since=found.changing_since,
        overdue=found.overdue,
    )

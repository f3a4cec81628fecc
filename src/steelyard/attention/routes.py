"""REST: what needs a human. Administrators only: it tells of nodes, BMCs and every tenant's servers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, Field

from steelyard.attention.model import URGENCY, Acknowledgement, Line, OpenFinding, Severity
from steelyard.attention.service import AttentionService
from steelyard.web.context import Admin
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class AcknowledgementView(View):
    actor: str
    reason: str
    at: datetime
    until: datetime


class FindingView(View):
    kind: str = Field(examples=["lifecycle.quarantined"])
    subject: str = Field(examples=["node:0c8fce8e-7a52-4d1b-a7f3-5f3e6f2d1c11"])
    name: str
    severity: Severity
    reason: str = Field(description="What is wrong, in the words of whoever said so.")
    since: datetime
    next: str | None = Field(description="The next safe command.")
    source: str = Field(description="The reconciler that found it.")
    evidence: dict[str, Any]


class LineView(FindingView):
    also: list[FindingView] = Field(description="What else is wrong with it, the worst first.")
    acknowledged: AcknowledgementView | None


class AttentionList(View):
    attention: list[LineView]
    counts: dict[Severity, int] = Field(description="Of all lines, also those of other pages.")
    at: datetime
    next: str | None = None


class Acknowledge(Body):
    subject: str = Field(min_length=1, max_length=255, description="As shown, or the name.")
    kind: str = Field(min_length=1, max_length=128)
    until: AwareDatetime
    reason: str = Field(min_length=1, max_length=1000)


class Withdraw(Body):
    subject: str = Field(min_length=1, max_length=255)
    kind: str = Field(min_length=1, max_length=128)


class AcknowledgedView(AcknowledgementView):
    subject: str
    kind: str


class AcknowledgedAnswer(View):
    acknowledged: AcknowledgedView


def router(service: AttentionService) -> APIRouter:
    routes = APIRouter(prefix="/attention", tags=["attention"])

    @routes.get("")
    def list_attention(
        caller: Admin,
        page: Page,
        severity: Annotated[Severity | None, Query(description="Only this bad, or worse.")] = None,
        all: Annotated[bool, Query(description="Also what somebody has acknowledged.")] = False,
    ) -> AttentionList:
        """List what needs a human: one line per subject, the worst first, then the oldest."""
        screen = service.screen(severity=severity, everything=all)
        cut = page_of(screen.lines, page, key=_order, id=lambda line: line.lead.finding.subject)
        counts = dict.fromkeys(Severity, 0)
        for line in screen.lines:
            counts[line.lead.finding.severity] += 1
        return AttentionList(attention=[_line(each) for each in cut.items], counts=counts, at=screen.at, next=cut.next)

    @routes.post("/acknowledge")
    def acknowledge(caller: Admin, body: Acknowledge) -> AcknowledgedAnswer:
        """Hide one finding until a time, because somebody knows of it. Recorded, with the reason."""
        given = service.acknowledge(
            caller.actor,
            body.subject,
            body.kind,
            until=body.until,
            reason=body.reason,
            request_id=caller.request_id,
        )
        return AcknowledgedAnswer(acknowledged=AcknowledgedView.model_validate(given))

    @routes.post("/withdraw", status_code=204)
    def withdraw(caller: Admin, body: Withdraw) -> Response:
        """Take an acknowledgement back: the finding is shown again."""
        service.withdraw(caller.actor, body.subject, body.kind, request_id=caller.request_id)
        return Response(status_code=204)

    return routes


def _order(line: Line) -> tuple[bool, int, datetime]:
    return line.acknowledged is not None, URGENCY[line.lead.finding.severity], line.lead.since


def _finding(found: OpenFinding) -> dict[str, Any]:
    finding = found.finding
    return {
        "kind": finding.kind,
        "subject": finding.subject,
        "name": finding.name,
        "severity": finding.severity,
        "reason": finding.reason,
        "since": found.since,
        "next": finding.next,
        "source": found.source,
        "evidence": dict(finding.evidence),
    }


def _line(line: Line) -> LineView:
    mark: Acknowledgement | None = line.acknowledged
    return LineView(
        **_finding(line.lead),
        also=[FindingView(**_finding(each)) for each in line.also],
        acknowledged=AcknowledgementView.model_validate(mark) if mark else None,
    )

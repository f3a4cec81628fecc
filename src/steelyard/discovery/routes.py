"""REST: /v1/discoveries, /v1/candidates, /v1/nodes/onboard. Administrators only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr

from steelyard.discovery.model import Candidate, CandidateState
from steelyard.discovery.service import MAX_ONBOARD, DiscoveryService
from steelyard.discovery.targets import MAX_CREDENTIALS
from steelyard.operations.views import OperationAnswer, OperationList, accepted, accepted_list
from steelyard.web.context import Admin, IdempotencyKey
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class CredentialBody(Body):
    username: str
    password: SecretStr
    addresses: list[str] = Field(default_factory=list, description="Addresses or CIDRs it is for. Default: all.")


class DiscoveryBody(Body):
    targets: list[str] = Field(min_length=1, max_length=1024, description="Addresses or CIDRs of BMCs.")
    credentials: list[CredentialBody] = Field(min_length=1, max_length=MAX_CREDENTIALS)
    port: int = Field(default=443, ge=1, le=65535)
    timeout: float = Field(default=10.0, ge=0.5, le=60, description="Seconds that one answer may take.")


class OnboardBody(Body):
    candidates: list[str] = Field(default_factory=list, max_length=MAX_ONBOARD, description="Ids or names.")
    all: bool = Field(default=False, description="All that are not nodes yet, instead of naming them.")
    resource_class: str | None = Field(default=None, description="Default: by size.")
    recabled: bool = Field(default=False, description="Its cables were moved on purpose: take what LLDP tells now.")
    reason: str | None = Field(default=None, max_length=1000)


class LinkView(View):
    switch_id: str
    port_id: str
    switch_name: str | None


class CandidateView(View):
    id: str
    name: str
    state: CandidateState
    address: str
    port: int
    system_path: str
    uuid: str | None
    serial: str | None
    vendor: str | None
    model: str | None
    asset_tag: str | None
    hostname: str | None
    power_state: str | None
    cpus: int | None
    memory_mib: int | None
    macs: list[str]
    bmc_firmware: str | None
    fingerprint: str | None = Field(description="SHA-256 of the BMC's TLS certificate.")
    node_id: str | None
    reason: str | None = Field(description="Why onboarding failed.")
    next: str | None = Field(description="What to do about it.")
    note: str | None
    links: dict[str, LinkView] = Field(description="Switch ports by MAC, as the last inspection proved them.")
    bios_version: str | None
    location: dict[str, Any] = Field(description="site, room, rack, unit, as far as somebody said.")
    tags: list[str]
    first_seen_at: datetime
    last_seen_at: datetime


class CandidateAnswer(View):
    candidate: CandidateView


class CandidateList(View):
    candidates: list[CandidateView]
    next: str | None


def router(service: DiscoveryService) -> APIRouter:
    routes = APIRouter(tags=["discovery"])

    @routes.post("/discoveries", status_code=202)
    def discover(caller: Admin, body: DiscoveryBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Ask addresses whether a BMC answers there. Every one that accepts a credential becomes a candidate."""
        credentials = [
            {
                "username": each.username,
                "password": each.password.get_secret_value(),
                "addresses": each.addresses,
            }
            for each in body.credentials
        ]
        return accepted(
            service.discover(
                caller.actor,
                body.targets,
                credentials,
                port=body.port,
                timeout=body.timeout,
                key=key,
                request_id=caller.request_id,
            )
        )

    @routes.get("/candidates")
    def list_candidates(caller: Admin, page: Page, state: CandidateState | None = None) -> CandidateList:
        """List the servers that were found."""
        cut = page_of(service.candidates(state=state), page)
        return CandidateList(candidates=[_view(each) for each in cut.items], next=cut.next)

    @routes.get("/candidates/{candidate}")
    def show_candidate(caller: Admin, candidate: str) -> CandidateAnswer:
        """Show one, by id, host name, serial number or BMC address."""
        return CandidateAnswer(candidate=_view(service.candidate(candidate)))

    @routes.delete("/candidates/{candidate}", status_code=204)
    def delete_candidate(caller: Admin, candidate: str) -> Response:
        """Forget one and its credentials. Refused while it is a node."""
        service.delete_candidate(caller.actor, candidate, request_id=caller.request_id)
        return Response(status_code=204)

    @routes.post("/nodes/onboard", status_code=202)
    def onboard(caller: Admin, body: OnboardBody, key: IdempotencyKey = None) -> OperationList:
        """Make nodes of candidates, one operation each: enroll, verify, inspect, bind, clean, offer."""
        return accepted_list(
            service.onboard(
                caller.actor,
                body.candidates,
                everything=body.all,
                resource_class=body.resource_class,
                recabled=body.recabled,
                reason=body.reason,
                key=key,
                request_id=caller.request_id,
            )
        )

    return routes


def _view(candidate: Candidate) -> CandidateView:
    return CandidateView.model_validate(candidate)

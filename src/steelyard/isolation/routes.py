"""REST: GET /v1/nodes/{node}/isolation. Administrators only."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from steelyard.isolation.model import NicIsolation, Role, Verdict
from steelyard.isolation.service import IsolationService, NodeIsolation
from steelyard.lifecycle.model import Phase
from steelyard.web.context import Admin
from steelyard.web.schemas import View as ApiView


class NetworkViewView(ApiView):
    network: str | None = Field(description="None: on no network.")
    vlan: int | None
    note: str | None


class NicIsolationView(ApiView):
    mac: str
    switch: str | None
    port: str | None
    role: Role
    intended: NetworkViewView
    controller: NetworkViewView
    switch_view: NetworkViewView | None = Field(description="None: the switch could not be read.")
    verdict: Verdict
    why: str | None


class IsolationView(ApiView):
    node_id: str
    node: str
    phase: Phase
    agrees: bool = Field(description="All NICs in all three views; never true when a switch could not be read.")
    nics: list[NicIsolationView]


class IsolationAnswer(ApiView):
    isolation: IsolationView


def router(service: IsolationService) -> APIRouter:
    routes = APIRouter(tags=["isolation"])

    @routes.get("/nodes/{node}/isolation")
    def show_isolation(caller: Admin, node: str) -> IsolationAnswer:
        """Where each NIC must be, is for the network controller, and is for the switch, read at this moment."""
        return IsolationAnswer(isolation=_view(service.show(node)))

    return routes


def _view(isolation: NodeIsolation) -> IsolationView:
    return IsolationView(
        node_id=isolation.node_id,
        node=isolation.node,
        phase=isolation.phase,
        agrees=isolation.agrees,
        nics=[_nic_view(nic) for nic in isolation.nics],
    )


def _nic_view(nic: NicIsolation) -> NicIsolationView:
    link = nic.link
    return NicIsolationView(
        mac=nic.mac,
        switch=(link.switch_name or link.switch_id) if link else None,
        port=link.port_id if link else None,
        role=nic.role,
        intended=NetworkViewView.model_validate(nic.intended),
        controller=NetworkViewView.model_validate(nic.controller),
        switch_view=NetworkViewView.model_validate(nic.switch) if nic.switch else None,
        verdict=nic.verdict,
        why=nic.why,
    )

"""REST: GET /v1/nodes. Administrators only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.inventory.model import Group, NodeRecord
from steelyard.inventory.service import InventoryService, NodeDetail
from steelyard.web.context import Admin
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import View


class HardwareView(View):
    vendor: str | None
    model: str | None
    cpus: int | None
    memory_mib: int | None
    disk_gib: int | None
    architecture: str | None


class NicView(View):
    mac: str
    switch: str | None
    port: str | None
    pxe: bool
    physical_network: str | None


class NodeView(View):
    id: str
    name: str
    phase: str
    group: Group
    provision_state: str = Field(description="Ironic's.")
    power: str | None
    resource_class: str | None
    traits: list[str]
    maintenance: bool
    maintenance_reason: str | None
    last_error: str | None
    project_id: str | None
    project: str | None
    instance_id: str | None
    instance: str | None
    addresses: list[str]
    flavor: str | None
    image: str | None
    serial: str | None
    hardware: HardwareView
    nics: list[NicView]
    bmc_address: str | None
    candidate_id: str | None
    retired: bool
    since: str | None


class EventView(View):
    at: datetime
    kind: str
    actor: str
    reason: str | None
    operation_id: str | None
    detail: str


class NodeDetailView(NodeView):
    inventory: dict[str, Any] | None = Field(description="Disks and NICs, as the newest inspection found them.")
    events: list[EventView]


class NodeAnswer(View):
    node: NodeDetailView


class NodeList(View):
    nodes: list[NodeView]
    next: str | None


def router(service: InventoryService) -> APIRouter:
    routes = APIRouter(prefix="/nodes", tags=["inventory"])

    @routes.get("")
    def list_nodes(
        caller: Admin,
        page: Page,
        state: Annotated[Group | None, Query(description="deployed, available, or other.")] = None,
        pool: Annotated[str | None, Query(max_length=255, description="Resource class.")] = None,
        q: Annotated[str | None, Query(max_length=255, description="Words to be found in any field.")] = None,
    ) -> NodeList:
        """List every server, in one view joined from Ironic, Nova, Glance and Keystone."""
        cut = page_of(service.all(group=state, pool=pool, text=q), page)
        return NodeList(nodes=[NodeView.model_validate(each) for each in cut.items], next=cut.next)

    @routes.get("/{node}")
    def show_node(caller: Admin, node: str) -> NodeAnswer:
        """Show one, by id, name or serial number."""
        return NodeAnswer(node=_detail(service.get(node)))

    return routes


def _detail(detail: NodeDetail) -> NodeDetailView:
    record: NodeRecord = detail.record
    shown = NodeView.model_validate(record).model_dump()
    return NodeDetailView(
        **shown, inventory=detail.inventory, events=[EventView.model_validate(each) for each in detail.events]
    )

"""REST: segments and who has which (administrators), and the conductor's question for one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from steelyard.isolation.policy import Role
from steelyard.isolation.segments import SegmentUse
from steelyard.isolation.service import IsolationService
from steelyard.store.segments import SegmentWait
from steelyard.web.context import Admin, Service
from steelyard.web.schemas import Body, View

SegmentRole = Literal["provisioning", "cleaning", "inspection", "rescue", "servicing"]


class SegmentBody(Body):
    role: SegmentRole = Field(description="What the agent is to run for.")


class SegmentAnswer(View):
    network_id: str | None = Field(
        description="The network that the node has to itself; none: put it on the network of the role."
    )
    network: str | None
    shared: bool = Field(description="No segment was free, and the settings allow sharing.")


class SegmentView(View):
    network_id: str
    network: str
    vlan: int | None
    node_id: str | None = Field(description="Who has it to itself; none: it is free.")
    node: str | None
    role: str | None = Field(description="What the node was last put on it for.")
    since: datetime | None
    in_pool: bool = Field(description="False: the settings name it no more.")


class WaitView(View):
    node_id: str
    node: str
    role: str
    since: datetime


class SegmentList(View):
    segments: list[SegmentView]
    waiting: list[WaitView] = Field(description="Nodes that wait for one, the one that has waited longest first.")


def router(service: IsolationService) -> APIRouter:
    routes = APIRouter(tags=["isolation"])

    @routes.post("/nodes/{node}/segment")
    def lease_segment(
        caller: Service, node: Annotated[str, Path(description="Id or name.")], body: SegmentBody
    ) -> SegmentAnswer:
        """The conductor is about to put the node on a network for an agent: which one. Asking again is harmless.

        409 `segments_exhausted` while none is free: ask again every few seconds, for as long as the node waits.
        """
        given = service.segment(node, Role.PROVISIONING if body.role == "servicing" else Role(body.role))
        network = given.network
        return SegmentAnswer(
            network_id=network.id if network else None, network=network.name if network else None, shared=given.shared
        )

    @routes.get("/isolation/segments")
    def list_segments(caller: Admin) -> SegmentList:
        """Every segment with the node that has it to itself, and the nodes that wait for one."""
        return SegmentList(
            segments=[_segment_view(use) for use in service.segments.uses()],
            waiting=[_wait_view(wait, name) for wait, name in service.segments.waiting()],
        )

    return routes


def _segment_view(use: SegmentUse) -> SegmentView:
    return SegmentView(
        network_id=use.network.id,
        network=use.network.name,
        vlan=use.network.segmentation_id,
        node_id=use.node_id,
        node=use.node,
        role=use.role,
        since=use.since,
        in_pool=use.in_pool,
    )


def _wait_view(wait: SegmentWait, name: str) -> WaitView:
    return WaitView(node_id=wait.node_id, node=name, role=wait.role, since=wait.since)

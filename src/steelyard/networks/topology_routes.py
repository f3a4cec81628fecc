"""REST: /v1/topology, for administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field, TypeAdapter

from steelyard.networks.service import TopologyService
from steelyard.networks.topology import Cable
from steelyard.web.context import Admin
from steelyard.web.schemas import View


class CarriedView(View):
    network_id: str
    network: str
    vlan: int | None
    tagged: bool
    status: str | None = Field(description="ACTIVE once the controller has bound it.")
    port_id: str = Field(description="The network controller's.")


class CableView(View):
    switch_id: str | None = Field(description="Chassis id; null: nobody knows the NIC's switch port.")
    switch: str | None
    port: str | None
    mac: str | None = Field(description="Null: something is bound to a switch port that no NIC is known to be at.")
    pxe: bool | None = Field(description="Whether the node boots its ramdisks over the NIC.")
    node_id: str | None
    node: str | None
    bond: str | None
    networks: list[CarriedView] = Field(description="What the network controller has there, untagged first.")


class Topology(View):
    cables: list[CableView]


_DUMP: TypeAdapter[dict[str, list[Cable]]] = TypeAdapter(dict[str, list[Cable]])


Filter = Annotated[str | None, Query(max_length=255)]


def router(service: TopologyService) -> APIRouter:
    routes = APIRouter(prefix="/topology", tags=["networks"])

    @routes.get("", response_model=Topology)
    def topology(_: Admin, switch: Filter = None, node: Filter = None, network: Filter = None) -> Any:
        """Every switch port with its NIC, node and networks; each filter takes an id or a name."""
        found = service.cables(switch=switch, node=node, network=network)
        # Written out at once: ten thousand rows are not made into models first.
        return Response(_DUMP.dump_json({"cables": found}), media_type="application/json")

    return routes

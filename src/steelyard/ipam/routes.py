"""REST: /v1/ipam/…"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.ipam.model import AddressState, OwnerKind, SubnetPlan, order
from steelyard.ipam.service import IpamService
from steelyard.web.context import Caller
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import View


class UtilisationView(View):
    """Numbers of addresses; allocated + reserved + gateway + service + free = total."""

    total: int = Field(description="Usable addresses; more than 2**53 in an IPv6 subnet.")
    allocated: int
    reserved: int
    gateway: int
    service: int
    free: int


class SubnetPlanView(View):
    id: str
    name: str
    network_id: str
    network_name: str
    project_id: str | None
    cidr: str
    gateway: str | None
    utilisation: UtilisationView


class SubnetPlanList(View):
    subnets: list[SubnetPlanView]
    next: str | None


class AddressView(View):
    id: str
    address: str
    state: AddressState
    owner: OwnerKind
    mac: str | None
    port_id: str | None
    port_name: str | None
    instance_id: str | None
    instance_name: str | None
    node_id: str | None = Field(description="Administrators only.")
    node_name: str | None = Field(description="Administrators only.")
    project_id: str | None
    collides: bool = Field(description="Somebody else has the same address.")


class AddressList(View):
    subnet: SubnetPlanView
    addresses: list[AddressView]
    next: str | None


def _subnet_view(planned: SubnetPlan) -> SubnetPlanView:
    subnet = planned.subnet
    return SubnetPlanView(
        id=subnet.id,
        name=subnet.name,
        network_id=subnet.network_id,
        network_name=planned.network_name,
        project_id=subnet.project_id,
        cidr=subnet.cidr,
        gateway=subnet.gateway,
        utilisation=UtilisationView.model_validate(planned.utilisation),
    )


def router(service: IpamService) -> APIRouter:
    routes = APIRouter(prefix="/ipam", tags=["ipam"])

    @routes.get("/subnets")
    def list_subnets(caller: Caller, page: Page) -> SubnetPlanList:
        """List the subnets of your networks with their utilisation; administrators see all."""
        cut = page_of(
            service.subnets(caller.actor, caller.token),
            page,
            key=lambda planned: (planned.network_name, planned.subnet.cidr),
            id=lambda planned: planned.subnet.id,
        )
        return SubnetPlanList(subnets=[_subnet_view(planned) for planned in cut.items], next=cut.next)

    @routes.get("/subnets/{subnet:path}/addresses")
    def list_addresses(
        caller: Caller,
        page: Page,
        subnet: str,
        state: Annotated[AddressState | None, Query(description="Only addresses in this state.")] = None,
    ) -> AddressList:
        """List every taken address of a subnet with its owner, in numerical order."""
        found = service.addresses(caller.actor, caller.token, subnet, state=state)
        cut = page_of(found.addresses, page, key=lambda use: order(use.address))
        return AddressList(
            subnet=_subnet_view(found.plan),
            addresses=[AddressView.model_validate(use) for use in cut.items],
            next=cut.next,
        )

    return routes

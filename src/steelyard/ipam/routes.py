"""REST: /v1/ipam/…: subnets, networks, addresses, their history, and the list as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from steelyard.errors import Invalid
from steelyard.inventory.export import cell
from steelyard.ipam.model import AddressState, AddressUse, NetworkPlan, OwnerKind, SubnetPlan, order
from steelyard.ipam.ranges import count
from steelyard.ipam.service import IpamService
from steelyard.web.context import Caller
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import View


class UtilisationView(View):
    """Numbers of addresses; allocated + reserved + brownfield + gateway + service + free = total."""

    total: int = Field(description="Usable addresses; more than 2**53 in an IPv6 subnet.")
    allocated: int
    reserved: int
    brownfield: int
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


class NetworkPlanView(View):
    id: str
    network_id: str
    network_name: str
    version: int = Field(description="4 or 6: a network's subnets of one IP version together.")
    cidrs: list[str]
    utilisation: UtilisationView


class NetworkPlanList(View):
    networks: list[NetworkPlanView]
    next: str | None


class AddressView(View):
    id: str
    address: str
    last: str | None = Field(description="The last address of a range of free ones.")
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
    since: datetime | None = Field(description="When its port was made.")
    pool: bool = Field(description="Whether the controller hands it out by itself.")


class AddressList(View):
    subnet: SubnetPlanView
    addresses: list[AddressView]
    next: str | None


class IntervalView(View):
    address: str
    subnet_id: str
    cidr: str
    since: datetime = Field(description="When the port was made, or when this owner of it was first seen.")
    until: datetime | None = Field(description="When it was first seen to be over; null while it lasts.")
    seen_at: datetime | None = Field(description="When it was last seen before it was over.")
    owner: OwnerKind
    owner_id: str | None
    owner_name: str | None
    mac: str
    project_id: str | None
    port_id: str
    node_id: str | None = Field(description="Administrators only.")
    node_name: str | None = Field(description="Administrators only.")


class HistoryAnswer(View):
    history: list[IntervalView]


def _network_view(planned: NetworkPlan) -> NetworkPlanView:
    return NetworkPlanView(
        id=planned.id,
        network_id=planned.network_id,
        network_name=planned.network_name,
        version=planned.version,
        cidrs=list(planned.cidrs),
        utilisation=UtilisationView.model_validate(planned.utilisation),
    )


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

    @routes.get("/networks")
    def list_networks(caller: Caller, page: Page) -> NetworkPlanList:
        """List your networks with the utilisation of all their subnets; administrators see all."""
        cut = page_of(
            service.networks(caller.actor, caller.token),
            page,
            key=lambda planned: planned.network_name,
            id=lambda planned: planned.id,
        )
        return NetworkPlanList(networks=[_network_view(planned) for planned in cut.items], next=cut.next)

    @routes.get("/subnets/{subnet:path}/addresses")
    def list_addresses(
        caller: Caller,
        page: Page,
        subnet: str,
        state: Annotated[AddressState | None, Query(description="Only addresses in this state.")] = None,
        free: Annotated[bool, Query(description="With what nobody has, as ranges.")] = False,
    ) -> AddressList:
        """List every taken address of a subnet with its owner, in numerical order.

        A further page (`marker`) may show the list as it was at the first one, for a quarter of a minute.
        """
        found = service.addresses(
            caller.actor, caller.token, subnet, state=state, free=free, going_on=page.marker is not None
        )
        cut = page_of(found.addresses, page, key=lambda use: order(use.address))
        return AddressList(
            subnet=_subnet_view(found.plan),
            addresses=[AddressView.model_validate(use) for use in cut.items],
            next=cut.next,
        )

    @routes.get("/subnets/{subnet:path}/export", response_class=StreamingResponse)
    def export_addresses(
        caller: Caller,
        subnet: str,
        free: Annotated[bool, Query(description="With what nobody has, as ranges.")] = False,
    ) -> StreamingResponse:
        """The whole list as CSV, however long.

        A cell that a spreadsheet would take for a formula begins with an apostrophe.
        """
        found = service.addresses(caller.actor, caller.token, subnet, free=free)
        return StreamingResponse(
            _csv(found.addresses),
            media_type="text/csv; charset=utf-8; header=present",
            headers={"Content-Disposition": 'attachment; filename="addresses.csv"'},
        )

    @routes.get("/subnets/{subnet:path}/history")
    def show_history(
        caller: Caller,
        subnet: str,
        address: Annotated[str, Query(max_length=64)],
        at: Annotated[datetime | None, Query(description="Who had it at this moment; UTC unless it says so.")] = None,
        to: Annotated[datetime | None, Query(description="Who had it from `at` to this moment.")] = None,
    ) -> HistoryAnswer:
        """Who had an address, the newest first (the last hundred). Tenants are told of their own project's."""
        try:
            begin, end = (each and each.replace(tzinfo=each.tzinfo or UTC).astimezone(UTC) for each in (at, to))
        except OverflowError:
            raise Invalid("That moment cannot be.", code="invalid_time") from None
        found = service.history(caller.actor, caller.token, subnet, address, at=begin, to=end)
        return HistoryAnswer(history=[IntervalView.model_validate(each) for each in found])

    return routes


_CSV: Final = (
    "address", "last", "addresses", "state", "owner", "name", "mac", "since", "in_pool", "project_id", "instance_id",
    "node", "port_id",
)  # fmt: skip
_ROWS: Final = 1000
"""In one piece of a file."""


def _csv(uses: Iterable[AddressUse]) -> Iterator[bytes]:
    """RFC 4180, UTF-8, with a header line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(_CSV)
    for number, use in enumerate(uses, start=1):
        writer.writerow(
            [
                use.address, use.last or "", count(use), use.state, use.owner,
                cell(use.instance_name or use.port_name), use.mac or "", use.since.isoformat() if use.since else "",
                cell(use.pool), cell(use.project_id), cell(use.instance_id), cell(use.node_name), cell(use.port_id),
            ]
        )  # fmt: skip
        if number % _ROWS == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()

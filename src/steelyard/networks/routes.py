"""REST: /v1/networks."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from steelyard.networks.model import MAX_DNS_SERVERS, MAX_SUBNETS, NetworkRole, ShownNetwork
from steelyard.networks.ranges import MAX_POOLS, MAX_ROUTES
from steelyard.networks.service import NetworkService
from steelyard.nouns import Subnet
from steelyard.web.context import Caller, Writer
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class PoolView(View):
    first: str
    last: str


class RouteView(View):
    destination: str
    next_hop: str


class SubnetView(View):
    id: str
    name: str
    cidr: str
    gateway: str | None
    dhcp: bool
    dns_servers: list[str]
    pools: list[PoolView] = Field(description="What servers are given addresses from.")
    host_routes: list[RouteView]


class NetworkView(View):
    id: str
    name: str
    role: NetworkRole = Field(description="tenant, or what the operator has it for.")
    project_id: str | None
    shared: bool
    status: str | None
    network_type: str | None = Field(description="Administrators only.")
    segmentation_id: int | None = Field(description="VLAN; administrators only.")
    subnets: list[SubnetView]


class NetworkAnswer(View):
    network: NetworkView


class NetworkList(View):
    networks: list[NetworkView]
    next: str | None


class PoolBody(Body):
    first: str
    last: str


class RouteBody(Body):
    destination: str = Field(description="CIDR.")
    next_hop: str = Field(description="In one of the subnets.")


class NewNetworkBody(Body):
    name: str
    subnets: list[str] = Field(min_length=1, max_length=MAX_SUBNETS, description="CIDRs, IPv4 or IPv6.")
    gateways: list[str] = Field(
        default_factory=list,
        max_length=MAX_SUBNETS,
        description="Each in one of the subnets. Default: the first address.",
    )
    dns_servers: list[str] = Field(default_factory=list, max_length=MAX_DNS_SERVERS)
    pools: list[PoolBody] = Field(
        default_factory=list,
        max_length=MAX_POOLS,
        description="Each in one of the subnets. Default: all but gateway and DNS servers.",
    )
    host_routes: list[RouteBody] = Field(default_factory=list, max_length=MAX_SUBNETS * MAX_ROUTES)


def _subnet_view(subnet: Subnet) -> SubnetView:
    return SubnetView(
        id=subnet.id,
        name=subnet.name,
        cidr=subnet.cidr,
        gateway=subnet.gateway,
        dhcp=subnet.dhcp,
        dns_servers=list(subnet.dns_servers),
        pools=[PoolView(first=first, last=last) for first, last in subnet.pools],
        host_routes=[RouteView(destination=each.destination, next_hop=each.next_hop) for each in subnet.host_routes],
    )


def view(shown: ShownNetwork) -> NetworkView:
    network = shown.network
    return NetworkView(
        id=network.id,
        name=network.name,
        role=shown.role,
        project_id=network.project_id,
        shared=network.shared,
        status=network.status,
        network_type=network.network_type,
        segmentation_id=network.segmentation_id,
        subnets=[_subnet_view(subnet) for subnet in shown.subnets],
    )


def router(service: NetworkService) -> APIRouter:
    routes = APIRouter(prefix="/networks", tags=["networks"])

    @routes.get("")
    def list_networks(caller: Caller, page: Page) -> NetworkList:
        """List your networks; administrators see all, with the role of each."""
        cut = page_of(
            service.all(caller.actor, caller.token),
            page,
            key=lambda shown: shown.network.name,
            id=lambda shown: shown.network.id,
        )
        return NetworkList(networks=[view(shown) for shown in cut.items], next=cut.next)

    @routes.get("/{network:path}")
    def show_network(caller: Caller, network: str) -> NetworkAnswer:
        """Show a network, by id or name."""
        return NetworkAnswer(network=view(service.get(caller.actor, caller.token, network)))

    @routes.post("", status_code=201)
    def create_network(caller: Writer, body: NewNetworkBody) -> NetworkAnswer:
        """Create a network that only your project sees, with its subnets."""
        created = service.create(
            caller.actor,
            caller.token,
            body.name,
            body.subnets,
            gateways=body.gateways,
            dns_servers=body.dns_servers,
            pools=[(pool.first, pool.last) for pool in body.pools],
            routes=[(route.destination, route.next_hop) for route in body.host_routes],
        )
        return NetworkAnswer(network=view(created))

    @routes.delete("/{network:path}", status_code=204)
    def delete_network(caller: Writer, network: str) -> Response:
        """Delete a network and its subnets, by id or name. Refused while somebody is on it."""
        service.delete(caller.actor, caller.token, network)
        return Response(status_code=204)

    return routes

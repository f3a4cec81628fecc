"""REST: /v1/servers/{server}/nics."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from steelyard.lifecycle.routes import AcceptedServer, server_view
from steelyard.networks.attaching import Accepted, NicService
from steelyard.networks.nics import ServerNic
from steelyard.operations.views import operation_view
from steelyard.web.context import Caller, IdempotencyKey, Writer
from steelyard.web.schemas import Body, View

MAX_GROUPS = 16


class SubInterfaceView(View):
    vlan: int = Field(description="The tag that the server's operating system has to use.")
    network_id: str
    network: str
    addresses: list[str]
    port_id: str


class LinkView(View):
    switch: str
    port: str


class NicView(View):
    port_id: str = Field(description="The network controller's.")
    mac: str
    network_id: str
    network: str
    addresses: list[str]
    status: str | None = Field(description="ACTIVE once the switch port is bound.")
    security_groups: list[str] = Field(description="Names.")
    sub_interfaces: list[SubInterfaceView]
    links: list[LinkView] | None = Field(description="Switch ports, several for a bond; administrators only.")


class NicList(View):
    nics: list[NicView]


class NewNicBody(Body):
    network: str = Field(description="Id or name.")
    address: str | None = Field(default=None, description="A fixed address in the network. Default: the next free one.")
    security_groups: list[str] = Field(
        default_factory=list, max_length=MAX_GROUPS, description="Ids or names; refused where nothing enforces them."
    )


class NetworkBody(Body):
    network: str = Field(description="Id or name.")


def _nic_view(nic: ServerNic, *, links: bool) -> NicView:
    return NicView(
        port_id=nic.port.id,
        mac=nic.port.mac,
        network_id=nic.port.network_id,
        network=nic.network,
        addresses=list(nic.addresses),
        status=nic.port.status,
        security_groups=list(nic.security_groups),
        sub_interfaces=[
            SubInterfaceView(
                vlan=sub.vlan,
                network_id=sub.network_id,
                network=sub.network,
                addresses=list(sub.addresses),
                port_id=sub.port_id,
            )
            for sub in nic.sub_interfaces
        ],
        links=[LinkView(switch=link.switch_name or link.switch_id, port=link.port_id) for link in nic.port.links]
        if links
        else None,
    )


def _accepted(done: Accepted) -> AcceptedServer:
    server, operation = done
    return AcceptedServer(server=server_view(server), operation=operation_view(operation))


def router(service: NicService) -> APIRouter:
    routes = APIRouter(prefix="/servers/{server}/nics", tags=["networks"])

    @routes.get("")
    def list_nics(caller: Caller, server: str) -> NicList:
        """List a server's NICs that are on networks, with their sub-interfaces."""
        _, nics = service.nics(caller.actor, caller.token, server)
        return NicList(nics=[_nic_view(nic, links=caller.actor.is_admin) for nic in nics])

    @routes.post("", status_code=202)
    def attach_nic(caller: Writer, server: str, body: NewNicBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Put one more NIC of a running server on a network; undone where it cannot be proven."""
        return _accepted(
            service.attach(
                caller.actor, caller.token, server, body.network, address=body.address,
                security_groups=body.security_groups, key=key, request_id=caller.request_id,
            )
        )  # fmt: skip

    @routes.delete("/{nic}", status_code=202)
    def detach_nic(caller: Writer, server: str, nic: str, key: IdempotencyKey = None) -> AcceptedServer:
        """Take a NIC off its network, by port id, MAC, address or network."""
        return _accepted(service.detach(caller.actor, caller.token, server, nic, key=key, request_id=caller.request_id))

    @routes.post("/{nic}/move", status_code=202)
    def move_nic(
        caller: Writer, server: str, nic: str, body: NetworkBody, key: IdempotencyKey = None
    ) -> AcceptedServer:
        """Take a NIC to another network; put back where that cannot be proven."""
        return _accepted(
            service.move(caller.actor, caller.token, server, nic, body.network, key=key, request_id=caller.request_id)
        )

    @routes.post("/{nic}/sub-interfaces", status_code=202)
    def tag_nic(caller: Writer, server: str, nic: str, body: NetworkBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Have a NIC carry one more network, tagged with that network's VLAN."""
        return _accepted(
            service.tag(caller.actor, caller.token, server, nic, body.network, key=key, request_id=caller.request_id)
        )

    @routes.delete("/{nic}/sub-interfaces/{network}", status_code=202)
    def untag_nic(caller: Writer, server: str, nic: str, network: str, key: IdempotencyKey = None) -> AcceptedServer:
        """Take a sub-interface off a NIC."""
        return _accepted(
            service.untag(caller.actor, caller.token, server, nic, network, key=key, request_id=caller.request_id)
        )

    return routes

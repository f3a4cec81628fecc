"""REST: /v1/servers for tenants, DELETE /v1/nodes for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.lifecycle.model import Phase, Power
from steelyard.lifecycle.service import MAX_NETWORKS, LifecycleService, Server
from steelyard.operations.views import OperationAnswer, OperationView, accepted, operation_view
from steelyard.web.context import Admin, Caller, IdempotencyKey, Writer
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class ServerView(View):
    id: str
    name: str
    phase: Phase
    status: str = Field(description="Nova's.")
    task: str | None
    power: str | None
    flavor: str | None
    image: str | None
    addresses: list[str]
    project_id: str
    created_at: datetime | None
    fault: str | None
    node: str | None = Field(description="Administrators only.")


class ServerAnswer(View):
    server: ServerView


class ServerList(View):
    servers: list[ServerView]
    next: str | None


class AcceptedServer(View):
    """A server on its way, and the operation that follows it."""

    server: ServerView
    operation: OperationView


class NewServerBody(Body):
    name: str
    flavor: str = Field(description="Id or name.")
    image: str = Field(description="Id or name.")
    networks: list[str] = Field(min_length=1, max_length=MAX_NETWORKS, description="Ids or names, in the NICs' order.")
    key_name: str | None = Field(default=None, max_length=255)
    user_data: str | None = Field(default=None, description="Base64, as Nova takes it.")
    metadata: dict[str, str] = Field(default_factory=dict, max_length=128)


class PowerBody(Body):
    action: Power


def _view(server: Server) -> ServerView:
    instance = server.instance
    return ServerView(
        id=instance.id,
        name=instance.name,
        phase=server.phase,
        status=instance.status,
        task=instance.task_state,
        power=instance.power_state,
        flavor=instance.flavor_name,
        image=server.image_name,
        addresses=list(instance.addresses),
        project_id=instance.project_id,
        created_at=instance.created_at,
        fault=instance.fault,
        node=server.node_name,
    )


def router(service: LifecycleService) -> APIRouter:
    routes = APIRouter(tags=["lifecycle"])

    @routes.get("/servers")
    def list_servers(caller: Caller, page: Page, all_projects: bool = False) -> ServerList:
        """List your servers; administrators may ask for those of all projects."""
        found = service.servers(caller.actor, caller.token, all_projects=all_projects)
        cut = page_of(found, page, key=lambda s: s.instance.name, id=lambda s: s.instance.id)
        return ServerList(servers=[_view(each) for each in cut.items], next=cut.next)

    @routes.get("/servers/{server}")
    def show_server(caller: Caller, server: str) -> ServerAnswer:
        """Show one, by id or name."""
        return ServerAnswer(server=_view(service.server(caller.actor, caller.token, server)))

    @routes.post("/servers", status_code=202)
    def create_server(caller: Writer, body: NewServerBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Create a server. Refused at once where it could only fail later, e.g. when no node is free."""
        server, operation = service.create(
            caller.actor,
            caller.token,
            body.name,
            flavor=body.flavor,
            image=body.image,
            networks=body.networks,
            key_name=body.key_name,
            user_data=body.user_data,
            metadata=body.metadata,
            key=key,
            request_id=caller.request_id,
        )
        return AcceptedServer(server=_view(server), operation=operation_view(operation))

    @routes.post("/servers/{server}/power", status_code=202)
    def power(caller: Writer, server: str, body: PowerBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Power a server on or off, or reboot it. What is so already is done at once."""
        found, operation = service.power(
            caller.actor, caller.token, server, body.action, key=key, request_id=caller.request_id
        )
        return AcceptedServer(server=_view(found), operation=operation_view(operation))

    @routes.delete("/servers/{server}", status_code=202)
    def delete_server(
        caller: Writer, server: str, reason: Annotated[str | None, Query(max_length=1000)] = None
    ) -> AcceptedServer:
        """Release a server; for administrators the operation lasts until its node is clean and available."""
        found, operation = service.delete(
            caller.actor, caller.token, server, reason=reason, request_id=caller.request_id
        )
        return AcceptedServer(server=_view(found), operation=operation_view(operation))

    @routes.delete("/nodes/{node}", status_code=202)
    def delete_node(
        caller: Admin, node: str, reason: Annotated[str | None, Query(max_length=1000)] = None
    ) -> OperationAnswer:
        """Delete a node, by id or name. Refused unless it is unprovisioned and available."""
        return accepted(service.delete_node(caller.actor, node, reason=reason, request_id=caller.request_id))

    return routes

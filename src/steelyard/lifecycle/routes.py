"""REST: /v1/servers for tenants; `node_routes` for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, SecretStr

from steelyard.lifecycle import node_routes
from steelyard.lifecycle.model import Phase, Power
from steelyard.lifecycle.node_routes import MAX_REASON, ReasonBody
from steelyard.lifecycle.renewal import LONGEST, SHORTEST
from steelyard.lifecycle.servers import Server
from steelyard.lifecycle.service import MAX_NETWORKS, LifecycleService
from steelyard.operations.views import OperationView, operation_view
from steelyard.web.context import Caller, IdempotencyKey, Writer
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
    security_groups: list[str] = Field(
        default_factory=list, max_length=16, description="Ids or names; refused where nothing enforces them."
    )


class RebuildBody(Body):
    image: str | None = Field(default=None, description="Id or name. Default: the one that it has.")
    reason: str | None = Field(default=None, max_length=MAX_REASON)


class RescueBody(Body):
    password: SecretStr | None = Field(
        default=None,
        description=f"Root's in the rescue system, {SHORTEST} to {LONGEST} characters. Default: Nova's own.",
    )
    reason: str | None = Field(default=None, max_length=MAX_REASON)


class PowerBody(Body):
    action: Power


def server_view(server: Server) -> ServerView:
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
        return ServerList(servers=[server_view(each) for each in cut.items], next=cut.next)

    @routes.get("/servers/{server}")
    def show_server(caller: Caller, server: str) -> ServerAnswer:
        """Show one, by id or name."""
        return ServerAnswer(server=server_view(service.server(caller.actor, caller.token, server)))

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
            security_groups=body.security_groups,
            key=key,
            request_id=caller.request_id,
        )
        return AcceptedServer(server=server_view(server), operation=operation_view(operation))

    @routes.post("/servers/{server}/power", status_code=202)
    def power(caller: Writer, server: str, body: PowerBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Power a server on or off, or reboot it. What is so already is done at once."""
        found, operation = service.power(
            caller.actor, caller.token, server, body.action, key=key, request_id=caller.request_id
        )
        return AcceptedServer(server=server_view(found), operation=operation_view(operation))

    @routes.post("/servers/{server}/rebuild", status_code=202)
    def rebuild(caller: Writer, server: str, body: RebuildBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Write an image anew; name, addresses and node stay, what is on the disk is lost."""
        found, operation = service.renewal.rebuild(
            caller.actor, caller.token, server, image=body.image, reason=body.reason, key=key,
            request_id=caller.request_id,
        )  # fmt: skip
        return AcceptedServer(server=server_view(found), operation=operation_view(operation))

    @routes.post("/servers/{server}/rescue", status_code=202)
    def rescue(caller: Writer, server: str, body: RescueBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Boot a rescue system. The password goes to Nova and is kept nowhere."""
        password = body.password.get_secret_value() if body.password is not None else None
        found, operation = service.renewal.rescue(
            caller.actor, caller.token, server, password=password, reason=body.reason, key=key,
            request_id=caller.request_id,
        )  # fmt: skip
        return AcceptedServer(server=server_view(found), operation=operation_view(operation))

    @routes.post("/servers/{server}/unrescue", status_code=202)
    def unrescue(caller: Writer, server: str, body: ReasonBody, key: IdempotencyKey = None) -> AcceptedServer:
        """Boot from the disk again."""
        found, operation = service.renewal.unrescue(
            caller.actor, caller.token, server, reason=body.reason, key=key, request_id=caller.request_id
        )
        return AcceptedServer(server=server_view(found), operation=operation_view(operation))

    @routes.delete("/servers/{server}", status_code=202)
    def delete_server(
        caller: Writer,
        server: str,
        reason: Annotated[str | None, Query(max_length=MAX_REASON)] = None,
        key: IdempotencyKey = None,
    ) -> AcceptedServer:
        """Release a server; for administrators the operation lasts until its node is clean and available."""
        found, operation = service.delete(
            caller.actor, caller.token, server, reason=reason, key=key, request_id=caller.request_id
        )
        return AcceptedServer(server=server_view(found), operation=operation_view(operation))

    routes.include_router(node_routes.router(service.nodes))
    return routes

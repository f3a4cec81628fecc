"""REST: what administrators do with nodes, /v1/nodes/{node}/… and DELETE /v1/nodes/{node}."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.lifecycle.nodes import NodeLifecycle
from steelyard.operations.views import OperationAnswer, accepted
from steelyard.web.context import Admin, IdempotencyKey
from steelyard.web.schemas import Body

MAX_REASON = 1000


class ReasonBody(Body):
    reason: str | None = Field(default=None, max_length=MAX_REASON, description="Why, for the record.")


class MaintenanceBody(Body):
    reason: str = Field(
        min_length=1, max_length=MAX_REASON, description="Why; everybody who looks at the node sees it."
    )
    until: datetime | None = Field(default=None, description="When it should be over. Nothing ends by itself.")


def router(service: NodeLifecycle) -> APIRouter:
    routes = APIRouter(tags=["lifecycle"])

    @routes.post("/nodes/{node}/release", status_code=202)
    def release(caller: Admin, node: str, body: ReasonBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Let a node out of quarantine: it is cleaned, recorded, and available. A failure leaves it in quarantine."""
        return accepted(
            service.release(caller.actor, node, reason=body.reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/nodes/{node}/clean", status_code=202)
    def clean(caller: Admin, node: str, body: ReasonBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Erase the disks of a node that nobody has again, and make it available."""
        return accepted(
            service.clean(caller.actor, node, reason=body.reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/nodes/{node}/inspect", status_code=202)
    def inspect(caller: Admin, node: str, body: ReasonBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Look at a node from within again."""
        return accepted(
            service.inspect(caller.actor, node, reason=body.reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/nodes/{node}/maintenance", status_code=202)
    def begin_maintenance(
        caller: Admin, node: str, body: MaintenanceBody, key: IdempotencyKey = None
    ) -> OperationAnswer:
        """Keep a node out of the offer while somebody works on it."""
        return accepted(
            service.maintenance(
                caller.actor, node, on=True, reason=body.reason, until=body.until, key=key,
                request_id=caller.request_id,
            ),
            administrators=True,
        )  # fmt: skip

    @routes.delete("/nodes/{node}/maintenance", status_code=202)
    def end_maintenance(
        caller: Admin,
        node: str,
        reason: Annotated[str | None, Query(max_length=MAX_REASON)] = None,
        key: IdempotencyKey = None,
    ) -> OperationAnswer:
        """End a maintenance. A node in quarantine stays out of the offer."""
        return accepted(
            service.maintenance(caller.actor, node, on=False, reason=reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/nodes/{node}/retire", status_code=202)
    def retire(caller: Admin, node: str, body: ReasonBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Take a node out of service for good; a tenant's server stays until it is released."""
        return accepted(
            service.retire(caller.actor, node, reason=body.reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/nodes/{node}/unretire", status_code=202)
    def unretire(caller: Admin, node: str, body: ReasonBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Take a retired node back into service: it is cleaned and available."""
        return accepted(
            service.unretire(caller.actor, node, reason=body.reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.delete("/nodes/{node}", status_code=202)
    def delete_node(
        caller: Admin,
        node: str,
        reason: Annotated[str | None, Query(max_length=MAX_REASON)] = None,
        force: Annotated[bool, Query(description="Whatever it is doing, whoever has it. Demands a reason.")] = False,
        key: IdempotencyKey = None,
    ) -> OperationAnswer:
        """Delete a node, by id or name. Refused unless it is unprovisioned and available, or removed by force."""
        act = service.remove if force else service.delete
        return accepted(
            act(caller.actor, node, reason=reason, key=key, request_id=caller.request_id), administrators=True
        )

    return routes

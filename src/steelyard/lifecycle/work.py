"""Durable work of the life cycle. What needs the tenant's token was done in the request; here we follow and finish.

Runbook of servers.create: Nova has accepted the server; follow it until it is active. A server in error ends the
operation with Nova's reason; nothing is deleted, since the fault is evidence.
Runbook of servers.power: Nova has been asked; wait until it says that it is so.
Runbook of servers.delete: Nova has been asked; wait until it has no such server.
Runbook of servers.reclaim (administrators): the same, then wait until the node is clean and available.
Runbook of nodes.delete: note on the node that it leaves; take it from `available` to `manageable`, by which no tenant
can get it any more; look again that nobody has it; delete it; its candidate is a mere candidate again. A failure
leaves it manageable, which is offered to nobody; asking again goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.errors import NotFound
from steelyard.lifecycle.model import Phase, Power, check_deletable, instance_phase
from steelyard.lifecycle.patience import POLL, patient_step
from steelyard.lifecycle.service import CREATE, DELETE, DELETE_NODE, POWER, RECLAIM, LifecycleService
from steelyard.nouns import Instance, Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext

DEPLOY_SECONDS = 3600.0
CLEAN_SECONDS = 24 * 3600.0

_WORDS: Mapping[str, str] = {
    "available": "a node is chosen and its network is prepared",
    "deploying": "the deployment starts or ends",
    "wait call-back": "the agent boots and writes the image",
    "active": "the first boot",
}


def kinds(service: LifecycleService) -> tuple[OperationKind, ...]:
    """The kinds of operation of this room."""
    follow = _Following(service)
    removal = _Removal(service)
    gone = patient_step(
        "wait until Nova has let go", follow.gone, deadline=DEPLOY_SECONDS, next="steelyard server show {server_id}"
    )
    return (
        OperationKind(
            CREATE,
            steps=[
                patient_step(
                    "deploy", follow.active, deadline=DEPLOY_SECONDS, next="steelyard server show {server_id}"
                ),
            ],
        ),
        OperationKind(
            POWER,
            exclusive=False,  # Nova decides between two requests
            steps=[
                patient_step(
                    "wait for the power state", follow.powered, deadline=600, next="steelyard server show {server_id}"
                ),
            ],
        ),
        OperationKind(DELETE, steps=[gone]),
        OperationKind(
            RECLAIM,
            steps=[
                gone,
                patient_step("clean", follow.clean, deadline=CLEAN_SECONDS, next="steelyard node show {node}"),
            ],
        ),
        OperationKind(
            DELETE_NODE,
            steps=[
                patient_step("withdraw", removal.withdraw, next="steelyard node show {node}"),
                patient_step("delete", removal.delete, next="steelyard node show {node}"),
                patient_step("record", removal.record),
            ],
        ),
    )


class _Following:
    """Steps that watch what Nova and Ironic do."""

    def __init__(self, service: LifecycleService):
        self._service = service

    def _instance(self, ctx: StepContext) -> Instance:
        return self._service.clouds.own.compute.get(ctx.params["server_id"])

    def _node(self, instance: Instance) -> Node | None:
        if instance.node_id is None:
            return None
        try:
            return self._service.clouds.own.nodes.get(instance.node_id)
        except NotFound:
            return None

    def active(self, ctx: StepContext) -> Outcome:
        """Nova says active. The words waited with are for tenants: no node is named."""
        try:
            instance = self._instance(ctx)
        except NotFound:
            return Failed(
                "The server was deleted before it was active.", code="server_gone", next="steelyard server list"
            )
        if instance.status == "ACTIVE" and instance.task_state is None:
            return Done({"addresses": list(instance.addresses)})
        if instance.status == "ERROR":
            return Failed(
                f"The deployment failed: {instance.fault or 'Nova gives no reason'}",
                code="deploy_failed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        node = self._node(instance)
        if node is None:
            return Retry(POLL, f"{Phase.DEPLOYING}: a node is chosen")
        return Retry(
            POLL, f"{instance_phase(instance, node)}: {_WORDS.get(node.provision_state, node.provision_state)}"
        )

    def powered(self, ctx: StepContext) -> Outcome:
        """Nova shows the wanted power state and is at rest."""
        wanted = Power(ctx.params["action"]).target
        try:
            instance = self._instance(ctx)
        except NotFound:
            return Failed("The server was deleted meanwhile.", code="server_gone", next="steelyard server list")
        if instance.status == wanted and instance.task_state is None:
            return Done({"status": instance.status})
        if instance.status == "ERROR":
            return Failed(
                f"The server is in error: {instance.fault or 'Nova gives no reason'}",
                code="power_failed",
                next=f"steelyard server show {instance.id}",
            )
        return Retry(POLL, f"server is {instance.task_state or instance.status.lower()}, wanted {wanted.lower()}")

    def gone(self, ctx: StepContext) -> Outcome:
        """Nova has no such server any more."""
        try:
            instance = self._instance(ctx)
        except NotFound:
            return Done()
        if instance.status == "DELETED":
            return Done()
        if instance.status == "ERROR" and instance.task_state is None:
            return Failed(
                f"Nova cannot delete it: {instance.fault or 'no reason given'}",
                code="delete_failed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        node = self._node(instance)
        return Retry(POLL, f"reclaiming: {node.provision_state if node else instance.task_state or 'deleting'}")

    def clean(self, ctx: StepContext) -> Outcome:
        """The node is available again."""
        try:
            node = self._service.clouds.own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Failed("The node was deleted meanwhile.", code="node_gone", next="steelyard node list")
        if node.provision_state == "available":
            return Done()
        if node.instance_id not in (None, ctx.params["server_id"]):
            return Done({"next_tenant": True})
        if node.provision_state in ("clean failed", "error", "manageable", "enroll"):
            candidate = node.notes.get("candidate_id")
            return Failed(
                f"Node {node.name or node.id} is {node.provision_state}: {node.last_error or 'no reason given'}",
                code="clean_failed",
                next=f"steelyard node onboard {candidate}" if candidate else f"steelyard node show {node.id}",
            )
        return Retry(POLL, f"node {node.name or node.id} is {node.provision_state}, wanted available")


class _Removal:
    """Steps that take a node out of the cloud."""

    def __init__(self, service: LifecycleService):
        self._service = service

    def withdraw(self, ctx: StepContext) -> Outcome:
        """Nobody can be given the node any more, and nobody has it."""
        own = self._service.clouds.own
        try:
            node = own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Done()
        check_deletable(node)
        if not node.notes.get("deleting"):
            own.nodes.update(node.id, {"/extra/steelyard": {**node.notes, "deleting": ctx.operation_id}})
        if node.provision_state == "available":
            own.provisioning.request(node.id, "manage")
        node = own.nodes.get(node.id)
        if node.provision_state == "available":
            return Retry(POLL, "Ironic takes it out of the offer")
        check_deletable(node)
        return Done()

    def delete(self, ctx: StepContext) -> Outcome:
        """Ironic has no such node; its ports went with it."""
        own = self._service.clouds.own
        try:
            node = own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Done()
        check_deletable(node)
        own.nodes.delete(node.id)
        return Done({"deleted": True})

    def record(self, ctx: StepContext) -> Outcome:
        """The node's timeline says who deleted it and why."""
        service = self._service
        for candidate in service.store.candidates.all():
            if candidate.node_id == ctx.params["node_id"]:
                service.forget_node(candidate)
        subject = f"node:{ctx.params['node_id']}"
        if not any(event.kind == "node.deleted" for event in service.store.events.of(subject, limit=10)):
            service.store.events.append(
                subject, "node.deleted", actor=ctx.actor.user_name, reason=ctx.reason,
                detail=f"node {ctx.params['node']} was deleted", operation_id=ctx.operation_id,
                request_id=ctx.request_id,
            )  # fmt: skip
        return Done()

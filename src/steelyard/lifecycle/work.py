"""Durable work of the life cycle. What needs the tenant's token was done in the request; here we follow and finish.

Runbook of servers.create: Nova has accepted the server; follow it until it is active. A server in error ends the
operation with Nova's reason; nothing is deleted, since the fault is evidence.
Runbook of servers.power: Nova has been asked; wait until it is at rest and shows the wanted status and power.
Runbook of servers.delete: Nova has been asked; wait until it has no such server, asking again while that is in error,
and take the node back ourselves where Nova let go of it without asking Ironic.
Runbook of servers.reclaim (administrators): the same, then wait until the node is clean and available.
Runbook of nodes.delete: note on the node that it leaves; take it from `available` to `manageable`, by which no tenant
can get it any more; look again that nobody has it; delete it; its candidate is a mere candidate again. A failure
leaves it manageable, which is offered to nobody; asking again goes on.
"""

from __future__ import annotations

from steelyard.errors import NotFound, SteelyardError
from steelyard.lifecycle.model import Power, check_deletable, leaving_note
from steelyard.lifecycle.patience import POLL, patient_step
from steelyard.lifecycle.progress import cleaning, deploying, powering, releasing
from steelyard.lifecycle.service import CREATE, DELETE, DELETE_NODE, POWER, RECLAIM, LifecycleService
from steelyard.nouns import Instance, Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext

ERROR_LOOKS = 30
"""For how many looks at a server that is to be deleted an error may stand before it counts as the end."""
ASK_AGAIN = 10
"""Every how many of those looks Nova is asked again."""
STILL_HELD = frozenset({"deploying", "wait call-back", "deploy failed", "active", "error", "deleting"})
"""Ironic's states of a node that a tenant has not been released from."""
DEPLOY_SECONDS = 3600.0
CLEAN_SECONDS = 24 * 3600.0


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
            administrators=True,
            steps=[
                gone,
                patient_step("clean", follow.clean, deadline=CLEAN_SECONDS, next="steelyard node show {node}"),
            ],
        ),
        OperationKind(
            DELETE_NODE,
            administrators=True,
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
        self._in_error: dict[str, int] = {}
        """Deletions whose server is in error -> the attempt at which that was first seen."""

    def _instance(self, ctx: StepContext) -> Instance:
        return self._service.clouds.own.compute.get(ctx.params["server_id"])

    def _node(self, instance: Instance) -> Node | None:
        if instance.node_id is None:
            return None
        try:
            return self._service.clouds.own.nodes.get(instance.node_id)
        except SteelyardError:  # it serves for words only, and what Ironic says of its nodes is not for tenants
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
        return Retry(POLL, deploying(instance, self._node(instance)))

    def powered(self, ctx: StepContext) -> Outcome:
        """Nova is at rest and shows the wanted status and the wanted power: all that a look at the server tells."""
        action = Power(ctx.params["action"])
        try:
            instance = self._instance(ctx)
        except NotFound:
            return Failed("The server was deleted meanwhile.", code="server_gone", next="steelyard server list")
        at_rest = instance.status == action.target and instance.task_state is None
        if at_rest and instance.power_state == action.power:
            return Done({"status": instance.status, "power": instance.power_state})
        if instance.status == "ERROR":
            return Failed(
                f"The server is in error: {instance.fault or 'Nova gives no reason'}",
                code="power_failed",
                next=f"steelyard server show {instance.id}",
            )
        return Retry(POLL, powering(instance, action))

    def gone(self, ctx: StepContext) -> Outcome:
        """Nova has no such server any more, and Ironic holds no node for it."""
        try:
            instance = self._instance(ctx)
        except NotFound:
            return self._left(ctx)
        if instance.status == "DELETED":
            return self._left(ctx)
        if instance.status == "ERROR" and instance.task_state is None:
            # A deployment that is interrupted by the deletion ends in an error first; only then Nova deletes. And a
            # release that came while Ironic could not obey has to be asked for again.
            since = self._in_error.setdefault(ctx.operation_id, ctx.attempt)
            if ctx.attempt - since < ERROR_LOOKS:
                if (ctx.attempt - since) % ASK_AGAIN == ASK_AGAIN - 1:
                    self._service.clouds.own.compute.delete(instance.id)
                return Retry(POLL, "Nova ends what it was doing")
            del self._in_error[ctx.operation_id]
            return Failed(
                f"Nova cannot delete it: {instance.fault or 'no reason given'}",
                code="delete_failed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        self._in_error.pop(ctx.operation_id, None)
        return Retry(POLL, releasing(instance, self._node(instance)))

    def _left(self, ctx: StepContext) -> Outcome:
        """Nova lets go of a server in error without asking Ironic; then the node has to be taken back here."""
        self._in_error.pop(ctx.operation_id, None)
        own = self._service.clouds.own
        server_id = ctx.params["server_id"]
        node = next((node for node in own.nodes.all() if node.instance_id == server_id), None)
        if node is None or node.provision_state not in STILL_HELD:
            return Done()
        if node.provision_state not in ("deploying", "deleting"):
            own.provisioning.request(node.id, "deleted")
        return Retry(POLL, "taking it off the tenant network")

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
        return Retry(POLL, cleaning(node))


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
        check_deletable(node, leaving=ctx.operation_id)
        if node.provision_state == "available":
            node = self._note(node, ctx)
            own.provisioning.request(node.id, "manage")
        node = own.nodes.get(node.id)
        if node.provision_state == "available":
            return Retry(POLL, "Ironic takes it out of the offer")
        if node.provision_state in ("inspect failed", "clean failed"):  # never offered; Ironic deletes none of these
            if node.maintenance:
                own.nodes.set_maintenance(node.id, None)
            node = self._note(node, ctx)
            own.provisioning.request(node.id, "manage")
            return Retry(POLL, "Ironic takes it back to manageable")
        check_deletable(node, leaving=ctx.operation_id)
        self._note(node, ctx)
        return Done()

    def _note(self, node: Node, ctx: StepContext) -> Node:
        """Before Ironic is asked and again when it has obeyed, so that a repeated step knows its own work."""
        note = leaving_note(node, ctx.operation_id)
        if node.notes.get("deleting") == note:
            return node
        return self._service.clouds.own.nodes.update(node.id, {"/extra/steelyard": {**node.notes, "deleting": note}})

    def delete(self, ctx: StepContext) -> Outcome:
        """Ironic has no such node; its ports went with it, and what they told of its cables is kept."""
        service = self._service
        own = service.clouds.own
        try:
            node = own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Done()
        check_deletable(node)
        # Its switch ports carry no VLAN once it is gone: who onboards it again must know which they are.
        service.store.cables.learn(
            {port.mac: port.link for port in own.node_ports.all() if port.node_id == node.id and port.link is not None}
        )
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

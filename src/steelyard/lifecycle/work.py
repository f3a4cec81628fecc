"""Durable work of the life cycle. What needs the tenant's token was done in the request; here we follow and finish.

Runbook of servers.create: Nova has accepted the server; follow it until it is active. A server in error ends the
operation with Nova's reason; nothing is deleted, since the fault is evidence.
Runbook of servers.delete: Nova has been asked; wait until it has no such server, asking again while that is in error,
and take the node back ourselves where Nova let go of it without asking Ironic.
Runbook of servers.reclaim (administrators): the same, then wait until the node is clean and available, and write down
that it was cleaned. A clean that fails or is interrupted puts the node into quarantine.
What is done with nodes and with deployed servers: `node_work`, `removal`, `renewal_work`; with power: `powering`.
"""

from __future__ import annotations

from steelyard.errors import NotFound, SteelyardError
from steelyard.lifecycle import node_work, removal, renewal_work
from steelyard.lifecycle.cleaning import CLEAN_SECONDS, Cleaning
from steelyard.lifecycle.patience import POLL, for_tenants, patient_step
from steelyard.lifecycle.powering import PowerSteps
from steelyard.lifecycle.progress import deploying, fault, releasing
from steelyard.lifecycle.service import CREATE, DELETE, RECLAIM, LifecycleService
from steelyard.lifecycle.vifs import take_all_off
from steelyard.nouns import Instance, Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext

ERROR_LOOKS = 30
"""For how many looks at a server that is to be deleted an error may stand before it counts as the end."""
ASK_AGAIN = 10
"""Every how many of those looks Nova is asked again."""
STILL_HELD = frozenset({"deploying", "wait call-back", "deploy failed", "active", "error", "deleting"})
"""Ironic's states of a node that a tenant has not been released from."""
DEPLOY_SECONDS = 3600.0
SCHEDULING_LOOKS = 600
"""After so many looks, one a second, at a server that Nova has not put anywhere, Nova has lost it: it was killed after
it had accepted it and before it had begun. Its request stays, and no start of Nova takes it up."""
_LOOK = "steelyard server show {server_id}"


def kinds(service: LifecycleService) -> tuple[OperationKind, ...]:
    """The kinds of operation of this room."""
    follow = _Following(service)
    gone = patient_step(
        "wait until Nova has let go", follow.gone, deadline=DEPLOY_SECONDS, next=_LOOK, tell=for_tenants
    )
    return (
        OperationKind(
            CREATE,
            steps=[
                patient_step("deploy", follow.active, deadline=DEPLOY_SECONDS, next=_LOOK, tell=for_tenants),
            ],
        ),
        PowerSteps(service.clouds, service.power_networks).kind(),
        OperationKind(DELETE, steps=[gone]),
        OperationKind(
            RECLAIM,
            administrators=True,
            steps=[
                gone,
                patient_step(
                    "clean", follow.clean, deadline=CLEAN_SECONDS, next="steelyard node release {node} --wait"
                ),
            ],
        ),
        *node_work.kinds(service.nodes),
        *removal.kinds(service.nodes),
        *renewal_work.kinds(service.clouds),
    )


class _Following:
    """Steps that watch what Nova and Ironic do."""

    def __init__(self, service: LifecycleService):
        self._service = service
        self._cleaning = Cleaning(service.clouds, service.store, held_seconds=service.nodes.held_seconds)
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
                f"The deployment failed: {fault(instance) or 'Nova gives no reason'}",
                code="deploy_failed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        if ctx.attempt > SCHEDULING_LOOKS and instance.node_id is None and instance.task_state == "scheduling":
            return Failed(
                "Nova accepted the server and never began to deploy it; it was probably stopped in between.",
                code="server_lost",
                next=f"steelyard server delete {instance.id} --wait",
            )
        return Retry(POLL, deploying(instance, self._node(instance)))

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
                f"Nova cannot delete it: {fault(instance) or 'no reason given'}",
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
        if node is not None and node.provision_state == "available":
            # Claimed, and Nova was gone before it asked for the deployment: nothing was written, nobody else clears it.
            take_all_off(own, node.id)
            own.nodes.update(node.id, {"/instance_uuid": None})
            return Done()
        if node is None or node.provision_state not in STILL_HELD:
            return Done()
        if node.automated_clean is False:  # somebody told Ironic to pass over the cleaning; after a tenant it must not
            own.nodes.update(node.id, {"/automated_clean": True})
        if node.provision_state not in ("deploying", "deleting"):
            own.provisioning.request(node.id, "deleted")
        return Retry(POLL, "taking it off the tenant network")

    def clean(self, ctx: StepContext) -> Outcome:
        """The node is available again, and it is written down that it was cleaned; or it is in quarantine."""
        try:
            node = self._service.clouds.own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Failed("The node was deleted meanwhile.", code="node_gone", next="steelyard node list")
        return self._cleaning.follow(node, ctx, last_tenant=ctx.params["server_id"])

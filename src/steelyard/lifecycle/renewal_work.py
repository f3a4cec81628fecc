"""Durable work on deployed servers: Nova has been asked with the tenant's token; here we follow it to its end.

Runbook of servers.rebuild: Nova has accepted it, and Ironic writes the image; wait until Nova says active, at rest,
with that image. A server in error ends the operation with Nova's reason; nothing is deleted, the fault is evidence.
Runbook of servers.rescue: wait until Nova says rescue: the ramdisk has booted and taken the password. The password is
in none of our records. A failure leaves the server in error; deleting it gives the node back.
Runbook of servers.unrescue: wait until Nova says active again.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.lifecycle.patience import POLL, for_tenants, patient_step
from steelyard.lifecycle.progress import deploying, fault
from steelyard.lifecycle.renewal import REBUILD, RESCUE, UNRESCUE
from steelyard.nouns import Instance, Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, Step, StepContext, StepFunction

REBUILD_SECONDS = 3600.0
RESCUE_SECONDS = 1800.0
SETTLED = 5
"""After so many looks at a server at rest in the wrong status it is over: Nova gave up, or somebody undid it."""
_NEXT = "steelyard server show {server_id}"


def kinds(clouds: Clouds) -> tuple[OperationKind, ...]:
    """The kinds of operation on deployed servers."""
    follow = _Following(clouds)

    def step(name: str, do: StepFunction, deadline: float) -> Step:
        return patient_step(name, do, deadline=deadline, next=_NEXT, tell=for_tenants)

    return (
        OperationKind(REBUILD, [step("rebuild", follow.rebuilt, REBUILD_SECONDS)]),
        OperationKind(RESCUE, [step("rescue", follow.rescued, RESCUE_SECONDS)]),
        OperationKind(UNRESCUE, [step("unrescue", follow.unrescued, RESCUE_SECONDS)]),
    )


class _Following:
    """Steps that only look."""

    def __init__(self, clouds: Clouds):
        self._clouds = clouds

    def rebuilt(self, ctx: StepContext) -> Outcome:
        return self._until(ctx, "ACTIVE", "rebuild", image_id=ctx.params["image_id"])

    def rescued(self, ctx: StepContext) -> Outcome:
        return self._until(ctx, "RESCUE", "rescue", wrong=self._off)

    def unrescued(self, ctx: StepContext) -> Outcome:
        return self._until(ctx, "ACTIVE", "unrescue")

    def _until(
        self, ctx: StepContext, status: str, what: str, *, image_id: str | None = None,
        wrong: Callable[[Instance], Failed | None] = lambda _: None,
    ) -> Outcome:  # fmt: skip
        """Nova is at rest in the status, and nothing is `wrong` with the server then. The words waited with are for
        tenants: no node is named."""
        try:
            instance = self._clouds.own.compute.get(ctx.params["server_id"])
        except NotFound:
            return Failed("The server was deleted meanwhile.", code="server_gone", next="steelyard server list")
        if instance.status == "ERROR":
            return Failed(
                f"The {what} failed: {fault(instance) or 'Nova gives no reason'}",
                code=f"{what}_failed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        at_rest = instance.task_state is None
        if at_rest and instance.status == status and image_id in (None, instance.image_id):
            return wrong(instance) or Done({"status": instance.status, "power": instance.power_state})
        if at_rest and ctx.attempt > SETTLED:
            return Failed(
                f"The server is {instance.status.lower()} and nothing happens to it any more; the {what} is over.",
                code=f"{what}_failed",
                next=f"steelyard server show {instance.id}",
            )
        return Retry(POLL, self._doing(instance, what))

    def _off(self, instance: Instance) -> Failed | None:
        """Ironic's stock interface for rescue takes the power away where the boot is by virtual media."""
        node = self._node(instance)
        if node is None or node.provision_state != "rescue" or node.power_state != "off":
            return None
        return Failed(
            "The rescue system has no power, so nobody can log in to it. The operator has to choose another rescue "
            "interface for this hardware.",
            code="rescue_is_off",
            next=f"steelyard server unrescue {instance.id} --wait",
        )

    def _doing(self, instance: Instance, what: str) -> str:
        node = self._node(instance)
        if what == "rebuild" and node is not None and node.provision_state in ("deploying", "wait call-back"):
            return deploying(instance, node)
        if node is not None and node.provision_state in ("rescuing", "rescue wait", "unrescuing"):
            return "booting the rescue system" if what == "rescue" else "leaving the rescue system"
        return (instance.task_state or what).strip().replace("_", " ")

    def _node(self, instance: Instance) -> Node | None:
        if instance.node_id is None:
            return None
        try:
            return self._clouds.own.nodes.get(instance.node_id)
        except SteelyardError:  # it serves for words only
            return None

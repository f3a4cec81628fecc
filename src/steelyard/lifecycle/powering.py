"""A change of power, and the networks around it.

Runbook of servers.power. Before a power-on or reboot is asked of Nova, the NICs of a server that was off are back on
its tenant's networks, proven in the controller and on the switch; when that fails, the power-on is refused and nothing
has happened. Then: Nova has been asked; wait until it is at rest and shows the wanted status and power. After a
power-off, unless the project's policy is `keep`: the NICs are on the quarantine network, proven the same way.
What the tenant reads names no node, NIC or switch; an administrator finds the reason in `steelyard attention`.
"""

from __future__ import annotations

from steelyard.clouds.ports import Clouds
from steelyard.errors import Conflict, NotFound, Refused, SteelyardError
from steelyard.isolation.flips import By, Flips
from steelyard.isolation.model import PowerOffPolicy
from steelyard.lifecycle.model import Power
from steelyard.lifecycle.patience import POLL, for_tenants, patient_step
from steelyard.lifecycle.progress import fault, powering
from steelyard.nouns import Actor, Instance, Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext
from steelyard.store import Store

POWER = "servers.power"
NETWORK_SECONDS = 180.0
"""For how long a power-off waits for the networks before it says that they did not follow."""


class PowerNetworks:
    """The networks of a server whose power changes. Without flips (nothing reads or moves them) they stay."""

    def __init__(self, clouds: Clouds, store: Store, flips: Flips | None) -> None:
        self._clouds = clouds
        self._store = store
        self._flips = flips

    def before(
        self, node: Node | None, instance: Instance, action: Power, actor: Actor, request_id: str | None
    ) -> None:
        """The NICs are where a server that runs must have them. Raises `Refused` or `Conflict` otherwise."""
        if self._flips is None or node is None or action.power != "on":
            return
        by = By(actor.user_name, f"the server is to get power ({action.value})", request_id=request_id)
        try:
            self._flips.before_power_on(node.id, by)
        except SteelyardError as error:
            if actor.is_admin:
                raise
            running = isinstance(error, Conflict) and not isinstance(error, Refused)
            raise (Conflict if running else Refused)(
                f"Server {instance.name} stays off: its networks "
                + ("are being changed at this moment." if running else "could not be made ready."),
                code=error.code if running else "network_not_ready",
                next=f"steelyard server power {instance.id} {action.value}",
                internal=error.detail,
            ) from None

    def given_up(self, node: Node | None) -> None:
        """Nova did not take the request: the networks need not wait for it."""
        if self._flips is not None and node is not None:
            self._flips.after_power(node.id)

    def after(self, ctx: StepContext) -> Outcome:
        """The networks have followed the power."""
        own = self._clouds.own
        action = Power(ctx.params["action"])
        try:
            instance = own.compute.get(ctx.params["server_id"])
            node = own.nodes.get(instance.node_id) if instance.node_id else None
        except NotFound:
            return Done()
        if self._flips is None or node is None:
            return Done()
        if action.power == "on":
            self._flips.after_power(node.id)
            return Done()
        if instance.power_state != "off" or instance.task_state is not None:
            return Done()  # somebody has turned it on again
        if self._store.policies.power_off(instance.project_id) is PowerOffPolicy.KEEP:
            return Done({"networks": PowerOffPolicy.KEEP.value})
        waiting = Retry(POLL, "its networks are taken away until it is powered on again")
        if node.power_state != "off":
            return waiting
        if not self._flips.in_quarantine(node):
            by = By(ctx.actor.user_name, "the server was powered off", ctx.operation_id, ctx.request_id)
            try:
                self._flips.to_quarantine(node.id, by)
            except Conflict:  # somebody works on it, or the switch does not obey: an administrator sees that
                return waiting
        return Done({"networks": PowerOffPolicy.QUARANTINE.value})


class PowerSteps:
    """The steps of servers.power."""

    def __init__(self, clouds: Clouds, networks: PowerNetworks) -> None:
        self._clouds = clouds
        self._networks = networks

    def kind(self) -> OperationKind:
        next = "steelyard server show {server_id}"
        return OperationKind(
            POWER,
            exclusive=False,  # Nova decides between two requests
            steps=[
                patient_step("wait for the power state", self.powered, deadline=600, next=next, tell=for_tenants),
                patient_step(
                    "networks follow", self._networks.after, deadline=NETWORK_SECONDS, next=next, tell=for_tenants
                ),
            ],
        )

    def powered(self, ctx: StepContext) -> Outcome:
        """Nova is at rest and shows the wanted status and the wanted power: all that a look at the server tells."""
        action = Power(ctx.params["action"])
        try:
            instance = self._clouds.own.compute.get(ctx.params["server_id"])
        except NotFound:
            return Failed("The server was deleted meanwhile.", code="server_gone", next="steelyard server list")
        at_rest = instance.status == action.target and instance.task_state is None
        if at_rest and instance.power_state == action.power:
            return Done({"status": instance.status, "power": instance.power_state})
        if instance.status == "ERROR":
            return Failed(
                f"The server is in error: {fault(instance) or 'Nova gives no reason'}",
                code="power_failed",
                next=f"steelyard server show {instance.id}",
            )
        return Retry(POLL, powering(instance, action))

"""Durable work that takes nodes out of the cloud: the deletion by the rule, and the removal by force.

Runbook of nodes.delete: note on the node that it leaves; take it from `available` to `manageable`, by which no tenant
can get it any more; look again that nobody has it; delete it; its candidate is a mere candidate again. A failure
leaves it manageable, which is offered to nobody; asking again goes on.

Runbook of nodes.remove (by force, for a node that cannot be unprovisioned any more): write down first who removes what
and why, and which server of which tenant is on it. Put it into maintenance and hold it back in Placement, so that
nobody is offered it from here on. Take away Ironic's protection and power. Ask Nova to delete the tenant's server, and
wait for it, but not for ever: a dead BMC keeps it from ending. Delete the node. Ask Nova again, which now finds nothing
that could hinder it. Delete the ports that are left in the network controller and the allocation that is left in
Placement. Write down what was released and what could not be. The disks have not been erased: its candidate says so,
and an onboarding erases them before anybody is offered it again. One that ends before the node is deleted leaves it in
quarantine. While a tenant still has it: one that is cancelled leaves it as it was, one that failed in maintenance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from steelyard.errors import Conflict, NotFound, SteelyardError, Unavailable, UpstreamError
from steelyard.lifecycle.guard import PROTECTABLE
from steelyard.lifecycle.model import LEAVING, MAINTENANCE_PREFIX, check_deletable, leaving_note, noting, phase
from steelyard.lifecycle.model import MAINTENANCE as NOTE
from steelyard.lifecycle.nodes import DELETE_NODE, REMOVE, NodeLifecycle
from steelyard.lifecycle.patience import POLL, patient, patient_step
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node
from steelyard.operations.model import Done, OperationKind, Outcome, Retry, StepContext

GIVE_UP = 180
"""After so many looks at Nova (a second each, at least) the removal goes on without it."""
LONG = 3600.0
"""Deadline of the steps that give up by themselves."""
TRIES = 10
"""How often Ironic is asked to power a node off whose BMC may be dead."""
UNCLEAN = "its disks were not erased: it was removed by force"
_LOOK = "steelyard node show {node}"


def kinds(service: NodeLifecycle) -> tuple[OperationKind, ...]:
    """The kinds of operation that end with a node less."""
    removal, force = _Removal(service), _Force(service)
    return (
        OperationKind(
            DELETE_NODE,
            administrators=True,
            steps=[
                patient_step("withdraw", removal.withdraw, next=_LOOK),
                patient_step("delete", removal.delete, next=_LOOK),
                patient_step("record", removal.record),
            ],
        ),
        OperationKind(
            REMOVE,
            administrators=True,
            steps=[
                patient_step("write down", force.write_down),
                patient_step("take out of the offer", force.withhold, deadline=300, next=_LOOK),
                patient_step("power off", force.power_off, deadline=LONG, next=_LOOK),
                patient_step("let Nova release it", force.release, deadline=LONG, next=_LOOK),
                patient_step("delete", force.delete, deadline=300, next=_LOOK),
                patient_step("let Nova forget it", force.forget, deadline=LONG),
                patient_step("release ports and allocations", force.sweep, deadline=LONG),
                patient_step("record", force.record),
            ],
            on_failure=patient(force.stop),
            next="steelyard node delete {node} --force --reason TEXT",
        ),
    )


class _Removal:
    """Steps that take a node out of the cloud by the rule."""

    def __init__(self, service: NodeLifecycle):
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
        if node.notes.get(LEAVING) == note:
            return node
        return self._service.clouds.own.nodes.update(node.id, noting(node, {LEAVING: note}))

    def delete(self, ctx: StepContext) -> Outcome:
        """Ironic has no such node; its ports went with it, and what they told of its cables is kept."""
        own = self._service.clouds.own
        try:
            node = own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return Done()
        check_deletable(node)
        keep_cables(self._service, node)
        own.nodes.delete(node.id)
        return Done({"deleted": True})

    def record(self, ctx: StepContext) -> Outcome:
        """The node's timeline says who deleted it and why."""
        forget(self._service, ctx, note=None)
        write(self._service, ctx, "node.deleted", f"node {ctx.params['node']} was deleted")
        return Done()


class _Force:
    """Steps of a removal by force. What cannot be done is written down, and the next step goes on."""

    def __init__(self, service: NodeLifecycle):
        self._service = service
        self._clouds = service.clouds

    def _node(self, ctx: StepContext) -> Node | None:
        try:
            return self._clouds.own.nodes.get(ctx.params["node_id"])
        except NotFound:
            return None

    def write_down(self, ctx: StepContext) -> Outcome:
        """Before anything is touched, the timeline says who removes what, and why."""
        node = self._node(ctx)
        if node is None:
            return Done()
        instance = self._service.instance_on(node)
        held = {
            "phase": str(phase(node, instance)), "provision_state": node.provision_state,
            "instance_id": node.instance_id, "project_id": instance.project_id if instance else None,
            "candidate_id": node.notes.get("candidate_id"), "bmc_address": node.bmc_address,
            "macs": [port.mac for port in self._clouds.own.node_ports.all(node_id=node.id)],
        }  # fmt: skip
        tenants = f" with server {instance.name} ({instance.id}) of a tenant on it" if instance else ""
        write(
            self._service, ctx, "node.removal_started",
            f"node {node.label} is removed by force while it is {held['phase']}{tenants}; its disks are not erased",
            data=held,
        )  # fmt: skip
        return Done({"held": held})

    def withhold(self, ctx: StepContext) -> Outcome:
        """It is in maintenance, held back, and not protected: nobody is offered it, and Ironic lets it go."""
        node = self._node(ctx)
        if node is None:
            return Done()
        own = self._clouds.own
        reason = _reason(ctx)
        if not node.maintenance or node.maintenance_reason != reason:
            own.nodes.set_maintenance(node.id, reason)
        own.placement.hold_back(node.id)
        Protection(self._clouds).lift(node)
        node = own.nodes.get(node.id)
        if node.protected:
            own.nodes.update(node.id, {"/protected": False})
        return Done()

    def stop(self, ctx: StepContext) -> Outcome:
        """The end of a removal that did not remove the node: in maintenance, no agent brings its work to an end."""
        node = self._node(ctx)
        if node is None or node.maintenance_reason != _reason(ctx):
            return Done()  # nothing of it had been touched yet
        if node.instance_id is not None and node.provision_state in PROTECTABLE:
            cancelled = ctx.error is not None and ctx.error.code == "cancelled"
            if cancelled and NOTE not in node.notes:  # it was in nobody's maintenance before
                self._clouds.own.nodes.set_maintenance(node.id, None)
            return Done()
        why = ctx.error.detail if ctx.error else "the operation did not end well"
        quarantine = Quarantine(self._clouds, self._service.store)
        quarantine.put(
            node, f"its removal by force did not end: {why}", by=ctx.actor.user_name, operation_id=ctx.operation_id
        )
        return Done()

    def power_off(self, ctx: StepContext) -> Outcome:
        """It is off, if its BMC obeys: what is removed is not to go on running on a tenant's network."""
        node = self._node(ctx)
        if node is None or node.power_state == "off":
            return Done({"powered_off": True})
        if ctx.attempt > TRIES:
            return Done({"powered_off": False})
        try:
            self._clouds.own.provisioning.power(node.id, "off")
        except SteelyardError as error:
            return Retry(POLL, f"its BMC obeys: {error.detail}")
        return Retry(POLL, f"power is {node.power_state or 'not known'}, wanted off")

    def release(self, ctx: StepContext) -> Outcome:
        """Nova has no such server any more, or does not come to an end with it."""
        instance_id = _held(ctx, "instance_id")
        if instance_id is None:
            return Done()
        compute = self._clouds.own.compute
        says = "answers"
        try:
            instance = compute.get(instance_id)
            says = f"lets go of server {instance.name} ({instance.status.lower()})"
            if instance.status == "DELETED":
                return Done({"server_released": True})
            if instance.task_state != "deleting" and (ctx.attempt - 1) % 10 == 0:
                compute.delete(instance_id)
        except NotFound:
            return Done({"server_released": True})
        except SteelyardError as error:
            says = f"answers: {error.detail}"
        return Done({"server_released": False}) if ctx.attempt > GIVE_UP else Retry(POLL, f"Nova {says}")

    def delete(self, ctx: StepContext) -> Outcome:
        """Ironic has no such node. In maintenance it lets one go in any state, unless it is protected."""
        node = self._node(ctx)
        if node is None:
            return Done({"deleted": True})
        if not node.maintenance or node.protected:  # Ironic's own recovery, or a guard, may have done that
            self.withhold(ctx)
        keep_cables(self._service, node)
        if node.power_state == "on" and ctx.attempt == 1 and ctx.results.get("powered_off"):
            _done(lambda: self._clouds.own.provisioning.power(node.id, "off"))  # an agent was booted to clean it
        self._clouds.own.nodes.delete(node.id)
        return Done({"deleted": True})

    def forget(self, ctx: StepContext) -> Outcome:
        """Where Nova could not release the server before: without the node it can."""
        return Done() if ctx.results.get("server_released") else self.release(ctx)

    def sweep(self, ctx: StepContext) -> Outcome:
        """No port of the tenant's server or of the node is left, and no allocation."""
        own = self._clouds.own
        node_id, instance_id = ctx.params["node_id"], _held(ctx, "instance_id")
        ports = [
            port
            for port in own.attachments.all()
            if port.host_id == node_id or port.device_id in {node_id, instance_id} - {None}
        ]
        held = sorted({record.consumer_id for record in own.placement.allocations() if record.node_id == node_id})
        failed = [port.id for port in ports if not _done(partial(own.attachments.delete, port.id))]
        failed += [consumer for consumer in held if not _done(partial(own.placement.delete_allocation, consumer))]
        if failed and ctx.attempt <= TRIES:
            return Retry(POLL, f"{len(failed)} ports or allocations are released")
        before = ctx.results.get("released")
        released = before if isinstance(before, int) else len(ports) + len(held) - len(failed)
        left = failed if ctx.results.get("server_released", True) else [f"server {instance_id}", *failed]
        return Done({"released": released, "left": left})

    def record(self, ctx: StepContext) -> Outcome:
        """The timeline, which outlives the node, says what was released and what was not."""
        forget(self._service, ctx, note=UNCLEAN)
        done = ctx.results
        said = [
            f"node {ctx.params['node']} was removed by force; its disks were NOT erased",
            "it was powered off" if done.get("powered_off") else "it could NOT be powered off and may be running",
            f"{done.get('released', 0)} ports and allocations that were left over were released",
        ]
        if left := done.get("left"):
            said.append(f"NOT released: {', '.join(map(str, left))}")
        detail = "; ".join(said)
        write(self._service, ctx, "node.removed", detail, data={"held": done.get("held")})
        return Done({"summary": detail})


def keep_cables(service: NodeLifecycle, node: Node) -> None:
    """Its switch ports carry no VLAN once it is gone: who onboards it again must know which they are."""
    own = service.clouds.own
    service.store.cables.learn(
        {port.mac: port.link for port in own.node_ports.all(node_id=node.id) if port.link is not None}
    )


def forget(service: NodeLifecycle, ctx: StepContext, *, note: str | None) -> None:
    """Its candidate is a mere candidate again."""
    for candidate in service.store.candidates.all():
        if candidate.node_id == ctx.params["node_id"]:
            service.forget_node(candidate, note=note)


def write(service: NodeLifecycle, ctx: StepContext, kind: str, detail: str, *, data: object = None) -> None:
    """One line on the node's timeline per operation, with who and why."""
    subject = f"node:{ctx.params['node_id']}"
    if any((event.kind, event.operation_id) == (kind, ctx.operation_id) for event in service.store.events.of(subject)):
        return
    service.store.events.append(
        subject, kind, actor=ctx.actor.user_name, reason=ctx.reason, detail=detail, operation_id=ctx.operation_id,
        request_id=ctx.request_id, data=data if isinstance(data, dict) else None,
    )  # fmt: skip


def _reason(ctx: StepContext) -> str:
    """Of the maintenance in which the node is removed."""
    return f"{MAINTENANCE_PREFIX}removed by force by {ctx.actor.user_name}: {ctx.reason}"[:255]


def _held(ctx: StepContext, name: str) -> str | None:
    held = ctx.results.get("held")
    value = held.get(name) if isinstance(held, dict) else None
    return value if isinstance(value, str) else None


def _done(act: Callable[[], None]) -> bool:
    """Whether it could be done now."""
    try:
        act()
    except (Conflict, UpstreamError, Unavailable):
        return False
    return True

"""Durable work on nodes that nobody is to be given meanwhile. All of it is for administrators.

Runbook of nodes.release (out of quarantine): see that Nova has no server on the node. Bring it to `manageable` while it
is still in maintenance, so that nobody is offered it; take it back where a tenant's deployment was left on it. Take it
out of maintenance (Ironic's agent does nothing in maintenance) and provide: Ironic erases the disks. When it is
available, write down that it was cleaned, and lift the mark. Whatever fails: mark and maintenance are back. One that
was never onboarded to the end just loses the mark, once its switch ports carry nothing (what they carry is taken off):
an onboarding binds its NICs and cleans it.
Runbook of nodes.clean: take it from `available` to `manageable`, by which no tenant can get it any more; look again
that nobody has it; provide. A clean that fails or is interrupted puts it into quarantine; so does one that waits for
the end of somebody's maintenance for too long.
Runbook of nodes.inspect: the same way out of the offer, inspect, and where it was available before: provide.
Runbook of nodes.maintenance: write on the node who, why and until when; set Ironic's maintenance; hold it back in
Placement. Off: the other way round. A node in quarantine stays in maintenance whatever people say here, and one that
would be in the offer at once waits until the guard has seen whether it is clean.
Runbook of nodes.retire: out of the offer, with a note that it was clean when it left; then Ironic's flag `retired`. A
tenant's server keeps running; Ironic cleans the node after its release and offers it to nobody.
Runbook of nodes.unretire: take the flag away; one that nobody has is cleaned and made available.
"""

from __future__ import annotations

from datetime import UTC, datetime

from steelyard.errors import NotFound, Refused
from steelyard.lifecycle.cleaning import CLEAN_SECONDS, Cleaning
from steelyard.lifecycle.model import MAINTENANCE as NOTE
from steelyard.lifecycle.model import WITHDRAWN, Action, check, leaving_note, not_onboarded, noting, quarantine
from steelyard.lifecycle.nodes import CLEAN, INSPECT, MAINTENANCE, RELEASE, RETIRE, UNRETIRE, NodeLifecycle
from steelyard.lifecycle.patience import POLL, patient, patient_step
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.records import proven_clean
from steelyard.nouns import Node
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext

INSPECT_SECONDS = 3600.0
JUDGED_WITHIN = 600.0
"""Seconds in which the guard must have looked at a node: its grace for work that has just ended, and a few runs."""
_LOOK = "steelyard node show {node}"
_BACK = frozenset({"clean failed", "inspect failed", "adopt failed", "available"})
"""Ironic's states from which `manage` leads to `manageable`."""
_HELD = frozenset({
    "deploy failed", "error", "active", "rescue", "rescue failed", "unrescue failed", "wait call-back",
})  # fmt: skip
"""Ironic's states in which a tenant's deployment was left on the node; `deleted` takes it back."""
_UNDER_WAY = frozenset({"cleaning", "clean wait", "deleting"})
"""Ironic's states that lead to `available` through a clean."""


def kinds(service: NodeLifecycle) -> tuple[OperationKind, ...]:
    """The kinds of operation on nodes."""
    do = _Steps(service)
    keep = patient(do.cleaning.keep)
    clean = patient_step("clean", do.clean, deadline=CLEAN_SECONDS, next="steelyard node release {node} --wait")
    withdraw = patient_step("withdraw", do.withdraw, next=_LOOK)
    return (
        OperationKind(
            RELEASE,
            steps=[
                patient_step("prepare", do.prepare, deadline=600, next="steelyard node release {node} --wait"),
                clean,
                patient_step("record", do.lift),
            ],
            on_failure=keep,
            administrators=True,
        ),
        OperationKind(
            CLEAN,
            steps=[withdraw, clean, patient_step("record", do.cleaned)],
            on_failure=keep,
            administrators=True,
        ),
        OperationKind(
            INSPECT,
            steps=[
                withdraw,
                patient_step("inspect", do.inspect, deadline=INSPECT_SECONDS, next=_LOOK),
                patient_step("clean", do.clean_if_it_was_available, deadline=CLEAN_SECONDS, next=_LOOK),
                patient_step("record", do.inspected),
            ],
            administrators=True,
            next=_LOOK,
        ),
        OperationKind(
            MAINTENANCE,
            steps=[patient_step("set", do.maintenance, deadline=JUDGED_WITHIN, next=_LOOK)],
            administrators=True,
        ),
        OperationKind(
            RETIRE,
            steps=[withdraw, patient_step("flag", do.retire, next=_LOOK), patient_step("record", do.retired)],
            administrators=True,
            next=_LOOK,
        ),
        OperationKind(
            UNRETIRE,
            steps=[
                patient_step("flag", do.unretire, next=_LOOK),
                patient_step("clean", do.clean_if_nobody_has_it, deadline=CLEAN_SECONDS, next=_LOOK),
                patient_step("record", do.unretired),
            ],
            administrators=True,
            next=_LOOK,
        ),
    )


class _Steps:
    """Each looks first, so repeating it is harmless."""

    def __init__(self, service: NodeLifecycle):
        self._service = service
        self._clouds = service.clouds
        self._store = service.store
        self.cleaning = Cleaning(service.clouds, service.store, held_seconds=service.held_seconds)

    def _node(self, ctx: StepContext) -> Node:
        """Raises `NotFound` with the next command for a node that was deleted meanwhile."""
        try:
            return self._clouds.own.nodes.get(ctx.params["node_id"])
        except NotFound:
            raise NotFound("The node was deleted meanwhile.", code="node_gone", next="steelyard node list") from None

    def _request(self, node: Node, verb: str) -> Retry:
        self._clouds.own.provisioning.request(node.id, verb)  # type: ignore[arg-type]
        return Retry(POLL, f"Ironic obeys: {verb}")

    # Out of quarantine

    def prepare(self, ctx: StepContext) -> Outcome:
        """It is on its way to a clean, out of maintenance, and Nova has no server on it."""
        node = self._node(ctx)
        if quarantine(node) is None and node.provision_state == "available":
            return Done()  # it was released, and this is said twice
        if (instance := self._service.instance_on(node)) is not None:
            raise Refused(
                f"Node {node.label} has server {instance.name} of a tenant on it.",
                code="node_deployed",
                next=f"steelyard server delete {instance.id} --wait",
            )
        if node.automated_clean is False:
            return Failed(
                f"Ironic is told not to clean node {node.label} (automated_clean is false).",
                code="automated_clean_off",
                next=f"openstack baremetal node set --automated-clean {node.id}",
            )
        state = node.provision_state
        if state in _BACK:  # before the maintenance goes: an available node would be offered
            return self._request(node, "manage")
        if state == "enroll":
            return self._request(node, "manage")
        if state in _HELD:
            Protection(self._clouds).lift(node)
            self.cleaning.quarantine.open(node, ctx.operation_id)
            return self._request(node, "deleted")
        if state == "manageable" or state in _UNDER_WAY:
            self.cleaning.quarantine.open(node, ctx.operation_id)
            return Done({"to_onboard": not_onboarded(node)})
        return Retry(POLL, f"node is {state}, wanted manageable")

    def lift(self, ctx: StepContext) -> Outcome:
        """The mark is gone, and the timeline says who let it out."""
        node = self._node(ctx)
        self.cleaning.quarantine.lift(
            node, by=ctx.actor.user_name, reason=ctx.reason, operation_id=ctx.operation_id
        )  # fmt: skip
        return Done()

    # Out of the offer, and back

    def withdraw(self, ctx: StepContext) -> Outcome:
        """Nobody can be given it any more, and nobody has it; a tenant's server stays as it is."""
        node = self._node(ctx)
        if ctx.kind != RETIRE and node.instance_id is not None:
            check(Action.CLEAN, node, self._service.instance_on(node))
        if node.provision_state != "available" or node.instance_id is not None:
            note = node.notes.get(WITHDRAWN)
            mine = isinstance(note, dict) and note.get("operation") == ctx.operation_id
            if mine and node.provision_state == "manageable":
                self._note_leaving(node, ctx)
            return Done({"was_available": mine})
        node = self._note_leaving(node, ctx)
        return self._request(node, "manage")

    def _note_leaving(self, node: Node, ctx: StepContext) -> Node:
        """Before Ironic is asked and again when it has obeyed, so that a repeated step knows its own work."""
        note = leaving_note(node, ctx.operation_id)
        if node.notes.get(WITHDRAWN) == note:
            return node
        return self._clouds.own.nodes.update(node.id, noting(node, {WITHDRAWN: note}))

    def clean(self, ctx: StepContext) -> Outcome:
        """It has been cleaned and Ironic says available; what fails puts it into quarantine."""
        node = self._node(ctx)
        if ctx.results.get("to_onboard"):
            # An onboarding binds its NICs, and cleans it. Until then no change of its networks is asked about, so it is
            # seen here that none is left from the one that failed.
            if self._service.mending is not None:
                self._service.mending.clear(node)
            return Done()
        if taken := self.cleaning.taken(node, ctx):
            return taken
        if node.provision_state == "manageable" and not node.retired:
            if node.maintenance:  # whoever works on it is not to be surprised by power
                return self.cleaning.wait(node, ctx)
            if node.automated_clean is False:  # Ironic would pass over the cleaning and offer what is on the disks
                return self.cleaning.failed(node, ctx, "Ironic is told not to clean it (automated_clean is false)")
            return self._request(node, "provide")
        return self.cleaning.follow(node, ctx)

    def cleaned(self, ctx: StepContext) -> Outcome:
        return self._record(ctx, "node.cleaned", "was cleaned and is available")

    # Inspection

    def inspect(self, ctx: StepContext) -> Outcome:
        """An agent has looked at it from within."""
        node = self._node(ctx)
        state = node.provision_state
        if state in ("inspecting", "inspect wait"):
            return Retry(POLL, f"the agent's report: node is {state}", {"inspecting": True})
        asked = ctx.results.get("inspecting") is True
        if state == "manageable" and not asked:
            self._clouds.own.provisioning.request(node.id, "inspect")
            return Retry(POLL, "the agent boots", {"inspecting": True})
        if state == "inspect failed":
            return Failed(
                f"The inspection from within failed: {node.last_error or 'no reason given'}",
                code="inspection_failed",
                next=f"steelyard node release {node.label} --wait",
            )
        return Done()

    def clean_if_it_was_available(self, ctx: StepContext) -> Outcome:
        return self.clean(ctx) if ctx.results.get("was_available") else Done()

    def inspected(self, ctx: StepContext) -> Outcome:
        return self._record(ctx, "node.inspected", "was inspected again")

    # Maintenance

    def maintenance(self, ctx: StepContext) -> Outcome:
        """Ironic's maintenance is on or off, and the node says whose it is."""
        node = self._node(ctx)
        nodes = self._clouds.own.nodes
        if ctx.params["on"]:
            check(Action.MAINTENANCE_ON, node, self._service.instance_on(node))
            if not _is_note_of(node, ctx.operation_id):
                nodes.update(node.id, noting(node, {NOTE: _note(ctx)}))
            if quarantine(node) is None:
                nodes.set_maintenance(node.id, _words(ctx))
            if node.instance_id is None:
                self._clouds.own.placement.hold_back(node.id)
            return self._record(ctx, "node.maintenance_on", f"was put into maintenance: {ctx.reason}")
        if node.maintenance and self._unproven(node):
            return Retry(POLL, "the guard sees whether it is clean, as it would be offered at once")
        if node.maintenance and node.automated_clean is False and node.provision_state in _UNDER_WAY:
            # Somebody told Ironic to pass over the clean that is next: then it would be in the offer as it is.
            nodes.update(node.id, {"/automated_clean": True})
            return Retry(POLL, "Ironic is told to clean it, as it was told not to")
        if NOTE in node.notes:
            node = nodes.update(node.id, noting(node, {NOTE: None}))
        if node.maintenance and quarantine(node) is None:
            nodes.set_maintenance(node.id, None)
        return self._record(ctx, "node.maintenance_off", "was taken out of maintenance")

    def _unproven(self, node: Node) -> bool:
        """Whether nothing but the maintenance keeps a node out of the offer that is not proven clean. The guard, which
        knows what it saw, records its clean or puts it into quarantine within one run."""
        if node.provision_state != "available" or node.instance_id is not None or quarantine(node) is not None:
            return False
        tenancies = self._service.store.tenancies
        verdict = proven_clean(node, tenancies.newest_cleans().get(node.id), tenancies.last().get(node.id))
        return not verdict.proven

    # Retirement

    def retire(self, ctx: StepContext) -> Outcome:
        """Ironic's flag is set; Ironic takes it everywhere but in `available`."""
        node = self._node(ctx)
        if node.provision_state == "available" and node.instance_id is None:
            return Retry(POLL, "Ironic takes it out of the offer")
        if not node.retired:
            reason = ctx.reason or f"retired by {ctx.actor.user_name}"
            self._clouds.own.nodes.update(node.id, {"/retired": True, "/retired_reason": reason[:255]})
        return Done()

    def retired(self, ctx: StepContext) -> Outcome:
        return self._record(ctx, "node.retired", "was retired")

    def unretire(self, ctx: StepContext) -> Outcome:
        """The flag is gone."""
        node = self._node(ctx)
        if node.retired:
            self._clouds.own.nodes.update(node.id, {"/retired": False})
        return Done()

    def clean_if_nobody_has_it(self, ctx: StepContext) -> Outcome:
        """One at rest without tenant comes back into the offer; one in quarantine or never verified does not."""
        node = self._node(ctx)
        if quarantine(node) is not None or node.instance_id is not None or not_onboarded(node):
            return Done()
        if node.provision_state == "enroll":
            return Done()
        if node.provision_state == "active":
            return Done()  # an adopted system
        return self.clean(ctx)

    def unretired(self, ctx: StepContext) -> Outcome:
        return self._record(ctx, "node.unretired", "was taken back into service")

    def _record(self, ctx: StepContext, kind: str, what: str) -> Outcome:
        """One line on the node's timeline per operation."""
        subject = f"node:{ctx.params['node_id']}"
        known = self._store.events.of(subject, limit=20)
        if not any((event.kind, event.operation_id) == (kind, ctx.operation_id) for event in known):
            self._store.events.append(
                subject, kind, actor=ctx.actor.user_name, reason=ctx.reason, operation_id=ctx.operation_id,
                request_id=ctx.request_id, detail=f"node {ctx.params['node']} {what}",
            )  # fmt: skip
        return Done()


def _note(ctx: StepContext) -> dict[str, object]:
    return {
        "by": ctx.actor.user_name, "reason": ctx.reason, "since": datetime.now(UTC).isoformat(),
        "until": ctx.params.get("until"), "operation": ctx.operation_id,
    }  # fmt: skip


def _is_note_of(node: Node, operation_id: str) -> bool:
    note = node.notes.get(NOTE)
    return isinstance(note, dict) and note.get("operation") == operation_id


def _words(ctx: StepContext) -> str:
    """What Ironic shows. It does not begin as Steelyard's own maintenance does: nobody but people may lift it."""
    until = f", until {ctx.params['until']}" if ctx.params.get("until") else ""
    return f"{ctx.reason} (by {ctx.actor.user_name}{until})"[:255]

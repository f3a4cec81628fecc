"""Durable work of drift, and its reconciler.

Runbook of drift.apply: for each step of the plan, in its order: look at what it would change; if that is not what the
plan saw, stop. Otherwise do it (`openstack port delete`, `openstack port unset --host` and bind again, `openstack
resource provider allocation delete`, `openstack baremetal node add trait`, ...), look that it is so, and write down who
did it and why. A step that failed leaves the ones before it done and the ones after it undone; `steelyard drift` says
what is left.
Runbook of the reconciler drift.compare: `steelyard drift` shows the same, at once.
"""

from __future__ import annotations

from typing import Final

from steelyard.drift.plan import Plan, PlanStep, check
from steelyard.drift.service import APPLY, SOURCE, DriftService
from steelyard.errors import SteelyardError
from steelyard.lifecycle.patience import patient_step
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, StepContext
from steelyard.operations.reconciling import Reconciler

NEXT: Final = "steelyard drift plan -o FILE"
AT_ONCE: Final = 0.05
"""Seconds to the next plan step."""
STEPS_SECONDS: Final = 3600.0


def kinds(service: DriftService) -> tuple[OperationKind, ...]:
    """The kind of operation that applies a plan."""
    do = _Steps(service)
    return (
        OperationKind(
            APPLY,
            steps=[
                patient_step("compare", do.compare, deadline=300, next=NEXT),
                patient_step("apply", do.apply, deadline=STEPS_SECONDS, next=NEXT),
            ],
            administrators=True,
            next=NEXT,
        ),
    )


def reconcilers(service: DriftService) -> tuple[Reconciler, ...]:
    """The reconciler that keeps findings of drift, with their age."""
    about = "Compares Ironic, Nova, Placement, Neutron and the switches, and finds what they do not agree on."
    return (Reconciler(SOURCE, about, service.reconcile, period=service.settings.drift_seconds),)


class _Steps:
    """What the steps do."""

    def __init__(self, service: DriftService) -> None:
        self._service = service

    def compare(self, ctx: StepContext) -> Outcome:
        """The world of every step is the one that the plan saw, so that a plan is done as a whole or not begun."""
        plan = _plan(ctx)
        check(plan)
        if "applied" in ctx.results:
            return Done()  # it has begun: what it changed itself is no reason to stop
        for step in plan.steps:
            if (why := self._service.changed(step)) is not None:
                return Failed(f"{why} Nothing was done.", next=NEXT, code="plan_outdated")
        return Done({"steps": len(plan.steps)})

    def apply(self, ctx: StepContext) -> Outcome:
        """One plan step at each call: first it is written down that it begins, then it is done, then recorded."""
        plan = _plan(ctx)
        applied = int(ctx.results.get("applied", 0))
        if applied >= len(plan.steps):
            return Done({"applied": applied})
        step = plan.steps[applied]
        what = f"step {step.number} of {len(plan.steps)}: {step.action.verb} ({step.name})"
        if ctx.results.get("begun") != step.number:
            if (why := self._service.changed(step)) is not None:
                return _stopped(plan, applied, why, "plan_outdated")
            return Retry(AT_ONCE, what, {"begun": step.number, "applied": applied})
        try:
            self._do(step)
        except SteelyardError as error:
            if error.kind in ("conflict", "unavailable", "upstream_error"):
                raise  # passing: the step is called again
            return _stopped(plan, applied, f"Step {step.number} ({step.kind} {step.name}): {error.detail}", error.code)
        if not self._service.acting.is_done(step.action, self._service.acting.observe(step.action)):
            return _stopped(plan, applied, f"Step {step.number} ({step.kind} {step.name}) did not take.", "not_mended")
        self._record(ctx, step)
        return Retry(AT_ONCE, what, {"applied": applied + 1})

    def _do(self, step: PlanStep) -> None:
        acting = self._service.acting
        if not acting.is_done(step.action, acting.observe(step.action)):
            acting.act(step.action)

    def _record(self, ctx: StepContext, step: PlanStep) -> None:
        """One event per plan step, on the node that it changes, else on its own subject."""
        store = self._service.store
        node_id = getattr(step.action, "node_id", None)
        subject = f"node:{node_id}" if node_id else step.subject
        if any(
            (event.operation_id, event.data.get("step")) == (ctx.operation_id, step.number)
            for event in store.events.of(subject, limit=50)
        ):
            return
        store.events.append(
            subject, "drift.mended", actor=ctx.actor.user_name, reason=ctx.reason or step.reason,
            operation_id=ctx.operation_id, request_id=ctx.request_id,
            detail=f"{step.kind} of {step.name}: {step.action.verb}",
            data={
                "step": step.number, "subject": step.subject, "plan": ctx.params["digest"],
                "action": step.action.model_dump(mode="json"), "before": dict(step.observed),
            },
        )  # fmt: skip


def _plan(ctx: StepContext) -> Plan:
    return Plan.model_validate(ctx.params["plan"])


def _stopped(plan: Plan, applied: int, why: str, code: str) -> Failed:
    left = len(plan.steps) - applied
    return Failed(f"{why} {applied} steps were done, {left} were not.", next=NEXT, code=code)

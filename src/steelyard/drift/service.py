"""Use cases of drift: one report over all systems, a plan to mend it, and applying that plan. For administrators."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from steelyard.attention.model import Finding
from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.drift.acting import Acting
from steelyard.drift.comparing import Seen, compare, must_ask
from steelyard.drift.model import Drift, order
from steelyard.drift.plan import MOST, Plan, PlanStep, check, fingerprint, seal
from steelyard.errors import Refused
from steelyard.isolation.checking import COMPARE, FleetCheck
from steelyard.isolation.policy import Trouble
from steelyard.isolation.reading import named_roles, role_networks
from steelyard.lifecycle.leaking import LeakService
from steelyard.nouns import Actor
from steelyard.operations.model import Operation, Operations
from steelyard.operations.reconciling import Report
from steelyard.settings import Settings
from steelyard.store import Store

APPLY: Final = "drift.apply"
SOURCE: Final = "drift.compare"
AGAIN: Final = 3.0
"""Seconds between two looks: what is gone by then, or has become another thing, was only changing."""
OF_ISOLATION: Final = frozenset(trouble.value for trouble in Trouble)
"""Kinds that the reconciler isolation.compare keeps findings of."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a look over all systems found."""

    drifts: Sequence[Drift]
    """The worst first, then the oldest."""
    compared: Mapping[str, int]
    """How many things of each kind were compared."""
    unverified: int
    """NICs of which the switch could not be read."""
    unread: Mapping[str, str]
    """Why, of each such switch."""
    at: datetime


class DriftService:
    """Compares all systems, and mends what they do not agree on."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        operations: Operations,
        settings: Settings,
        observer: Observer,
        leaks: LeakService,
        fleet_check: FleetCheck,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clouds = clouds
        self._operations = operations
        self._roles = named_roles(settings)
        self._observer = observer
        self._leaks = leaks
        self._fleet_check = fleet_check
        self._sleep = sleep
        self._clock = clock
        self.store = store
        self.settings = settings
        self.acting = Acting(clouds=clouds, store=store, mending=fleet_check.mending)

    def report(self) -> DriftReport:
        """Look at all systems, twice where the first look finds something; changes nothing.

        Raises what the services raise: without all of them there is no comparison. A switch that cannot be read is
        said to be so.
        """
        first = self._look()
        if not first.drifts:
            return first
        self._sleep(AGAIN)
        second = self._look()
        known = {each.key: each.action for each in first.drifts}
        lasting = [each for each in second.drifts if each.key in known and known[each.key] == each.action]
        since = self._since()
        aged = [replace(each, since=since.get(_finding_key(each), second.at)) for each in lasting]
        return replace(second, drifts=sorted(aged, key=order))

    def plan(self, actor: Actor, *, kinds: Collection[str] = (), subjects: Collection[str] = ()) -> Plan:
        """What would mend it all, or only drift of these kinds or of these subjects (as the report names them)."""
        steps: list[PlanStep] = []
        left_out = 0
        for each in self.report().drifts:
            if (kinds and each.kind not in kinds) or (subjects and each.subject not in subjects):
                continue
            if each.action is None or len(steps) >= MOST:
                left_out += 1
                continue
            observed = self.acting.observe(each.action)
            steps.append(
                PlanStep(
                    number=len(steps) + 1, kind=each.kind, subject=each.subject, name=each.name[:255],
                    severity=each.severity, reason=each.reason[:2000], action=each.action, observed=dict(observed),
                    fingerprint=fingerprint(observed),
                )
            )  # fmt: skip
        return seal(made_at=self._clock().isoformat(), made_by=actor.user_name, steps=steps, left_out=left_out)

    def apply(
        self, actor: Actor, plan: Plan, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Start the operation that does exactly what the plan says.

        Raises `Invalid` for a plan that was changed since it was made, and `Refused` (`plan_outdated`) for one of
        which any step is no longer what drift itself would do: then nothing is changed at all.
        """
        check(plan)
        if key is None or not self._operations.by_key(actor, APPLY, key):
            outdated = self._outdated(plan)
            if outdated:
                raise Refused(
                    f"The world has changed since the plan was made; nothing was done. {outdated[0]}"
                    + (f" So are {len(outdated) - 1} more steps." if len(outdated) > 1 else ""),
                    code="plan_outdated", next="steelyard drift plan -o FILE",
                )  # fmt: skip
        params = {"plan": plan.model_dump(mode="json"), "digest": plan.digest}
        return self._operations.start(
            APPLY, params, actor, reason=reason, key=key, subject="drift:plan", request_id=request_id
        )

    def reconcile(self) -> Report:
        """One run of `drift.compare`: findings of all drift but isolation's, which has its own."""
        report = self.report()
        told = [each for each in report.drifts if each.kind not in OF_ISOLATION]
        self.store.findings.replace(SOURCE, [_finding(each) for each in told])
        counted = sum(report.compared.values())
        return Report(counted, 0, f"{len(report.drifts)} found" if report.drifts else "")

    def changed(self, step: PlanStep) -> str | None:
        """Why the world of a step is not the one that the plan saw; None where it is."""
        if fingerprint(self.acting.observe(step.action)) == step.fingerprint:
            return None
        return f"Step {step.number} ({step.kind} {step.name}) is outdated: what it would change is another thing now."

    def _outdated(self, plan: Plan) -> list[str]:
        found = {each.key: each.action for each in self.report().drifts}
        outdated = []
        for step in plan.steps:
            if found.get((step.kind, step.subject)) != step.action:
                outdated.append(
                    f"Step {step.number} ({step.kind} {step.name}) is outdated: there is no such drift any more."
                )
            elif (why := self.changed(step)) is not None:
                outdated.append(why)
        return outdated

    def _look(self) -> DriftReport:
        leaks, compared = self._leaks.look()
        checked = self._fleet_check.look()
        placement = self._clouds.own.placement
        fleet = checked.fleet
        networks = list(fleet.seen.networks.values())
        classes = sorted({node.resource_class for node in fleet.nodes if node.resource_class})
        free = {node_id for name in classes for node_id in placement.free(name)}
        seen = Seen(
            fleet=fleet,
            attachments=checked.attachments,
            leaks=leaks,
            operators=role_networks(networks, self._roles),
            segments=frozenset(network.id for network in self._fleet_check.segments.pool(networks)),
            switches=checked.switches,
            traits=placement.traits(),
            classes=placement.classes(must_ask(fleet.nodes, free)),
            now=self._clock(),
            leftovers=self._clouds.own.fabric.leftovers(),
        )
        return DriftReport(
            drifts=compare(seen),
            compared={**compared, "switches": len(checked.switches), "switch ports": checked.totals["attachments"]},
            unverified=checked.totals["unverified"],
            unread=checked.unread,
            at=seen.now,
        )

    def _since(self) -> dict[tuple[str, str], datetime]:
        """Since when findings are open, by kind and subject."""
        return {
            (each.finding.kind, each.finding.subject): each.since
            for each in self.store.findings.all()
            if each.source in (SOURCE, COMPARE)
        }


def _finding_key(drift: Drift) -> tuple[str, str]:
    if drift.kind in OF_ISOLATION:
        return f"isolation.{drift.kind}", f"node:{drift.evidence['ironic']['node']}"
    return f"drift.{drift.kind}", drift.subject


def _finding(drift: Drift) -> Finding:
    kind, subject = _finding_key(drift)
    return Finding(kind, subject, drift.name, drift.severity, drift.reason, drift.next, drift.evidence)

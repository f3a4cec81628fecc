"""The reconciler `lifecycle.guard`: notices what happens to nodes, and keeps the two rules of docs/clean-proof.md.

Runbook: look at all nodes by one list; notice what changed since the last look (`noticing`); judge every node
(`guard`); put what is in the offer without proof into quarantine, after one more look at it; have Ironic protect
deployed nodes in maintenance, and end that; tell what was found. A node that cannot be changed now, because Ironic has
locked it, is found as such, and is tried again a period later. Nothing here needs Nova: while it does not answer, the
guard goes on without what only Nova knows.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from steelyard.attention.model import Finding, Severity
from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.lifecycle.guard import NOT_PROVEN, Case, Decision, FoundAvailable, decide, is_ours
from steelyard.lifecycle.model import quarantine
from steelyard.lifecycle.noticing import OURS, Noticed, Noticing
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.lifecycle.records import Verdict, proven_clean, stay_of
from steelyard.lifecycle.service import LifecycleService
from steelyard.lifecycle.sighting import Sighting
from steelyard.lifecycle.watching import Watch
from steelyard.nouns import Actor, Instance, Node
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.settings import Settings
from steelyard.store import Store

NAME: Final = "lifecycle.guard"
PERIOD: Final = 20.0
"""Seconds. Nova, as it comes, takes up to a minute before it offers a node that has become available."""

NOT_ASKED: Final = Verdict(proven=False, reason="it is not available")

CleanAgain = Callable[[Node, str], object]
"""Starts the release from quarantine (`nodes.release`) of a node; the text is the key by which it is started once."""


STEELYARD: Final = Actor("steelyard", OURS, None, None, frozenset({"admin"}), system=True)
"""Who has a node cleaned again of which nobody asked that."""


def reconcilers(service: LifecycleService, observer: Observer, settings: Settings) -> tuple[Reconciler, ...]:
    """What keeps the rules of this room, and its timelines."""

    def clean_again(node: Node, key: str) -> None:
        service.nodes.release(STEELYARD, node.id, reason="nothing proved that it was clean", key=key)

    guard = Guard(
        service.clouds, service.store, observer, policy=FoundAvailable(settings.found_available),
        clean_again=clean_again if settings.clean_again else None,
    )  # fmt: skip
    watch = Watch(service.clouds, service.store, observer)
    return (guard.reconciler(period=settings.guard_seconds), watch.reconciler(period=settings.guard_seconds))


class Guard:
    """Runs over all nodes; see the module."""

    def __init__(
        self, clouds: Clouds, store: Store, observer: Observer, *,
        policy: FoundAvailable = FoundAvailable.FINDING, clean_again: CleanAgain | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:  # fmt: skip
        """`clean_again`: what also releases the nodes that were taken away; None leaves that to an administrator."""
        self._clouds = clouds
        self._store = store
        self._observer = observer
        self._policy = policy
        self._clean_again = clean_again
        self._noticing = Noticing(clouds, store, clock=clock)
        self._quarantine = Quarantine(clouds, store)
        self._protection = Protection(clouds)

    def reconciler(self, *, period: float = PERIOD) -> Reconciler:
        about = "Notices what happens to nodes, and takes those out of the offer that are not proven clean."
        return Reconciler(NAME, about, self.run, period=period)

    def run(self) -> Report:
        """One look at everything. Raises what `Nodes.all` and the database raise."""
        nodes = self._observer.nodes()
        instances = self._instances()
        noticed = self._noticing.look(nodes, instances)
        findings: list[Finding] = [_removed(node_id, seen) for node_id, seen in sorted(noticed.lost.items())]
        done: Counter[str] = Counter()
        for case in self._cases(nodes, instances, noticed):
            decision = decide(case, self._policy)
            findings += decision.findings
            if (trouble := self._act(case, decision, done)) is not None:
                findings.append(_not_taken_away(case.node, trouble))
        self._store.findings.replace(NAME, findings)
        told = [f"{number} {what}" for what, number in done.items()]
        told += [] if instances is not None else ["Nova did not answer"]
        return Report(
            seen=len(nodes), changed=noticed.changed + done.total(), detail=", ".join(told),
            data={"noticed": noticed.changed, "findings": len(findings), **done},
        )  # fmt: skip

    def _instances(self) -> dict[str, Instance] | None:
        try:
            return {instance.id: instance for instance in self._observer.instances()}
        except SteelyardError:
            return None

    def _cases(
        self, nodes: Iterable[Node], instances: Mapping[str, Instance] | None, noticed: Noticed
    ) -> Iterable[Case]:
        cleans = self._store.tenancies.newest_cleans()
        tenancies = self._store.tenancies.last()
        for node in nodes:
            tenancy = tenancies.get(node.id)
            at_stake = node.provision_state == "available"
            busy, paused = _busy(node, noticed)
            yield Case(
                node, proven_clean(node, cleans.get(node.id), tenancy) if at_stake else NOT_ASKED, noticed.now,
                nova=instances is not None,
                instance=(instances or {}).get(node.instance_id or ""), busy=busy, paused=paused, tenancy=tenancy,
            )  # fmt: skip

    def _act(self, case: Case, decision: Decision, done: Counter[str]) -> SteelyardError | None:
        """Do what was decided. Returns why a node that must leave the offer could not be taken out of it."""
        node = case.node
        if decision.protect is not None:
            with suppress(SteelyardError):  # locked, or gone: it is looked at again a period later
                self._protect(case, on=decision.protect)
                done["protected" if decision.protect else "no more protected"] += 1
        if decision.quarantine is not None:
            try:
                if self._take_away(node, decision.quarantine):
                    done["taken out of the offer"] += 1
            except NotFound:
                return None
            except SteelyardError as error:
                return error
        elif self._clean_again is not None and case.busy is None:
            self._again(node)
        return None

    def _take_away(self, node: Node, reason: str) -> bool:
        """Into quarantine, unless it has moved on since the list was made: then the next look judges it."""
        fresh = self._clouds.own.nodes.get(node.id)
        if (fresh.provision_state, stay_of(fresh), fresh.instance_id) != (
            node.provision_state, stay_of(node), node.instance_id
        ):  # fmt: skip
            return False
        if quarantine(node) is not None and quarantine(fresh) is None:
            return False  # its release came to its end meanwhile
        self._noticing.know(self._quarantine.put(fresh, reason, by=OURS))
        return True

    def _protect(self, case: Case, *, on: bool) -> None:
        node = case.node
        if on:
            self._protection.put(node)
        else:
            self._protection.lift(node)
        after = self._clouds.own.nodes.get(node.id)
        if is_ours(after) == is_ours(node):
            return  # somebody else's, or already so
        detail = after.protected_reason or "" if on else "no more protected: nothing but the maintenance asked for it"
        self._store.events.append(f"node:{node.id}", "node.protected", actor=OURS, detail=detail)
        self._noticing.know(after)
        if not on and case.instance is not None:
            self._finish_deletion(case.instance)

    def _finish_deletion(self, instance: Instance) -> None:
        """Nova gave up deleting the server because Ironic protected its node: what the tenant asked for is done now."""
        if instance.status != "ERROR" or instance.task_state is not None:
            return
        actions = self._clouds.own.compute.history(instance.id)
        if actions and actions[-1].kind == "delete":
            self._clouds.own.compute.delete(instance.id)
            self._store.events.append(
                f"server:{instance.id}", "server.deletion_asked_again", actor=OURS, project_id=instance.project_id,
                detail="the deletion that had failed was asked for again",
            )  # fmt: skip

    def _again(self, node: Node) -> None:
        """Release what was taken away, once for each time that it was put into quarantine."""
        reason = quarantine(node)
        if self._clean_again is None or reason is None or not reason.startswith(NOT_PROVEN):
            return
        with suppress(SteelyardError):  # it stays in quarantine, where a finding tells of it
            self._clean_again(node, f"clean again {node.id} {node.notes['quarantine'].get('since')}")


def _busy(node: Node, noticed: Noticed) -> tuple[str | None, bool]:
    """The operation that works on it at this moment, and whether it is paused; Ironic, where it has still to say what
    it did."""
    subjects = [f"node:{node.id}", f"candidate:{node.notes.get('candidate_id')}", f"server:{node.instance_id}"]
    found = (noticed.working.get(subject) for subject in subjects)
    work = next((work for work in found if work is not None and not work.ended), None)
    if work is not None:
        return work.operation_id, work.paused
    return ("ironic" if node.id in noticed.undecided else None), False


def _removed(node_id: str, seen: Sighting) -> Finding:
    return Finding(
        "lifecycle.removed_while_deployed", f"node:{node_id}", seen["name"] or node_id, Severity.CRITICAL,
        "It was removed from the bare metal service with another client while a tenant had it; its disks and its NICs "
        "are as they were, and Nova still has the server.",
        f"steelyard server show {seen['instance']}", {"last_seen": dict(seen)},
    )  # fmt: skip


def _not_taken_away(node: Node, error: SteelyardError) -> Finding:
    return Finding(
        "lifecycle.not_taken_away", f"node:{node.id}", node.label, Severity.CRITICAL,
        f"It must leave the offer, and cannot be changed at the moment: {error.detail}",
        f"steelyard node show {shlex.quote(node.label)}", {"state": node.provision_state},
    )  # fmt: skip

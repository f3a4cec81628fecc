"""The reconciler `isolation.refused`: nodes whose networks could not be verified go into quarantine, and stay found.

Runbook: `steelyard attention` names the node and who disagreed; `steelyard isolation show NODE` says what is so now.
The finding is there from the moment of the refusal, and while it waits for the mark the node gets on no network: what
Ironic does with it as Nova gives it back ends in `clean failed`. As soon as Ironic lets go of the node it gets
Steelyard's mark, and its maintenance. When the cause is mended: `steelyard node release NODE`, which cleans it first;
that closes the finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from steelyard.attention.model import Finding
from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.isolation.refusal import REFUSED, is_marked
from steelyard.lifecycle.model import quarantine
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store

ACTOR: Final = "steelyard"
AT_A_TIME: Final = 8
"""Nodes that are marked at a time: each may wait for Ironic's lock."""


class Refusals:
    """One run looks at the open findings; without any, nobody is asked."""

    def __init__(self, clouds: Clouds, store: Store, observer: Observer) -> None:
        self._clouds = clouds
        self._store = store
        self._observer = observer
        self._quarantine = Quarantine(clouds, store)

    def reconciler(self, *, period: float) -> Reconciler:
        about = "Nodes whose networks could not be verified go into quarantine."
        return Reconciler(REFUSED, about, self.run, period=period)

    def run(self) -> Report:
        """Raises what the database raises. A node that is locked is left for the next run."""
        findings = [each.finding for each in self._store.findings.by(REFUSED)]
        if not findings:
            return Report(0, 0)
        with ThreadPoolExecutor(max_workers=min(AT_A_TIME, len(findings)), thread_name_prefix="refused") as pool:
            outcomes = list(pool.map(self._one, findings))
        if changed := outcomes.count(True):
            self._observer.forget()
        return Report(len(findings), changed, _words(outcomes))

    def _one(self, finding: Finding) -> bool | None:
        """Whether anything was done; None: not yet, as somebody has the node in hand."""
        try:
            node = self._clouds.own.nodes.get(finding.subject.partition(":")[2])
        except NotFound:
            self._store.findings.close(REFUSED, finding)
            return True
        except SteelyardError:
            return None
        done = is_marked(finding)
        if done and quarantine(node) is None:
            self._store.findings.close(REFUSED, finding)
            return True
        try:
            if not done:
                self._mark(node, finding)
        except SteelyardError:
            return None
        return not done

    def _mark(self, node: Node, finding: Finding) -> None:
        wrong = "; ".join(map(str, finding.evidence.get("wrong") or [finding.reason]))
        self._quarantine.put(node, f"its networks could not be verified: {wrong}", by=ACTOR)


def _words(outcomes: Sequence[bool | None]) -> str:
    said = []
    if number := outcomes.count(True):
        said.append(f"{number} into quarantine, or out of it")
    if waiting := outcomes.count(None):
        said.append(f"{waiting} not yet")
    return ", ".join(said)

"""Use cases of the leak check: look for what was left behind, and forget secrets that nothing refers to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.lifecycle.leaks import Leak, Seen, leaks, unexplained
from steelyard.nouns import Actor, Node
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store

AGAIN: Final = 3.0
"""Seconds between two looks: what is gone by then was only going away."""
OLD: Final = timedelta(minutes=10)
"""A younger secret may be named in a moment by whoever has just made it."""


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What a check found, and how much it compared."""

    leaks: list[Leak]
    compared: dict[str, int]
    """How many things of each kind were looked at."""
    at: datetime


class LeakService:
    """The leak check. For administrators."""

    def __init__(
        self, *, clouds: Clouds, store: Store, observer: Observer | None = None,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
    ) -> None:  # fmt: skip
        self._clouds = clouds
        self._store = store
        self._observer = observer or Observer(clouds)
        self._sleep = sleep

    def check(self, *, thorough: bool = False) -> LeakReport:
        """Compare all services; what is found must be found twice, a few seconds apart.

        Placement is asked about the nodes whose use nothing else explains, or, `thorough`, about every one that it
        does not offer: a call each. Changes nothing. Raises what the services raise: without all of them there is no
        comparison.
        """
        first, _ = self.look(thorough=thorough)
        if first:
            self._sleep(AGAIN)
        second, compared = self.look(thorough=thorough)
        known = {leak.key for leak in first}
        return LeakReport([leak for leak in second if leak.key in known], compared, datetime.now(UTC))

    def forget_secrets(self, actor: Actor, *, request_id: str | None = None) -> int:
        """Delete the secrets that nothing refers to; returns how many. Recorded."""
        return self._forget(actor.user_name, request_id)

    def reconcile(self) -> Report:
        """The same by itself: a kill between a secret and what was to name it leaves one behind."""
        forgotten = self._forget("steelyard", None)
        return Report(forgotten, forgotten, f"{forgotten} forgotten" if forgotten else "")

    def _forget(self, by: str, request_id: str | None) -> int:
        with self._store.unit_of_work():
            unnamed = self._store.leftovers.secrets(before=datetime.now(UTC) - OLD)
            for secret in unnamed:
                self._store.secrets.delete(secret.id)
            if unnamed:
                what = ", ".join(sorted({secret.what for secret in unnamed}))
                self._store.events.append(
                    "store:secrets", "secrets.forgotten", actor=by, request_id=request_id,
                    detail=f"{len(unnamed)} secrets that nothing referred to were deleted: {what}",
                )  # fmt: skip
        return len(unnamed)

    def look(self, *, thorough: bool = False) -> tuple[list[Leak], dict[str, int]]:
        """One look, by lists that are asked for now; drift uses the same ones (`Observer`) a moment later.

        The order matters: what is made last is looked at last, so that its owner is known already. What is going away
        at this moment is in it: see `check`.
        """
        own = self._clouds.own
        self._observer.forget()
        ports = self._observer.attachments()
        nodes = self._observer.nodes()
        nics, bonds = self._observer.node_ports(), self._observer.bonds()
        instances = self._observer.instances()
        asked = None if thorough else unexplained(nodes, instances, self._free(nodes))
        seen = Seen(
            nodes=nodes, nics=nics, instances=instances, ports=ports, allocations=own.placement.allocations(asked),
            secrets=self._store.leftovers.secrets(before=datetime.now(UTC) - OLD), bonds=bonds,
        )  # fmt: skip
        compared = {
            "nodes": len(nodes), "nics": len(nics), "servers": len(instances), "ports": len(ports),
            "nodes asked of Placement": len(seen.allocations) if asked is None else len(asked),
        }  # fmt: skip
        return leaks(seen), compared

    def _free(self, nodes: Sequence[Node]) -> set[str]:
        classes = sorted({node.resource_class for node in nodes if node.resource_class})
        return {node_id for name in classes for node_id in self._clouds.own.placement.free(name)}


def reconcilers(service: LeakService) -> tuple[Reconciler, ...]:
    """Nothing that is secret is kept for nobody."""
    about = "Forgets secrets that nothing refers to: what a kill left behind."
    return (Reconciler("lifecycle.secrets", about, service.reconcile, period=600.0),)

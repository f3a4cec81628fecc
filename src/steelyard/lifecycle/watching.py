"""The reconciler `lifecycle.instances`: what happens to tenants' servers, also by other clients, on their timelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import SteelyardError
from steelyard.lifecycle.noticing import OURS, OUTSIDE, SLACK
from steelyard.lifecycle.sighting import Change, Sighting, server_changes, server_seen
from steelyard.nouns import Instance
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store
from steelyard.store.sightings import AtWork

NAME: Final = "lifecycle.instances"
PERIOD: Final = 20.0
"""Seconds."""
LAST_RUN: Final = "run:servers"
ASKED: Final = 20
"""Of how many servers Nova is asked in one run who did it; the others' lines do not say."""


class Watch:
    """Compares the servers with the last look at them."""

    def __init__(
        self, clouds: Clouds, store: Store, observer: Observer, *, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._clouds = clouds
        self._store = store
        self._observer = observer
        self._clock = clock or (lambda: datetime.now(UTC))

    def reconciler(self, *, period: float = PERIOD) -> Reconciler:
        return Reconciler(NAME, "Notices what happens to tenants' servers.", self.run, period=period)

    def run(self) -> Report:
        """One look at everything. Raises what `Compute.all` and the database raise."""
        instances = self._observer.instances()
        now = self._clock()
        last = self._store.sightings.of(LAST_RUN).get(LAST_RUN)
        before = datetime.fromisoformat(last["at"]) if last else None
        working = self._store.sightings.at_work(since=(before or now) - SLACK)
        known = self._store.sightings.of("server:")
        seen: dict[str, Sighting] = {}
        lines: list[tuple[str, str, Change, Mapping[str, Any]]] = []
        asked = 0
        for instance in instances:
            subject = f"server:{instance.id}"
            was, is_now = known.pop(subject, None), server_seen(instance)
            if was == is_now:
                continue
            seen[subject] = is_now
            changes = [] if last is None else [_created(instance)] if was is None else server_changes(was, is_now)
            if not changes:
                continue
            who: Mapping[str, Any] = {}
            if was is None:
                who = {"user_id": instance.user_id}
            elif subject not in working and asked < ASKED:
                who, asked = self._who(instance.id), asked + 1
            lines += [(subject, instance.project_id, change, who) for change in changes]
        for subject, was in known.items():
            who = {}
            if subject not in working and asked < ASKED:
                who, asked = self._who(subject.partition(":")[2]), asked + 1
            lines.append((subject, was["project"], Change("server.gone", f"server {was['name']} was deleted"), who))
        with self._store.unit_of_work():
            self._store.sightings.keep({**seen, LAST_RUN: {"at": now.isoformat()}}, gone=known)
            for subject, project_id, change, who in lines:
                self._append(subject, project_id, change, who, working.get(subject))
        return Report(seen=len(instances), changed=len(seen) + len(known))

    def _append(
        self, subject: str, project_id: str, change: Change, who: Mapping[str, Any], cause: AtWork | None
    ) -> None:
        self._store.events.append(
            subject, change.kind, actor=(cause.actor or OURS) if cause else OUTSIDE, detail=change.detail,
            data={**change.data, **({} if cause else who)}, project_id=project_id,
            operation_id=cause.operation_id if cause else None,
            request_id=None if cause else who.get("request_id"),
        )  # fmt: skip

    def _who(self, instance_id: str) -> Mapping[str, Any]:
        """What Nova remembers of the last thing that somebody did to the server; nothing if it does not say."""
        try:
            actions = self._clouds.own.compute.history(instance_id)
        except SteelyardError:
            return {}
        if not actions:
            return {}
        newest = actions[-1]
        return {"action": newest.kind, "user_id": newest.user_id, "request_id": newest.request_id}


def _created(instance: Instance) -> Change:
    return Change("server.appeared", f"server {instance.name} was created")

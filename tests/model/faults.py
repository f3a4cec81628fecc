"""Faults at the border of the server: every port, and its database."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from steelyard.clouds.fake import FakeCloud, FakeClouds, FakeWorld
from steelyard.errors import Conflict, Unavailable, UpstreamError
from steelyard.store.database import Database

from .clockwork import Killed, Tasks


class Fault(StrEnum):
    """What may happen to one call."""

    UNAVAILABLE = "no answer, nothing done"
    ANSWER_LOST = "no answer, but it was done"
    CONFLICT = "refused as a conflict"
    UPSTREAM = "the service fails within"
    STALE = "an answer as of a while ago"
    PARTIAL = "a list that lacks an entry"
    SLOW_BEFORE = "slow: the world goes on before it is done"
    SLOW_AFTER = "slow: the world goes on before the answer comes"
    KILLED_BEFORE = "the server is killed before it is done"
    KILLED_AFTER = "the server is killed after it was done"


READ_FAULTS = (Fault.UNAVAILABLE, Fault.UPSTREAM, Fault.SLOW_AFTER, Fault.KILLED_BEFORE)
LIST_FAULTS = (*READ_FAULTS, Fault.STALE, Fault.PARTIAL)
WRITE_FAULTS = (
    Fault.UNAVAILABLE, Fault.ANSWER_LOST, Fault.CONFLICT, Fault.UPSTREAM, Fault.SLOW_BEFORE, Fault.SLOW_AFTER,
    Fault.KILLED_BEFORE, Fault.KILLED_AFTER,
)  # fmt: skip
STORE_FAULTS = (Fault.UNAVAILABLE, Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
LISTS = frozenset({"all", "bound", "subnets", "free", "allocations", "leftovers"})
READS = LISTS | {
    "get", "inspection", "history", "validate", "project_names", "facts", "classes", "drivers", "traits",
}  # fmt: skip
LOCAL = frozenset({"enforced_on_nics", "on_switch"})
"""Methods by which an adapter asks nobody: nothing can go wrong in them."""


@dataclass(frozen=True)
class Planned:
    """A fault that waits for its call."""

    what: str
    """`list`, `read`, `write` or `store`."""
    fault: Fault
    skip: int
    """How many calls of this sort are let through before."""
    number: int


@dataclass(frozen=True)
class OwnCall:
    """A writing call of Steelyard's."""

    call: str
    arguments: tuple[Any, ...]
    operation_id: str | None
    """Of the operation that made it; None for a request or a reconciler."""
    at: datetime


class Faults:
    """What is planned, and what has struck."""

    def __init__(self, world: FakeWorld, tell: Callable[[str], None]) -> None:
        self.world = world
        self._tell = tell
        self._planned: list[Planned] = []
        self._numbers = 0
        self.struck = 0
        self.own_calls: list[OwnCall] = []
        """Every writing call of Steelyard's that reached the cloud."""
        self.misled = 0
        """How many lists were stale or lacked an entry."""
        self._old: dict[tuple[str, str], deque[list[Any]]] = {}
        """Lists by whose eyes saw them, and by the call: tenants are not shown everything."""

    def plan(self, what: str, fault: Fault, skip: int) -> None:
        self._numbers += 1
        self._planned.append(Planned(what, fault, skip, self._numbers))

    def calm(self) -> None:
        self._planned.clear()

    def strike(self, what: str, call: str) -> Fault | None:
        """The fault for this call, if one waits for it."""
        for index, planned in enumerate(self._planned):
            if planned.what != what:
                continue
            if planned.skip:
                self._planned[index] = Planned(what, planned.fault, planned.skip - 1, planned.number)
                continue
            del self._planned[index]
            self.struck += 1
            self._tell(f"  fault: {call}: {planned.fault}")
            return planned.fault
        return None

    def remember(self, call: tuple[str, str], answer: Any) -> None:
        if isinstance(answer, list):
            self._old.setdefault(call, deque(maxlen=6)).append(list(answer))

    def mislead(self, fault: Fault, call: tuple[str, str], answer: Any) -> Any:
        if not isinstance(answer, list | frozenset):
            return answer
        self.misled += 1
        if fault is Fault.STALE:
            old = self._old.get(call)
            return list(old[0]) if old and isinstance(answer, list) else answer
        if isinstance(answer, list):
            return [entry for place, entry in enumerate(answer) if place != self._numbers % max(len(answer), 1)]
        return answer


class Process:
    """One run of the server, from its start to the kill."""

    def __init__(self, faults: Faults, tasks: Tasks) -> None:
        self.faults = faults
        self.tasks = tasks
        self.alive = True
        self.in_transaction: Callable[[], bool] = lambda: False
        self.ports: dict[str, FaultyPort] = {}
        """With Steelyard's own rights."""

    def die(self) -> None:
        self.alive = False
        raise Killed

    def check(self) -> None:
        if not self.alive:
            raise Killed

    def linger(self, seconds: float) -> None:
        """A slow call: whoever else is ready may go on meanwhile."""
        if self.tasks.current() is not None and not self.in_transaction():
            self.tasks.pause(seconds)
            self.check()


class FaultyPort:
    """A port as this process sees it, with the rights of whoever has the token; empty: with its own."""

    def __init__(self, port: Any, name: str, process: Process, token: str = "") -> None:
        self._port = port
        self._name = name
        self._process = process
        self._token = token

    def __getattr__(self, method: str) -> Any:
        target = getattr(self._port, method)
        if not callable(target) or method.startswith("_") or method in LOCAL:
            return target
        call = f"{self._name}.{method}"
        what = "list" if method in LISTS else "read" if method in READS else "write"

        def through(*args: Any, **kwargs: Any) -> Any:
            return _through(self._process, what, (self._token, call), target, args, kwargs)

        return through


def _through(
    process: Process, what: str, key: tuple[str, str], target: Callable[..., Any], args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    process.check()
    faults = process.faults
    call = key[1]
    fault = faults.strike(what, call)
    match fault:
        case Fault.KILLED_BEFORE:
            process.die()
        case Fault.UNAVAILABLE:
            raise Unavailable(f"{call}: no answer")
        case Fault.UPSTREAM:
            raise UpstreamError(f"{call}: the service failed within (HTTP 500)")
        case Fault.CONFLICT:
            raise Conflict(f"{call}: locked by another request, try again")
        case Fault.SLOW_BEFORE:
            process.linger(2.0)
    if what == "write":
        task = process.tasks.current()
        process.faults.own_calls.append(OwnCall(call, args, task.operation_id if task else None, faults.world.now))
    truth = faults.world.truth
    truth.through_steelyard = True
    try:
        answer = target(*args, **kwargs)
    finally:
        truth.through_steelyard = False
    match fault:
        case Fault.KILLED_AFTER:
            process.die()
        case Fault.ANSWER_LOST:
            raise Unavailable(f"{call}: the answer was lost")
        case Fault.SLOW_AFTER:
            process.linger(2.0)
        case Fault.STALE | Fault.PARTIAL:
            return faults.mislead(fault, key, answer)
    if what == "list":
        faults.remember(key, answer)
    return answer


PORTS = (
    "images", "flavors", "compute", "interfaces", "nodes", "provisioning", "node_ports", "bonds", "placement",
    "networks", "attachments", "sub_interfaces", "security_groups", "fabric", "addresses",
)  # fmt: skip


class FaultyCloud:
    def __init__(self, cloud: FakeCloud, process: Process, token: str = "") -> None:
        for name in PORTS:
            port = FaultyPort(getattr(cloud, name), name, process, token)
            setattr(self, name, port)
            process.ports.setdefault(name, port)


class FaultyClouds:
    """The cloud as one process of the server sees it."""

    def __init__(self, clouds: FakeClouds, process: Process) -> None:
        self._clouds = clouds
        self._process = process
        self.identity = FaultyPort(clouds.identity, "identity", process)
        self.own = FaultyCloud(clouds.own, process)

    def on_behalf_of(self, token: str) -> FaultyCloud:
        return FaultyCloud(self._clouds.on_behalf_of(token), self._process, token)


class FaultyDatabase(Database):
    """The database as one process of the server sees it."""

    process: Process

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        outermost = self._current.get() is None
        fault = None
        if outermost:
            self.process.check()
            fault = self.process.faults.strike("store", "the database")
            if fault is Fault.UNAVAILABLE:
                raise Unavailable("Steelyard's database cannot be used at the moment.", code="database_unavailable")
        with super().write() as connection:
            yield connection
            if fault is Fault.KILLED_BEFORE:
                self.process.die()
        if fault is Fault.KILLED_AFTER:
            self.process.die()

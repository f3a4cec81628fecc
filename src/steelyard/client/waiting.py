"""Waiting until things are as one wants them, whoever brings that about: `server wait`, `node wait`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TextIO

from steelyard.client.errors import ApiError, OperationFailed, WaitTimeout
from steelyard.client.progress import FIRST_POLL, LATER, LATER_POLL, Patience
from steelyard.client.rest import Client
from steelyard.client.text import safe


class Verdict(Enum):
    """What one look at a thing tells."""

    REACHED = "reached"
    NOT_YET = "not yet"
    FAILED = "failed"
    """It will not get there by itself."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look: what is to be said of it, and what to do where it failed."""

    verdict: Verdict
    says: str
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Thing:
    """What is waited for: its name, where it is shown (under `key` of the answer), and how it is judged.

    `judge` gets the row, or None when there is no such thing.
    """

    name: str
    path: str
    key: str
    judge: Callable[[dict[str, Any] | None], Look]


def wait_until(
    client: Client,
    things: Sequence[Thing],
    *,
    timeout: float | None = None,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[dict[str, Any] | None]:
    """Ask until every thing is as wanted, and return them as they are then; each change is a line on standard error.

    Raises `OperationFailed` (exit code 1) for the first that will not get there, `WaitTimeout` (6) after `timeout`
    seconds, and `ApiError` (4) for one that does not exist, unless its judge says otherwise.
    """
    stream = stream or sys.stderr
    patience = Patience(client, sleep)
    begin = clock()
    said: dict[str, str] = {}
    rows: dict[str, dict[str, Any] | None] = {}
    while True:
        spent = clock() - begin
        looks = {}
        for thing in things:
            rows[thing.path], looks[thing.path] = _look(patience, thing)
            look = looks[thing.path]
            if said.get(thing.path) != look.says:
                said[thing.path] = look.says
                print(safe(f"{spent:5.1f} s  {thing.name}: {look.says}"), file=stream, flush=True)
            if look.verdict is Verdict.FAILED:
                raise OperationFailed(f"{thing.name} is {look.says}.", next=look.next)
        waiting = [thing for thing in things if looks[thing.path].verdict is Verdict.NOT_YET]
        if not waiting:
            return [rows[thing.path] for thing in things]
        if timeout is not None and spent >= timeout:
            first = waiting[0]
            raise WaitTimeout(
                f"{len(waiting)} of {len(things)} had not got there after {timeout:g} s; {first.name} is "
                f"{looks[first.path].says}.",
                next=looks[first.path].next,
            )
        sleep(FIRST_POLL if spent < LATER else LATER_POLL)


def _look(patience: Patience, thing: Thing) -> tuple[dict[str, Any] | None, Look]:
    try:
        row = dict(patience.get(thing.path)[thing.key])
    except ApiError as error:
        if error.status != 404:
            raise
        look = thing.judge(None)
        if look.verdict is not Verdict.REACHED:
            raise
        return None, look
    return row, thing.judge(row)

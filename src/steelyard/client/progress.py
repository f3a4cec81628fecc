"""Waiting for operations, and showing how far they are."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from steelyard.client.errors import EXIT_UNAVAILABLE, ClientError, OperationFailed, WaitTimeout
from steelyard.client.rest import Client, Json, Params
from steelyard.client.text import safe, width

ENDED = frozenset({"succeeded", "failed", "cancelled"})
FIRST_POLL = 0.5
LATER_POLL = 1.0
LATER = 30.0
PATIENCE = 120.0
"""Seconds for which a server (or Keystone) that does not answer is asked again."""

Operation = dict[str, Any]


def wait_operation(client: Client, operation_id: str, *, timeout: float | None = None) -> Operation:
    """Wait for one operation with progress on standard error, and return it.

    Raises `OperationFailed` if it did not succeed, `WaitTimeout` after `timeout` seconds (it goes on).
    """
    started = client.get(client.path("/v1/operations", operation_id))["operation"]
    ended = wait_for(client, [started], timeout=timeout)
    raise_if_failed(ended)
    return ended[0]


def wait_for(
    client: Client,
    operations: Sequence[Operation],
    *,
    timeout: float | None = None,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Operation]:
    """Wait until all have ended, whatever their end, and return them as they are then. Raises `WaitTimeout`."""
    known = {operation["id"]: operation for operation in operations}
    screen = _Screen(stream or sys.stderr, several=len(known) > 1)
    patience = Patience(client, sleep)
    begin = time.monotonic()
    try:
        while True:
            spent = time.monotonic() - begin
            for operation in known.values():
                screen.news(operation, spent)
            if all(operation["phase"] in ENDED for operation in known.values()):
                return list(known.values())
            if timeout is not None and spent >= timeout:
                waiting = [operation["id"] for operation in known.values() if operation["phase"] not in ENDED]
                raise WaitTimeout(
                    f"{len(waiting)} of {len(known)} operations had not ended after {timeout:g} s; they go on.",
                    next=f"steelyard operation wait {waiting[0]}",
                )
            screen.now([operation for operation in known.values() if operation["phase"] not in ENDED], spent)
            sleep(FIRST_POLL if spent < LATER else LATER_POLL)
            for operation in list(known.values()):
                if operation["phase"] not in ENDED:
                    path = client.path("/v1/operations", operation["id"])
                    known[operation["id"]] = dict(patience.get(path)["operation"])
    finally:
        screen.clear()


def raise_if_failed(operations: Sequence[Operation]) -> None:
    """Raises `OperationFailed` for the first that did not succeed, with its reason and next command."""
    failed = [operation for operation in operations if operation["phase"] != "succeeded"]
    if not failed:
        return
    first = failed[0]
    error = first.get("error") or {}
    reason = error.get("detail") or f"the operation was {first['phase']}"
    count = f"{len(failed)} of {len(operations)} operations did not succeed. First: " if len(operations) > 1 else ""
    step = f"{error['step']}: " if error.get("step") else ""
    raise OperationFailed(
        f"{count}{step}{reason}",
        next=error.get("next") or f"steelyard operation show {first['id']}",
        request_id=first.get("request_id"),
    )


def _label(operation: Operation) -> str:
    """What people call the thing that an operation is about, if its kind says so; else its subject or id."""
    params = operation.get("params") or {}
    named = next((params[key] for key in ("candidate", "node", "name") if isinstance(params.get(key), str)), None)
    return str(named or operation.get("subject") or operation["id"])


class Patience:
    """Asks, and bears with a server that is being restarted: what it works on outlives it."""

    def __init__(self, client: Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    def get(self, path: str, params: Params | None = None) -> Json:
        """The answer. Raises `ServerUnreachable` (or what it says) after `PATIENCE` seconds without one."""
        tries = 0
        while True:
            try:
                return self._client.get(path, params, patient=False)
            except ClientError as error:
                tries += 1
                if error.exit_code != EXIT_UNAVAILABLE or tries * LATER_POLL >= PATIENCE:
                    raise
                self._sleep(LATER_POLL)


class _Screen:
    """Lines for what has happened; on a terminal one more, rewritten, for what is happening.

    One operation: a line for each step that ends and, in a log, for each change of what it waits for. Several: a line
    whenever one goes on to its next step, and one for its end.
    """

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        self._stream = stream
        self._several = several
        self._live = stream.isatty()
        self._drawn = 0
        self._told: set[tuple[str, str]] = set()
        self._doing: dict[str, str] = {}
        self._running: dict[str, str] = {}

    def news(self, operation: Operation, spent: float) -> None:
        if operation["phase"] in ENDED:
            self._steps(operation)
            self._end(operation)
            return
        self._steps(operation)
        step = next((step["name"] for step in operation["steps"] if step["phase"] == "running"), None)
        if step is None:
            return
        if self._several:
            self._change(operation, step, f"{spent:5.1f} s  {_label(operation)}: {step}")
        elif not self._live:
            waiting = operation.get("waiting_for")
            if waiting or self._running.get(operation["id"]) == step:  # a step that is over at the next look is no news
                doing = f"{step}: {waiting}" if waiting else f"{step} ..."
                self._change(operation, doing, f"{spent:5.1f} s  {doing}")
            self._running[operation["id"]] = step

    def _change(self, operation: Operation, doing: str, line: str) -> None:
        """A line, unless what is being done is what was being done (a counter that counts is no news)."""
        plain = _DIGITS.sub("#", doing)
        if self._doing.get(operation["id"]) != plain:
            self._doing[operation["id"]] = plain
            self._print(line)

    def _steps(self, operation: Operation) -> None:
        for step in [] if self._several else operation["steps"]:
            if step["phase"] in ENDED:
                self._once(operation, step["name"], _ended(step["name"], step, step.get("error")))

    def _end(self, operation: Operation) -> None:
        error = operation.get("error") or {}
        if self._several:
            at = f" at '{error['step']}'" if error.get("step") else ""
            text = _ended(f"{_label(operation)}:", operation, error.get("detail"), at)
        else:
            text = _ended(operation["kind"], operation, None)
        self._once(operation, "", text)

    def _once(self, operation: Operation, what: str, text: str) -> None:
        if (operation["id"], what) not in self._told:
            self._told.add((operation["id"], what))
            self._print(text)

    def _print(self, text: str) -> None:
        self.clear()
        print(safe(text), file=self._stream, flush=True)

    def now(self, running: Sequence[Operation], spent: float) -> None:
        if not self._live or not running:
            return
        first = running[0]
        step = next((step["name"] for step in first["steps"] if step["phase"] == "running"), first["phase"])
        subject = f"{_label(first)}: " if self._several else ""
        waiting = f", waiting for: {first['waiting_for']}" if first.get("waiting_for") else ""
        more = f" (+{len(running) - 1} more)" if len(running) > 1 else ""
        text = safe(f"{spent:4.0f} s  {subject}{step}{waiting}")[: 110 - len(more)] + more
        self.clear()
        self._stream.write(text)
        self._stream.flush()
        self._drawn = width(text)

    def clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
            self._drawn = 0


_DIGITS = re.compile(r"\d+")


def _ended(what: str, ended: dict[str, Any], error: str | None, at: str = "") -> str:
    """`enroll done (0.8 s)`, `bm-001: failed at 'clean' (3.0 s): why`."""
    mark = "done" if ended["phase"] == "succeeded" else str(ended["phase"])
    time_taken = f" ({ended['seconds']:.1f} s)" if ended.get("seconds") is not None else ""
    return f"{what} {mark}{at}{time_taken}" + (f": {error}" if error else "")

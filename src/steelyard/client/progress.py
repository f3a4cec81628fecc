"""Waiting for operations, and showing how far they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from steelyard.client.errors import EXIT_UNAVAILABLE, ClientError, OperationFailed, WaitTimeout
from steelyard.client.rest import Client
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
    patience = _Patience(client, sleep)
    begin = time.monotonic()
    try:
        while True:
            for operation in known.values():
                screen.news(operation)
            if all(operation["phase"] in ENDED for operation in known.values()):
                return list(known.values())
            spent = time.monotonic() - begin
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
                    known[operation["id"]] = patience.get(operation["id"])
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


class _Patience:
    """Asks for operations, and bears with a server that is being restarted: the operations outlive it."""

    def __init__(self, client: Client, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._sleep = sleep

    def get(self, operation_id: str) -> Operation:
        tries = 0
        while True:
            try:
                answer = self._client.get(self._client.path("/v1/operations", operation_id))
                return dict(answer["operation"])
            except ClientError as error:
                tries += 1
                if error.exit_code != EXIT_UNAVAILABLE or tries * LATER_POLL >= PATIENCE:
                    raise
                self._sleep(LATER_POLL)


class _Screen:
    """Lines for what has happened; on a terminal one more, rewritten, for what is happening."""

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        self._stream = stream
        self._several = several
        self._live = stream.isatty()
        self._drawn = 0
        self._told: set[tuple[str, str]] = set()

    def news(self, operation: Operation) -> None:
        for step in operation["steps"]:
            if step["phase"] in ENDED:
                self._line(operation, step["name"], step["phase"], step["seconds"], step.get("error"))
            elif step["phase"] == "running" and not self._live:
                self._line(operation, f"{step['name']} ...", "", None, None)
        if operation["phase"] in ENDED:
            self._line(operation, operation["kind"], operation["phase"], operation["seconds"], None)

    def _line(self, operation: Operation, what: str, phase: str, seconds: float | None, error: str | None) -> None:
        if (operation["id"], what) in self._told:
            return
        self._told.add((operation["id"], what))
        self.clear()
        mark = {"succeeded": "done", "": ""}.get(phase, phase)
        subject = f"{_label(operation)}: " if self._several else ""
        time_taken = f" ({seconds:.1f} s)" if seconds is not None else ""
        because = f": {error}" if error else ""
        text = f"{subject}{what} {mark}".rstrip() + time_taken + because
        print(safe(text), file=self._stream, flush=True)

    def now(self, running: Sequence[Operation], spent: float) -> None:
        if not self._live or not running:
            return
        first = running[0]
        step = next((step["name"] for step in first["steps"] if step["phase"] == "running"), first["phase"])
        waiting = f", waiting for: {first['waiting_for']}" if first.get("waiting_for") else ""
        more = f" (+{len(running) - 1} more)" if len(running) > 1 else ""
        text = safe(f"{spent:4.0f} s  {step}{waiting}{more}")[:110]
        self.clear()
        self._stream.write(text)
        self._stream.flush()
        self._drawn = width(text)

    def clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
            self._drawn = 0

"""Following an event stream: server-sent events, with coming back after every break."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from steelyard.client.errors import ClientError, ServerUnreachable
from steelyard.client.progress import PATIENCE
from steelyard.client.rest import Client
from steelyard.client.text import safe

PAUSE = 2.0
"""Seconds before a stream that ended is opened again."""


def follow(
    client: Client,
    path: str,
    params: Mapping[str, Any],
    *,
    after: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """Every event from now on, or after the one with this id, each once; for ever.

    Comes back after every break, and goes on where it was. Raises `ApiError` for what the server refuses, and
    `ServerUnreachable` after `PATIENCE` seconds without an answer.
    """
    last = str(after) if after is not None else None
    quiet_since = clock()
    while True:
        try:
            with client.lines(path, params, headers={"Last-Event-ID": last} if last else {}) as lines:
                for kind, id, data in messages(lines):
                    quiet_since = clock()
                    last = id or last
                    if kind == "end":
                        _say(data)
                    elif data:
                        yield json.loads(data)
        except ServerUnreachable:
            if clock() - quiet_since > PATIENCE:
                raise
        except ClientError as error:
            if error.exit_code != ServerUnreachable.default_exit_code or clock() - quiet_since > PATIENCE:
                raise
        sleep(PAUSE)


def messages(lines: Iterable[str]) -> Iterator[tuple[str, str | None, str]]:
    """Type, id and data of each message (WHATWG HTML, server-sent events, interpreting an event stream)."""
    kind, id = "message", None
    data: list[str] = []
    for line in lines:
        if not line:
            yield kind, id, "\n".join(data)
            kind, id, data = "message", None, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            id = value
        elif name == "event":
            kind = value


def _say(data: str) -> None:
    try:
        detail = str(json.loads(data)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = "The server ended the stream."
    print(safe(f"{detail} Going on."), file=sys.stderr, flush=True)

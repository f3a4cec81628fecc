"""What commands print: tables for people, JSON for programs, the progress of operations.

Answers go to standard output, progress and hints to standard error, so that `-f json | jq` gets JSON and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steelyard.client.rest import Client
from steelyard.client.text import cell, safe, table

Row = Mapping[str, Any]
Column = tuple[str, str | Callable[[Any], Any]]

OPERATION_COLUMNS: list[Column] = [
    ("Operation", "id"),
    ("Kind", "kind"),
    ("Subject", "subject"),
    ("Phase", "phase"),
    ("Seconds", "seconds"),
    ("Result", "result"),
    ("Error", "error.detail"),
    ("Next", "error.next"),
]


def show(data: Row | Sequence[Row], columns: Sequence[Column], format: str = "table") -> None:
    """Print rows as a table, or one item as a list of its fields; with `json`, the data itself."""
    if format == "json":
        print(json.dumps(data, indent=2, default=str))
    elif isinstance(data, Mapping):
        lines = [(title, cell(_value(data, of))) for title, of in columns]
        print(table(("Field", "Value"), lines))
    else:
        print(table([title for title, _ in columns], [[cell(_value(row, of)) for _, of in columns] for row in data]))


def say(text: str, format: str = "table") -> None:
    """A line for people; programs are spared it."""
    if format != "json":
        print("\n".join(safe(line) for line in text.splitlines()))


def hint(text: str) -> None:
    """A line for people beside the answer, on standard error."""
    print(safe(text), file=sys.stderr)


def finish(
    client: Client,
    answer: Mapping[str, Any],
    *,
    wait: bool,
    format: str = "table",
    timeout: float | None = None,
) -> None:
    """Print the operation, or operations, that an answer says were started; with `wait`, what became of them.

    Raises `OperationFailed` (exit code 1) if one did not succeed, `WaitTimeout` if one had not ended in time.
    """
    from steelyard.client.progress import raise_if_failed, wait_for

    several = "operations" in answer
    started: list[dict[str, Any]] = list(answer["operations"]) if several else [answer["operation"]]
    ended = wait_for(client, started, timeout=timeout) if wait else started
    if several:
        columns = [column for column in OPERATION_COLUMNS if any(_value(row, column[1]) for row in ended)]
        show(ended, columns or OPERATION_COLUMNS[:2], format)
    else:
        shown = [column for column in OPERATION_COLUMNS if _value(ended[0], column[1]) not in (None, {}, "")]
        show(ended[0], shown, format)
    if wait:
        raise_if_failed(ended)
    elif len(started) == 1:
        hint(f"It goes on in the background: steelyard operation wait {started[0]['id']}")
    elif started:
        hint("They go on in the background: steelyard operation list --phase running")


def _value(row: Row, of: str | Callable[[Any], Any]) -> Any:
    if callable(of):
        return of(row)
    value: Any = row
    for key in of.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value

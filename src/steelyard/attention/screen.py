"""The first screen of an operator, drawn as text: fits a terminal of 80 by 24, with or without colours. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from steelyard.client.text import safe, width

Row = Mapping[str, Any]
"""A line of the attention list, as the REST API answers it."""

INDENT: Final = 10
REASON_LINES: Final = 2
_COLOURS: Final = {"critical": "\x1b[1;31m", "major": "\x1b[33m", "minor": ""}
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
NOTHING: Final = "Nothing needs you."


def draw(
    rows: Sequence[Row],
    now: datetime,
    *,
    width: int = 80,
    height: int | None = None,
    limit: int | None = None,
    colour: bool = False,
) -> list[str]:
    """The lines of the screen. `width` and `height` are in characters; with a height, what does not fit is counted.

    Everything that came from elsewhere is escaped. A command to paste is never cut, however long it is.
    """
    if not rows:
        return [NOTHING]
    paint = _Paint(colour=colour)
    wanted = rows if limit is None else rows[:limit]
    blocks = [_block(row, now, width, paint, cut=height is not None) for row in wanted]
    shown = len(blocks) if height is None else _fitting(blocks, height - 2)  # the heading, and the line of the rest
    lines = [_heading(rows, now, width, paint)]
    for block in blocks[:shown]:
        lines += block
    if shown < len(rows):
        lines.append(f"{len(rows) - shown} more: steelyard attention --limit {len(rows)}")
    return lines


def span(seconds: float) -> str:
    """A length of time in the one unit that people would take: `40 s`, `25 min`, `3 h`, `2 d`."""
    whole = max(0, int(seconds))
    for least, size, unit in ((2 * 86_400, 86_400, "d"), (3600, 3600, "h"), (60, 60, "min")):
        if whole >= least:
            return f"{whole // size} {unit}"
    return f"{whole} s"


class _Paint:
    """Colours, or nothing in their place."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def severity(self, text: str, severity: str) -> str:
        return self._in(_COLOURS.get(severity, ""), text)

    def bold(self, text: str) -> str:
        return self._in(_BOLD, text)

    def dim(self, text: str) -> str:
        return self._in(_DIM, text)

    def _in(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._colour and code and text else text


def _heading(rows: Sequence[Row], now: datetime, columns: int, paint: _Paint) -> str:
    counts = {severity: sum(row["severity"] == severity for row in rows) for severity in _COLOURS}
    words = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number)
    title = f"{len(rows)} {'needs' if len(rows) == 1 else 'need'} you: {words}"
    clock = now.strftime("%H:%M:%S")
    return paint.bold(title) + " " * max(2, columns - len(title) - len(clock)) + clock


def _block(row: Row, now: datetime, columns: int, paint: _Paint, *, cut: bool) -> list[str]:
    """One entry: what and since when; why; what else; the command."""
    severity = str(row["severity"])
    age = span((now - datetime.fromisoformat(row["since"])).total_seconds())
    name = _shortened(safe(str(row["name"])), columns - INDENT - len(age) - 12)
    kind = _shortened(safe(str(row["kind"])), columns - INDENT - width(name) - len(age) - 4)
    gap = " " * max(2, columns - INDENT - width(name) - 2 - width(kind) - len(age))
    head = paint.severity(f"{severity.upper():<{INDENT}}", severity) + paint.bold(name) + "  " + paint.dim(kind)
    lines = [head + gap + age]
    lines += _wrapped(str(row["reason"]), columns, REASON_LINES if cut else None)
    if row.get("also"):
        also = ", ".join(dict.fromkeys(str(each["kind"]) for each in row["also"]))
        lines += [paint.dim(line) for line in _wrapped(f"also: {also}", columns, 1 if cut else None)]
    if mark := row.get("acknowledged"):
        left = span((datetime.fromisoformat(mark["until"]) - now).total_seconds())
        words = f"{mark['actor']} knows, for {left} more: {mark['reason']}"
        lines += [paint.dim(line) for line in _wrapped(words, columns, 1 if cut else None)]
    if row.get("next"):
        lines.append(" " * INDENT + "$ " + paint.bold(safe(str(row["next"]))))
    return lines


def _wrapped(text: str, columns: int, most: int | None) -> list[str]:
    """Text in lines behind the indent; with `most`, cut after so many."""
    lines = textwrap.wrap(safe(text), columns - INDENT, max_lines=most, placeholder=" …", break_on_hyphens=False)
    return [" " * INDENT + line for line in lines]


def _shortened(text: str, columns: int) -> str:
    if width(text) <= columns:
        return text
    while text and width(text) > max(1, columns) - 1:
        text = text[:-1]
    return f"{text}…"


def _fitting(blocks: Sequence[Sequence[str]], room: int) -> int:
    """How many of the blocks have room; at least one."""
    used = 0
    for number, block in enumerate(blocks):
        used += len(block)
        if used > room:
            return max(1, number)
    return len(blocks)

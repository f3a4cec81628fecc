"""Text that came from elsewhere, made fit for a terminal.

A BMC may call itself `\\x1b]0;…`: names are shown with control and invisible characters escaped, never obeyed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the writing direction round, or show nothing."""


def safe(text: str) -> str:
    """One line without anything that a terminal would act on."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


def cell(value: Any) -> str:
    """A value of an answer as a person wants to read it."""
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, dict):
        return ", ".join(f"{safe(str(key))}={cell(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value)
    return safe(str(value))


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned with spaces: easy on the eye, and on grep and awk."""
    lines = [[title.upper() for title in titles], *rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(part + " " * (widths[column] - width(part)) for column, part in enumerate(line)).rstrip()
        for line in lines
    )

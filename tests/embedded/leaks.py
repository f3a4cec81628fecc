"""Looking for secrets where they must not be: texts, files, and the processes of the machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SHORTEST = 12
"""Shorter values would be found everywhere by chance."""


@dataclass(frozen=True)
class Secrets:
    """Secret values by what they are; only the latter is ever shown."""

    known: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, home: Path, *, tokens: Iterable[str] = ()) -> Secrets:
        """Everything secret in a home: the files under secrets/, the BMCs' passwords; and the given tokens."""
        found: dict[str, str] = {}
        for path in sorted((home / "secrets").rglob("*")):
            if path.is_file():
                lines = path.read_text(errors="replace").split()
                found |= {f"secrets/{path.name}:{number}": line for number, line in enumerate(lines, start=1)}
        rack = json.loads((home / "rack" / "rack.json").read_text())
        found |= {f"BMC password of {server['name']}": server["bmc_password"] for server in rack["servers"]}
        found |= {f"token {number}": token for number, token in enumerate(tokens, start=1)}
        found = {what: value for what, value in found.items() if len(value) >= SHORTEST}
        assert len(found) > 10
        return cls(found)

    def in_text(self, text: str) -> list[str]:
        """Which of them are in a text."""
        return [what for what, value in self.known.items() if value in text]

    def in_bytes(self, content: bytes) -> list[str]:
        """Which of them are in the content of a file."""
        return [what for what, value in self.known.items() if value.encode() in content]


def files_with(secrets: Secrets, paths: Iterable[Path]) -> dict[str, list[str]]:
    """The files that hold secrets, and which."""
    found = {}
    for path in paths:
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue  # removed meanwhile
        if there := secrets.in_bytes(content):
            found[str(path)] = there
    return found


def processes_with(secrets: Secrets) -> dict[str, list[str]]:
    """The processes that have secrets in their arguments or environment, and which."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        for part in ("cmdline", "environ"):
            try:
                there = secrets.in_bytes((entry / part).read_bytes())
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue  # it has ended, or is another user's
            if there:
                found[f"{name} ({entry.name}) {part}"] = there
    return found

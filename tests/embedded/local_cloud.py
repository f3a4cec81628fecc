"""An embedded cloud with what only its own machine shows: commands that start and stop it, processes, sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from steelyard.embedded import loopback, processes
from steelyard.embedded.processes import Identity

from .cloud_at_hand import STEELYARD, EmbeddedCloud, Ran

START_WITHIN = 600.0
"""Seconds; a start takes a fraction of it on a machine that does nothing else."""


class LocalCloud(EmbeddedCloud):
    """One home and all that can be done with it."""

    def command(self, *words: str, **environment: str) -> Ran:
        """`steelyard WORDS`, with more environment if wanted."""
        return self.run(STEELYARD, *words, within=START_WITHIN, env=self.environment(**environment))

    def up(self, *words: str) -> Ran:
        """`steelyard up`; fails the test when it fails."""
        return self.command("up", *words).ok()

    @contextmanager
    def running(self, *words: str) -> Iterator[LocalCloud]:
        """Up within this, down afterwards, also when the start failed."""
        try:
            self.up(*words)
            yield self
        finally:
            self.command("down")

    def down(self) -> Ran:
        """`steelyard down`; fails the test when it fails."""
        return self.command("down").ok()

    def listed(self, who: str, *words: str) -> list[dict[str, Any]]:
        """What the stock client lists."""
        found: list[dict[str, Any]] = self.openstack(who, *words, "-f", "json").json
        return found

    def services(self) -> dict[str, dict[str, Any]]:
        """Status of each service, by name."""
        return {unit["name"]: unit for unit in self.status()["units"] if unit["kind"] == "service"}

    def processes(self) -> list[Identity]:
        """Everything that runs for this home, the supervisor aside."""
        return processes.carrying(self.home.resolve())

    def listening(self) -> dict[str, set[str]]:
        """Addresses on which something listens, for each recorded port."""
        bound = loopback.listeners()
        return {
            name: {address for address, number in bound if number == port}
            for name, port in self.record["ports"].items()
        }

    def secrets(self) -> dict[str, str]:
        """Every secret value, by its file."""
        return {path.name: path.read_text().strip() for path in (self.home / "secrets").iterdir() if path.is_file()}


def wait_until(reached: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Poll until it is so. Fails the test when it is not in time."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.25)

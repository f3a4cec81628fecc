"""Runs of reconcilers in a dictionary, for tests without a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from steelyard.operations.reconcilers import Run


class MemoryRuns:
    """`ReconcilerRecords` in memory. `live` gives the boot ids of the servers that are alive."""

    def __init__(self, live: Callable[[], set[str]]) -> None:
        self._live = live
        self._runs: dict[str, Run] = {}
        self._holders: dict[str, str] = {}

    def begin(self, name: str, boot: str, replica: str, at: datetime, *, not_after: datetime | None) -> bool:
        known = self._runs.get(name, Run())
        if self._holders.get(name, boot) != boot and self._holders[name] in self._live():
            return False
        if not_after is not None and known.last_started_at and not_after < known.last_started_at <= at:
            return False
        self._holders[name] = boot
        self._runs[name] = replace(known, running_since=at, last_started_at=at, replica=replica)
        return True

    def end(self, name: str, boot: str, at: datetime, *, report: Mapping[str, Any] | None, error: str | None) -> bool:
        if self._holders.get(name) != boot:
            return False
        del self._holders[name]
        run = replace(
            self._runs[name], running_since=None, last_ended_at=at, last_error=error, runs=self._runs[name].runs + 1
        )
        if error is None:
            self._runs[name] = replace(run, last_succeeded_at=at, last_report=dict(report or {}))
        else:
            self._runs[name] = replace(run, failures=run.failures + 1)
        return True

    def all(self) -> dict[str, Run]:
        live = self._live()
        return {
            name: run if self._holders.get(name) in live else replace(run, running_since=None)
            for name, run in self._runs.items()
        }

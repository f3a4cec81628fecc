"""run/status.json: what the supervisor says of itself and of everything it runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from steelyard.embedded.files import write_atomically
from steelyard.embedded.processes import Identity, is_running


class Phase(StrEnum):
    """How the cloud as a whole is."""

    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"  # was up; a service has died and is being started again
    FAILED = "failed"  # the start could not be finished
    STOPPING = "stopping"
    DOWN = "down"


class State(StrEnum):
    """How one step or service is."""

    WAITING = "waiting"  # for what it needs
    STARTING = "starting"  # runs, does not answer yet (a service); is being done (a step)
    UP = "up"
    DONE = "done"
    RESTARTING = "restarting"  # has died, will be started again
    FAILING = "failing"  # died again and again; tried slowly
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class UnitStatus:
    """One step or service."""

    name: str
    title: str
    kind: str
    """step or service"""
    state: State
    seconds: float | None = None
    """How long it took from its start until it was done or answered."""
    pid: int | None = None
    restarts: int = 0
    since: str | None = None
    """When it reached the present state, ISO 8601, UTC."""
    port: int | None = None
    rss_mib: int | None = None
    reason: str | None = None
    """Why it is not up: what is missing, or how it ended. Without secrets."""
    log: str | None = None


@dataclass(frozen=True)
class Status:
    """The whole."""

    home: str
    supervisor: Identity
    phase: Phase
    started: str
    units: tuple[UnitStatus, ...]
    error: str | None = None
    next: str | None = None
    from_template: bool = False
    """Whether the databases came from the template of an earlier start."""

    @property
    def services(self) -> tuple[UnitStatus, ...]:
        """The services alone."""
        return tuple(unit for unit in self.units if unit.kind == "service")

    def write(self, path: Path) -> None:
        """Put it where `read` finds it, all or nothing."""
        write_atomically(path, json.dumps(asdict(self), indent=1), durable=False)


def read(path: Path) -> Status | None:
    """The last status written by a supervisor; None when there is none or it cannot be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        units = tuple(UnitStatus(**{**unit, "state": State(unit["state"])}) for unit in content.pop("units"))
        supervisor = Identity(**content.pop("supervisor"))
        return Status(**{**content, "phase": Phase(content["phase"])}, units=units, supervisor=supervisor)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def live(path: Path) -> Status | None:
    """The same, but only when the supervisor that wrote it still runs."""
    status = read(path)
    return status if status is not None and is_running(status.supervisor) else None

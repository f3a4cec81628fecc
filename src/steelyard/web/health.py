"""`GET /health`: is the server there, and what it stands on. For anybody, so it names no address and no reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel

import steelyard
from steelyard.errors import SteelyardError

log = structlog.get_logger("steelyard.web")

State = Literal["ok", "unavailable"]
KEEP = 5.0
"""Seconds that an answer is given again, so that whoever polls does not burden what is polled."""

PATIENCE = 1.0
"""Seconds to wait for somebody else's look at the dependencies; after that the last known states are given."""


class Dependency(BaseModel):
    status: State


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    version: str
    api_versions: list[str]
    dependencies: dict[str, Dependency]


class Checks:
    """The state of each dependency, looked at no more often than every `KEEP` seconds."""

    def __init__(
        self, checks: Mapping[str, Callable[[], object]], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, State] = {}
        self._until = float("-inf")

    def states(self) -> dict[str, State]:
        if not self._lock.acquire(timeout=PATIENCE):
            # Whoever looks hangs on a dependency. To wait with it would take a thread from everybody else.
            return self._known or dict.fromkeys(self._checks, "unavailable")
        try:
            if self._now() >= self._until:
                self._known = {name: _state(name, check) for name, check in self._checks.items()}
                self._until = self._now() + KEEP
            return self._known
        finally:
            self._lock.release()


def _state(name: str, check: Callable[[], object]) -> State:
    try:
        check()
    except SteelyardError as error:
        log.warning("dependency unavailable", dependency=name, code=error.code, detail=error.detail)
        return "unavailable"
    except Exception:
        log.exception("dependency check broke", dependency=name)
        return "unavailable"
    return "ok"


def router(checks: Checks) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health")
    def health() -> Health:
        """Is the server there, and what it stands on. Needs no token. 200 also when degraded: the server answers."""
        states = checks.states()
        return Health(
            status="ok" if all(state == "ok" for state in states.values()) else "degraded",
            version=steelyard.__version__,
            api_versions=["v1"],
            dependencies={name: Dependency(status=state) for name, state in states.items()},
        )

    return routes

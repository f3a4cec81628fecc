"""What a supervisor handles: steps, which end, and services, which do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Check = Callable[[], str | None]
"""None when ready, otherwise what is missing yet. May take seconds; called from a thread of its own."""


def ready_at_once() -> str | None:
    """The check of a service that has nothing to be asked."""
    return None


@dataclass(frozen=True)
class Step:
    """Work to be done once per home, idempotent: a program or a call of ours."""

    name: str
    title: str
    """What the user reads: "Keystone: database, keys, identities"."""
    arguments: tuple[str, ...] = ()
    call: Callable[[], None] | None = None
    """Instead of a program; runs in a thread."""
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Names of steps that must be done and of services that must be up before."""
    inputs: str = ""
    """Fingerprint of what the step depends on; when it changes, the step is done again."""
    discards: tuple[Path, ...] = ()
    """Files that an interrupted attempt leaves half made. Removed before an attempt, unless the step was done once and
    is only done again because its inputs have changed."""


@dataclass(frozen=True)
class Service:
    """A program that is to run all the time."""

    name: str
    arguments: tuple[str, ...]
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    check: Check = ready_at_once
    stop_wave: int = 1
    """Services of a lower wave are stopped (and waited for) before those of a higher one."""


@dataclass(frozen=True)
class Plan:
    """Everything that one supervisor does, in the order in which it is shown."""

    steps: tuple[Step, ...]
    services: tuple[Service, ...]

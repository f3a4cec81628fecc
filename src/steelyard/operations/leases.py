"""Leases: which servers are alive, so that the work of a dead one is taken over, and one that was only paused notices.

Each start of a server takes a fresh boot id and keeps a row with its replica name alive by a heartbeat. A server whose
row has expired is dead as far as the others are concerned: they claim its operations (`operations.journal`), and what
it still writes about them, should it wake up, is refused. So the lease need not be exact, it only need be kept; what
makes a takeover safe is the claim.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from steelyard.errors import Conflict, SteelyardError

log = structlog.get_logger("steelyard.operations")

LEASE = 15.0
"""Seconds without a heartbeat after which a server is dead."""
BEATS = 3
"""Heartbeats in that time."""
LOOK = 0.25
"""Seconds between two looks at a lease that should run out."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of another server of our name."""

    boot: str
    at: datetime


class Servers(Protocol):
    """Where servers are written down. Implementations: `store.servers` (database), `operations.fake` (memory)."""

    def take(self, replica: str, boot: str, seconds: float, *, alone: bool) -> Beat | None:
        """Register; None when that was done. Otherwise the sign of life of the server that has the name.

        `alone`: it is known that no other server uses this database (SQLite): who has the name is dead.
        """

    def renew(self, boot: str, seconds: float) -> bool:
        """False: another start of the same name has taken the row."""

    def release(self, boot: str) -> None:
        """Not alive any more, and said so. Releasing twice succeeds."""

    def live(self) -> set[str]:
        """The boot ids of all that are alive."""


class Superseded(BaseException):
    """Another server of our name has taken our place. Nothing may be done any more; not an `Exception`, so that
    nothing on the way takes it for the end of an operation."""


class ServerLease:
    """This server's own lease. Thread-safe."""

    def __init__(
        self,
        servers: Servers,
        *,
        replica: str = "steelyard",
        seconds: float = LEASE,
        alone: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`seconds`: how long after its last heartbeat the server passes for dead."""
        self.servers = servers
        self.replica = replica
        self.boot = str(uuid.uuid4())
        self.seconds = seconds
        self._alone = alone
        # Counts the time that this machine slept, where the system can tell it.
        self._clock = clock or (lambda: time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))
        self._renewed = float("-inf")
        self._held = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._heart: threading.Thread | None = None
        self._on_lost: list[Callable[[], None]] = []

    def on_lost(self, call: Callable[[], None]) -> None:
        """Have this called, once, when another server of the same name has taken our place."""
        self._on_lost.append(call)

    def acquire(self) -> None:
        """Register, and beat from now on. Waits for the lease of a dead predecessor to run out.

        Raises `Conflict` (`replica_in_use`) when another server of this name is alive; `Unavailable`.
        """
        if self._held:
            return
        first: Beat | None = None
        while (other := self._take()) is not None:
            if first is not None and other != first:
                raise Conflict(
                    f"Another server named '{self.replica}' is running on this database.",
                    code="replica_in_use",
                    next="set STEELYARD_REPLICA to a name of its own for each server",
                )
            if first is None:
                log.info("waiting for the lease of this server's predecessor to run out", replica=self.replica)
            first = other
            self._stopping.wait(LOOK)
        self._held = True
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._heart.start()

    def _take(self) -> Beat | None:
        begin = self._clock()
        other = self.servers.take(self.replica, self.boot, self.seconds, alone=self._alone)
        if other is None:
            self._renewed = begin
        return other

    def ensure(self) -> None:
        """Before anything is done: the lease is held, or is renewed here and now (after a pause of this process, the
        heart may beat later than the work goes on). Raises `Superseded`, or `Unavailable`."""
        if self._clock() - self._renewed > self.seconds * 2 / BEATS:
            self._renew()

    def _renew(self) -> None:
        with self._lock:
            begin = self._clock()
            if not self._held or not self.servers.renew(self.boot, self.seconds):
                raise Superseded
            if begin - self._renewed > self.seconds and self._renewed > 0:
                log.warning("this server was away for longer than its lease", seconds=round(begin - self._renewed, 1))
            self._renewed = begin

    def _beat(self) -> None:
        while not self._stopping.wait(self.seconds / BEATS):
            try:
                self._renew()
            except SteelyardError as error:
                log.error("heartbeat failed", internal=error.internal)
            except Superseded:
                if self._stopping.is_set():
                    return
                log.error("another server of this name has taken this one's place", replica=self.replica)
                self._held = False
                for call in self._on_lost:
                    call()
                return
            except Exception:
                log.exception("heartbeat failed")

    def release(self) -> None:
        """Give it up: others may take our work at once."""
        self._stopping.set()
        if self._heart is not None and self._heart is not threading.current_thread():
            self._heart.join(timeout=self.seconds)
        if self._held:
            self._held = False
            try:
                self.servers.release(self.boot)
            except SteelyardError as error:
                log.warning("the lease could not be given up; it runs out by itself", internal=error.internal)

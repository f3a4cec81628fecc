"""Real time for operations, which can be cut short."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from steelyard.operations.runner import Interrupted


class RealClock:
    """Time that can be cut short: by a stop of the engine, or by the cancellation of one operation."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._wakers: dict[str, threading.Event] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    @contextmanager
    def running(self, operation_id: str) -> Iterator[bool]:
        """Note that this thread runs the operation. Gives False, if another thread of this process does already."""
        with self._lock:
            mine = operation_id not in self._wakers
            if mine:
                self._wakers[operation_id] = threading.Event()
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    del self._wakers[operation_id]

    def runs(self, operation_id: str) -> bool:
        with self._lock:
            return operation_id in self._wakers

    def count(self) -> int:
        with self._lock:
            return len(self._wakers)

    def wait(self, operation_id: str, seconds: float) -> None:
        if self.stopping.is_set():
            raise Interrupted
        waker = self._wakers.get(operation_id, self.stopping)
        waker.wait(seconds)
        if self.stopping.is_set():
            raise Interrupted
        if waker is not self.stopping:
            waker.clear()

    def wake(self, operation_id: str) -> None:
        with self._lock:
            if (waker := self._wakers.get(operation_id)) is not None:
                waker.set()

    def stop(self) -> None:
        self.stopping.set()
        with self._lock:
            for waker in self._wakers.values():
                waker.set()

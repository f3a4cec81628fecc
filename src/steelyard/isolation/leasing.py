"""Who may move the NICs of a node: one at a time, among all servers, by a lease in the database (`store.flips`)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from steelyard.errors import Conflict
from steelyard.isolation.proof import LOOK_EVERY
from steelyard.store import Store

LEASE: Final = 60.0
"""Seconds after which a node's NICs are anybody's again, should the server that moved them have died."""
RIGHT_OF_WAY_WITHIN: Final = 45.0
"""Seconds that a power-on waits for a flip that is under way."""


class Overtaken(Conflict):
    """Somebody else has the NICs in hand now; that is no failure of the flip's."""


class NicLeases:
    """Gives the NICs of a node to one, and takes them back."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._records = store.flips
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def hold(
        self, node_id: str, label: str | None = None, *, generation: int | None = None
    ) -> Iterator[Callable[[], None]]:
        """The node's NICs are the caller's alone, as long as what this yields does not raise `Overtaken`.

        `generation`: as it was when the caller looked; who comes without one has right of way, and waits for it.
        Raises `Conflict` (`flip_running`) while somebody else has them, or has had them since that generation.
        """
        holder, label = uuid.uuid4().hex, label or node_id
        deadline = self._clock() + (RIGHT_OF_WAY_WITHIN if generation is None else 0.0)
        while not self._records.take(node_id, holder, seconds=LEASE, generation=generation):
            if self._clock() >= deadline:
                raise Conflict(
                    f"The NICs of node {label} are being moved at this moment.",
                    code="flip_running",
                    next=f"steelyard isolation show {label}",
                )
            self._sleep(LOOK_EVERY)

        def still_mine() -> None:
            if not self._records.holds(node_id, holder):
                raise Overtaken(f"Somebody else moves the NICs of node {label} now.", code="flip_overtaken")

        try:
            yield still_mine
        finally:
            self._records.give_back(node_id, holder)

"""Asking Nova once, also when whoever asks is killed in the middle (ADR 0019).

A tenant's token is not kept, so Nova is asked within the request, and the operation is written down afterwards. With an
idempotency key there is a record of the intent before: it holds a mark, a random text, that the server carries. The
same request again finds its own server by that mark, however the first one ended.

Nobody else's server is taken for it: the mark is nowhere but in our database until Nova has the server, and the
server's user, name and project are compared as well. What is asked of a server that exists is found in Nova's own
record of actions instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from steelyard.clouds.ports import Cloud
from steelyard.errors import Conflict, SteelyardError, Unavailable, UpstreamError
from steelyard.nouns import Actor, Instance

ON_ITS_WAY = 15.0
"""Seconds that Nova may take to show a server that it was asked for by somebody who is dead now."""
LOOK = 1.0
"""Seconds between two looks meanwhile."""
CLOCKS = timedelta(seconds=5)
"""By how much Nova's clock may be behind ours; its times are whole seconds."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Intent:
    """That a cloud was asked, or was about to be."""

    request: str
    """Digest of what was asked for (`operations.keys.digest`)."""
    mark: str
    asked_at: datetime


class Intents(Protocol):
    """Where intents are written down. Implementation: `store.intents`."""

    def find(self, user_id: str, kind: str, key: str) -> Intent | None: ...

    def begin(self, user_id: str, kind: str, key: str, request: str) -> Intent: ...

    def end(self, user_id: str, kind: str, key: str) -> None: ...


class Asking:
    """One request of an actor to Nova, with its idempotency key; without one nothing is written down."""

    def __init__(
        self, intents: Intents, actor: Actor, kind: str, key: str | None, request: str,
        *, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._intents = intents
        self._user = actor.user_id
        self._kind = kind
        self._key = key
        self._request = request
        self._sleep = sleep

    def made(self, cloud: Cloud, name: str) -> Instance | None:
        """The server that the same request made before, without an operation that tells of it. `cloud`: the tenant's.

        Waits as long as an earlier request may still be on its way to Nova. Raises `Conflict` (`key_reused`).
        """
        intent = self._intent()
        if intent is None:
            return None

        def look() -> Instance | None:
            found = [
                each
                for each in cloud.compute.all()
                if (each.mark, each.user_id, each.name) == (intent.mark, self._user, name)
            ]
            return min(
                found, key=lambda each: (each.created_at or datetime.max.replace(tzinfo=UTC), each.id), default=None
            )

        return self._wait(intent, look)

    def accepted(self, cloud: Cloud, instance_id: str, action: str) -> bool:
        """Whether Nova has accepted the same request before, by its own record of the server's actions (`rebuild`, …).

        Waits and raises like `made`. `cloud`: with Steelyard's own rights.
        """
        intent = self._intent()
        if intent is None:
            return False

        def look() -> bool:
            return any(
                (each.kind, each.user_id) == (action, self._user) and each.at >= intent.asked_at - CLOCKS
                for each in cloud.compute.history(instance_id)
            )

        return bool(self._wait(intent, look))

    def _intent(self) -> Intent | None:
        """What the same request wrote down before. Raises `Conflict` (`key_reused`)."""
        intent = self._intents.find(self._user, self._kind, self._key) if self._key is not None else None
        if intent is not None and intent.request != self._request:
            raise Conflict(
                "The idempotency key was used before, for another request.",
                code="key_reused",
                next="send another Idempotency-Key",
            )
        return intent

    def _wait(self, intent: Intent, look: Callable[[], Found | None]) -> Found | None:
        """What is found, or None when it would be there by now."""
        left = min(ON_ITS_WAY - (datetime.now(UTC) - intent.asked_at).total_seconds(), ON_ITS_WAY)
        while True:
            if found := look():
                return found
            if left <= 0:
                return None
            self._sleep(min(LOOK, left))
            left -= LOOK

    @contextmanager
    def asks(self) -> Iterator[str | None]:
        """Around asking the cloud: gives the mark that the server is to carry.

        A refusal is an answer, and ends the intent. Where it is not known what came of it, the intent stays.
        """
        if self._key is None:
            yield None
            return
        intent = self._intents.begin(self._user, self._kind, self._key, self._request)
        try:
            yield intent.mark
        except (Unavailable, UpstreamError):
            raise
        except SteelyardError:
            self.ends()
            raise

    def ends(self) -> None:
        """The operation is written down and tells the rest."""
        if self._key is not None:
            self._intents.end(self._user, self._kind, self._key)

"""The HTTP side of an event stream: an answer that lasts (WHATWG HTML, server-sent events).

It ends when the client goes, when the server goes (a last event says so), when the client is too slow, and when its
token is no longer valid. A client that takes nothing at all for `STALLED` seconds is hung up on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from steelyard.errors import Forbidden, SteelyardError, Unauthenticated
from steelyard.events.streams import End, Stream, Streams, last_message
from steelyard.nouns import Actor

log = structlog.get_logger("steelyard.events")

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the connection for dead."""
STALLED = 30.0
"""Seconds that one write may take."""
RECHECK = 300.0
"""Seconds between two looks at the token."""
CHUNK = 64 << 10
"""Bytes that are written at once, at most (and one event)."""
RETRY_MS = 2000
"""What clients are told to wait before they come back."""


class _Gone(Exception):
    """The client takes nothing any more."""


class EventStream(Response):
    """Streams events until somebody ends it."""

    media_type = "text/event-stream"

    def __init__(
        self, streams: Streams, stream: Stream, *, after: int | None, still: Callable[[], Actor], actor: Actor
    ) -> None:
        """`after`: the last event that the client has. `still`: who holds the token now, as `Identity.validate`."""
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._stream = stream
        self._after = after
        self._still = still
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as tasks:

                async def leave() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tasks.cancel_scope.cancel()

                async def recheck() -> None:
                    await asyncio.sleep(RECHECK)
                    while await self._is_valid():
                        await asyncio.sleep(RECHECK)
                    self._stream.end(End.TOKEN)

                tasks.start_soon(leave)
                tasks.start_soon(recheck)
                try:
                    await self._write(send)
                except _Gone:
                    _hang_up(scope)
                tasks.cancel_scope.cancel()
        finally:
            self._streams.close(self._stream)

    async def _is_valid(self) -> bool:
        """False once the token holds no more; while nobody can say, it does."""
        try:
            now = await self._streams.read(self._still)
        except (Unauthenticated, Forbidden):
            return False
        except SteelyardError:
            return True
        return (now.is_admin, now.project_id) == (self._actor.is_admin, self._actor.project_id)

    async def _write(self, send: Send) -> None:
        stream = self._stream
        await _send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # The position comes first, so that a client that has seen no event yet knows where to go on.
        start = stream.begin if self._after is None else min(self._after, stream.begin)
        await _body(send, f"retry: {RETRY_MS}\nid: {start}\n\n".encode())
        last = await self._missed(send, start)
        while True:
            while stream.queue:
                last = await self._some(send, last)
            if stream.ended is not None:
                break
            if stream.behind:
                self._streams.rejoin(stream)
                last = await self._missed(send, last)
                continue
            stream.caught_up()
            stream.news.clear()
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await stream.news.wait()
            except TimeoutError:
                await _body(send, b": keep-alive\n\n")
        await _send(send, {"type": "http.response.body", "body": last_message(stream.ended), "more_body": False})

    async def _missed(self, send: Send, last: int) -> int:
        """Write what came since from the database, and say which event was the last."""
        async for event_id, text in self._streams.backlog(self._stream, last):
            await _body(send, text)
            last = event_id
        return last

    async def _some(self, send: Send, last: int) -> int:
        """Write some of what waits, and say which event was the last."""
        size, chunk = 0, []
        while self._stream.queue and size < CHUNK:
            last, text = self._stream.queue.popleft()
            chunk.append(text)
            size += len(text)
        await _body(send, b"".join(chunk))
        return last


async def _body(send: Send, data: bytes) -> None:
    await _send(send, {"type": "http.response.body", "body": data, "more_body": True})


async def _send(send: Send, message: Message) -> None:
    """Write, for as long as it may take."""
    try:
        async with asyncio.timeout(STALLED):
            await send(message)
    except TimeoutError:
        raise _Gone from None


def _hang_up(scope: Scope) -> None:
    """Cut the connection: what waits in its buffer would keep it open for ever."""
    abort: Any = scope.get("extensions", {}).get("steelyard.abort")
    log.warning("a client of an event stream took nothing any more", cut=abort is not None)
    if abort is not None:
        abort()

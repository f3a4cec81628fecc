"""Open event streams: one reader of the table feeds all of them.

The reader (`Tail`) asks the database for what is new when this process has committed something, and once a second for
what other servers have; with no stream open it rests. Events have one order, in which they also become visible
(`store.chain`), so nothing is missed between two looks. An event is made into bytes once, however many streams get it.

A stream has a bounded queue. When it is full, it is dropped, and the client is given from the database what it has not
had yet; a burst harms nobody that way. A client that stays behind for `LAG` seconds is cut off: it gets one last event
that says so, and may come back with the id of the last event it has seen.

Everything here runs in the server's event loop, but for the reading, which has threads of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TypeVar

import structlog

from steelyard.errors import Refused, SteelyardError, Unavailable
from steelyard.events.model import Event, EventFilter, shown
from steelyard.store.events import Events

log = structlog.get_logger("steelyard.events")

T = TypeVar("T")

POLL = 1.0
"""Seconds between two looks for what other servers have written."""
AT_ONCE = 500
"""Events read in one go."""
QUEUE = 1000
"""Events that may wait for one client."""
LAG = 60.0
"""Seconds that a client may be behind."""
READERS = 2
"""Threads that read: one for the tail, one for those who catch up."""


class End(StrEnum):
    """Why the server ends a stream; the last event says it."""

    SLOW = "slow"
    STOPPING = "stopping"
    TOKEN = "token"  # noqa: S105 - a word


ENDS = {
    End.SLOW: "You did not take your events in time. Come back with Last-Event-ID.",
    End.STOPPING: "The server goes down. Come back with Last-Event-ID.",
    End.TOKEN: "Your token is not valid any more. Come back with another one and Last-Event-ID.",
}


@dataclass(eq=False)
class Stream:
    """One client's stream. `user_id`: by whom it counts."""

    user_id: str
    wanted: EventFilter
    administrator: bool
    begin: int
    """What is newer than this id comes by the queue."""
    queue: deque[tuple[int, bytes]] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    behind: bool = False
    """What the client has not had is to be read from the database."""
    behind_since: float | None = None
    ended: End | None = None

    def offer(self, event_id: int, message: bytes, now: float) -> None:
        """An event for this client."""
        if self.ended is not None:
            return
        if self.behind or len(self.queue) >= QUEUE:
            self.queue.clear()
            self.behind = True
            if self.behind_since is None:
                self.behind_since = now
            if now - self.behind_since > LAG:
                self.end(End.SLOW)
        else:
            self.queue.append((event_id, message))
        self.news.set()

    def caught_up(self) -> None:
        """The client has had everything."""
        self.behind_since = None

    def end(self, why: End) -> None:
        """Give no more."""
        if self.ended is None:
            self.ended = why
            self.news.set()


def message(event: Event, *, administrator: bool) -> bytes:
    """An event as the stream carries it (WHATWG HTML, server-sent events)."""
    text = json.dumps(shown(event, administrator=administrator), separators=(",", ":"))
    return f"id: {event.id}\ndata: {text}\n\n".encode()


def last_message(why: End) -> bytes:
    """The event that ends a stream: of type `end`."""
    return f"event: end\ndata: {json.dumps({'reason': why.value, 'detail': ENDS[why]})}\n\n".encode()


class Streams:
    """All streams of this process."""

    def __init__(self, events: Events, *, per_user: int, total: int) -> None:
        self._events = events
        self._per_user = per_user
        self._total = total
        self._streams: set[Stream] = set()
        self._by_user: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tail: asyncio.Task[None] | None = None
        self._signal = asyncio.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._position = 0
        self._stopping = False
        events.listen(self._heard)

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self, user_id: str, wanted: EventFilter, *, administrator: bool) -> Stream:
        """A stream from this moment on. Raises `Refused` (`too_many_streams`), `Unavailable` (`stopping`)."""
        if self._stopping:
            raise Unavailable("The server is going down.", code="stopping", next="try again in a few seconds")
        if self._by_user[user_id] >= self._per_user or len(self._streams) >= self._total:
            mine = self._by_user[user_id] >= self._per_user
            raise Refused(
                f"You have {self._per_user} event streams open; no more are allowed."
                if mine
                else f"{self._total} event streams are open; the server takes no more.",
                code="too_many_streams",
                next="close one, or set STEELYARD_EVENT_STREAMS_PER_USER" if mine else "try again later",
            )
        self._by_user[user_id] += 1  # before the first pause: two requests at a time count as two
        try:
            await self._ensure_tail()
        except BaseException:
            self._forget_user(user_id)
            raise
        stream = Stream(user_id, wanted, administrator, self._position)
        self._streams.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """The client has gone."""
        if stream in self._streams:
            self._streams.discard(stream)
            self._forget_user(stream.user_id)
        if not self._streams and self._tail is not None:
            self._tail.cancel()
            self._tail = None

    def stop(self) -> None:
        """End all streams, with a last event that says so; the server goes down. To be called in the event loop."""
        self._stopping = True
        for stream in self._streams:
            stream.end(End.STOPPING)
        if self._tail is not None:
            self._tail.cancel()
            self._tail = None
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def rejoin(self, stream: Stream) -> None:
        """What happens from now on comes by the queue again."""
        stream.begin = self._position
        stream.behind = False

    async def backlog(self, stream: Stream, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """What came after the event `after`, up to where the stream began."""
        while after < stream.begin and stream.ended is None:
            found = await self.read(partial(self._events.after, after, wanted=stream.wanted, limit=AT_ONCE))
            for event in found:
                if event.id > stream.begin:
                    return
                yield event.id, message(event, administrator=stream.administrator)
            if len(found) < AT_ONCE:
                return
            after = found[-1].id

    async def read(self, call: Callable[[], T]) -> T:
        """Do something slow in a thread of the streams' own: the server's others may all be busy."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="events")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _forget_user(self, user_id: str) -> None:
        self._by_user[user_id] -= 1
        if self._by_user[user_id] <= 0:
            del self._by_user[user_id]

    def _heard(self, _: int) -> None:
        """In the thread of whoever has committed something."""
        loop = self._loop
        if loop is not None and self._streams and not loop.is_closed():
            loop.call_soon_threadsafe(self._signal.set)

    async def _ensure_tail(self) -> None:
        loop = asyncio.get_running_loop()
        if self._tail is not None and not self._tail.done() and self._loop is loop:
            return
        self._loop, self._signal = loop, asyncio.Event()
        newest = await self.read(self._events.newest)
        if self._tail is None or self._tail.done():  # nobody else was faster
            self._position = newest
            self._tail = loop.create_task(self._follow(), name="event streams")

    async def _follow(self) -> None:
        """Read what is new and give it to whom it is for, for ever."""
        while True:
            try:
                found = await self.read(partial(self._events.after, self._position, limit=AT_ONCE))
            except SteelyardError as error:
                log.warning("events cannot be read", code=error.code, internal=error.internal)
                found = []
            for event in found:
                self._give(event)
                self._position = event.id
            if len(found) == AT_ONCE:
                await asyncio.sleep(0)  # the writers want their turn
                continue
            try:
                async with asyncio.timeout(POLL):
                    await self._signal.wait()
            except TimeoutError:
                pass
            self._signal.clear()

    def _give(self, event: Event) -> None:
        made: dict[bool, bytes] = {}
        now = asyncio.get_running_loop().time()
        for stream in self._streams:
            if event.id > stream.begin and stream.wanted.matches(event):
                who = stream.administrator
                if who not in made:
                    made[who] = message(event, administrator=who)
                stream.offer(event.id, made[who], now)

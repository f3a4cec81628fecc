"""A feed of what changed, for a process that must know at once: long polls that survive restarts of either side.

`GET /feed?run=RUN&after=N&wait=SECONDS` answers `{"run", "at", "whole", "changes": {key: state}}`: the newest state of
each key that changed after N. When `run` is not this process's (it, or the asker, is new), the answer comes at once,
holds every key and says `"whole": true`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from steelyard.errors import Invalid

MAX_WAIT = 60.0


class Feed:
    """`read` gives the present state of every key, or of the ones asked for."""

    def __init__(self, read: Callable[[list[str] | None], Mapping[str, Any]]):
        self._read = read
        self._run = secrets.token_hex(8)
        self._at = 0
        self._changed: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._closing = False

    def changed(self, key: str) -> None:
        self._at += 1
        self._changed[key] = self._at
        self._wake.set()

    def close(self) -> None:
        """Answer everybody who waits, so that the process can end."""
        self._closing = True
        self._wake.set()

    async def wait(self, run: str, after: int, seconds: float) -> dict[str, Any]:
        if run != self._run:
            return {"run": self._run, "at": self._at, "whole": True, "changes": dict(self._read(None))}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, MAX_WAIT)):
                while self._at <= after and not self._closing:
                    self._wake.clear()
                    await self._wake.wait()
        keys = [key for key, at in self._changed.items() if at > after]
        changes = dict(self._read(keys)) if keys else {}
        return {"run": self._run, "at": self._at, "whole": False, "changes": changes}

    async def handle(self, request: web.Request) -> web.Response:
        try:
            after = int(request.query.get("after", "0"))
            seconds = float(request.query.get("wait", "0"))
        except ValueError:
            raise Invalid("`after` and `wait` must be numbers", code="feed") from None
        return web.json_response(await self.wait(request.query.get("run", ""), after, seconds))

"""What open streams need of the HTTP server: to be told of its end in time, and to be able to hang up."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class StreamServer(uvicorn.Server):
    """uvicorn, that says when it goes down *before* it waits for the answers that have not ended.

    uvicorn waits for them for as long as its graceful time-out; an event stream never ends by itself.
    """

    def __init__(self, config: uvicorn.Config, *, going_down: Callable[[], None]) -> None:
        super().__init__(config)
        self._going_down = going_down

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._going_down()
        await super().shutdown(sockets)


def hanging_up(app: ASGIApp) -> ASGIApp:
    """The application, with a way to cut a connection: `scope["extensions"]["steelyard.abort"]()`.

    ASGI has none, and closing waits until a client has taken what is in the buffer; one that takes nothing would keep
    its connection for ever. The `send` that uvicorn passes is a method of what holds the transport.
    """

    async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
        transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
        if scope["type"] == "http" and transport is not None:
            scope.setdefault("extensions", {})["steelyard.abort"] = transport.abort
        await app(scope, receive, send)

    return with_abort

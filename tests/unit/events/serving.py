"""A real HTTP server for one application, in a thread, as `steelyard serve` runs it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI

from steelyard.events.serving import StreamServer, hanging_up


class Served:
    """`stop()` as a signal would; `url` with the port that was free."""

    def __init__(self, app: FastAPI, *, going_down: Callable[[], None]) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(2048)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(
            hanging_up(app), log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=10
        )
        self.server = StreamServer(config, going_down=going_down)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.01)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.socket]))

    def stop(self) -> float:
        """Seconds that it took."""
        begin = time.monotonic()
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
        return time.monotonic() - begin


class Reader:
    """A client that reads a stream in a thread: messages as (type, id, data)."""

    def __init__(self, url: str, headers: dict[str, str], **params: str | int) -> None:
        self.messages: list[tuple[str, str | None, Any]] = []
        self.comments: list[str] = []
        self.status = 0
        self.body = ""
        self.ended = threading.Event()
        self._opened = threading.Event()
        host, port = url.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=20)
        self._connection.connect()
        self._socket = self._connection.sock
        query = f"?{urlencode(params)}" if params else ""
        self._thread = threading.Thread(target=self._run, args=(f"/v1/events/stream{query}", headers), daemon=True)
        self._thread.start()
        assert self._opened.wait(20)

    def _run(self, path: str, headers: dict[str, str]) -> None:
        kind, id, data = "message", None, ""
        try:
            self._connection.request("GET", path, headers=headers)
            answer = self._connection.getresponse()
            self.status = answer.status
            if answer.status != 200:
                self.body = answer.read().decode()
                return
            while line := answer.readline().decode():
                line = line.rstrip("\n")
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments.append(line)
                elif name == "event":
                    kind = value
                elif name == "id":
                    id = value
                elif name == "data":
                    data = value
                elif not line:
                    self.messages.append((kind, id, json.loads(data) if data else None))
                    kind, id, data = "message", None, ""
                    self._opened.set()
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            self._opened.set()
            self.ended.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [data for kind, _, data in list(self.messages) if kind == "message" and data]

    @property
    def ids(self) -> list[int]:
        return [event["id"] for event in self.events]

    def wait(self, count: int, seconds: float = 15.0) -> list[dict[str, Any]]:
        """Until so many events have come."""
        end = time.monotonic() + seconds
        while len(self.events) < count:
            assert time.monotonic() < end, f"{len(self.events)} of {count} events came"
            time.sleep(0.01)
        return self.events

    def close(self) -> None:
        """Hang up, as a client does that is gone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(app: FastAPI, *, going_down: Callable[[], None]) -> Iterator[Served]:
    served = Served(app, going_down=going_down)
    try:
        yield served
    finally:
        if served.thread.is_alive():
            served.stop()

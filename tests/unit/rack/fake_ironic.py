"""The three endpoints that a ramdisk uses of the bare metal service, for tests of the agents."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class FakeIronic:
    """What it will answer, and what it was told."""

    node_id: str = "11111111-2222-3333-4444-555555555555"
    lookup_status: int = 200
    heartbeat_status: int = 202
    inspection_status: int = 404
    token: str = "token-of-this-deployment"
    image: bytes = b"an image" * 1000
    tokens_given: int = 0
    lookups: list[list[str]] = field(default_factory=list)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    inspections: list[dict[str, Any]] = field(default_factory=list)
    garbage: int = 0

    def identity(self) -> dict[str, Any]:
        # As Ironic: the token is given out once, and masked ever after.
        self.tokens_given += 1
        token = self.token if self.tokens_given == 1 else "******"
        return {"node": {"uuid": self.node_id}, "config": {"agent_token": token, "heartbeat_timeout": 300}}

    def callback(self) -> str:
        return str(self.heartbeats[-1]["callback_url"])

    def command(self, name: str, params: dict[str, Any] | None = None, *, token: str | None = None) -> dict[str, Any]:
        """Give the agent a command, as Ironic's AgentClient does. Raises OSError when nobody answers."""
        url = f"{self.callback()}/v1/commands/?wait=false&agent_token={token or self.token}"
        body = json.dumps({"name": name, "params": params or {}}).encode()
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        return _answer(request)

    def commands(self) -> list[dict[str, Any]]:
        answer = _answer(urllib.request.Request(f"{self.callback()}/v1/commands/?agent_token={self.token}"))
        commands: list[dict[str, Any]] = answer["commands"]
        return commands


class AgentError(Exception):
    """The agent answered, with an error."""

    def __init__(self, status: int, document: dict[str, Any]):
        super().__init__(f"{status}: {document}")
        self.status = status
        self.document = document


@contextmanager
def serving(ironic: FakeIronic, port: int) -> Iterator[str]:
    """Serve on 127.0.0.1; gives the base URL, under which /image is the image."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # no connection outlives this server

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/v1/lookup":
                ironic.lookups.append(parse_qs(url.query)["addresses"][0].split(","))
                ok = ironic.lookup_status == 200
                self.out(ironic.lookup_status, ironic.identity() if ok else {})
            elif url.path in ("/image", "/agent.iso"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(ironic.image)))
                self.end_headers()
                self.wfile.write(ironic.image)
            else:
                self.out(404, {})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                body = json.loads(content)
            except ValueError:
                ironic.garbage += 1
                self.out(400, {})
                return
            if self.path == "/v1/continue_inspection":
                ironic.inspections.append(body)
                status = ironic.inspection_status
                self.out(status, ironic.identity() if status == 202 else {})
            else:
                ironic.heartbeats.append({**body, "path": self.path})
                self.out(ironic.heartbeat_status, {})

        def out(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join()


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with _DIRECT.open(request, timeout=10) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document
    except urllib.error.HTTPError as error:
        raise AgentError(error.code, json.loads(error.read())) from None

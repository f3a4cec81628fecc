"""A tiny real HTTP server on loopback that plays a whole OpenStack cloud and answers what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from keystoneauth1.identity.v3 import Password

from steelyard.clouds.openstack.clouds import OpenstackClouds
from steelyard.clouds.openstack.session import Access, new_session

PASSWORD = "canary-own-password"
OWN_TOKEN = "canary-own-token"
TENANT_TOKEN = "canary-tenant-token"
SERVICES = ("image", "compute", "baremetal", "placement", "network", "identity")


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What to answer. `raw` writes to the socket by itself instead."""

    status: int = 200
    body: object = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: Callable[[Any], None] | None = None


def token_body(base: str, *, project: bool = True, expires: str = "2199-01-01T00:00:00.000000Z") -> dict[str, Any]:
    catalogue = [
        {"type": kind, "name": kind, "id": kind,
         "endpoints": [{"interface": "public", "region": "R", "region_id": "R", "url": f"{base}/{kind}", "id": kind}]}
        for kind in SERVICES
    ]  # fmt: skip
    token: dict[str, Any] = {
        "methods": ["password"], "expires_at": expires, "issued_at": "2026-01-01T00:00:00.000000Z",
        "user": {"id": "u1", "name": "someone", "domain": {"id": "default", "name": "Default"}},
        "roles": [{"id": "r1", "name": "member"}], "catalog": catalogue if project else [],
    }  # fmt: skip
    if project:
        token["project"] = {"id": "p1", "name": "demo", "domain": {"id": "default", "name": "Default"}}
    return {"token": token}


class AnsweringCloud:
    """Answers by (method, path) from `answers`; everything that arrived is in `requests`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[tuple[str, str], Reply | Callable[[Request], Reply]] = {}
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def answer(self) -> None:
                path, _, query = self.path.partition("?")
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length) if length else b""
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Request(self.command, path, query, headers, body)
                cloud.requests.append(request)
                reply = cloud.reply(request)
                if reply.raw is not None:
                    self.close_connection = True
                    reply.raw(self)
                    return
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.answers["GET", "/baremetal/v1"] = Reply(headers={"X-OpenStack-Ironic-API-Maximum-Version": "1.115"})
        self.answers["POST", "/identity/v3/auth/tokens"] = self.issue
        self.answers["GET", "/identity/v3/auth/tokens"] = self.validate

    def reply(self, request: Request) -> Reply:
        found = self.answers.get((request.method, request.path), Reply(404, {"error": {"message": "not here"}}))
        return found if isinstance(found, Reply) else found(request)

    def issue(self, request: Request) -> Reply:
        return Reply(201, token_body(self.base), {"X-Subject-Token": OWN_TOKEN})

    def validate(self, request: Request) -> Reply:
        if request.headers.get("x-subject-token") != TENANT_TOKEN:
            return Reply(404, {"error": {"message": f"no token {request.headers.get('x-subject-token')}"}})
        return Reply(200, token_body(self.base))

    def seen(self, method: str, path: str) -> list[Request]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def clouds(self, *, timeout: float = 5.0) -> OpenstackClouds:
        auth = Password(
            f"{self.base}/identity/v3", username="steelyard", password=PASSWORD, project_name="service",
            user_domain_name="Default", project_domain_name="Default",
        )  # fmt: skip
        session = new_session(auth, verify=True, cert=None, timeout=timeout)
        return OpenstackClouds(Access(session, auth, True, None, "public", timeout))


@contextmanager
def answering_cloud() -> Iterator[AnsweringCloud]:
    cloud = AnsweringCloud()
    thread = threading.Thread(target=cloud.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        cloud.server.shutdown()
        cloud.server.server_close()
        thread.join()

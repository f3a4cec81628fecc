"""The frame by itself, around routes that are made to misbehave."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from fastapi import APIRouter, Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import (
    Conflict,
    DeadlineExceeded,
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    SteelyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)
from steelyard.nouns import Actor
from steelyard.settings import Settings
from steelyard.web import frame
from steelyard.web import health as health_module
from steelyard.web.app import build_app
from steelyard.web.context import Admin, Caller, IdempotencyKey, Writer
from steelyard.web.frame import MAX_DEPTH, check_depth
from steelyard.web.health import Checks
from steelyard.web.logs import configure
from steelyard.web.schemas import Body

CANARY = "canary-b2d4"
TOKEN = f"token-{CANARY}"
REQUEST_ID = "req-8a7f6f0e-5d0f-4c52-9d3f-0d6a4b3f8c11"


class Thing(Body):
    name: str


def validate(token: str) -> Actor:
    roles = frozenset(token.partition(":")[2].split(",")) if ":" in token else frozenset({"member"})
    return Actor("user-1", "ada", "project-1", "demo", roles)


def routes() -> APIRouter:
    router = APIRouter(prefix="/test")

    @router.get("/broken")
    def broken(caller: Caller) -> dict[str, str]:
        raise ValueError(CANARY)

    @router.get("/whoami")
    def whoami(caller: Caller, key: IdempotencyKey = None) -> dict[str, str | None]:
        return {"user": caller.actor.user_name, "request_id": caller.request_id, "shown": repr(caller), "key": key}

    @router.get("/admin")
    def admin(caller: Admin) -> dict[str, str]:
        return {}

    @router.post("/things")
    def things(caller: Writer, body: Thing) -> dict[str, str]:
        return {"name": body.name}

    @router.get("/forgetful")
    def forgetful() -> dict[str, str]:
        return {"secret": "of the forgetful"}

    @router.post("/bytes")
    async def count(request: Request) -> dict[str, int]:
        return {"bytes": sum([len(chunk) async for chunk in request.stream()])}

    for name, kind in ERRORS.items():

        def fail(caller: Caller, kind: type[SteelyardError] = kind) -> dict[str, str]:
            raise kind("what is wrong", code="the_code", next="the next command", internal=CANARY)

        router.add_api_route(f"/errors/{name}", fail, response_model=None)
    return router


ERRORS: dict[str, type[SteelyardError]] = {
    kind.__name__: kind
    for kind in (
        Invalid, Unauthenticated, Forbidden, NotFound, Conflict, Refused, Duplicate, TooLarge, UpstreamError,
        Unavailable, DeadlineExceeded,
    )
}  # fmt: skip
STATUS = {
    "Invalid": 400, "Unauthenticated": 401, "Forbidden": 403, "NotFound": 404, "Conflict": 409, "Refused": 409,
    "Duplicate": 409, "TooLarge": 413, "UpstreamError": 502, "Unavailable": 503, "DeadlineExceeded": 504,
}  # fmt: skip


def app() -> Any:
    return build_app([routes()], validate=validate, checks={}, settings=Settings(home=Path("/nonexistent")))


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app(), raise_server_exceptions=False, headers={"X-Auth-Token": TOKEN}) as client:
        yield client


class TestErrors:
    @pytest.mark.parametrize("name", ERRORS)
    def test_each_of_ours(self, client: TestClient, name: str) -> None:
        response = client.get(f"/v1/test/errors/{name}")
        assert response.status_code == STATUS[name]
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert (body["code"], body["detail"], body["next"]) == ("the_code", "what is wrong", "the next command")
        assert CANARY not in response.text

    def test_one_that_nobody_foresaw(self, client: TestClient) -> None:
        response = client.get("/v1/test/broken", headers={"X-Request-Id": REQUEST_ID})
        assert response.status_code == 500
        assert response.json()["code"] == "internal"
        assert response.json()["request_id"] == REQUEST_ID
        assert CANARY not in response.text
        assert "ValueError" not in response.text

    def test_unknown_path_and_method(self, client: TestClient) -> None:
        assert client.get("/v1/none").json()["code"] == "no_such_path"
        assert client.get("/none").json()["code"] == "no_such_path"
        response = client.put("/v1/test/things")
        assert (response.status_code, response.json()["code"]) == (405, "no_such_method")
        assert response.headers["allow"] == "POST"

    def test_malformed_names_the_field(self, client: TestClient) -> None:
        body = client.post("/v1/test/things", json={"nmae": CANARY}).json()
        assert body["code"] == "malformed"
        assert {error["field"] for error in body["errors"]} == {"body.name", "body.nmae"}
        assert CANARY not in json.dumps(body)


class TestCallers:
    def test_who(self, client: TestClient) -> None:
        body = client.get("/v1/test/whoami", headers={"Idempotency-Key": "k"}).json()
        assert (body["user"], body["key"]) == ("ada", "k")
        assert CANARY not in body["shown"], "the token is not in the repr of the context"

    def test_a_route_that_forgets_to_ask_is_not_open(self) -> None:
        with TestClient(app()) as stranger:
            assert stranger.get("/v1/test/forgetful").status_code == 401

    @pytest.mark.parametrize(
        ("roles", "admin", "write"), [("admin", 200, 200), ("member", 403, 200), ("reader", 403, 403)]
    )
    def test_roles(self, client: TestClient, roles: str, admin: int, write: int) -> None:
        headers = {"X-Auth-Token": f"t:{roles}"}
        assert client.get("/v1/test/admin", headers=headers).status_code == admin
        assert client.post("/v1/test/things", headers=headers, json={"name": "x"}).status_code == write


class TestRequestId:
    def test_is_made_or_echoed(self, client: TestClient) -> None:
        made = client.get("/v1/test/whoami").headers["x-request-id"]
        assert re.fullmatch(r"req-[0-9a-f-]{36}", made)
        echoed = client.get("/v1/test/whoami", headers={"X-Request-Id": REQUEST_ID})
        assert echoed.headers["x-request-id"] == echoed.json()["request_id"] == REQUEST_ID

    @pytest.mark.parametrize("given_id", ["req-1", "x" * 5000, "req-<script>", REQUEST_ID.upper(), f"{REQUEST_ID}x"])
    def test_another_form_is_not_taken_over(self, client: TestClient, given_id: str) -> None:
        assert client.get("/v1/test/whoami", headers={"X-Request-Id": given_id}).headers["x-request-id"] != given_id


def test_headers_that_harden(client: TestClient) -> None:
    for path in ("/health", "/v1/test/whoami", "/v1/none", "/v1/test/broken"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


class TestLog:
    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        yield
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()

    def test_one_line_per_request_without_token_query_or_body(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("json")
        with TestClient(app(), headers={"X-Auth-Token": TOKEN}) as client:
            client.post(f"/v1/test/things?x={CANARY}", json={"name": CANARY}, headers={"X-Request-Id": REQUEST_ID})
        written = [line for line in written_to(capsys) if line["logger"] == "steelyard.access"]
        assert len(written) == 1
        (line,) = written
        assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/test/things", 200)
        assert (line["user"], line["project"], line["request_id"]) == ("user-1", "project-1", REQUEST_ID)
        assert line["ms"] >= 0
        assert CANARY not in json.dumps(written)

    def test_an_unforeseen_error_is_there_with_its_request_id(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("json")
        with TestClient(app(), raise_server_exceptions=False, headers={"X-Auth-Token": TOKEN}) as client:
            client.get("/v1/test/broken", headers={"X-Request-Id": REQUEST_ID})
        (line,) = [line for line in written_to(capsys) if line["event"] == "unforeseen error"]
        assert line["request_id"] == REQUEST_ID
        assert "ValueError" in line["exception"]

    def test_a_traceback_for_people_does_not_show_local_variables(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("console")
        with TestClient(app(), raise_server_exceptions=False, headers={"X-Auth-Token": TOKEN}) as client:
            client.get("/v1/test/broken")
        written = capsys.readouterr().err
        assert "Traceback" in written
        assert TOKEN not in written


def written_to(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


class TestNul:
    """PostgreSQL takes no NUL in a text, and nothing of ours has one: refused before anybody looks at it."""

    @pytest.mark.parametrize("url", ["/v1/test/a%00b", "/v1/test/whoami?name=a%00b"])
    def test_in_the_url(self, client: TestClient, url: str) -> None:
        answer = client.get(url)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
        assert answer.json()["errors"] == [{"field": "url", "message": "holds a NUL character"}]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (rb'{"name": "a\u0000b"}', 422),
            (rb'{"name": "\\\u0000"}', 422),
            (rb'{"na\u0000me": "a"}', 422),
            (rb'{"name": "a\\u0000b"}', 200),
            (rb'{"name": "a\u0001b"}', 200),
        ],
    )
    def test_in_the_body(self, client: TestClient, body: bytes, status: int) -> None:
        answer = client.post("/v1/test/things", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
        if status == 422:
            assert answer.json()["detail"] == "body: holds a NUL character"

    def test_strangers_are_told_nothing(self) -> None:
        with TestClient(app()) as stranger:
            assert stranger.get("/v1/test/whoami?name=%00").status_code == 401


class TestDepth:
    nested = st.recursive(
        st.none() | st.booleans() | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )

    @given(nested, st.integers(0, 2 * MAX_DEPTH))
    def test_counts_what_is_nested_and_nothing_else(self, value: object, more: int) -> None:
        for _ in range(more):
            value = [value]
        too_deep = _depth(value) > MAX_DEPTH
        for ascii_only in (True, False):
            body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
            try:
                check_depth(body)
                refused = False
            except Invalid:
                refused = True
            assert refused is too_deep

    @given(st.binary())
    def test_takes_any_bytes(self, body: bytes) -> None:
        check_depth(body[:MAX_DEPTH])


def _depth(value: object) -> int:
    if isinstance(value, list):
        return 1 + max((_depth(each) for each in value), default=0)
    if isinstance(value, dict):
        return 1 + max((_depth(each) for each in value.values()), default=0)
    return 0


class TestOnTheWire:
    """Over a real socket: what a client sees that goes on sending."""

    @pytest.fixture
    def address(self) -> Iterator[tuple[str, int]]:
        config = uvicorn.Config(app(), port=0, log_config=None, access_log=False, server_header=False, lifespan="off")
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()
        listener.close()

    @staticmethod
    def send(address: tuple[str, int], head: str, body: bytes = b"") -> bytes:
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(f"{head}\r\nHost: x\r\n\r\n".encode() + body)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
                if b'"request_id"' in answer and not body:
                    break  # the server would wait a little for what was announced
            return answer

    def test_413_is_read_by_a_client_that_sends_all_first(self, address: tuple[str, int]) -> None:
        head = f"POST /v1/test/things HTTP/1.1\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: {50 << 20}"
        assert self.send(address, head, b"x" * (50 << 20)).startswith(b"HTTP/1.1 413")

    def test_413_for_a_client_that_asks_first(self, address: tuple[str, int]) -> None:
        head = f"POST /v1/test/things HTTP/1.1\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: {50 << 20}"
        answer = self.send(address, f"{head}\r\nExpect: 100-continue")
        assert answer.startswith(b"HTTP/1.1 413")

    def test_413_before_the_body_is_sent(self, address: tuple[str, int]) -> None:
        head = f"POST /v1/test/things HTTP/1.1\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: {50 << 20}"
        answer = self.send(address, head)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()

    def test_401_before_the_body_is_sent(self, address: tuple[str, int]) -> None:
        answer = self.send(address, f"POST /v1/test/things HTTP/1.1\r\nContent-Length: {50 << 20}")
        assert answer.startswith(b"HTTP/1.1 401")

    def test_413_in_the_middle_of_chunks_that_never_end(
        self, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(frame, "DRAIN_SECONDS", 0.5)
        head = f"POST /v1/test/things HTTP/1.1\r\nX-Auth-Token: {TOKEN}\r\nTransfer-Encoding: chunked"
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        assert self.send(address, head, chunk * 2).startswith(b"HTTP/1.1 413")

    def test_what_follows_a_refusal_is_not_taken_for_a_request(self, address: tuple[str, int]) -> None:
        smuggled = f"GET /v1/test/whoami HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {TOKEN}\r\n\r\n".encode()
        answer = self.send(address, f"POST /v1/test/things HTTP/1.1\r\nContent-Length: {len(smuggled)}", smuggled)
        assert answer.count(b"HTTP/1.1") == 1


class TestHealth:
    def test_is_for_anybody_and_names_no_reason(self) -> None:
        def down() -> None:
            raise Unavailable(f"nothing answers at {CANARY}")

        built = build_app(
            [], validate=validate, checks={"identity": down, "database": lambda: None}, settings=Settings()
        )
        with TestClient(built) as client:
            response = client.get("/health")
        assert response.status_code == 200
        body = response.json()
        assert body["status"] == "degraded"
        assert body["dependencies"] == {"identity": {"status": "unavailable"}, "database": {"status": "ok"}}
        assert body["version"]
        assert CANARY not in response.text

    def test_does_not_burden_what_it_looks_at(self) -> None:
        looks: list[datetime] = []
        now = 0.0
        checks = Checks({"identity": lambda: looks.append(datetime.now(UTC))}, now=lambda: now)
        for _ in range(10):
            checks.states()
        assert len(looks) == 1
        now = 6.0
        checks.states()
        assert len(looks) == 2

    def test_a_dependency_that_hangs_takes_no_thread_from_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health_module, "PATIENCE", 0.05)
        hangs, looking = threading.Event(), threading.Event()

        def hang() -> None:
            looking.set()
            hangs.wait(10)

        checks = Checks({"identity": hang})
        first = threading.Thread(target=checks.states)
        first.start()
        try:
            assert looking.wait(5)
            assert checks.states() == {"identity": "unavailable"}
            assert first.is_alive()
        finally:
            hangs.set()
            first.join()
        assert checks.states() == {"identity": "ok"}

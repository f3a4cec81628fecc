"""What surrounds every request, as plain ASGI: id, log line, headers, last resort; who asks; how much may be sent.

From the outside in: `Frame` (nothing leaves without a request id and security headers, no exception passes),
`Authentication` (under /v1 nothing is read from strangers), `BodyLimit` (nothing larger, nothing deeper).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import anyio
import anyio.to_thread
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steelyard.errors import Forbidden, Invalid, SteelyardError, TooLarge, Unauthenticated
from steelyard.nouns import Actor
from steelyard.web.context import NEXT_TOKEN, Context
from steelyard.web.problems import internal_problem, problem, problem_of

log = structlog.get_logger("steelyard.web")
access = structlog.get_logger("steelyard.access")

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MAX_TOKEN = 16_384
MAX_DEPTH = 64
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it; an escaped backslash before `u0000` makes it five harmless characters."""
SMALL_BODY = 16 << 10
"""Bytes that are looked through at once; a larger body (a second per 3 MiB) is in a thread, not in everybody's way."""
DRAIN_SECONDS = 5.0
DRAIN_BYTES = 256 << 20
UPLOADS = frozenset({("POST", "/v1/images")})
"""Where a body of type application/octet-stream is a file, read by the endpoint itself as it arrives."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class Observe(Protocol):
    """Told of each request that was answered: the scope after routing, the status (0: none), the seconds."""

    def __call__(self, scope: Scope, status: int, seconds: float, *, stream: bool) -> None: ...


class Frame:
    """Request id, access log, security headers; an exception that nobody caught becomes a 500 problem."""

    def __init__(self, app: ASGIApp, *, observe: Observe | None = None) -> None:
        self.app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4()}"
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begin = time.perf_counter()
        status = 0
        stream = False

        async def framed(message: Message) -> None:
            nonlocal status, stream
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                stream = headers.get("content-type", "").startswith("text/event-stream")
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, framed)
        except Exception:
            log.exception("unforeseen error", method=scope["method"], path=scope["path"])
            if status:  # too late to say so; the broken connection will
                raise
            await internal_problem(request_id)(scope, receive, framed)
        finally:
            seconds = time.perf_counter() - begin
            _access(scope, status, seconds)
            if self._observe is not None:
                self._observe(scope, status, seconds, stream=stream)


class Authentication:
    """Under /v1: a token, checked with Keystone before anything of the body is read."""

    def __init__(self, app: ASGIApp, *, validate: Callable[[str], Actor]) -> None:
        self.app = app
        self._validate = validate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        token = Headers(scope=scope).get("x-auth-token", "").strip()
        try:
            actor = await self._actor(token)
        except SteelyardError as error:
            await _refuse(error, scope, receive, send)
            return
        scope["state"]["context"] = Context(actor=actor, token=token, request_id=request_id)
        await self.app(scope, receive, send)

    async def _actor(self, token: str) -> Actor:
        if not token:
            raise Unauthenticated("The request has no X-Auth-Token header.", next=NEXT_TOKEN)
        if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise Unauthenticated("The X-Auth-Token header is no token.", next=NEXT_TOKEN)
        actor = await anyio.to_thread.run_sync(self._validate, token)
        if not actor.roles & {"admin", "member", "reader", "service"}:  # a service alone: see web.context.Service
            raise Forbidden("Your roles are none of admin, member and reader.")
        return actor


class BodyLimit:
    """At most so many bytes, whatever Content-Length says; JSON of at most `MAX_DEPTH` levels."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_upload_bytes: int) -> None:
        self.app = app
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        upload = (scope["method"], scope["path"].rstrip("/")) in UPLOADS and content_type == "application/octet-stream"
        limit = self._max_upload_bytes if upload else self._max_body_bytes
        if not scope["path"].startswith("/v1/"):
            limit = 0  # nothing there takes a body, and strangers may ask
        try:
            declared = headers.get("content-length", "0")
            if not declared.isdecimal() or int(declared) > limit:
                raise _too_large(limit)
            if upload:
                await self.app(scope, _counted(receive, limit), send)
                return
            body = await _read(receive, limit)
            if body is None:
                return  # the client has gone
        except TooLarge as error:
            await _refuse(error, scope, receive, send)
            return
        try:
            if len(body) > SMALL_BODY:
                await anyio.to_thread.run_sync(check_depth, body)
            else:
                check_depth(body)
        except Invalid as error:
            await problem_of(error, scope["state"]["request_id"])(scope, receive, send)
            return
        # No name, id or text of ours holds a NUL, and PostgreSQL takes none.
        part = "url" if _nul_in_url(scope) else "body" if NUL.search(body) else None
        if part is not None:
            await _nul(part, scope["state"]["request_id"])(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)


def _nul_in_url(scope: Scope) -> bool:
    return "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]


def _nul(part: str, request_id: str) -> JSONResponse:
    message = "holds a NUL character"
    return problem(
        422, "malformed", f"{part}: {message}", request_id=request_id, errors=[{"field": part, "message": message}]
    )


def check_depth(body: bytes) -> None:
    """Raises `Invalid` for JSON that is nested deeper than anybody needs, before a parser recurses into it."""
    depth = 0
    for mark in re.finditer(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', body, re.DOTALL):
        character = body[mark.start()]
        if character in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", code="malformed")
        elif character in b"]}":
            depth -= 1


async def _read(receive: Receive, limit: int) -> bytes | None:
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read, once; then whatever the connection says."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _counted(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")


async def _refuse(error: SteelyardError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem before the body was read, then end the connection.

    What the client is still sending would pass for its next request. It is read and thrown away for a while first: a
    connection that is closed on unread data is reset, and the client would never see the answer.
    """
    response = problem_of(error, scope["state"]["request_id"])
    response.headers["connection"] = "close"

    async def send_all_but_the_end(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "more_body": True}
        await send(message)

    await response(scope, receive, send_all_but_the_end)
    if "expect" not in Headers(scope=scope):  # who asked before sending has not sent, and needs no more than a no
        with anyio.move_on_after(DRAIN_SECONDS):
            await _drain(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    size = 0
    while size < DRAIN_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def _access(scope: Scope, status: int, seconds: float) -> None:
    context: Any = scope["state"].get("context")
    who = {"user": context.actor.user_id, "project": context.actor.project_id} if context else {}
    access.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 1),
        **who,
    )

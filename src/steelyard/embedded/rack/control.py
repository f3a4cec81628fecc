"""The control endpoint of a rack process: HTTP on 127.0.0.1, a bearer token, health, state and faults."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from steelyard.embedded.rack.faults import Fault, Faults
from steelyard.errors import Conflict, Invalid, NotFound, SteelyardError

LOG = logging.getLogger("steelyard.rack")

MAX_BODY = 1 << 20
_STATUS = ((NotFound, 404), (Conflict, 409), (Invalid, 400))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    token: str, faults: Faults, *, health: Callable[[], Mapping[str, Any]], open_prefix: str | None = None
) -> web.Application:
    """An application with /health and /faults behind the token; the caller adds routes of its own.

    Paths under `open_prefix` need no token: their handlers see to that themselves.
    """
    app = web.Application(middlewares=[_guard(token, open_prefix)], client_max_size=MAX_BODY)

    async def get_health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **health()})

    async def list_faults(_: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.as_json() for fault in faults.all()]})

    async def add_fault(request: web.Request) -> web.Response:
        fault = faults.add(await json_object(request))
        LOG.info("fault %s set: %s on %s (%s)", fault.id, fault.kind, fault.target, fault.match or "anything")
        return web.json_response(fault.as_json(), status=201)

    async def clear_faults(request: web.Request) -> web.Response:
        wanted = request.match_info.get("id")
        return web.json_response({"cleared": faults.clear(None if wanted is None else int(wanted))})

    app.router.add_get("/health", get_health)
    app.router.add_get("/faults", list_faults)
    app.router.add_post("/faults", add_fault)
    app.router.add_delete("/faults", clear_faults)
    app.router.add_delete(r"/faults/{id:\d{1,9}}", clear_faults)
    return app


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve an application on 127.0.0.1 while inside. Raises OSError when the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def json_object(request: web.Request) -> dict[str, Any]:
    """The request's body. Raises Invalid when it is not a JSON object."""
    try:
        document = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The body is not JSON: {error}", code="body") from None
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object", code="body")
    return document


async def cut(request: web.BaseRequest, fault: Fault | None = None) -> web.Response:
    """Close the connection without an answer; for a hanging fault, only when its time is up or the client leaves."""
    if fault is not None and fault.kind == "hang":
        await asyncio.sleep(3600 if fault.seconds is None else fault.seconds)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _guard(token: str, open_prefix: str | None) -> Any:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        is_open = open_prefix is not None and request.path.startswith(open_prefix)
        if not is_open and not hmac.compare_digest(given, expected):
            return problem(401, "unauthenticated", "This endpoint needs the rack's bearer token")
        try:
            return await handler(request)
        except SteelyardError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            return problem(status, error.code, error.detail)
        except web.HTTPException as error:
            return problem(error.status, "http", error.reason)

    return guard


def problem(status: int, code: str, detail: str) -> web.Response:
    return web.json_response({"code": code, "detail": detail}, status=status)

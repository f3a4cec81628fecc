"""What is around every request: errors in plain text, faults on demand, who asks, and the body."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid as uuids
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from steelyard.embedded.contrail import visibility
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.identity import Identities
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import BY_PLURAL, TYPES
from steelyard.embedded.contrail.visibility import INTERNAL, Identity
from steelyard.embedded.rack.control import cut
from steelyard.embedded.rack.faults import KINDS, Fault, Faults
from steelyard.errors import Unavailable

LOG = logging.getLogger("steelyard.contrail")

MAX_BODY = 1_024_000
MAX_DEPTH = 64
CONTROL = "/control/"
OPERATIONS = frozenset({"read", "create", "update", "delete", "push"})
"""What a fault may be restricted to; `push` is the fabric manager's."""
FAULT_KINDS = KINDS | {"wrong_port", "wrong_vlan", "answer_lost"}
"""Those of the rack, and `answer_lost`: it is done, and the connection closed without a word. `not_applied` and `late`
answer as if it were done; a create that is late should choose its uuid, or it has another one then."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Undone(Exception):
    """Carries an answer out of a transaction that is not to be kept."""

    def __init__(self, answer: web.StreamResponse):
        super().__init__()
        self.answer = answer


class Frame:
    """The middlewares, from the outside in: `plain_errors`, `authenticated`, `faulty`."""

    def __init__(self, resources: Resources, identities: Identities, faults: Faults):
        self._resources = resources
        self._identities = identities
        self._faults = faults
        self._late: set[asyncio.Task[None]] = set()

    @web.middleware
    async def plain_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever goes wrong becomes an answer of the controller's kind."""
        if request.path.startswith(CONTROL):
            return await handler(request)
        try:
            return await handler(request)
        except ApiError as error:
            return web.Response(status=error.status, text=error.text)
        except web.HTTPException as error:
            known = {404: f"Not found: {request.path!r}", 405: "Method not allowed.", 413: "Request entity too large"}
            return web.Response(status=error.status, text=known.get(error.status, error.reason))
        except Unavailable as error:
            return web.Response(status=503, text=error.detail)
        except Exception:
            LOG.exception("%s %s", request.method, request.path)
            return web.Response(status=500, text="Internal Server Error")

    @web.middleware
    async def authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who asks, before anything else of the request is looked at."""
        if request.path == "/" or request.path.startswith(CONTROL):
            return await handler(request)
        token = request.headers.get("X-Auth-Token", "")
        identity = await self._identities.of(token) if token else None
        if identity is None:
            body = {
                "error": {
                    "code": 401,
                    "title": "Unauthorized",
                    "message": "The request you have made requires authentication.",
                }
            }
            return web.json_response(body, status=401)
        request["identity"] = identity
        self._know_project(identity)
        return await handler(request)

    @web.middleware
    async def faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The fault that happens to the request, if one does."""
        if request.path == "/" or request.path.startswith(CONTROL):
            return await handler(request)
        operation, names = _operation(request)
        fault = self._faults.take(operation, *names)
        request["fault"] = fault
        match fault.kind if fault is not None else None:
            case "hang" | "drop":
                return await cut(request, fault)
            case "refuse":
                raise ApiError(503, "Not connected to zookeeper. Not able to perform requested action")
            case "garbage":
                return web.Response(body=b"\x00\xff<html>proxy error", content_type="application/json")
            case "slow":
                assert fault is not None
                await asyncio.sleep(fault.delay)
            case "answer_lost":
                await handler(request)
                return await cut(request)
            case "not_applied" | "late":
                assert fault is not None
                answer = await self._pretended(request, handler)
                if fault.kind == "late":
                    self._later(fault.delay, request, handler)
                return answer
        return await handler(request)

    async def _pretended(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The answer of a request that is then undone."""
        await request.read()  # from here on nothing gives way, so that no other request is undone with it
        try:
            with self._resources.database.transaction():
                raise _Undone(await handler(request))
        except _Undone as undone:
            return undone.answer

    def _later(self, seconds: float, request: web.Request, handler: Handler) -> None:
        async def again() -> None:
            await asyncio.sleep(seconds)
            try:
                await handler(request)
            except ApiError as error:
                LOG.warning("%s %s was not done late: %s", request.method, request.path, error.text)

        task = asyncio.create_task(again())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _know_project(self, who: Identity) -> None:
        """A project of Keystone's is there as soon as somebody of it comes, with Keystone's id."""
        name = ("default-domain", who.project_name)
        if not who.project_id or self._resources.database.find("project", name) is not None:
            return
        try:
            uuid = str(uuids.UUID(who.project_id))
            body = {
                "fq_name": list(name),
                "uuid": uuid,
                "parent_type": "domain",
                "perms2": visibility.default_perms2(who.project_id),
            }
            self._resources.create(INTERNAL, TYPES["project"], body)
        except (ValueError, ApiError):
            LOG.warning("the project %s could not be made", who.project_id[:64])


def who_asks(request: web.Request) -> Identity:
    """Who sent an authenticated request."""
    identity: Identity = request["identity"]
    return identity


def fault_of(request: web.Request) -> Fault | None:
    """The fault that happens to a request, when it is one of content."""
    fault: Fault | None = request.get("fault")
    return fault


def _operation(request: web.Request) -> tuple[str, tuple[str, ...]]:
    """What a fault would be restricted to: the operation, and the type and uuid or the path."""
    words = request.path.strip("/").split("/")
    type = BY_PLURAL[words[0]].name if words[0] in BY_PLURAL else words[0]
    if request.method == "GET" or words[0] in ("fqname-to-id", "id-to-fqname", "list-bulk-collection"):
        return "read", (type, *words[1:])
    if request.method == "POST" and words[0] in BY_PLURAL:
        return "create", (type,)
    return "delete" if request.method == "DELETE" else "update", (type, *words[1:])


async def body_of(request: web.Request) -> Mapping[str, Any]:
    """Raises ApiError 400 for a body that is no JSON object, too deep, or holds numbers that are not JSON."""
    content = await request.read()

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        document = json.loads(content or b"null", parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"Invalid JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "Invalid JSON: an object is expected")
    if _deeper_than(document, MAX_DEPTH):
        raise ApiError(400, f"Invalid JSON: deeper than {MAX_DEPTH} levels")
    return document


def _deeper_than(document: Any, levels: int) -> bool:
    layer = [document]
    for _ in range(levels):
        layer = [
            inner
            for value in layer
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not layer:
            return False
    return True

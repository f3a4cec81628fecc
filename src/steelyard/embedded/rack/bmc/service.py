"""The Redfish service of every BMC: which one is meant, may the caller, is there a fault, what is the answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web

from steelyard.embedded.rack import control
from steelyard.embedded.rack.bmc import actions, answers
from steelyard.embedded.rack.bmc.accounts import Accounts
from steelyard.embedded.rack.bmc.actions import Action
from steelyard.embedded.rack.bmc.answers import RedfishError
from steelyard.embedded.rack.bmc.documents import ROOT, View
from steelyard.embedded.rack.bmc.hardware import Hardware
from steelyard.embedded.rack.bmc.machine import Machine, Power
from steelyard.embedded.rack.bmc.resources import render, version_document
from steelyard.embedded.rack.faults import Fault, Faults
from steelyard.embedded.rack.plan import Server

LOG = logging.getLogger("steelyard.rack.bmc")

OPERATIONS = frozenset({"login", "read", "power", "boot", "media", "account"})
SESSIONS = f"{ROOT}/SessionService/Sessions"
MAX_BODY = 64 << 10
_FETCH_TIMEOUT = aiohttp.ClientTimeout(total=10)


class RedfishService:
    """`handle` answers one request to the BMC of one server."""

    def __init__(self, hardware: Hardware, accounts: Accounts, faults: Faults):
        self._hardware = hardware
        self._accounts = accounts
        self._faults = faults
        self._later: set[asyncio.Task[None]] = set()

    async def handle(self, server: Server, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.rstrip("/")
        try:
            return await self._answer(server, request, path)
        except RedfishError as error:
            headers = {"WWW-Authenticate": 'Basic realm="Redfish"'} if error.status == HTTPStatus.UNAUTHORIZED else {}
            return _json(error.document(), status=error.status, headers=headers)

    async def _answer(self, server: Server, request: web.BaseRequest, path: str) -> web.StreamResponse:
        reading = request.method in ("GET", "HEAD")
        if reading and path == "/redfish":
            return _json(version_document())
        if request.method == "POST" and path == SESSIONS:
            return await self._log_in(server, request)
        # The service root is open to all (DSP0266 13.3.2): it is what a sweep sees without credentials.
        if not (reading and path == ROOT) and not self._accounts.allows(server, request.headers):
            raise RedfishError(401, "InsufficientPrivilege", "There are no valid credentials with the request.")
        view = View.of(server, self._hardware.machine(server.name), self._accounts.sessions(server))
        if reading:
            return await self._show(view, request, path)
        if request.method == "DELETE" and path.startswith(f"{SESSIONS}/"):
            if not self._accounts.close_session(server, path.removeprefix(f"{SESSIONS}/")):
                raise answers.missing(path)
            return web.Response(status=204)
        return await self._do(view, request, path)

    async def _log_in(self, server: Server, request: web.BaseRequest) -> web.StreamResponse:
        fault = self._faults.take("login", server.name)
        if fault is not None and (broken := await _broken(request, fault)) is not None:
            return broken
        body = await _object(request)
        username, password = body.get("UserName"), body.get("Password")
        if not isinstance(username, str) or not isinstance(password, str):
            raise RedfishError(400, "PropertyMissing", "UserName and Password are required.")
        if not self._accounts.knows(server, username, password):
            raise RedfishError(401, "InsufficientPrivilege", "The user name or password is not valid.")
        session_id, token = self._accounts.open_session(server)
        document = {"@odata.id": f"{SESSIONS}/{session_id}", "Id": session_id, "Name": "Session", "UserName": username}
        return _json(document, status=201, headers={"X-Auth-Token": token, "Location": f"{SESSIONS}/{session_id}"})

    async def _show(self, view: View, request: web.BaseRequest, path: str) -> web.StreamResponse:
        fault = self._faults.take("read", view.server.name)
        if fault is not None and (broken := await _broken(request, fault)) is not None:
            return broken
        if fault is not None and fault.kind == "wrong_answer":
            view = _false(view)
        document = render(view, path)
        if document is None:
            raise answers.missing(path)
        headers = {"ETag": _etag(document)} if view.make.etags else {}
        return _json(document, headers=headers)

    async def _do(self, view: View, request: web.BaseRequest, path: str) -> web.StreamResponse:
        body = await _object(request)

        def set_password(password: str) -> None:
            self._accounts.set_password(view.server, password)

        action = actions.prepare(view, request.method, path, body, self._hardware, set_password)
        wanted_tag = request.headers.get("If-Match", "*")
        if view.make.etags and wanted_tag != "*" and wanted_tag != _etag(render(view, path) or {}):
            raise RedfishError(412, "PreconditionFailed", "The ETag supplied did not match the resource.")
        fault = self._faults.take(action.operation, view.server.name)
        if fault is not None:
            if (answered := await self._faulty(request, fault, action)) is not None:
                return answered
        elif action.fetches is not None:
            await _fetch(action.fetches)
        action.apply()
        return web.Response(status=204, headers={"OData-Version": "4.0"})

    async def _faulty(self, request: web.BaseRequest, fault: Fault, action: Action) -> web.StreamResponse | None:
        """The answer of a BMC with a fault; None when it does as it is told after all."""
        if fault.kind == "not_applied":
            return web.Response(status=204)
        if fault.kind == "late":
            self._after(fault.delay, action)
            return web.Response(status=204)
        if fault.kind == "wrong_answer":
            # It does what it is told, and says that it failed.
            action.apply()
            raise RedfishError(500, "InternalError", "The request failed due to an internal service error.")
        return await _broken(request, fault)

    def _after(self, seconds: float, action: Action) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            try:
                action.apply()
            except RedfishError as error:
                LOG.info("a late %s came to nothing: %s", action.operation, error.message)

        task = asyncio.create_task(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _false(view: View) -> View:
    """Another server's truth: the opposite power state, and not the identity of the one that was asked."""
    machine, server = view.machine, view.server
    power = Power.OFF if machine.power in (Power.ON, Power.POWERING_ON) else Power.ON
    lie: Machine = replace(machine, power=power, media={})
    other = replace(
        server,
        serial=server.serial[::-1],
        uuid=server.uuid[::-1],
        nics=tuple(replace(nic, mac=nic.mac[:-2] + "fe") for nic in server.nics),
    )
    return replace(view, server=other, machine=lie)


async def _broken(request: web.BaseRequest, fault: Fault) -> web.StreamResponse | None:
    """The answer of a BMC with a fault of transport, or None when it goes on (having been slow)."""
    if fault.kind in ("hang", "drop"):
        return await control.cut(request, fault)
    if fault.kind == "refuse":
        raise RedfishError(503, "ServiceTemporarilyUnavailable", "The service is temporarily unavailable. Retry later.")
    if fault.kind == "garbage":
        return web.Response(body=b'<html>\xff\xfe{"@odata.id": [[[', content_type="application/json")
    if fault.kind == "slow":
        await asyncio.sleep(fault.delay)
    return None


async def _fetch(url: str) -> None:
    """A BMC opens the image before it says that it is inserted. Raises RedfishError when there is nothing to open."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_FETCH_TIMEOUT) as client,
            client.get(url, headers={"Range": "bytes=0-0"}) as answer,
        ):
            if answer.status in (200, 206):
                return
            why = f"HTTP {answer.status}"
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = type(error).__name__
    raise RedfishError(400, "ResourceAtUriInUnknownFormat", f"The image at {url[:200]} could not be opened: {why}.")


async def _object(request: web.BaseRequest) -> dict[str, Any]:
    if request.content_length is not None and request.content_length > MAX_BODY:
        raise RedfishError(413, "PayloadTooLarge", f"The request body is larger than {MAX_BODY} bytes.")
    content = await request.content.read(MAX_BODY + 1)
    while len(content) <= MAX_BODY and not request.content.at_eof():
        content += await request.content.read(MAX_BODY + 1 - len(content))
    if len(content) > MAX_BODY:
        raise RedfishError(413, "PayloadTooLarge", f"The request body is larger than {MAX_BODY} bytes.")
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise answers.malformed("it is not JSON") from None
    if not isinstance(document, dict):
        raise answers.malformed("it is not an object")
    return document


def _json(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(document, status=status, headers={"OData-Version": "4.0", **(headers or {})})


def _etag(document: Any) -> str:
    return f'W/"{hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]}"'

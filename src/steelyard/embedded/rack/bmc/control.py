"""The rack's side of the hardware process, on its control endpoint: what is true, disks, and the process itself.

* `GET /state`, `GET /state/{server}`      what is true, whatever the BMC says
* `GET /feed`                              changes as they happen (see `rack.feed`)
* `GET /log?after=N`                       every write to every disk
* `PUT /servers/{server}/disks/{disk}`     `{boot_id, step, content}`: software of that boot writes (null: blanks)
* `POST /servers/{server}/shutdown`        `{boot_id, restart}`: software of that boot shuts its server down
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from steelyard.embedded.rack import control
from steelyard.embedded.rack.bmc.accounts import Accounts
from steelyard.embedded.rack.bmc.hardware import Hardware
from steelyard.embedded.rack.bmc.listener import Listeners
from steelyard.embedded.rack.bmc.service import OPERATIONS, RedfishService
from steelyard.embedded.rack.certificates import Authority
from steelyard.embedded.rack.faults import Faults
from steelyard.embedded.rack.feed import Feed
from steelyard.embedded.rack.process import RackHome
from steelyard.embedded.rack.records import Records
from steelyard.errors import Invalid

LOG = logging.getLogger("steelyard.rack.bmc")


async def serve(home: RackHome, stop: asyncio.Event) -> None:
    """The process: hardware from its records, a BMC per server, the control endpoint; until told to stop."""
    records = Records(home.state / "bmc.sqlite")

    def read(keys: list[str] | None) -> Mapping[str, Any]:
        names = [server.name for server in home.rack.servers] if keys is None else keys
        return {name: hardware.machine(name).as_json() for name in names}

    feed, faults = Feed(read), Faults(OPERATIONS)
    hardware = Hardware(home.rack, records, home.timing, feed.changed)
    service = RedfishService(hardware, Accounts(home.rack, records), faults)
    authority = Authority.open(home.home / "rack")
    listeners = Listeners(home.rack, authority, home.state / "tls", service.handle)
    app = control.application(home.token, faults, health=lambda: {"servers": len(home.rack.servers)})
    _add_routes(app, hardware, feed)
    try:
        listeners.open()
        hardware.resume()
        async with control.serving(app, home.port("rack_bmc")):
            LOG.info("%d BMCs ready on port %d", len(home.rack.servers), home.rack.bmc_port)
            await stop.wait()
            feed.close()
    finally:
        await listeners.close()
        records.close()


def _add_routes(app: web.Application, hardware: Hardware, feed: Feed) -> None:
    async def state(_: web.Request) -> web.Response:
        machines = {server.name: hardware.machine(server.name).as_json() for server in hardware.servers()}
        return web.json_response({"servers": machines})

    async def one_state(request: web.Request) -> web.Response:
        return web.json_response(hardware.machine(request.match_info["server"]).as_json())

    async def log(request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            raise Invalid("`after` must be a number", code="log")
        return web.json_response({"log": hardware.log(after=int(after))})

    async def write_disk(request: web.Request) -> web.Response:
        body = await control.json_object(request)
        content, step = body.get("content"), body.get("step")
        if content is not None and not isinstance(content, dict):
            raise Invalid("`content` is an object or null", code="disk_content")
        if not isinstance(step, str):
            raise Invalid("`step` must say what writes", code="disk_step")
        name, disk = request.match_info["server"], request.match_info["disk"]
        hardware.write_disk(name, disk, content, boot_id=_boot_id(body), step=step)
        return web.json_response(hardware.machine(name).as_json())

    async def shut_down(request: web.Request) -> web.Response:
        body = await control.json_object(request)
        name = request.match_info["server"]
        hardware.shut_down(name, boot_id=_boot_id(body), restart=body.get("restart") is True)
        return web.json_response({})

    app.router.add_get("/state", state)
    app.router.add_get("/state/{server}", one_state)
    app.router.add_get("/feed", feed.handle)
    app.router.add_get("/log", log)
    app.router.add_put("/servers/{server}/disks/{disk}", write_disk)
    app.router.add_post("/servers/{server}/shutdown", shut_down)


def _boot_id(body: Mapping[str, Any]) -> int:
    boot_id = body.get("boot_id")
    if isinstance(boot_id, bool) or not isinstance(boot_id, int):
        raise Invalid("`boot_id` must say which boot this is from", code="boot_id")
    return boot_id

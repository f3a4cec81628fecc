"""Where Ironic reaches the agents: `/agent/{server uuid}/v1/commands`, beside the process's control endpoint.

A server whose agent is not there (off, booting, another system) or cut off answers as an unplugged machine does:
the connection ends without a word. While that cannot be known, because another process of the rack is being
restarted, the answer waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from steelyard.embedded.rack import control
from steelyard.embedded.rack.agents.agent import Agent
from steelyard.embedded.rack.agents.commands import Busy, UnknownCommand
from steelyard.embedded.rack.agents.fleet import Fleet
from steelyard.embedded.rack.agents.inventory import AGENT_VERSION
from steelyard.embedded.rack.agents.links import HardwareLink, IronicLink, follow
from steelyard.embedded.rack.agents.steps import Machine
from steelyard.embedded.rack.faults import Faults
from steelyard.embedded.rack.plan import Server
from steelyard.embedded.rack.process import RackHome
from steelyard.embedded.rack.records import Records
from steelyard.errors import Invalid

LOG = logging.getLogger("steelyard.rack.agents")

PREFIX = "/agent/"
_PATIENCE_SECONDS = 20.0

Handler = Callable[[Agent, web.Request], Awaitable[web.StreamResponse]]


class Callbacks:
    """The agents' own API, version 1."""

    def __init__(self, fleet: Fleet, faults: Faults):
        self._fleet = fleet
        self._faults = faults

    def add_routes(self, app: web.Application) -> None:
        base = PREFIX + "{uuid}"
        app.router.add_get(base + "/v1/status", self._behind_power(self._status))
        app.router.add_get(base + "/v1/commands{slash:/?}", self._behind_power(self._list))
        app.router.add_get(base + "/v1/commands/{id}", self._behind_power(self._show))
        app.router.add_post(base + "/v1/commands{slash:/?}", self._behind_power(self._execute))

    def _behind_power(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            agent = await self._there(request)
            if agent is None:
                return await control.cut(request)
            answer = await handler(agent, request)
            # Power may have gone while it was working on the answer: then there is nobody left to give it.
            return answer if await self._there(request) is agent else await control.cut(request)

        return handle

    async def _there(self, request: web.Request) -> Agent | None:
        # While the hardware or switch process is being restarted nobody knows: packets are late, not lost.
        await self._fleet.certain(_PATIENCE_SECONDS)
        return self._fleet.agent(request.match_info["uuid"])

    async def _status(self, agent: Agent, _: web.Request) -> web.StreamResponse:
        return web.json_response({"version": AGENT_VERSION, "started_at": agent.boot_id})

    async def _list(self, agent: Agent, request: web.Request) -> web.StreamResponse:
        if not agent.trusts(request.query.get("agent_token")):
            return _refused(401, "Unauthorized", "Token invalid.")
        fault = self._faults.take("status", agent.server.name)
        if fault is not None:
            if fault.kind in ("hang", "drop"):
                return await control.cut(request, fault)
            if fault.kind == "refuse":
                return _refused(500, "CommandExecutionError", "injected fault")
            if fault.kind == "garbage":
                return web.Response(body=b"{\xff", content_type="application/json")
            if fault.kind in ("slow", "late"):
                await asyncio.sleep(fault.delay)
            if fault.kind in ("wrong_answer", "not_applied"):
                return web.json_response({"commands": []})
        return web.json_response({"commands": [command.as_json() for command in agent.commands.all]})

    async def _show(self, agent: Agent, request: web.Request) -> web.StreamResponse:
        if not agent.trusts(request.query.get("agent_token")):
            return _refused(401, "Unauthorized", "Token invalid.")
        for command in agent.commands.all:
            if command.id == request.match_info["id"]:
                return web.json_response(command.as_json())
        return _refused(404, "RequestedObjectNotFoundError", "There is no such command.")

    async def _execute(self, agent: Agent, request: web.Request) -> web.StreamResponse:
        if not agent.trusts(request.query.get("agent_token")):
            return _refused(401, "Unauthorized", "Token invalid.")
        body = await control.json_object(request)
        name, params = body.get("name"), body.get("params") or {}
        if not isinstance(name, str) or not isinstance(params, dict):
            raise Invalid("A command is {name, params}", code="command")
        step = params.get("step")
        operation = step.get("step") if isinstance(step, dict) else name.partition(".")[2]
        fault = self._faults.take("command", agent.server.name, also=str(operation))
        if fault is not None and fault.kind == "drop":
            return await control.cut(request)
        try:
            command = await agent.commands.execute(name, params, fault)
        except Busy:
            return _refused(409, "AgentIsBusy", "Agent is busy: another command is running.")
        except UnknownCommand:
            return _refused(404, "CommandNotFound", f"Unknown command {name[:80]}.")
        if fault is not None and fault.kind == "garbage":
            return web.Response(body=b"{\xff", content_type="application/json")
        return web.json_response(command.as_json())


async def serve(home: RackHome, stop: asyncio.Event) -> None:
    """The process: follow the hardware and the switches, run the agents, until told to stop."""
    records = Records(home.state / "agents.sqlite")
    faults = Faults(operations=None)
    callback = f"http://127.0.0.1:{home.port('rack_agents')}{PREFIX}"
    hardware_url, switch_url = (f"http://127.0.0.1:{home.port(name)}" for name in ("rack_bmc", "rack_switch"))
    # No limit of its own: requests to Ironic take turns, and the feeds must never wait for them.
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as client:
        ironic = IronicLink(client, f"http://127.0.0.1:{home.port('ironic')}")
        hardware = HardwareLink(client, hardware_url, home.token)

        def make(server: Server, boot_id: int) -> Agent:
            return Agent(
                Machine(server, boot_id, hardware, client, home.timing.step_seconds),
                ironic,
                faults=faults,
                records=records,
                connected=lambda: fleet.connected(server),
                vlans=lambda: fleet.vlans(server),
                callback_url=f"{callback}{server.uuid}",
                period=fleet.period,
            )

        fleet = Fleet(home, make)

        async def state(_: web.Request) -> web.Response:
            return web.json_response(fleet.as_json())

        app = control.application(
            home.token, faults, health=lambda: {"servers": len(home.rack.servers)}, open_prefix=PREFIX
        )
        app.router.add_get("/state", state)
        Callbacks(fleet, faults).add_routes(app)
        async with control.serving(app, home.port("rack_agents")):
            following = [
                asyncio.create_task(
                    follow(client, hardware_url, home.token, changed=fleet.machines_changed, lost=fleet.hardware_lost)
                ),
                asyncio.create_task(
                    follow(client, switch_url, home.token, changed=fleet.ports_changed, lost=fleet.switches_lost)
                ),
            ]
            LOG.info("agents for %d servers ready", len(home.rack.servers))
            await stop.wait()
            for task in following:
                task.cancel()
            fleet.stop()
    records.close()


def _refused(status: int, kind: str, why: str) -> web.Response:
    """An error in the agent's own form (ironic_python_agent/api/app.py)."""
    return web.json_response({"faultstring": why, "code": status, "type": kind}, status=status)

"""Which agents there are: one per server that runs the ramdisk, while it does, cut off when its VLAN is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from steelyard.embedded.rack.agents.agent import Agent
from steelyard.embedded.rack.plan import Server
from steelyard.embedded.rack.process import RackHome

LOG = logging.getLogger("steelyard.rack.agents")

HEARTBEATS_PER_SECOND = 20.0
"""Of all agents together, at rest: a whole rack in its ramdisk must not be a load test of the bare metal service."""


class Fleet:
    """Follows the hardware (what runs) and the switches (who is cut off)."""

    def __init__(self, home: RackHome, make: Callable[[Server, int], Agent]):
        self._home = home
        self._make = make
        self._servers = {server.name: server for server in home.rack.servers}
        self._by_uuid = {server.uuid: server.name for server in home.rack.servers}
        self._by_boot_port = {
            f"{server.boot_nic.switch}/{server.boot_nic.port}": server.name for server in home.rack.servers
        }
        self._agents: dict[str, Agent] = {}
        self._ports: dict[str, Mapping[str, Any]] = {}
        self._hardware_speaks = False
        self._switches_speak = False
        self._certain = asyncio.Event()

    # What the hardware says

    def machines_changed(self, machines: Mapping[str, Any], whole: bool) -> None:
        for name, machine in machines.items():
            agent, boot_id = self._agents.get(name), machine["boot_id"]
            runs = machine["running"] == "ramdisk"
            if agent is not None and not (runs and agent.boot_id == boot_id):
                self._end(name)
            if runs and name not in self._agents and name in self._servers:
                self._agents[name] = self._make(self._servers[name], boot_id)
                self._agents[name].start()
        self._heard(hardware=True)
        if whole:
            self._kick_all()

    def hardware_lost(self) -> None:
        """Nobody knows what is on: the agents are not stopped, but nobody reaches them until it is known again."""
        if self._hardware_speaks:
            LOG.warning("the hardware does not answer: no agent can be reached")
        self._heard(hardware=False)

    # What the switches say

    def ports_changed(self, ports: Mapping[str, Any], whole: bool) -> None:
        self._ports = dict(ports) if whole else {**self._ports, **ports}
        self._heard(switches=True)
        if whole:
            self._kick_all()
            return
        for key in ports:
            if (agent := self._agents.get(self._by_boot_port.get(key, ""))) is not None:
                agent.kick()

    def switches_lost(self) -> None:
        """A switch that is down forwards nothing."""
        if self._switches_speak:
            LOG.warning("the switches do not answer: every agent is cut off")
        self._heard(switches=False)

    # What the agents ask

    def connected(self, server: Server) -> bool:
        """Whether the server's boot NIC is in a VLAN from which the bare metal service is reached."""
        port = self._port(server.boot_nic.switch, server.boot_nic.port)
        return (
            self._hardware_speaks
            and self._switches_speak
            and bool(port.get("enabled"))
            and port.get("untagged_vlan") in self._home.ramdisk_vlans
        )

    def vlans(self, server: Server) -> dict[str, int | None]:
        """The untagged VLAN of each NIC whose link is up."""
        ports = {nic.name: self._port(nic.switch, nic.port) for nic in server.nics}
        return {name: port.get("untagged_vlan") for name, port in ports.items() if port.get("enabled")}

    def period(self) -> float:
        """Seconds between the heartbeats of an agent at rest."""
        return max(self._home.timing.heartbeat_seconds, len(self._agents) / HEARTBEATS_PER_SECOND)

    def agent(self, server_uuid: str) -> Agent | None:
        """The agent that answers at that server's address now: None when there is none, or it cannot be reached."""
        agent = self._agents.get(self._by_uuid.get(server_uuid, ""))
        return agent if agent is not None and agent.reachable else None

    async def certain(self, seconds: float) -> None:
        """Wait until hardware and switches both speak, but no longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._certain.wait()

    def as_json(self) -> dict[str, Any]:
        return {
            "hardware": self._hardware_speaks,
            "switches": self._switches_speak,
            "agents": {name: agent.as_json() for name, agent in sorted(self._agents.items())},
        }

    def stop(self) -> None:
        """The process ends; the boots do not, and are taken up again by the next one."""
        for agent in self._agents.values():
            agent.stop()

    def _heard(self, *, hardware: bool | None = None, switches: bool | None = None) -> None:
        self._hardware_speaks = self._hardware_speaks if hardware is None else hardware
        self._switches_speak = self._switches_speak if switches is None else switches
        if self._hardware_speaks and self._switches_speak:
            self._certain.set()
        else:
            self._certain.clear()

    def _end(self, name: str) -> None:
        agent = self._agents.pop(name)
        LOG.info("%s: agent of boot %d is over", name, agent.boot_id)
        agent.stop()
        agent.forget()

    def _kick_all(self) -> None:
        for agent in self._agents.values():
            agent.kick()

    def _port(self, switch: str, name: str) -> Mapping[str, Any]:
        return self._ports.get(f"{switch}/{name}", {})

"""One agent, from the boot of its server's ramdisk to its power off: inspect if that is wanted, look up, heartbeat.

Runbook of its life:
1. while cut off from the bare metal service's networks: wait
2. offer inspection data; 404 means that nobody waits for them (yet)
3. look up the node by MAC: 404 or 409 (node locked) means try again; the answer holds the agent token, once
4. heartbeat; 409 means try again soon; 404 means that the node is gone, back to 2
5. do as commanded, and heartbeat as soon as that is done, so that nobody waits for the next period
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Any

from steelyard.embedded.rack.agents import inventory
from steelyard.embedded.rack.agents.commands import Commands
from steelyard.embedded.rack.agents.links import Answer, IronicLink
from steelyard.embedded.rack.agents.steps import Machine
from steelyard.embedded.rack.faults import Fault, Faults
from steelyard.embedded.rack.plan import Server
from steelyard.embedded.rack.records import Records
from steelyard.errors import Unavailable

LOG = logging.getLogger("steelyard.rack.agents")

_MASKED = "******"
"""What Ironic answers instead of a token that it has given out before."""
_FIRST_RETRY = 0.3
_LAST_RETRY = 3.0
_AFTER_COMMAND = 0.25
"""A heartbeat right after a command would find the node still locked by whoever gave it, and be skipped."""
_BRISK_SECONDS = 3.0
_BRISK_PERIOD = 0.5
"""For a while after a command: more is likely to come, and a skipped heartbeat must not cost a whole period."""
_OWN_FAULTS = frozenset({"drop", "refuse", "not_applied"})
"""Faults of what the agent sends itself that all mean: it does not get there."""


class Agent:
    """Runs from `start` to `stop`; `stop` is at once, as power off is."""

    def __init__(
        self,
        machine: Machine,
        ironic: IronicLink,
        *,
        faults: Faults,
        records: Records,
        connected: Callable[[], bool],
        vlans: Callable[[], Mapping[str, int | None]],
        callback_url: str,
        period: Callable[[], float],
    ):
        self._machine = machine
        self._ironic = ironic
        self._faults = faults
        self._records = records
        self._connected = connected
        self._vlans = vlans
        self._callback_url = callback_url
        self._period = period
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._node_id: str | None = None
        self._token: str | None = None
        self._inspected = False
        self._over = False
        self._locked_down = False
        self._brisk_until = 0.0
        self.commands = Commands(machine, changed=self._save, finished=self._finished, lock_down=self._lock_down)

    @property
    def server(self) -> Server:
        return self._machine.server

    @property
    def boot_id(self) -> int:
        return self._machine.boot_id

    @property
    def reachable(self) -> bool:
        """Whether somebody in the ramdisk VLANs can talk to it."""
        return self._connected() and not self._locked_down

    def start(self) -> None:
        record = self._records.get(self._key)
        if record is not None and record["boot_id"] == self.boot_id:
            # The simulator was restarted, the server was not: its memory still holds the token.
            self._node_id, self._token, self._inspected = record["node_id"], record["token"], record["inspected"]
            self.commands.restore(record["commands"])
        self._task = asyncio.create_task(self._live())

    def stop(self) -> None:
        self._over = True
        self.commands.stop()
        if self._task is not None:
            self._task.cancel()

    def forget(self) -> None:
        """The boot is over: the token is of no use any more, and is not kept."""
        self._records.remove(self._key)

    def kick(self) -> None:
        """Something changed: do not wait for the next period."""
        self._kick.set()

    def trusts(self, token: str | None) -> bool:
        return (
            self._token is not None and token is not None and hmac.compare_digest(token.encode(), self._token.encode())
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "boot_id": self.boot_id,
            "node_id": self._node_id,
            "has_token": self._token is not None,
            "inspected": self._inspected,
            "reachable": self.reachable,
            "commands": [command.as_json() for command in self.commands.all],
        }

    async def _live(self) -> None:
        LOG.info("%s: agent of boot %d", self.server.name, self.boot_id)
        retry = _FIRST_RETRY
        while not (self._over or self._locked_down):
            try:
                at_rest = await self._turn() if self._connected() else False
            except Unavailable as error:
                LOG.debug("%s: %s", self.server.name, error.detail)
                at_rest = False
            retry = _FIRST_RETRY if at_rest else min(retry * 1.5, _LAST_RETRY)
            await self._pause(self._rest() if at_rest else retry)

    async def _turn(self) -> bool:
        """One round. True when all is well until the next period; False to try again soon."""
        if not self._inspected and not self.commands.all:
            await self._offer_inspection()
        if self._token is None and not await self._look_up():
            return False
        return await self._heartbeat()

    async def _offer_inspection(self) -> None:
        fault = self._fault("inspect")
        if fault is not None and await self._prevented(fault):
            return
        data = inventory.inspection_data(self.server, self._vlans())
        body: Mapping[str, Any] | bytes = data
        if fault is not None and fault.kind == "garbage":
            body = b'{"inventory": {"interfaces": [{"mac_address": \xff'
        if fault is not None and fault.kind == "wrong_answer":
            data["inventory"]["memory"]["physical_mb"] //= 2
            data["inventory"]["cpu"]["count"] = 1
            data["inventory"]["system_vendor"]["serial_number"] = self.server.serial[::-1]
        answer = await self._ironic.continue_inspection(body)
        if answer.ok:
            LOG.info("%s: inspection data taken", self.server.name)
            self._inspected = True
            self._take_identity(answer)
            self._save()

    async def _look_up(self) -> bool:
        fault = self._fault("lookup")
        if fault is not None and await self._prevented(fault):
            return False
        addresses = ",".join(nic.mac for nic in self.server.nics)
        if fault is not None and fault.kind in ("garbage", "wrong_answer"):
            addresses = "02:00:00:00:00:fe"
        answer = await self._ironic.lookup(addresses, self._node_id)
        if not answer.ok:
            return False
        self._take_identity(answer)
        self._save()
        return self._token is not None

    def _take_identity(self, answer: Answer) -> None:
        node, config = answer.document.get("node"), answer.document.get("config")
        node_id = node.get("uuid") if isinstance(node, dict) else answer.document.get("uuid")
        token = config.get("agent_token") if isinstance(config, dict) else None
        if isinstance(node_id, str):
            self._node_id = node_id
        if isinstance(token, str) and token and token != _MASKED:
            self._token = token
        elif token == _MASKED and self._token is None:
            LOG.warning("%s: Ironic has given the agent token to somebody else", self.server.name)

    async def _heartbeat(self) -> bool:
        fault = self._fault("heartbeat")
        if fault is not None and await self._prevented(fault):
            return True
        token = self._token
        if fault is not None and fault.kind in ("garbage", "wrong_answer"):
            token = "not-the-token"  # noqa: S105 - that is the point
        body = {
            "callback_url": self._callback_url,
            "agent_token": token,
            "agent_version": inventory.AGENT_VERSION,
        }
        answer = await self._ironic.heartbeat(str(self._node_id), body)
        if answer.status == 404:
            LOG.info("%s: its node is gone", self.server.name)
            self._node_id = self._token = None
            self._save()
        return answer.ok

    async def _prevented(self, fault: Fault) -> bool:
        """Live through a fault of the agent's own sending. True when nothing is sent this time."""
        if fault.kind in ("slow", "late"):
            await asyncio.sleep(fault.delay)
        elif fault.kind == "hang":
            await asyncio.sleep(3600 if fault.seconds is None else fault.seconds)
            return True
        return fault.kind in _OWN_FAULTS

    def _fault(self, operation: str) -> Fault | None:
        return self._faults.take(operation, self.server.name)

    async def _pause(self, seconds: float) -> None:
        # Not wait_for: until Python 3.12 that loses a cancellation that comes together with the event, and an agent
        # whose server is off would live on.
        try:
            async with asyncio.timeout(seconds):
                await self._kick.wait()
        except TimeoutError:
            return
        self._kick.clear()

    def _rest(self) -> float:
        brisk = asyncio.get_running_loop().time() < self._brisk_until
        return min(self._period(), _BRISK_PERIOD) if brisk else self._period()

    def _finished(self) -> None:
        loop = asyncio.get_running_loop()
        self._brisk_until = loop.time() + _BRISK_SECONDS
        loop.call_later(_AFTER_COMMAND, self.kick)

    def _lock_down(self) -> None:
        self._locked_down = True

    @property
    def _key(self) -> str:
        return f"agent:{self.server.name}"

    def _save(self) -> None:
        if self._over:
            return
        self._records.put(
            self._key,
            {
                "boot_id": self.boot_id,
                "node_id": self._node_id,
                "token": self._token,
                "inspected": self._inspected,
                "commands": [command.as_record() for command in self.commands.all],
            },
        )

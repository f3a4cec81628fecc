"""The commands of one agent: what Ironic told it to do, what became of it, and never two at a time.

Steps run in the background (RUNNING, then SUCCEEDED or FAILED), everything else is done when the answer is given.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import tarfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steelyard.embedded.rack.agents import steps
from steelyard.embedded.rack.agents.steps import Machine, StepFailed
from steelyard.embedded.rack.faults import Fault
from steelyard.errors import SteelyardError

LOG = logging.getLogger("steelyard.rack.agents")

RUNNING, SUCCEEDED, FAILED, VERSION_MISMATCH = "RUNNING", "SUCCEEDED", "FAILED", "VERSION_MISMATCH"
_QUICK_SECONDS = 0.25
"""A step that is done this soon is reported as done in the answer; Ironic polls some only every few seconds."""
_SHUTDOWN_DELAY = 0.05
"""Time for the answer to a power-off to leave before the server goes down, or the agent ends."""


class Busy(Exception):
    """Another command is running."""


class UnknownCommand(Exception):
    """The agent has no such command."""


@dataclass(slots=True)
class Command:
    name: str
    """With its extension: clean.execute_clean_step."""
    params: Mapping[str, Any] = field(repr=False)
    """Kept while it runs, so that it can be done again if the simulator dies meanwhile; may hold secrets."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = RUNNING
    error: Mapping[str, Any] | None = None
    result: Any = None

    @property
    def short_name(self) -> str:
        return self.name.partition(".")[2]

    @property
    def operation(self) -> str:
        """The word by which faults match it: the step's name for a step, else the command's."""
        step = self.params.get("step")
        return str(step.get("step")) if isinstance(step, dict) else self.short_name

    def as_json(self) -> dict[str, Any]:
        """As the agent's API shows it."""
        return {
            "id": self.id,
            "command_name": self.short_name,
            "command_status": self.status,
            "command_error": self.error,
            "command_result": self.result,
        }

    def as_record(self) -> dict[str, Any]:
        params = dict(self.params) if self.status == RUNNING else {}
        return {**self.as_json(), "name": self.name, "params": params}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Command:
        return cls(
            record["name"],
            record["params"],
            record["id"],
            record["command_status"],
            record["command_error"],
            record["command_result"],
        )


class Commands:
    """The commands of one boot, oldest first."""

    def __init__(
        self,
        machine: Machine,
        *,
        changed: Callable[[], None],
        finished: Callable[[], None],
        lock_down: Callable[[], None],
    ):
        self._machine = machine
        self._changed = changed
        self._finished = finished
        self._lock_down = lock_down
        self._tasks: set[asyncio.Task[None]] = set()
        self.all: list[Command] = []

    def restore(self, records: list[Mapping[str, Any]]) -> None:
        """Take up the commands of this very boot again; one that was running is done again from its beginning."""
        self.all = [Command.from_record(record) for record in records]
        if any(command.name in _LAST and command.status == SUCCEEDED for command in self.all):
            self._lock_down()
        for command in self.all:
            if command.status == RUNNING:
                LOG.info("%s: %s is done again", self._machine.server.name, command.operation)
                self._start(self._run(command, None))

    def stop(self) -> None:
        """The server is off: whatever ran is over, at once."""
        for task in self._tasks:
            task.cancel()

    async def execute(self, name: str, params: Mapping[str, Any], fault: Fault | None) -> Command:
        """Raises Busy, UnknownCommand."""
        if any(command.status == RUNNING for command in self.all):
            raise Busy
        command = Command(name, params)
        if name not in _IN_BACKGROUND and name not in _AT_ONCE:
            raise UnknownCommand
        self.all.append(command)
        self._changed()
        task = self._start(self._run(command, fault))
        # Shielded: the answer comes when it is done or after a moment; the command itself goes on.
        quick = None if name in _AT_ONCE and fault is None else _QUICK_SECONDS
        await asyncio.wait([task], timeout=quick)
        return command

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, command: Command, fault: Fault | None) -> None:
        try:
            command.result = await self._outcome(command, fault)
            command.status = SUCCEEDED
        except _VersionMismatch:
            command.status = VERSION_MISMATCH
        except StepFailed as error:
            self._fail(command, error.kind, error.message)
        except SteelyardError as error:
            self._fail(command, "CommandExecutionError", error.detail)
        LOG.info("%s: %s %s", self._machine.server.name, command.operation, command.status)
        self._changed()
        self._finished()

    def _fail(self, command: Command, kind: str, message: str) -> None:
        command.status = FAILED
        command.error = {"type": kind, "code": 500, "message": f"{kind}: {message}", "details": message}

    async def _outcome(self, command: Command, fault: Fault | None) -> Any:
        match fault.kind if fault else None:
            case "slow":
                assert fault is not None
                await asyncio.sleep(fault.delay)
            case "hang":
                assert fault is not None
                await asyncio.sleep(3600 if fault.seconds is None else fault.seconds)
            case "refuse":
                raise StepFailed("CommandExecutionError", "injected fault: the command was refused")
            case "not_applied":
                return _claimed(command)
            case "late":
                assert fault is not None
                self._start(self._do_late(command, fault.delay))
                return _claimed(command)
            case "wrong_answer":
                result = await self._do(command)
                return _another_step(result)
        return await self._do(command)

    async def _do_late(self, command: Command, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self._do(command)
        except (StepFailed, SteelyardError) as error:
            LOG.info("%s: late %s came to nothing: %s", self._machine.server.name, command.operation, error)

    async def _do(self, command: Command) -> Any:
        extension, _, verb = command.name.partition(".")
        params = command.params
        if verb.startswith("execute_"):
            _check_version(extension, params)
            step = params.get("step")
            if not isinstance(step, dict):
                raise StepFailed("InvalidCommandParamsError", "step is not an object")
            node = params.get("node") or {}
            result = await steps.execute(extension, step, node, self._machine)
            return {f"{extension}_result": result, f"{extension}_step": step}
        if verb.startswith("get_") and verb.endswith("_steps"):
            return steps.listed(extension)
        match command.name:
            case "standby.prepare_image" | "standby.cache_image":
                return {"result": f"{verb}: {await steps.write_image(self._machine, {}, params)}"}
            case "standby.get_partition_uuids":
                return {}
            case "standby.power_off" | "standby.run_image" | "standby.reboot":
                self._start(self._go_down(restart=verb != "power_off"))
            case "rescue.finalize_rescue":
                if not params.get("rescue_password"):
                    raise StepFailed("InvalidCommandParamsError", "rescue_password is missing")
                self._start(self._end())  # the rescue system goes on without it
            case "log.collect_system_logs":
                return {"system_logs": _logs(self._machine.server.name)}
            case "system.lockdown":
                self._lock_down()
        return None

    async def _end(self) -> None:
        await asyncio.sleep(_SHUTDOWN_DELAY)
        self._lock_down()

    async def _go_down(self, *, restart: bool) -> None:
        await asyncio.sleep(_SHUTDOWN_DELAY)
        try:
            await self._machine.hardware.shut_down(
                self._machine.server.name, boot_id=self._machine.boot_id, restart=restart
            )
        except SteelyardError as error:
            LOG.warning("%s cannot go down: %s", self._machine.server.name, error.detail)


class _VersionMismatch(Exception):
    """The hardware managers are not those that the steps were listed by."""


_IN_BACKGROUND = frozenset(
    {
        "clean.execute_clean_step",
        "deploy.execute_deploy_step",
        "service.execute_service_step",
        "standby.prepare_image",
        "standby.cache_image",
        "image.install_bootloader",
        "rescue.finalize_rescue",
    }
)
_AT_ONCE = frozenset(
    {
        "clean.get_clean_steps",
        "deploy.get_deploy_steps",
        "service.get_service_steps",
        "standby.get_partition_uuids",
        "standby.sync",
        "standby.power_off",
        "standby.run_image",
        "standby.reboot",
        "log.collect_system_logs",
        "system.lockdown",
    }
)
_LAST = frozenset({"system.lockdown", "rescue.finalize_rescue"})
"""After these the agent is silent until the next boot."""


def _check_version(extension: str, params: Mapping[str, Any]) -> None:
    wanted = params.get(f"{extension}_version")
    if wanted and wanted != steps.VERSIONS:
        raise _VersionMismatch


def _claimed(command: Command) -> Any:
    """The result of a command that was not carried out, as if it had been."""
    extension, _, verb = command.name.partition(".")
    if verb.startswith("execute_"):
        return {f"{extension}_result": None, f"{extension}_step": command.params.get("step")}
    return None


def _another_step(result: Any) -> Any:
    """The same result, of a step that nobody asked for."""
    if not isinstance(result, dict):
        return result
    other = {"step": "collect_dust", "interface": "deploy", "priority": 1}
    return {key: other if key.endswith("_step") else value for key, value in result.items()}


def _logs(name: str) -> str:
    """A gzipped tar with one small file, base64 (what Ironic stores as the ramdisk's logs)."""
    content = f"{name}: simulated ramdisk, no system log\n".encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo("journal")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return base64.b64encode(stream.getvalue()).decode()

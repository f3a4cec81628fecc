"""A real SSH server on loopback that plays a switch, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from .switch_personas import Persona

USER, PASSWORD = "steelyard-reader", "correct-horse-battery"
START_WITHIN = 15.0


@dataclass
class SshSwitch:
    """What a test may see of the server, and change."""

    persona: Persona
    folder: Path
    port: int = 0
    commands: list[str] = field(default_factory=list)
    """Every command that was run."""
    connections: int = 0
    terminals: int = 0
    """Sessions that asked for a terminal."""
    intercept: Callable[[str], str | None] = lambda command: None
    """Another output for a command, where it is not None."""
    hang: bool = False
    endless: bool = False
    one_command_per_connection: bool = False
    asks_for_the_password: bool = False
    """By the method keyboard-interactive instead of password."""

    def entry(self, **changes: Any) -> dict[str, Any]:
        """Its entry of a switches file; a field that is None is left out."""
        fields = {
            "name": "leaf1", "chassis_id": self.persona.mac, "type": self.persona.type, "address": "127.0.0.1",
            "port": self.port, "username": USER, "known_hosts_file": str(self.folder / "known_hosts"),
            "password_file": str(self.folder / "password"), "timeout": 10,
        }  # fmt: skip
        return {name: value for name, value in {**fields, **changes}.items() if value is not None}


class _Server(asyncssh.SSHServer):
    def __init__(self, switch: SshSwitch, users_key: asyncssh.SSHKey):
        self._switch, self._users_key = switch, users_key
        switch.connections += 1
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        if self._switch.persona.banner and self._connection is not None:
            self._connection.send_auth_banner(self._switch.persona.banner)
        return True

    def password_auth_supported(self) -> bool:
        return not self._switch.asks_for_the_password

    def kbdint_auth_supported(self) -> bool:
        return self._switch.asks_for_the_password

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        return [username, *responses] == [USER, PASSWORD]

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key.public_data == self._users_key.public_data


async def _session(switch: SshSwitch, process: asyncssh.SSHServerProcess[str]) -> None:
    if process.term_type is not None:
        switch.terminals += 1
    command = process.command
    if command is None:
        process.exit(1)
        return
    connection = process.channel.get_connection()
    if switch.one_command_per_connection and connection.get_extra_info("had a command"):
        connection.abort()
        return
    connection.set_extra_info(**{"had a command": True})
    switch.commands.append(command)
    if switch.hang:
        await asyncio.sleep(3600)
    if switch.endless:
        while True:
            process.stdout.write("x" * 65536)
            await process.stdout.drain()
    said = switch.intercept(command)
    output, status = switch.persona.answer(command) if said is None else (said, 0)
    shell = switch.persona.type in ("sonic", "cumulus")
    (process.stderr if status and shell else process.stdout).write(output)
    process.exit(status)


@contextmanager
def ssh_switch(persona: Persona, folder: Path) -> Iterator[SshSwitch]:
    """The server, with the files that its entry names in the folder: known_hosts, password, key."""
    switch = SshSwitch(persona, folder)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    users_key = asyncssh.generate_private_key("ssh-ed25519")
    users_key.write_private_key(str(folder / "key"))
    (folder / "password").write_text(PASSWORD + "\n")
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = await asyncssh.create_server(
            lambda: _Server(switch, users_key), "127.0.0.1", 0, server_host_keys=[host_key],
            process_factory=lambda process: _session(switch, process), line_editor=False,
        )  # fmt: skip
        switch.port = server.get_port()
        ready.set()
        await ended.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(START_WITHIN)
    public = host_key.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{switch.port} {public}\n")
    try:
        yield switch
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(START_WITHIN)
        loop.close()

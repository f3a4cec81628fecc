"""Commands on a switch by SSH (asyncssh), one connection per read.

Each command is an SSH *exec* request (RFC 4254 section 6.5), not typed at a prompt: there is no prompt to find, no
paging, no terminal whose width breaks JSON in two, and the end of the output is the end of the channel. Junos, EOS and
NX-OS hand it to their command line, SONiC and Cumulus to a shell. See docs/adr/0020-switches-are-read-by-exec.md.

The host key must be in the known_hosts file; there is no way to go without. Nothing of the account's own SSH
configuration, agent or keys is used: only what the switches file names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steelyard.hardware.switches.outputs import quoted
from steelyard.hardware.switches.session import MAX_OUTPUT, SessionFailed

if TYPE_CHECKING:
    import asyncssh

_CHUNK: Final = 64 << 10
_MAX_ERRORS: Final = 64 << 10
"""Bytes of a command's standard error that are kept; the rest is read and dropped."""
_MAX_SECRET: Final = 4096


class _TooMuch(Exception):
    """A command prints more than anybody wants to know."""


@dataclass(frozen=True, slots=True)
class SshSession:
    """One switch. Files are read at each use, so a changed password or key needs no restart."""

    address: str
    port: int
    username: str
    known_hosts_file: Path
    password_file: Path | None
    key_file: Path | None
    timeout: float

    def run(self, commands: Sequence[str], *, exit_status_counts: bool) -> list[str]:
        """As Session.run."""
        # Not asyncio.run(): that waits at its end for a look-up of the name that may take minutes.
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self._bounded(commands, exit_status_counts))
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=1))
            loop.close()

    async def _bounded(self, commands: Sequence[str], exit_status_counts: bool) -> list[str]:
        try:
            async with asyncio.timeout(self.timeout):
                return await self._run(commands, exit_status_counts)
        except TimeoutError:
            raise SessionFailed(f"no answer within {self.timeout:g} s") from None

    async def _run(self, commands: Sequence[str], exit_status_counts: bool) -> list[str]:
        import asyncssh

        outputs: list[str] = []
        connection: asyncssh.SSHClientConnection | None = None
        try:
            for command in commands:
                if connection is not None:
                    try:
                        outputs.append(await self._one(connection, command, exit_status_counts))
                        continue
                    except (asyncssh.Error, OSError, EOFError):
                        # Some switches end the connection after one command: then each gets its own.
                        connection.abort()
                connection = await self._connect()
                outputs.append(await self._one(connection, command, exit_status_counts))
            return outputs
        except (asyncssh.Error, OSError, EOFError) as error:
            raise SessionFailed(f"the connection broke ({type(error).__name__})") from None
        finally:
            if connection is not None:
                connection.abort()
                with suppress(Exception):
                    await connection.wait_closed()

    async def _connect(self) -> asyncssh.SSHClientConnection:
        import asyncssh

        # At this level it tells every connection and login.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        keys = None if self.key_file is None else [self._key(self.key_file)]
        if not self.known_hosts_file.is_file():
            raise SessionFailed(f"there is no known_hosts file {self.known_hosts_file}")
        try:
            return await asyncssh.connect(
                self.address,
                self.port,
                username=self.username,
                password=self._password(),
                client_keys=keys,
                known_hosts=str(self.known_hosts_file),
                config=None,
                agent_path=None,
                gss_host=None,
                host_based_auth=False,
                x509_trusted_certs=None,
                # Later than the time of the whole read, which ends it first.
                connect_timeout=self.timeout + 5,
                login_timeout=self.timeout + 5,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise SessionFailed(f"its host key is not the one in {self.known_hosts_file}") from None
        except asyncssh.PermissionDenied:
            raise SessionFailed(f"it refuses the login of {self.username}") from None
        except (asyncssh.Error, OSError, EOFError) as error:
            raise SessionFailed(f"no SSH connection ({type(error).__name__})") from None
        except ValueError:
            raise SessionFailed(f"{self.known_hosts_file} is no known_hosts file") from None

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            with self.password_file.open() as file:
                password = file.read(_MAX_SECRET + 1).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SessionFailed(f"its password file cannot be read ({type(error).__name__})") from None
        if not password or len(password) > _MAX_SECRET:
            raise SessionFailed("its password file holds no password")
        return password

    def _key(self, file: Path) -> asyncssh.SSHKey:
        import asyncssh

        try:
            return asyncssh.read_private_key(str(file))
        except (OSError, ValueError, asyncssh.Error) as error:
            raise SessionFailed(f"its key file cannot be used ({type(error).__name__})") from None

    async def _one(self, connection: asyncssh.SSHClientConnection, command: str, exit_status_counts: bool) -> str:
        process = await connection.create_process(command, encoding=None, request_pty=False)
        with suppress(OSError):
            process.stdin.write_eof()
        try:
            output, complaint = await asyncio.gather(
                _read(process.stdout, MAX_OUTPUT), _read(process.stderr, _MAX_ERRORS, drop_rest=True)
            )
        except _TooMuch:
            raise SessionFailed(f"`{command}` printed more than {MAX_OUTPUT >> 20} MiB") from None
        await process.wait_closed()
        if exit_status_counts and process.exit_status != 0:
            words = quoted(complaint.decode(errors="replace"))
            raise SessionFailed(f"`{command}` ended with status {process.exit_status}{words}")
        try:
            return output.decode()
        except UnicodeDecodeError:
            raise SessionFailed(f"`{command}` printed no UTF-8") from None


async def _read(stream: asyncssh.SSHReader[bytes], most: int, *, drop_rest: bool = False) -> bytes:
    """All of it, or its beginning with `drop_rest`. Raises _TooMuch for more than `most` bytes."""
    found = bytearray()
    while chunk := await stream.read(_CHUNK):
        if len(found) + len(chunk) <= most:
            found += chunk
        elif not drop_rest:
            raise _TooMuch
    return bytes(found)

"""Commands of a tool on this machine: Open vSwitch's own reaches its database by itself."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final

from steelyard.hardware.switches.outputs import quoted
from steelyard.hardware.switches.session import MAX_OUTPUT, SessionFailed

_SHOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class LocalTool:
    """`program` with `options`; a command is what follows them, separated by blanks. No shell is involved."""

    program: str
    options: tuple[str, ...]
    timeout: float

    def run(self, commands: Sequence[str], *, exit_status_counts: bool) -> list[str]:
        """As Session.run. `timeout` holds for each command."""
        return [self._one(command, exit_status_counts) for command in commands]

    def _one(self, command: str, exit_status_counts: bool) -> str:
        # Files, not pipes: what a tool prints cannot fill this process's memory before it is measured.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
            try:
                ended = subprocess.run(
                    [self.program, *self.options, *command.split()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=complaint,
                    timeout=self.timeout,
                    check=False,
                )
            except FileNotFoundError:
                raise SessionFailed(f"{self.program} is not installed here") from None
            except subprocess.TimeoutExpired:
                raise SessionFailed(f"{self.program} gave no answer within {self.timeout:g} s") from None
            except OSError as error:
                raise SessionFailed(f"{self.program} cannot be run ({type(error).__name__})") from None
            if exit_status_counts and ended.returncode != 0:
                words = quoted(_beginning(complaint, _SHOWN).decode(errors="replace"))
                raise SessionFailed(f"{self.program} ended with status {ended.returncode}{words}")
            text = _beginning(output, MAX_OUTPUT + 1)
        if len(text) > MAX_OUTPUT:
            raise SessionFailed(f"{self.program} printed more than {MAX_OUTPUT >> 20} MiB")
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise SessionFailed(f"{self.program} printed no UTF-8") from None


def _beginning(file: IO[bytes], most: int) -> bytes:
    file.seek(0)
    return file.read(most)

"""How a reader talks to a switch: some commands in, what each printed out, bounded in time and in size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

MAX_OUTPUT: Final = 24 << 20
"""Bytes that one command may print. The most talkative is Junos, with about a kilobyte for each VLAN of each port."""
DEFAULT_TIMEOUT: Final = 10.0
"""Seconds that a whole read may take, from the connection to the last output, where the switches file says nothing."""


class SessionFailed(Exception):
    """The commands could not be run. The message says why, and holds no secret and nothing that the peer chose."""


class Session(Protocol):
    """A way to one switch. Thread-safe: every call is a session of its own."""

    def run(self, commands: Sequence[str], *, exit_status_counts: bool) -> list[str]:
        """Run the commands one after the other and return what each printed.

        Raises SessionFailed: no answer, no login, a wrong host key, too much output, not within the time; with
        `exit_status_counts` also for a command that ended with another status than 0.
        """
        ...

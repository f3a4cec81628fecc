"""Processes as /proc shows them: who they are for certain, what they hold; and starting one that cannot stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.embedded.files import readable_errors

MARK = "STEELYARD_SUPERVISOR"
"""Environment variable of everything that a supervisor starts; its value is the home. Holds no secret."""
LIFELINE = Path(__file__).parent / "launchers" / "lifeline.py"
LOG_LIMIT = 20 << 20
"""A log larger than this, in bytes, is put aside as `<name>.log.1` when its service starts."""


@dataclass(frozen=True)
class Identity:
    """A process for certain: numbers are used again; a number with its start time (clock ticks since boot) is not."""

    pid: int
    start: int


def identity(pid: int) -> Identity | None:
    """The identity of a running process, None when there is none (a zombie counts as ended)."""
    try:
        # comm may hold spaces and parentheses, so count from the last one (proc(5), /proc/pid/stat).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]))


def is_running(process: Identity) -> bool:
    """Whether just this process (not a later one with its number) runs."""
    return identity(process.pid) == process


def carrying(root: Path) -> list[Identity]:
    """Every running process that a supervisor of this home has started, directly or not."""
    wanted = f"{MARK}={root}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended, or another user's
        if wanted in environment and (one := identity(int(entry.name))):
            found.append(one)
    return found


def own_rss_mib(pid: int) -> int:
    """Resident memory of one process, in MiB; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def rss_mib(pid: int) -> int:
    """Resident memory of a process and its descendants, in MiB."""
    return sum(own_rss_mib(one) for one in (pid, *descendants(pid)))


def descendants(pid: int) -> list[int]:
    """Children, their children and so on."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found


def spawn(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, directory: Path, *, fresh_log: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that is killed when this process ends; output goes to `log`.

    `fresh_log` forgets what an earlier attempt said. Call it from the main thread only (see launchers/lifeline.py).
    Raises Unavailable when the log cannot be written.
    """
    with readable_errors(log):
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_name(log.name + ".1"))
        truncate = os.O_TRUNC if fresh_log else 0
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | truncate, 0o600)
    try:
        # -I -S: the wrapper starts in 15 ms and reads nothing from the environment or the working directory.
        wrapper = [sys.executable, "-I", "-S", str(LIFELINE), str(os.getpid())]
        return subprocess.Popen(
            [*wrapper, *arguments], env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL, stdout=handle,
            stderr=handle, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(handle)


def kill_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and to all of its group; nothing happens when it has ended."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def send(process: Identity, number: signal.Signals) -> None:
    """Send a signal to just this process; nothing happens when it has ended, even if its number is used again."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_running(process):  # the handle cannot come to mean another one between this look and the signal
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def end_all(processes: Iterable[Identity], *, grace_seconds: float) -> None:
    """SIGTERM to each, and SIGKILL to those that are still there after the grace; returns when all have ended."""
    left = list(processes)
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        left = [one for one in left if is_running(one)]
        for one in left:
            send(one, number)
        deadline = time.monotonic() + seconds
        while any(is_running(one) for one in left) and time.monotonic() < deadline:
            time.sleep(0.05)

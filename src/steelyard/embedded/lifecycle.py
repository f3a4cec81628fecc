"""Start, stop and reset one embedded cloud; what `commands.py` shows is done here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from steelyard.embedded import home, loopback, processes, status
from steelyard.embedded.credentials import GENERATED
from steelyard.embedded.files import make_directory, readable_errors
from steelyard.embedded.home import Home, Wish
from steelyard.embedded.status import Phase, Status
from steelyard.errors import Conflict, NotFound, Refused, SteelyardError, Unavailable

SUPERVISOR = ("-m", "steelyard.embedded.supervisor")
STOP_WITHIN = 90.0
DATA = ("db", "images", "http", "run", "rack/state", "steelyard", "log")
"""What `reset` removes; secrets, ports, the rack's plan and the template stay."""
KEPT_DATA = ("secrets", "etc", "template", "cache", "rack", "home.json", "clouds.yaml")

OnStatus = Callable[[Status], None]


def ignore_status(_status: Status) -> None:
    """For callers who do not show progress."""


def start(root: Path, openstack: Path, wish: Wish, *, supervisor: tuple[str, ...] = SUPERVISOR) -> Home:
    """Prepare the home and start its supervisor, which goes on by itself; `follow` waits for it.

    Raises Conflict when it runs already with other wishes, Unavailable when something of the machine is missing.
    """
    if not (openstack / "bin" / "python").exists():
        raise Unavailable(
            f"no environment of the OpenStack services in {openstack}",
            code="no_openstack_environment",
            next="scripts/setup  (or: export STEELYARD_OPENSTACK_ENV=…)",
        )
    make_directory(root)
    with home.locked(root, "up") as mine:
        if not mine:
            raise Conflict("another `steelyard up` of this home is under way", code="busy", next="steelyard status")
        if (running := live(root)) is not None:
            return _already(root, openstack, wish, running)
        from steelyard.embedded import assembly

        prepared = home.prepare(root, openstack, wish)
        assembly.write_files(prepared)
        _spawn_supervisor(prepared, supervisor)
    return prepared


def _already(root: Path, openstack: Path, wish: Wish, running: Status) -> Home:
    """The home when it runs already just as wished."""
    if running.phase in (Phase.STOPPING, Phase.FAILED):
        raise Conflict("it is being stopped just now", code="stopping", next="wait for: steelyard down")
    present = home.load(root, openstack)
    home.check_fixed(present.record, wish)
    if wish.new_ports or (wish.nodes is not None and wish.nodes != present.record.nodes):
        raise Conflict(
            f"it runs already, with {present.record.nodes} servers in the rack",
            code="running",
            next="steelyard down, then repeat this command",
        )
    return present


def _spawn_supervisor(prepared: Home, supervisor: tuple[str, ...]) -> None:
    path, log = status_file(prepared.root), prepared.path("log", "supervisor.log")
    path.unlink(missing_ok=True)
    arguments = [sys.executable, *supervisor, "--home", str(prepared.root), "--openstack", str(prepared.openstack)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
    with readable_errors(log), log.open("ab") as stream:
        log.chmod(0o600)
        process = subprocess.Popen(
            arguments, env=environment, cwd=prepared.root, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True, umask=0o077,
        )  # fmt: skip
    while not path.exists():
        if (code := process.poll()) is not None:
            raise SteelyardError(f"the supervisor ended at once ({code})", code="supervisor_failed", next=f"cat {log}")
        time.sleep(0.02)


def follow(root: Path, on_status: OnStatus) -> Status:
    """Show the start until everything is up; gives the last status.

    Raises SteelyardError when a step fails or a service cannot be brought up (the supervisor then goes on trying).
    """
    while True:
        if (current := status.read(status_file(root))) is None:
            raise Unavailable("the supervisor has not said anything", next=f"cat {root / 'log' / 'supervisor.log'}")
        running = processes.is_running(current.supervisor)
        on_status(current)
        if current.phase is Phase.UP:
            return current
        if current.phase is Phase.FAILED or not running:
            detail = current.error or "the supervisor has ended"
            raise SteelyardError(detail, code="start_failed", next=current.next or "steelyard up")
        for service in current.services:
            if service.state is status.State.FAILING:
                raise SteelyardError(
                    f"{service.name} does not come up. {service.reason}",
                    code="service_failing",
                    next=f"steelyard logs {service.name}; it is tried again every minute; to end: steelyard down",
                )
        time.sleep(0.1)


def stop(root: Path, on_status: OnStatus) -> bool:
    """Stop the cloud of this home and wait until nothing of it is left; False when nothing ran.

    Raises Unavailable when a process cannot be ended.
    """
    running = live(root)
    if running is not None:
        _end_supervisor(root, running, on_status)
    left = processes.carrying(root)
    processes.end_all(left, grace_seconds=5.0)
    if still := processes.carrying(root):
        numbers = ", ".join(str(one.pid) for one in still)
        raise Unavailable(f"could not end the processes {numbers}", code="still_running", next=f"kill -9 {numbers}")
    return running is not None or bool(left)


def _end_supervisor(root: Path, running: Status, on_status: OnStatus) -> None:
    processes.send(running.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN
    while processes.is_running(running.supervisor):
        if (current := status.read(status_file(root))) is not None:
            on_status(current)
        if time.monotonic() > deadline:
            processes.send(running.supervisor, signal.SIGKILL)  # takes its children along (launchers/lifeline.py)
        time.sleep(0.05)


def reset(root: Path, openstack: Path, *, everything: bool) -> None:
    """Remove the data of a home; `everything` also secrets, ports, template and the rack's plan.

    Raises Refused while it runs or when the directory is not a home, NotFound when there is nothing.
    """
    if live(root) is not None or processes.carrying(root):
        raise Refused("the cloud of this home runs", code="running", next="steelyard down")
    if not root.is_dir():
        raise NotFound(f"no embedded cloud in {root}", code="no_home", next="steelyard up")
    if not _is_home(root):
        raise Refused(f"{root} does not look like a home of Steelyard", code="not_a_home", next="check STEELYARD_HOME")
    with home.locked(root, "up") as mine:
        if not mine:
            raise Conflict("a `steelyard up` of this home is under way", code="busy", next="steelyard status")
        if home.exists(root):
            _drop_databases(root, openstack)
        known = {name.split("/")[0] for name in (*DATA, *KEPT_DATA)} | {"db.making"}
        with readable_errors(root):
            ours = [path for path in root.iterdir() if path.name in known]
            for path in ours if everything else [root / name for name in (*DATA, "db.making")]:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def _is_home(root: Path) -> bool:
    """Whether this is a home, perhaps a half-made or damaged one: told by files that nothing else has.

    A directory called `secrets` is not enough: with STEELYARD_HOME=~ the user's own `images` and `log` would go.
    """
    return home.exists(root) or any((root / "secrets" / name).is_file() for name in GENERATED)


def _drop_databases(root: Path, openstack: Path) -> None:
    """The databases of a home that uses PostgreSQL; a damaged home has none that we know of."""
    try:
        present = home.load(root, openstack)
    except SteelyardError:
        return
    if present.record.database == "sqlite":
        return
    from steelyard.embedded.services import openstack_environment, postgresql_command

    result = subprocess.run(
        postgresql_command(present, "drop"),
        env=openstack_environment(present), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        from steelyard.embedded.credentials import redacted

        reason = redacted(result.stderr.strip().splitlines()[-1], present.credentials)
        raise Unavailable(f"cannot drop the databases: {reason}", next="start the PostgreSQL server, then repeat")


def live(root: Path) -> Status | None:
    """The status of the supervisor that runs this home now, if one does."""
    return status.live(status_file(root))


def status_file(root: Path) -> Path:
    """Where the supervisor writes how it is."""
    return root / "run" / "status.json"


def open_ports(of: Home) -> dict[str, int]:
    """The ports of this home on which somebody listens."""
    bound = {port for _address, port in loopback.listeners()}
    return {name: port for name, port in of.record.ports.items() if port in bound}

"""Start, stop and reset with a real supervisor process that runs a tiny plan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steelyard.embedded import lifecycle, processes, status
from steelyard.embedded.home import Home, Wish
from steelyard.embedded.status import Phase, State, Status
from steelyard.errors import Conflict, NotFound, Refused, SteelyardError, Unavailable

PATIENT = 20.0
SUPERVISOR = str(Path(__file__).parent / "tiny_supervisor.py")


@pytest.fixture
def openstack(tmp_path: Path) -> Path:
    python = tmp_path / "openstack" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return tmp_path / "openstack"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    if (running := lifecycle.live(tmp_path / "home")) is not None:
        os.kill(running.supervisor.pid, signal.SIGKILL)
    processes.end_all(processes.carrying(tmp_path / "home"), grace_seconds=0.1)


@pytest.fixture
def start(root: Path, openstack: Path) -> Callable[..., Home]:
    def go(wish: Wish | None = None, *, mode: str = "well") -> Home:
        return lifecycle.start(root, openstack, wish or Wish(), supervisor=(SUPERVISOR, mode))

    return go


def up(root: Path) -> Status:
    return lifecycle.follow(root, lifecycle.ignore_status)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_up_and_down_leave_nothing(root: Path, start: Callable[..., Home]) -> None:
    start()
    current = up(root)
    assert current.phase is Phase.UP
    assert [(unit.name, unit.state) for unit in current.units] == [("seed", State.DONE), ("sleeper", State.UP)]
    assert len(processes.carrying(root)) == 1
    assert lifecycle.stop(root, lifecycle.ignore_status)
    assert processes.carrying(root) == []
    assert lifecycle.live(root) is None
    last = status.read(lifecycle.status_file(root))
    assert last is not None
    assert last.phase is Phase.DOWN
    assert not lifecycle.stop(root, lifecycle.ignore_status)  # again: nothing to do


def test_a_second_up_joins_the_first(root: Path, start: Callable[..., Home]) -> None:
    first = start()
    up(root)
    running = lifecycle.live(root)
    assert running is not None
    assert start() == first
    again = lifecycle.live(root)
    assert again is not None
    assert again.supervisor == running.supervisor
    with pytest.raises(Conflict, match="runs already"):
        start(Wish(nodes=12))


def test_a_second_supervisor_of_a_home_ends_at_once(root: Path, start: Callable[..., Home]) -> None:
    import subprocess

    made = start()
    up(root)
    again = subprocess.run(
        [sys.executable, SUPERVISOR, "well", "--home", str(root), "--openstack", str(made.openstack)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "another supervisor" in again.stderr
    assert len(processes.carrying(root)) == 1


def test_state_survives_a_killed_supervisor(root: Path, start: Callable[..., Home]) -> None:
    start()
    supervisor = up(root).supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_for(lambda: processes.carrying(root) == [])  # the services went with it
    assert lifecycle.live(root) is None  # its status file is stale, and is seen to be
    start()
    assert up(root).phase is Phase.UP


def test_a_killed_service_is_seen_and_brought_back(root: Path, start: Callable[..., Home]) -> None:
    start()
    pid = up(root).services[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        current = lifecycle.live(root)
        return current is not None and current.phase is Phase.UP and current.services[0].restarts == 1

    wait_for(is_back)


def test_a_failed_start_says_why_without_secrets_and_leaves_nothing(root: Path, start: Callable[..., Home]) -> None:
    made = start(mode="failing")
    with pytest.raises(SteelyardError) as failed:
        up(root)
    assert "Seed failed" in failed.value.detail
    assert "the password is ***" in failed.value.detail
    assert made.credentials.get("admin_password") not in failed.value.detail
    assert "log/seed.log" in str(failed.value.next)
    wait_for(lambda: lifecycle.live(root) is None)
    assert processes.carrying(root) == []
    start()  # mended: it continues
    assert up(root).phase is Phase.UP


def test_the_supervisor_is_closed_to_others(root: Path, start: Callable[..., Home]) -> None:
    start()
    up(root)
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_reset_removes_data_and_keeps_who_we_are(root: Path, openstack: Path, start: Callable[..., Home]) -> None:
    made = start()
    up(root)
    with pytest.raises(Refused, match="runs"):
        lifecycle.reset(root, openstack, everything=False)
    lifecycle.stop(root, lifecycle.ignore_status)
    password = made.credentials.get("admin_password")
    lifecycle.reset(root, openstack, everything=False)
    assert not root.joinpath("db").exists()
    assert start().record == made.record
    assert made.credentials.get("admin_password") == password
    assert up(root).from_template


def test_reset_all_removes_everything_of_ours_and_nothing_else(
    root: Path, openstack: Path, start: Callable[..., Home]
) -> None:
    start()
    up(root)
    lifecycle.stop(root, lifecycle.ignore_status)
    (root / "thesis.txt").write_text("not ours")
    lifecycle.reset(root, openstack, everything=True)
    assert [path.name for path in root.iterdir()] == ["thesis.txt"]


def test_reset_refuses_a_directory_that_is_not_a_home(tmp_path: Path, openstack: Path) -> None:
    other = tmp_path / "other"
    (other / "db").mkdir(parents=True)
    with pytest.raises(Refused, match="does not look like"):
        lifecycle.reset(other, openstack, everything=True)
    assert (other / "db").is_dir()
    with pytest.raises(NotFound):
        lifecycle.reset(tmp_path / "none", openstack, everything=True)


def test_reset_spares_a_directory_that_has_secrets_of_its_own(tmp_path: Path, openstack: Path) -> None:
    """STEELYARD_HOME=~ by mistake: the user's own directories have names like ours."""
    for name in ("secrets", "images", "log", "cache"):
        (tmp_path / "me" / name).mkdir(parents=True)
    for everything in (False, True):
        with pytest.raises(Refused, match="does not look like"):
            lifecycle.reset(tmp_path / "me", openstack, everything=everything)
    assert len(list((tmp_path / "me").iterdir())) == 4


def test_reset_takes_a_half_made_home(tmp_path: Path, openstack: Path) -> None:
    (tmp_path / "half" / "secrets").mkdir(parents=True)
    (tmp_path / "half" / "secrets" / "admin_password").write_text("x")
    lifecycle.reset(tmp_path / "half", openstack, everything=True)
    assert list((tmp_path / "half").iterdir()) == []


def test_a_signal_reaches_just_the_process_that_was_meant() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        meant = processes.identity(child.pid)
        assert meant is not None
        processes.send(processes.Identity(child.pid, meant.start - 1), signal.SIGKILL)  # one that had the number before
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.3)
        processes.send(meant, signal.SIGKILL)
        assert child.wait(5) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
    processes.send(meant, signal.SIGTERM)  # has ended: nothing happens


def test_a_missing_environment_is_said_before_anything_is_made(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as missing:
        lifecycle.start(root, tmp_path / "nowhere", Wish())
    assert "scripts/setup" in str(missing.value.next)
    assert not root.exists()


def test_what_an_earlier_supervisor_left_is_ended_first(root: Path, start: Callable[..., Home]) -> None:
    import subprocess

    stray = subprocess.Popen(["/bin/sleep", "1000"], env={processes.MARK: str(root)})
    try:
        start()
        up(root)
        assert stray.wait(timeout=PATIENT) == -signal.SIGTERM
    finally:
        stray.kill()

"""Real servers that a test brings along: PostgreSQL and RabbitMQ, on loopback, in a directory of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from steelyard.embedded import loopback

NOBODY = 65534
START_WITHIN = 120.0


class Missing(Exception):
    """The server is not installed on this machine; the message says how to get it."""


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server that asks for a password; gives its address, as `steelyard up --database` takes it."""
    programs = _postgresql_programs()
    port, password = loopback.choose_ports(["server"])["server"], secrets.token_urlsafe(16)
    with _directory() as directory:
        data, password_file = directory / "data", directory / "password"
        password_file.write_text(password)
        _own(password_file)
        _run(
            programs / "initdb", "-D", data, "-U", "steelyard", f"--pwfile={password_file}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -c max_connections=200"
        _run(programs / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://steelyard:{password}@127.0.0.1:{port}/"
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")


def _postgresql_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    try:
        import pgserver
    except ImportError:
        raise Missing("no PostgreSQL: apt-get install postgresql, or pip install pgserver") from None
    return Path(pgserver.__file__).parent / "pginstall" / "bin"


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """A RabbitMQ broker; gives its address, as `steelyard up --rpc` takes it. Leaves no epmd behind."""
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        raise Missing("no RabbitMQ: apt-get install rabbitmq-server")
    ports = loopback.choose_ports(["amqp", "distribution", "epmd"])
    password = secrets.token_urlsafe(16)
    with _directory() as directory:
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{ports['amqp']}\ndefault_user = steelyard\ndefault_pass = {password}\n"
        )
        _own(configuration)
        environment = {
            "PATH": "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"steelyard{ports['amqp']}@localhost",
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        output = (directory / "output").open("wb")
        server = subprocess.Popen(
            [*_as_nobody(), str(program)], env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_for_port(ports["amqp"], server, directory / "output")
            yield f"rabbit://steelyard:{password}@127.0.0.1:{ports['amqp']}/"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, 15)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)
            subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)
            output.close()


def _wait_for_port(port: int, server: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while ("127.0.0.1", port) not in loopback.listeners():
        assert server.poll() is None, output.read_text(errors="replace")
        assert time.monotonic() < deadline, output.read_text(errors="replace")
        time.sleep(0.2)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """A directory of the user that the server runs as."""
    directory = Path(tempfile.mkdtemp(prefix="steelyard-server-"))
    _own(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root, and nothing here needs to."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def _run(*arguments: object, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [*_as_nobody(), *map(str, arguments)], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout

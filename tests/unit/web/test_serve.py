"""`steelyard serve` as a process, with a cloud that does not answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Place:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        auth = {
            "auth_url": "http://127.0.0.1:1/v3", "username": "steelyard", "password": "canary", "project_name": "p",
            "user_domain_id": "default", "project_domain_id": "default",
        }  # fmt: skip
        (home / "clouds.yaml").write_text(json.dumps({"clouds": {"steelyard": {"auth": auth}}}))

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "STEELYARD_"))}
        environment = {**kept, "STEELYARD_HOME": str(self.home), "STEELYARD_PORT": str(self.port), **more}
        command = [sys.executable, "-m", "steelyard.main", "serve"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start()
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=20)
                    break
                except httpx.TransportError:
                    assert time.monotonic() < end, "the server did not start"
                    assert process.poll() is None, process.stderr
                    time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.communicate()

    def refused(self, **more: str) -> str:
        process = self.start(**more)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 6, err
        return err.decode()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_whole_life(place: Place) -> None:
    with place.running() as process:
        health = httpx.get(f"http://127.0.0.1:{place.port}/health", timeout=20).json()
        assert health["status"] == "degraded", "the cloud is down, and the server is there to say so"
        assert health["dependencies"]["database"]["status"] == "ok"
        answer = httpx.get(f"http://127.0.0.1:{place.port}/v1/nodes", headers={"X-Auth-Token": "t"}, timeout=20)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "server" not in answer.headers

        connections = psutil.Process(process.pid).net_connections()
        listening = {c.laddr for c in connections if c.status == psutil.CONN_LISTEN}
        assert listening == {("127.0.0.1", place.port)}, "no other port is opened"
        assert not [c for c in connections if c.raddr and c.laddr.port != place.port], "nobody is called"

        in_use = place.refused(STEELYARD_HOME=str(place.home / "other"))
        assert f"port {place.port}" in in_use
        assert "next: " in in_use
        twice = place.refused(STEELYARD_PORT=str(free_port()))
        assert "Another server" in twice

        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert json.loads(err.decode().splitlines()[-1])["event"] == "stopped"
        assert b"canary" not in err
    with place.running() as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_clouds_file_that_is_not_there(place: Place) -> None:
    process = place.start(STEELYARD_CLOUDS_FILE=str(place.home / "none.yaml"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"Traceback" not in err
    assert b"next: " in err

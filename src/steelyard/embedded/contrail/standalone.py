"""A controller by itself, without the cloud around it: for tests, and for trying things out.

with StandaloneController.make(Path("/tmp/contrail")).running() as controller:
    status, _, networks = controller.call("GET", "/virtual-networks")
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.embedded.rack.files import write_private
from steelyard.errors import Unavailable

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TENANTS = ("red", "blue")
"""Projects that have a token of a member each."""


@dataclass
class StandaloneController:
    """A directory with a controller's state and tokens, and the process while it runs."""

    directory: Path
    port: int
    tokens: Mapping[str, str] = field(repr=False)
    """`admin`, and each tenant's."""
    control_token: str = field(repr=False)
    rack: Path | None = None
    push_seconds: float = 0.05
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, directory: Path, *, rack: Path | None = None, push_seconds: float = 0.05) -> StandaloneController:
        """Choose a free port and tokens. `rack` is the home of a rack whose switches it is to configure."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        tokens = {name: secrets.token_hex(16) for name in ("admin", *TENANTS)}
        known = {
            token: {
                "user": name,
                "project_id": uuid.uuid4().hex,
                "project_name": name,
                "roles": ["admin"] if name == "admin" else ["member"],
            }
            for name, token in tokens.items()
        }
        control_token = secrets.token_hex(16)
        write_private(directory / "tokens.json", json.dumps({"tokens": known}).encode())
        write_private(directory / "control_token", control_token.encode())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        return cls(directory, port, tokens, control_token, rack, push_seconds)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[StandaloneController]:
        """With the controller ready; it is stopped at the end."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start it and wait until it is ready. Raises Unavailable with the end of its log when it is not."""
        log = self.directory / "contrail.log"
        arguments = [
            "--port", str(self.port), "--state", str(self.directory / "contrail.sqlite"),
            "--tokens", str(self.directory / "tokens.json"), "--control-token", str(self.directory / "control_token"),
            "--push-seconds", str(self.push_seconds), *(("--rack", str(self.rack)) if self.rack is not None else ()),
        ]  # fmt: skip
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "steelyard.embedded.contrail", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.call("GET", "/", token=None)
                return
            except Unavailable:
                time.sleep(0.05)
        self.stop()
        raise Unavailable(f"The controller does not start: {log.read_text()[-500:]}", code="contrail_start")

    def stop(self) -> None:
        """Ask it to end, and wait; kill it when it does not."""
        if (process := self.process) is None:
            return
        self.process = None
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is put in order."""
        if (process := self.process) is not None:
            self.process = None
            process.kill()
            process.wait()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin",  # noqa: S107 - a name
    ) -> tuple[int, str, Any]:
        """One request as `token` (a name of `tokens`, None: as nobody): status, text, and the JSON if it is some.

        Raises Unavailable when there is no answer.
        """
        headers = {"X-Auth-Token": self.tokens[token]} if token is not None else {}
        return self._request(method, path, body, headers)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """One request to /control. Raises Unavailable, also for an error answer."""
        headers = {"Authorization": f"Bearer {self.control_token}"}
        status, text, document = self._request(method, f"/control{path}", body, headers)
        if not 200 <= status < 300:
            raise Unavailable(f"{status}: {text[:500]}", code="contrail_control")
        return document

    def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with _DIRECT.open(request, timeout=30) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        except OSError as error:
            raise Unavailable(f"The controller does not answer: {error}", code="contrail_call") from None
        text = content.decode(errors="replace")
        try:
            return status, text, json.loads(text)
        except ValueError:
            return status, text, None

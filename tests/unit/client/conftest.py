from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "canary-93b1"


@dataclass
class Keystone:
    """Just enough of Keystone for a client: tokens by password, with a catalogue. Speaks HTTP on a free port."""

    url: str = ""
    catalogue: dict[str, str] = field(default_factory=dict)
    """Public URL by service type."""
    tokens: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        self.asked.append(body)
        if body["auth"]["identity"]["password"]["user"]["password"] != PASSWORD:
            return 401, {}, {"error": {"code": 401, "message": "The request you have made requires authentication."}}
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        catalogue = [
            {"type": type, "name": type, "id": type, "endpoints": [
                {"id": type, "interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": url}
            ]}
            for type, url in self.catalogue.items()
        ]  # fmt: skip
        token = {
            "methods": ["password"], "user": {"id": "u", "name": "ada", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "member"}], "catalog": catalogue,
            "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z",
        }  # fmt: skip
        return 201, {"X-Subject-Token": self.tokens[-1]}, {"token": token}


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    fake = Keystone()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*fake.answer(body))

        def do_GET(self) -> None:
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{fake.url}/v3/"}]}
            self._send(200, {}, {"version": version})

        def _send(self, status: int, headers: dict[str, str], body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(data)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is configured: an empty home, an empty working directory, no OS_* variables."""
    import os

    import openstack.config.loader

    for name in list(os.environ):
        if name.startswith(("OS_", "STEELYARD_")):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    (tmp_path / "usual").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("STEELYARD_HOME", str(tmp_path / "steelyard"))
    monkeypatch.setattr(openstack.config.loader, "CONFIG_FILES", [str(tmp_path / "usual" / "clouds.yaml")])
    return tmp_path


def clouds_yaml(path: Path, url: str, *names: str, password: str = PASSWORD) -> Path:
    """A clouds.yaml with an entry per name, all of them the same user."""
    entry = {
        "auth": {
            "auth_url": f"{url}/v3", "username": "ada", "password": password, "project_name": "demo",
            "user_domain_id": "default", "project_domain_id": "default",
        },
        "region_name": "RegionOne",
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"clouds": dict.fromkeys(names, entry)}))  # JSON is YAML
    return path

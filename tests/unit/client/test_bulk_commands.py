"""Commands on several things ask for one bulk operation, and show what became of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard.client.errors import OperationFailed, UsageError
from steelyard.client.rest import Client
from steelyard.discovery import commands as discovery
from steelyard.lifecycle import commands as servers
from steelyard.lifecycle import node_commands as nodes
from steelyard.lifecycle import renewal_commands as renewal

ENDED = {
    "id": "p1", "kind": "bulk", "phase": "succeeded", "subject": None, "error": None, "result": {}, "seconds": 1.0,
    "steps": [], "waiting_for": None,
}  # fmt: skip
CHILD = {**ENDED, "id": "c1", "kind": "servers.delete", "subject": "server:1", "parent_id": "p1"}


class Server(Client):
    """Answers as the API does, and remembers what it was asked."""

    def __init__(self, *, phase: str = "succeeded", failed: list[dict[str, Any]] | None = None) -> None:
        self.phase = phase
        self.failed = failed or []
        self.asked: list[tuple[str, str, Any]] = []
        self.candidates = [{"id": "c-1", "state": "found"}, {"id": "c-2", "state": "failed"}, {"id": "c-3", "state": "onboarded"}]  # noqa: E501  # fmt: skip

    def post(self, path: str, json: Any = None, *, params: Any = None, key: str | None = None) -> dict[str, Any]:
        self.asked.append(("POST", path, json))
        assert key
        return {"operation": {**ENDED, "phase": self.phase}, "server": {"id": "s1"}}

    def delete(self, path: str, params: Any = None) -> dict[str, Any]:
        self.asked.append(("DELETE", path, params))
        return {"operation": ENDED}

    def get(self, path: str, params: Any = None, *, patient: bool = True) -> dict[str, Any]:
        return {"operation": {**ENDED, "phase": self.phase}}

    def list_all(
        self, path: str, params: Any = None, *, limit: int | None = None, marker: str | None = None
    ) -> list[Any]:
        if path == "/v1/candidates":
            return self.candidates
        if path.endswith("/items"):
            return self.failed
        assert params == {"parent": "p1"}
        return [CHILD, {**CHILD, "id": "c0"}]

    @property
    def bulk(self) -> dict[str, Any]:
        (body,) = [body for method, path, body in self.asked if (method, path) == ("POST", "/v1/bulk")]
        return dict(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    for module in (servers, renewal, nodes, discovery):
        monkeypatch.setattr(module, "connect", lambda: made)
    return made


def test_one_is_asked_for_by_itself(server: Server) -> None:
    servers.delete_servers(["web"])
    nodes.delete_nodes(["bm-1"], reason="burnt", force=True)
    assert server.asked == [
        ("DELETE", "/v1/servers/web", None), ("DELETE", "/v1/nodes/bm-1", {"reason": "burnt", "force": "true"})
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "action", "item"),
    [
        (lambda: servers.delete_servers(["a", "b"]), "servers.delete", {"server": "b"}),
        (lambda: servers.power_servers(["a", "b"], "off"), "servers.power", {"server": "b", "action": "off"}),
        (lambda: renewal.rebuild_servers(["a", "b"], image="i"), "servers.rebuild", {"server": "b", "image": "i"}),
        (lambda: renewal.unrescue_servers(["a", "b"]), "servers.unrescue", {"server": "b"}),
        (lambda: nodes.release_nodes(["a", "b"]), "nodes.release", {"node": "b"}),
        (lambda: nodes.clean_nodes(["a", "b"]), "nodes.clean", {"node": "b"}),
        (lambda: nodes.inspect_nodes(["a", "b"]), "nodes.inspect", {"node": "b"}),
        (lambda: nodes.retire_nodes(["a", "b"]), "nodes.retire", {"node": "b"}),
        (lambda: nodes.unretire_nodes(["a", "b"]), "nodes.unretire", {"node": "b"}),
        (lambda: nodes.delete_nodes(["a", "b"]), "nodes.delete", {"node": "b"}),
        (lambda: nodes.delete_nodes(["a", "b"], reason="why", force=True), "nodes.remove", {"node": "b"}),
        (lambda: nodes.maintenance("off", ["a", "b"]), "nodes.maintenance", {"node": "b", "on": False}),
        (lambda: discovery.onboard(["a", "b"], recabled=True), "nodes.onboard", {"candidate": "b", "recabled": True}),
        (lambda: discovery.onboard(None, all=True), "nodes.onboard", {"candidate": "c-2"}),
    ],
)
def test_several_are_one_bulk_operation(server: Server, call: Any, action: str, item: dict[str, Any]) -> None:
    call()
    assert (server.bulk["action"], len(server.bulk["items"]), server.bulk["items"][1]) == (action, 2, item)


def test_the_limits_are_passed_on(server: Server) -> None:
    nodes.clean_nodes(["a", "b"], reason="why", concurrency=3, wave=10, wave_pause=2.5, max_failures=0)
    limits = {key: value for key, value in server.bulk.items() if key not in ("action", "items")}
    assert limits == {"reason": "why", "concurrency": 3, "wave": 10, "wave_pause": 2.5, "max_failures": 0}


def test_many_servers_of_one_kind_are_numbered(server: Server) -> None:
    servers.create_server("web", "f", "i", ["n"], count=3)
    assert [item["name"] for item in server.bulk["items"]] == ["web-1", "web-2", "web-3"]
    assert server.bulk["items"][0]["networks"] == ["n"]


def test_with_wait_every_operation_is_shown(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    servers.delete_servers(["a", "b"], wait=True, format="json")
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["c0", "c1"]


def test_what_could_not_be_begun_is_said(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.phase = "failed"
    server.failed = [
        {
            "name": "a",
            "operation_id": None,
            "error": {"detail": "There is no server a.", "next": "steelyard server list"},
        }
    ]
    with pytest.raises(OperationFailed):
        servers.delete_servers(["a", "b"], wait=True)
    said = capsys.readouterr().err
    assert "a was not begun: There is no server a." in said
    assert "steelyard server list" in said


def test_a_made_up_rescue_password_is_shown_once_and_not_in_the_answer(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    renewal.rescue_servers(["a", "b"], format="json")
    out = capsys.readouterr()
    passwords = {body["password"] for _, _, body in server.asked}
    (password,) = passwords
    assert len(password) >= 16
    assert password in out.err
    assert password not in out.out


def test_a_rescue_password_of_a_file_is_not_shown(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    file = tmp_path / "password"
    file.write_text("canary-of-a-file\nmore\n")
    renewal.rescue_servers(["a", "b"], password_file=file)
    out = capsys.readouterr()
    assert server.asked[0][2]["password"] == "canary-of-a-file"
    assert "canary-of-a-file" not in out.out + out.err
    file.write_text("\n")
    with pytest.raises(UsageError):
        renewal.rescue_servers(["a"], password_file=file)


@pytest.mark.parametrize("call", [
    lambda: nodes.delete_nodes(["a"], force=True), lambda: nodes.maintenance("on", ["a"]),
    lambda: nodes.maintenance("on", ["a"], reason="why", until="soon"),
])  # fmt: skip
def test_what_is_missing_is_said_before_anything_is_asked(server: Server, call: Any) -> None:
    with pytest.raises(UsageError):
        call()
    assert server.asked == []


@pytest.mark.parametrize("until", ["90m", "4h", "2d", "2030-01-31T18:00:00+01:00", "2030-01-31 18:00"])
def test_until_is_a_duration_or_a_time(server: Server, until: str) -> None:
    from datetime import datetime

    nodes.maintenance("on", ["a"], reason="why", until=until)
    sent = datetime.fromisoformat(server.asked[0][2]["until"])
    assert sent.tzinfo is not None

"""Whose a token is: Keystone's word, and a file's."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.contrail.identity import Keystone, TokenFile, identity_of
from steelyard.embedded.contrail.visibility import Identity
from steelyard.errors import Invalid, Unavailable

ADA = {
    "token": {
        "user": {"name": "ada", "id": "u"},
        "project": {"name": "demo", "id": "0123456789abcdef0123456789abcdef"},
        "roles": [{"name": "member"}, {"name": "reader"}],
    }
}


class _Keystone(ThreadingHTTPServer):
    """Answers GET /v3/auth/tokens with what it is told to."""

    status = 200
    body = json.dumps(ADA).encode()

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v3"


class _Handler(BaseHTTPRequestHandler):
    server: _Keystone

    def do_GET(self) -> None:
        assert self.path == "/v3/auth/tokens"
        self.server.asked.append((self.headers.get("X-Auth-Token"), self.headers.get("X-Subject-Token")))
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def keystone() -> Iterator[_Keystone]:
    with _Keystone() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _ask(url: str, *tokens: str) -> list[Identity | None]:
    async def ask() -> list[Identity | None]:
        identities = Keystone(url)
        try:
            return [await identities.of(token) for token in tokens]
        finally:
            await identities.close()

    return asyncio.run(ask())


def test_a_token_is_shown_by_itself_and_believed_for_a_while(keystone: _Keystone) -> None:
    first, again = _ask(keystone.url, "token-1", "token-1")
    assert (
        first == again == Identity("ada", "0123456789abcdef0123456789abcdef", "demo", frozenset({"member", "reader"}))
    )
    assert keystone.asked == [("token-1", "token-1")]
    assert first is not None
    assert not first.is_admin


@pytest.mark.parametrize("status", [401, 404])
def test_a_token_that_keystone_does_not_know_is_nobodys(keystone: _Keystone, status: int) -> None:
    keystone.status = status
    assert _ask(keystone.url, "token-1", "token-1") == [None, None]
    assert len(keystone.asked) == 2  # a refusal is not believed for longer than its request


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"<html>"), (503, b"")])
def test_a_keystone_in_trouble_is_not_a_bad_token(keystone: _Keystone, status: int, body: bytes) -> None:
    keystone.status, keystone.body = status, body
    with pytest.raises(Unavailable):
        _ask(keystone.url, "token-1")


def test_a_keystone_that_is_away(keystone: _Keystone) -> None:
    url = keystone.url
    keystone.shutdown()
    keystone.server_close()
    with pytest.raises(Unavailable):
        _ask(url, "token-1")


def test_a_system_token_has_no_project(keystone: _Keystone) -> None:
    keystone.body = json.dumps(
        {"token": {"user": {"name": "root"}, "system": {"all": True}, "roles": [{"name": "admin"}]}}
    ).encode()
    (found,) = _ask(keystone.url, "token-1")
    assert found is not None
    assert (found.project_id, found.is_admin) == ("", True)


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"token": None}, {"token": {}}, {"token": {"user": {"name": "x"}, "roles": []}},
     {"token": {**ADA["token"], "roles": 5}}, {"token": {**ADA["token"], "project": "demo"}}],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_nobody(document: Any) -> None:
    assert identity_of(document) is None


def test_tokens_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    one = {"user": "ada", "project_id": "p", "project_name": "demo", "roles": ["admin"]}
    path.write_text(json.dumps({"tokens": {"secret": one}}))
    tokens = TokenFile(path)
    assert asyncio.run(tokens.of("secret")) == Identity("ada", "p", "demo", frozenset({"admin"}))
    assert asyncio.run(tokens.of("other")) is None
    assert "secret" not in repr(vars(tokens))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"tokens": []}', '{"tokens": {"secret": {}}}', '{"tokens": {"secret": 5}}']
)
def test_a_damaged_file_is_said_to_be_one_without_its_tokens(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(Invalid) as error:
        TokenFile(path)
    assert "secret" not in error.value.detail

"""What is typed: against the REST application over fakes, through the real client."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.client.rest import Client
from steelyard.ipam import check_commands, check_routes, commands, reservation_commands, reservation_routes, routes
from steelyard.nouns import FixedAddress, NetworkPort
from steelyard.settings import Settings
from steelyard.web.app import build_app

from .conftest import Place

Printed = pytest.CaptureFixture[str]


class Somebody:
    """A session of the command line's, with a token that is there already."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, *, fresh: bool = False) -> str:
        return self._token

    def url(self) -> str:
        return "http://steelyard"


@pytest.fixture
def typed(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The commands talk to the application as its administrator."""
    app = build_app(
        [routes.router(place.service), reservation_routes.router(place.reservations), check_routes.router(place.check)],
        validate=place.clouds.identity.validate, checks={}, settings=Settings(),
    )  # fmt: skip
    server = TestClient(app, raise_server_exceptions=False)

    def answer(request: httpx.Request) -> httpx.Response:
        with contextlib.redirect_stdout(io.StringIO()):  # the server's log lines, which are another process's
            got = server.request(
                request.method, str(request.url), content=request.read(), headers=dict(request.headers)
            )  # fmt: skip
        return httpx.Response(got.status_code, content=got.content, headers={"content-type": "application/json"})

    made = Client(Somebody(place.admin[1]), transport=httpx.MockTransport(answer))  # type: ignore[arg-type]
    for module in (commands, reservation_commands, check_commands):
        monkeypatch.setattr(module, "connect", lambda: made)
    yield place
    made.close()


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["ipam", *map(str, words)])
    return int(end.value.code or 0)


def rows(printed: Printed) -> Any:
    return json.loads(printed.readouterr().out)


def test_a_list_with_what_is_free(typed: Place, capsys: Printed) -> None:
    assert run("reserve", "blue", "10.1.0.20-10.1.0.21", "--note", "lb") == 0
    assert run("reserve", "blue", "10.1.0.30", "--note", "old database", "--brownfield") == 0
    capsys.readouterr()
    assert run("list", "blue", "--all") == 0
    out = capsys.readouterr().out
    for words in ("bare metal web", "by hand lb", "10.1.0.22-10.1.0.29", "brownfield", "10.1.0.31-10.1.0.254"):
        assert words in out
    assert "254 usable: 1 allocated, 3 reserved, 1 brownfield, 1 gateway and services, 248 free." in out
    assert run("list", "blue", "--state", "free", "-f", "json") == 0
    assert [row["address"] for row in rows(capsys)] == ["10.1.0.4", "10.1.0.22", "10.1.0.31"]
    assert run("networks") == 0
    assert "2.4 %" in capsys.readouterr().out
    assert run("subnets", "-f", "json") == 0
    assert {row["network_name"] for row in rows(capsys)} >= {"blue", "green", "cleaning"}


def test_allocate_and_release(typed: Place, capsys: Printed) -> None:
    assert run("allocate", "blue", "--note", "cluster", "--count", "2", "-f", "json") == 0
    assert [row["address"] for row in rows(capsys)] == ["10.1.0.4", "10.1.0.5"]
    assert run("release", "blue", "10.1.0.4-10.1.0.6") == 0
    assert capsys.readouterr().out.count("as it was") == 1
    assert run("release", "blue", "10.1.0.2") == 5
    assert "bare metal web" in capsys.readouterr().err
    assert run("reserve", "blue", "10.1.0.2", "--note", "x") == 5
    assert run("reserve", "blue", "10.1.0.x", "--note", "x") == 2
    assert run("reserve", "nonsense", "10.1.0.9", "--note", "x") == 4


def test_a_file_goes_in_and_out(typed: Place, tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "in.csv"
    file.write_text("\ufeffAddress, note,state,mac\n10.1.0.20-10.1.0.29,lb,,\n\n10.1.0.2,taken,reserved,\n", "utf-8")
    assert run("import", "blue", file, "-f", "json") == 5
    answer = rows(capsys)
    assert [(row["line"], row["outcome"]) for row in answer["rows"]] == [(2, "new"), (4, "error")]
    assert len(typed.addresses()) == 2
    file.write_text("address,note\n10.1.0.20-10.1.0.29,lb\n", "utf-8")
    assert run("import", "blue", file, "--dry-run") == 0
    assert "10 addresses would be reserved" in capsys.readouterr().out
    assert len(typed.addresses()) == 2
    assert run("import", "blue", file) == 0
    assert run("import", "blue", file) == 0
    assert "0 addresses were reserved" in capsys.readouterr().out
    assert len(typed.addresses()) == 12
    out = tmp_path / "out.csv"
    assert run("export", "blue", "--output", out) == 0
    assert out.read_text("utf-8").count("reserved,by hand,lb,") == 10
    assert run("export", "blue", "-o", tmp_path / "no" / "where.csv") == 2
    assert run("export", "nonsense", "-o", out) == 4
    assert "by hand" in out.read_text("utf-8"), "a refusal leaves the file"


@pytest.mark.parametrize(
    "content",
    [b"", b"address\n10.1.0.9\n", b"address,note,colour\n10.1.0.9,x,red\n", b"address,note\n10.1.0.9\n",
     b"address,note\n10.1.0.9,x,y\n", b"\xff\xfe\x00", b"address,note\n", b'address,note\n10.1.0.9,"x\n'],
)  # fmt: skip
def test_files_that_are_none(typed: Place, tmp_path: Path, capsys: Printed, content: bytes) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(content)
    assert run("import", "blue", file) == 2
    assert str(file) in capsys.readouterr().err
    assert len(typed.addresses()) == 2


def test_who_had_it(typed: Place, capsys: Printed) -> None:
    typed.check.remember()
    assert run("history", "blue", "10.1.0.2", "-f", "json") == 0
    (row,) = rows(capsys)
    assert (row["owner_name"], row["node_name"]) == ("web", "bm-1")
    for at, found in (("2026-01-01", 1), ("2025-12-31", 0), ("2026-01-01T12:00:00", 1), ("2025-06-01T12:00+02:00", 0)):
        assert run("history", "blue", "10.1.0.2", "--at", at, "-f", "json") == 0
        assert len(rows(capsys)) == found, at
    assert run("history", "blue", "10.1.0.2", "--at", "yesterday") == 2
    assert run("history", "blue", "10.1.0.99") == 0
    assert "Nobody was seen to have it." in capsys.readouterr().err


def test_a_check_ends_with_a_code(typed: Place, capsys: Printed) -> None:
    assert run("check") == 0
    assert "nothing found" in capsys.readouterr().out
    port = NetworkPort(
        "twin", "twin", typed.blue.id, None, "fa:16:3e:99:99:99", (FixedAddress(typed.subnet.id, "10.1.0.2"),), "d",
        "x:y", None, "normal", "DOWN", None,
    )  # fmt: skip
    typed.world.fabric.ports[port.id] = port
    assert run("check", typed.subnet.id) == 7
    shown = capsys.readouterr()
    assert "has 2 owners" in shown.out
    assert "openstack port show" in shown.err
    assert run("check", "cleaning", "-f", "json") == 0
    assert rows(capsys)["agrees"] is True

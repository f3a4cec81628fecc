"""`steelyard attention` as it is typed: what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from steelyard import main
from steelyard.attention import commands
from steelyard.client.errors import ApiError, ServerUnreachable, UsageError
from steelyard.client.session import colours


def row(**changes: Any) -> dict[str, Any]:
    return {
        "name": "bm-007", "subject": "node:7", "kind": "isolation.flip_failed", "severity": "critical",
        "reason": "leaf1 says VLAN 2001", "since": "2026-03-01T09:00:00Z", "next": "steelyard isolation show bm-007",
        "also": [], "acknowledged": None, "evidence": {}, "source": "a",
    } | changes  # fmt: skip


class Server:
    """What the client would get, and what it was asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.fails: list[Exception] = []

    def list_all(self, path: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        self.asked.append((path, params or {}))
        return self.rows

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, patient: bool = True) -> dict[str, Any]:
        self.asked.append((path, params or {}))
        if self.fails:
            raise self.fails.pop(0)
        return {"attention": self.rows}

    def post(self, path: str, json: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((path, json))
        if self.fails:
            raise self.fails.pop(0)
        return {"acknowledged": {**json, "actor": "ada"}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server([row(), row(name="bm-012", severity="minor", kind="operations.paused")])
    monkeypatch.setattr(commands, "connect", lambda: made)
    return made


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["attention", *words])
    return int(end.value.code or 0)


Printed = pytest.CaptureFixture[str]


def test_the_screen(server: Server, capsys: Printed) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "2 need you: 1 critical, 1 minor" in out
    assert "$ steelyard isolation show bm-007" in out
    assert "\x1b" not in out  # no terminal, no colours
    assert server.asked == [("/v1/attention", {"severity": None, "all": None})]


def test_nothing(server: Server, capsys: Printed) -> None:
    server.rows = []
    assert run("--exit-code") == 0
    assert capsys.readouterr().out == "Nothing needs you.\n"


@pytest.mark.parametrize("format", [(), ("-f", "json")])
def test_an_exit_code_for_scripts(server: Server, format: tuple[str, ...]) -> None:
    assert run("--exit-code", *format) == 1
    assert run(*format) == 0


def test_json(server: Server, capsys: Printed) -> None:
    assert run("-f", "json", "--severity", "major", "--all", "--limit", "1") == 0
    assert json.loads(capsys.readouterr().out) == [row()]
    assert server.asked[0][1] == {"severity": "major", "all": "true"}
    server.rows = []
    assert run("-f", "json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_limit(server: Server, capsys: Printed) -> None:
    assert run("--limit", "1") == 0
    out = capsys.readouterr().out
    assert "bm-012" not in out
    assert "1 more: steelyard attention --limit 2" in out


@pytest.mark.parametrize(
    "words", [("--severity", "urgent"), ("--limit", "0"), ("--watch", "-f", "json"), ("--watch", "--exit-code")]
)
def test_what_makes_no_sense(server: Server, words: tuple[str, ...]) -> None:
    assert run(*words) == 2


def test_acknowledging(server: Server, capsys: Printed) -> None:
    words = ("acknowledge", "bm-007", "isolation.flip_failed", "--until", "8h", "--reason", "cable ordered")
    assert run(*words) == 0
    assert "is hidden for 7 h" in capsys.readouterr().out  # a moment less than eight
    path, body = server.asked[0]
    assert path == "/v1/attention/acknowledge"
    assert (body["subject"], body["kind"], body["reason"]) == ("bm-007", "isolation.flip_failed", "cable ordered")
    assert timedelta(hours=7) < datetime.fromisoformat(body["until"]) - datetime.now(UTC) <= timedelta(hours=8)
    assert run(*words, "-f", "json") == 0
    assert json.loads(capsys.readouterr().out)["actor"] == "ada"
    assert run("acknowledge", "bm-007", "isolation.flip_failed", "--until", "8h") == 2
    server.fails = [ApiError(404, "finding_not_found", "no")]
    assert run(*words) == 4


def test_withdrawing(server: Server) -> None:
    assert run("withdraw", "node:7", "isolation.flip_failed") == 0
    assert server.asked == [("/v1/attention/withdraw", {"subject": "node:7", "kind": "isolation.flip_failed"})]


class TestUntil:
    NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("30m", "2026-03-01T12:30:00+02:00"),
            ("8h", "2026-03-01T20:00:00+02:00"),
            ("2d", "2026-03-03T12:00:00+02:00"),
            ("2026-03-02T08:00", "2026-03-02T08:00:00+02:00"),
            ("2026-03-02T08:00Z", "2026-03-02T08:00:00+00:00"),
            ("2026-03-02", "2026-03-02T00:00:00+02:00"),
        ],
    )
    def test_what_is_meant(self, text: str, meant: str) -> None:
        assert commands.moment(text, self.NOW).isoformat() == meant

    @pytest.mark.parametrize("text", ["", "h", "8", "8w", "-8h", "8 h", "soon", "99999999999999d", "²h"])
    def test_what_means_nothing(self, text: str) -> None:
        with pytest.raises(UsageError):
            commands.moment(text, self.NOW)


class Screen(io.StringIO):
    """A terminal, or none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Enough(Exception):
    """The watch has gone on for long enough."""


class TestWatch:
    def watch(self, server: Server, screen: Screen, *between: Callable[[], None]) -> None:
        """One look, then one after each of these."""
        waiting = list(between)

        def sleep(_: float) -> None:
            if not waiting:
                raise Enough
            waiting.pop(0)()

        with pytest.raises(Enough):
            commands.watch_screen(server, {}, stream=screen, sleep=sleep)  # type: ignore[arg-type]

    def test_a_terminal_is_drawn_anew(self, server: Server) -> None:
        screen = Screen(terminal=True)
        self.watch(server, screen, server.rows.clear)
        first, second = screen.getvalue().split("\x1b[H\x1b[2J")[1:]
        assert "bm-007" in first
        assert second == "Nothing needs you.\n"

    def test_elsewhere_only_news_are_printed(self, server: Server) -> None:
        screen = Screen(terminal=False)
        self.watch(server, screen, lambda: None, lambda: None, server.rows.clear)
        assert screen.getvalue().count("bm-007  ") == 1
        assert screen.getvalue().endswith("Nothing needs you.\n\n")
        assert "\x1b" not in screen.getvalue()

    def test_outlives_a_restart_of_the_server(self, server: Server) -> None:
        server.fails = [ServerUnreachable("away"), ServerUnreachable("away")]
        screen = Screen(terminal=False)
        self.watch(server, screen, lambda: None, lambda: None, lambda: None)
        assert "bm-007" in screen.getvalue()

    def test_not_a_refusal(self, server: Server) -> None:
        server.fails = [ApiError(403, "forbidden", "no")]
        with pytest.raises(ApiError):
            commands.watch_screen(server, {}, stream=Screen(terminal=False), sleep=lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_where_they_are_wanted(
    terminal: bool,
    environment: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colours(Screen(terminal=terminal)) is coloured

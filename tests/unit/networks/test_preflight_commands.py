"""`steelyard network preflight` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard import main
from steelyard.networks import preflight_commands


def check(name: str, status: str) -> dict[str, Any]:
    return {
        "name": name, "title": f"The {name} is there", "status": status, "reason": f"why of {name}",
        "next": None if status == "ok" else f"mend {name}", "subjects": [],
    }  # fmt: skip


def answer(*statuses: str) -> dict[str, Any]:
    return {
        "controller": "contrail", "passed": "failed" not in statuses, "complete": set(statuses) == {"ok"},
        "checks": [check(f"c{number}", status) for number, status in enumerate(statuses)], "at": "2026-03-01T09:00:00Z",
    }  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], *words: str) -> int:
    class Server:
        def get(self, path: str) -> dict[str, Any]:
            assert path == "/v1/network-controller/preflight"
            return found

    monkeypatch.setattr(preflight_commands, "connect", Server)
    with pytest.raises(SystemExit) as end:
        main.main(["network", "preflight", *words])
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("statuses", "words", "code"),
    [
        (("ok", "ok"), (), 0), (("ok", "ok"), ("--strict",), 0), (("ok", "unknown"), (), 0),
        (("ok", "unknown"), ("--strict",), 7), (("failed", "unknown"), (), 7),
        (("failed",), ("--strict", "-f", "json"), 7),
    ],
)  # fmt: skip
def test_the_exit_code_is_for_scripts(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[str, ...], words: tuple[str, ...], code: int
) -> None:
    assert run(monkeypatch, answer(*statuses), *words) == code


def test_people_are_told_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, answer("ok", "failed", "unknown"))
    told = capsys.readouterr()
    everything = told.out + told.err
    assert "mend c1" in everything
    assert "mend c2" in everything
    assert "mend c0" not in everything
    assert "1 ok, 1 failed, 1 could not be checked" in everything


def test_scripts_get_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer("ok", "failed")
    run(monkeypatch, found, "-f", "json")
    assert json.loads(capsys.readouterr().out) == found

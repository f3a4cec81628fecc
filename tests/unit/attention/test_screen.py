"""The screen fits 80 by 24, says everything that matters, and lets nothing from elsewhere act on the terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.attention.screen import draw, span
from steelyard.client.text import width

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "name": "bm-007", "subject": "node:7", "kind": "isolation.flip_failed", "severity": "critical",
        "reason": "leaf1 Ethernet7 carries VLAN 2001 and should carry 2004", "since": "2026-03-01T09:00:00Z",
        "next": "steelyard isolation show bm-007", "also": [], "acknowledged": None,
    } | changes  # fmt: skip


def test_nothing() -> None:
    assert draw([], NOW) == ["Nothing needs you."]


def test_one() -> None:
    assert draw([row()], NOW) == [
        "1 needs you: 1 critical                                                 12:00:00",
        "CRITICAL  bm-007  isolation.flip_failed                                      3 h",
        "          leaf1 Ethernet7 carries VLAN 2001 and should carry 2004",
        "          $ steelyard isolation show bm-007",
    ]


def test_what_else_and_who_knows() -> None:
    mark = {"actor": "ada", "reason": "cable on order", "until": "2026-03-01T20:00:00Z", "at": "2026-03-01T11:00:00Z"}
    lines = draw([row(also=[{"kind": "operations.failed"}, {"kind": "operations.failed"}], acknowledged=mark)], NOW)
    assert lines[3] == "          also: operations.failed"
    assert lines[4] == "          ada knows, for 8 h more: cable on order"


def test_as_many_as_the_terminal_has_room_for_and_how_many_are_left() -> None:
    rows = [row(name=f"bm-{number:03}", severity="critical" if number < 3 else "minor") for number in range(40)]
    lines = draw(rows, NOW, height=23)
    assert len(lines) <= 23
    assert lines[0].startswith("40 need you: 3 critical, 37 minor")
    assert lines[-1] == "33 more: steelyard attention --limit 40"
    assert [line for line in lines if "bm-000" in line]
    assert draw(rows, NOW, height=2)[1].startswith("CRITICAL  bm-000")
    assert len(draw(rows, NOW)) == 1 + 40 * 3
    assert draw(rows, NOW, limit=2)[-1] == "38 more: steelyard attention --limit 40"


def test_colours_only_where_wanted() -> None:
    assert "\x1b" not in "\n".join(draw([row()], NOW))
    painted = "\n".join(draw([row()], NOW, colour=True))
    assert "\x1b[1;31mCRITICAL" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted).splitlines() == draw([row()], NOW)


def test_a_command_is_never_cut() -> None:
    command = "steelyard node onboard " + "x" * 200
    assert f"          $ {command}" in draw([row(next=command)], NOW, height=24)
    assert len(draw([row(next=None)], NOW)) == 3


def test_a_long_reason_is_cut_on_the_screen_and_whole_elsewhere() -> None:
    reason = "the agent did not call back " * 40
    assert len(draw([row(reason=reason)], NOW, height=24)) == 5
    assert draw([row(reason=reason)], NOW, height=24)[3].endswith("…")
    assert " ".join("\n".join(draw([row(reason=reason)], NOW)[2:-1]).split()) == reason.strip()


@given(
    texts=st.tuples(st.text(max_size=200), st.text(max_size=60), st.text(max_size=40)),
    columns=st.integers(40, 200),
    tall=st.booleans(),
)
def test_nothing_acts_on_the_terminal_or_leaves_its_line(
    texts: tuple[str, str, str], columns: int, *, tall: bool
) -> None:
    reason, name, kind = texts
    shown = row(reason=reason, name=name, kind=kind, also=[{"kind": kind}])
    lines = draw([shown], NOW, width=columns, height=24 if tall else None)
    for line in lines:
        assert "\n" not in line
        assert "\x1b" not in line
        assert "\u202e" not in line
    assert width(lines[1]) <= columns


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (47 * 3600, "47 h"),
        (48 * 3600, "2 d"), (400 * 86400, "400 d"),
    ],
)  # fmt: skip
def test_ages(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_clock_that_is_behind() -> None:
    assert draw([row(since=(NOW + timedelta(hours=1)).isoformat())], NOW)[1].endswith(" 0 s")

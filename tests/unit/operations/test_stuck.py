"""When an operation needs somebody to look at it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.operations.stuck import LONGEST, SHARE, stuck_since

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("started", "deadline", "waiting", "since"),
    [
        (100, -500, 100, None),  # 100 of 600 s gone
        (400, -200, 290, None),
        (400, -200, 310, 310),  # the same words for more than half of 600 s
        (700, 100, None, 100),  # late, and the one attempt does not return
        (700, 100, 50, 100),  # late, although something happened a moment ago
        (700, 100, 600, 600),
        (10 * 3600, -86400, 3500, None),
        (10 * 3600, -86400, 3700, 3700),  # an hour is too long in any case
    ],
)
def test_since_when(started: float, deadline: float, waiting: float | None, since: float | None) -> None:
    found = stuck_since(
        started_at=ago(started),
        deadline_at=ago(deadline),
        waiting_since=None if waiting is None else ago(waiting),
        now=NOW,
    )
    assert found == (None if since is None else ago(since))


@given(started=st.floats(0, 1e6), length=st.floats(1, 1e6), waited=st.floats(0, 1e6))
def test_who_is_in_time_and_sees_something_happen_is_not_stuck(started: float, length: float, waited: float) -> None:
    found = stuck_since(started_at=ago(started), deadline_at=ago(started - length), waiting_since=ago(waited), now=NOW)
    if started <= length and waited <= min(length * SHARE, LONGEST) * 0.99:
        assert found is None
    if found is not None:
        assert found <= NOW


def test_what_has_not_begun_is_not_stuck() -> None:
    assert stuck_since(started_at=None, deadline_at=None, waiting_since=None, now=NOW) is None

"""When a service that has died is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steelyard.embedded.restarts import FIRST_DELAY, LONGEST_DELAY, PATIENCE, QUICK_DEATH, Restarts

lives = st.lists(st.floats(min_value=0, max_value=1000))


def after(deaths: list[float]) -> Restarts:
    record = Restarts()
    for lived in deaths:
        record = record.after_death(lived)
    return record


def test_the_first_restart_is_soon_and_the_next_ones_later() -> None:
    delays = [after([0.1] * deaths).delay_seconds for deaths in range(1, PATIENCE)]
    assert delays[0] == FIRST_DELAY
    assert delays == sorted(delays)
    assert len(set(delays)) == len(delays)


def test_many_quick_deaths_are_said_and_tried_slowly() -> None:
    record = after([0.1] * PATIENCE)
    assert record.is_failing
    assert record.delay_seconds == LONGEST_DELAY


def test_a_long_life_earns_a_quick_restart() -> None:
    record = after([0.1] * PATIENCE + [QUICK_DEATH + 1])
    assert not record.is_failing
    assert record.delay_seconds == FIRST_DELAY


@given(lives)
def test_every_death_is_counted_and_no_wait_is_endless(deaths: list[float]) -> None:
    record = after(deaths)
    assert record.total == len(deaths)
    assert 0 < record.delay_seconds <= LONGEST_DELAY

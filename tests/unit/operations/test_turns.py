"""Requests with the same idempotency key take turns; others do not wait for each other."""

from __future__ import annotations

import threading

import pytest

from steelyard.nouns import Actor
from steelyard.operations.keys import Turns, turn

SOMEBODY = Actor("u", "user", "p", "project", frozenset({"member"}))


@pytest.mark.parametrize(("key", "waits"), [("k", True), (None, False)])
def test_who_waits(key: str | None, waits: bool) -> None:
    turns = Turns()
    second = threading.Event()

    def also() -> None:
        with turns.at(turn(SOMEBODY, key)):
            second.set()

    other = threading.Thread(target=also)
    with turns.at(turn(SOMEBODY, key)):
        other.start()
        assert second.wait(0.2 if waits else 5) is not waits
    other.join(5)
    assert second.is_set()

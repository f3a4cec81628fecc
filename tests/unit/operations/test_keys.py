"""Turns: equal requests at the same instant come one after the other."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from steelyard.nouns import Actor
from steelyard.operations.keys import Turns, digest


def test_one_at_a_time_for_one_thing_and_side_by_side_for_others() -> None:
    turns = Turns()
    inside: list[str] = []
    most: dict[str, int] = {"a": 0, "b": 0}
    both = threading.Barrier(2, timeout=10)

    def work(thing: str, *, meet: bool) -> None:
        with turns.at(thing):
            inside.append(thing)
            most[thing] = max(most[thing], inside.count(thing))
            if meet:
                both.wait()  # the other thing's holder is inside at the same time, or this breaks
            time.sleep(0.01)
            inside.remove(thing)

    threads = [threading.Thread(target=work, args=(thing,), kwargs={"meet": True}) for thing in ("a", "b")]
    threads += [threading.Thread(target=work, args=("a",), kwargs={"meet": False}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken
    assert most == {"a": 1, "b": 1}
    assert turns._waiting == {}


def test_a_turn_is_given_back_after_a_failure() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns.at("a"):
                raise ValueError
        except ValueError:
            pass
    assert turns._waiting == {}


def test_a_digest_tells_requests_and_projects_apart_and_nothing_of_them(actor: Actor) -> None:
    assert digest(actor, {"a": 1, "b": [2]}) == digest(actor, {"b": [2], "a": 1})
    assert digest(actor, {"a": 1}) != digest(actor, {"a": 2})
    assert digest(actor, {"a": 1}) != digest(replace(actor, project_id="another"), {"a": 1})
    assert "secret" not in digest(actor, {"user_data": "secret"})

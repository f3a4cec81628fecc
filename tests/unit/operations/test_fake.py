"""The harnesses that `FakeOperations` offers to the rooms' tests."""

from __future__ import annotations

from steelyard.nouns import Actor
from steelyard.operations.fake import FakeOperations
from steelyard.operations.model import Done, OperationKind, Outcome, Phase, Retry, Step, StepContext

ACTOR = Actor("u", "ada", "p", "demo", frozenset({"member"}))


def test_waiting_costs_no_time_and_is_told() -> None:
    waited: list[float] = []

    def wait(ctx: StepContext) -> Outcome:
        return Done() if ctx.attempt == 3 else Retry(3600, "an hour")

    operations = FakeOperations(on_wait=waited.append)
    operations.register(OperationKind("k", [Step("one", wait, deadline=86400)]))
    ended = operations.start("k", {}, ACTOR)
    assert ended.phase is Phase.SUCCEEDED
    assert [seconds for seconds in waited if seconds > 1] == [3600, 3600]
    assert ended.ended_at is not None
    assert ended.started_at is not None
    assert (ended.ended_at - ended.started_at).total_seconds() == 7200


def test_repeat_every_step() -> None:
    calls: list[str] = []
    operations = FakeOperations(repeat_steps=True)
    operations.register(OperationKind("k", [Step("one", lambda _: calls.append("one") or Done())]))  # type: ignore[func-returns-value]
    assert operations.start("k", {}, ACTOR).phase is Phase.SUCCEEDED
    assert calls == ["one", "one"]


def test_fail_a_step_after_it_was_done() -> None:
    calls: list[str] = []

    def undo(_: StepContext) -> Outcome:
        calls.append("undo")
        return Done()

    operations = FakeOperations(fail_step="one")
    operations.register(
        OperationKind("k", [Step("one", lambda _: calls.append("one") or Done())], on_failure=undo)  # type: ignore[func-returns-value]
    )
    assert operations.start("k", {}, ACTOR).phase is Phase.FAILED
    assert calls == ["one", "undo"]

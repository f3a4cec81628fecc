"""What every implementation of `Operations` does: the one in memory, and the durable one on each database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from steelyard.errors import Conflict, DeadlineExceeded, Invalid, NotFound, Refused, Unavailable
from steelyard.nouns import Actor
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Pause, Phase, Retry, Step, StepContext
from steelyard.operations.runner import UNDO

from .conftest import Bench

CANARY = "canary-0d6a4b3f"


def kind(*steps: Step | Callable[[StepContext], Outcome], **options: Any) -> OperationKind:
    named = [step if isinstance(step, Step) else Step(f"step {n}", step) for n, step in enumerate(steps, 1)]
    return OperationKind("test.kind", steps=named, **options)


def done(_: StepContext) -> Outcome:
    return Done()


class TestSuccess:
    def test_steps_run_in_order_and_see_what_was_found_before(self, bench: Bench, actor: Actor) -> None:
        seen: list[StepContext] = []

        def first(ctx: StepContext) -> Outcome:
            seen.append(ctx)
            return Done({"a": 1, "b": 1})

        def second(ctx: StepContext) -> Outcome:
            seen.append(ctx)
            return Done({"b": ctx.results["b"] + 1})

        bench.register(kind(first, second))
        started = bench.operations.start(
            "test.kind", {"n": 5}, actor, reason="because", subject="node:1", request_id="req-1"
        )
        ended = bench.ended(started)

        assert ended.phase is Phase.SUCCEEDED
        assert ended.error is None
        assert ended.result == {"a": 1, "b": 2}
        assert [step.phase for step in ended.steps] == [Phase.SUCCEEDED, Phase.SUCCEEDED]
        assert [step.attempts for step in ended.steps] == [1, 1]
        assert [ctx.params for ctx in seen] == [{"n": 5}] * 2
        assert [ctx.results for ctx in seen] == [{}, {"a": 1, "b": 1}]
        assert {(ctx.operation_id, ctx.kind, ctx.reason, ctx.request_id, ctx.actor) for ctx in seen} == {
            (started.id, "test.kind", "because", "req-1", actor)
        }
        assert (ended.subject, ended.reason, ended.actor, ended.request_id) == ("node:1", "because", actor, "req-1")

    def test_times_are_utc_and_in_order(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(done, done))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        one, two = ended.steps
        times = [
            ended.created_at, ended.started_at, one.started_at, one.ended_at, two.started_at, two.ended_at,
            ended.ended_at,
        ]  # fmt: skip
        assert all(time is not None and time.tzinfo is UTC for time in times)
        assert times == sorted(times)  # type: ignore[type-var]
        assert one.deadline_at is not None
        assert one.started_at is not None
        assert (one.deadline_at - one.started_at).total_seconds() == 60

    def test_a_step_that_waits_is_called_again_and_says_what_for(self, bench: Bench, actor: Actor) -> None:
        def wait(ctx: StepContext) -> Outcome:
            return Done() if ctx.attempt == 3 else Retry(0.05, f"look {ctx.attempt}")

        bench.register(kind(wait))
        step = bench.ended(bench.operations.start("test.kind", {}, actor)).steps[0]
        assert (step.phase, step.attempts, step.waiting_for) == (Phase.SUCCEEDED, 3, "look 2")

    def test_an_operation_without_steps_succeeds(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind())
        assert bench.ended(bench.operations.start("test.kind", {}, actor)).phase is Phase.SUCCEEDED


class TestFailure:
    def test_a_step_that_says_so(self, bench: Bench, actor: Actor) -> None:
        later: list[str] = []

        def fail(_: StepContext) -> Outcome:
            return Failed("the BMC is on fire", next="steelyard node show 1", code="fire")

        def never(_: StepContext) -> Outcome:
            later.append("called")
            return Done()

        bench.register(kind(done, fail, never))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.FAILED
        assert ended.error is not None
        assert (ended.error.detail, ended.error.code) == ("the BMC is on fire", "fire")
        assert (ended.error.next, ended.error.step) == ("steelyard node show 1", "step 2")
        assert [step.phase for step in ended.steps] == [Phase.SUCCEEDED, Phase.FAILED, Phase.PENDING]
        assert ended.steps[1].error == ended.error
        assert later == []

    def test_one_of_our_errors_is_a_failure_with_its_words(self, bench: Bench, actor: Actor) -> None:
        def refuse(_: StepContext) -> Outcome:
            raise Conflict("locked", code="node_locked", next="wait", internal=CANARY)

        bench.register(kind(refuse))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.error is not None
        assert (ended.error.detail, ended.error.code, ended.error.next) == ("locked", "node_locked", "wait")
        assert CANARY not in repr(ended)

    def test_an_error_that_nobody_foresaw_shows_nothing_of_itself(self, bench: Bench, actor: Actor) -> None:
        def broken(_: StepContext) -> Outcome:
            raise ValueError(f"password={CANARY}")

        bench.register(kind(broken))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.FAILED
        assert ended.error is not None
        assert ended.error.code == "internal"
        assert CANARY not in repr(ended)

    def test_a_passing_trouble_is_tried_again(self, bench: Bench, actor: Actor) -> None:
        calls: list[int] = []

        def flaky(ctx: StepContext) -> Outcome:
            calls.append(ctx.attempt)
            if ctx.attempt < 3:
                raise Unavailable("Ironic does not answer")
            return Done()

        bench.register(kind(flaky))
        step = bench.ended(bench.operations.start("test.kind", {}, actor)).steps[0]
        assert calls == [1, 2, 3]
        assert step.phase is Phase.SUCCEEDED
        assert "Ironic does not answer" in (step.waiting_for or "")

    def test_an_outer_deadline_that_passed_is_not_tried_again(self, bench: Bench, actor: Actor) -> None:
        def late(_: StepContext) -> Outcome:
            raise DeadlineExceeded("not in time")

        bench.register(kind(late))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.steps[0].attempts == 1
        assert ended.error is not None
        assert ended.error.code == "deadline_exceeded"

    def test_the_deadline(self, bench: Bench, actor: Actor) -> None:
        def forever(_: StepContext) -> Outcome:
            return Retry(0.1, "rain")

        step = Step("wait for rain", forever, deadline=0.35, next="steelyard dance {dancer} # {operation_id}")
        bench.register(kind(step))
        ended = bench.ended(bench.operations.start("test.kind", {"dancer": "ada"}, actor))
        assert ended.phase is Phase.FAILED
        assert ended.error is not None
        assert ended.error.code == "deadline_exceeded"
        assert "rain" in ended.error.detail
        assert ended.error.next == f"steelyard dance ada # {ended.id}"
        assert ended.steps[0].attempts > 2

    @pytest.mark.parametrize("result", [object(), None], ids=["no JSON", "no outcome"])
    def test_a_step_that_answers_nonsense(self, bench: Bench, actor: Actor, result: object) -> None:
        bench.register(kind(lambda _: Done({"x": result}) if result else None))  # type: ignore[arg-type, return-value]
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.FAILED


class TestCleanUp:
    def test_knows_why_and_what_was_done(self, bench: Bench, actor: Actor) -> None:
        seen: list[StepContext] = []

        def undo(ctx: StepContext) -> Outcome:
            seen.append(ctx)
            return Done({"removed": ctx.results["made"]})

        bench.register(kind(lambda _: Done({"made": "port"}), lambda _: Failed("no", code="because"), on_failure=undo))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.FAILED
        assert len(seen) == 1
        assert seen[0].error == ended.error
        assert ended.error is not None
        assert ended.error.code == "because"
        assert ended.result["removed"] == "port"
        assert (ended.steps[-1].name, ended.steps[-1].phase) == (UNDO, Phase.SUCCEEDED)

    def test_that_fails_does_not_hide_the_first_error(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(lambda _: Failed("first"), on_failure=lambda _: Failed("second")))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.error is not None
        assert ended.error.detail == "first"
        assert ended.steps[-1].error is not None
        assert ended.steps[-1].error.detail == "second"

    def test_is_not_done_after_success(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(done, on_failure=lambda _: Failed("called")))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.SUCCEEDED
        assert len(ended.steps) == 1


class TestAskingTwice:
    def test_the_same_key_is_the_same_operation(self, bench: Bench, actor: Actor) -> None:
        calls: list[str] = []

        def count(ctx: StepContext) -> Outcome:
            calls.append(ctx.operation_id)
            return Done()

        bench.register(kind(count))
        first = bench.operations.start("test.kind", {"n": 1}, actor, key="k", subject="node:1")
        second = bench.operations.start("test.kind", {"n": 1}, actor, key="k", subject="node:1")
        bench.ended(first)
        third = bench.operations.start("test.kind", {"n": 1}, actor, key="k", subject="node:1")
        assert first.id == second.id == third.id
        assert calls == [first.id]

    def test_the_key_for_something_else_is_refused(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(done))
        bench.operations.start("test.kind", {"n": 1}, actor, key="k")
        with pytest.raises(Conflict) as refused:
            bench.operations.start("test.kind", {"n": 2}, actor, key="k")
        assert refused.value.code == "key_reused"

    def test_what_was_started_with_a_key_is_found_by_it(self, bench: Bench, actor: Actor, admin: Actor) -> None:
        bench.register(kind(done))
        started = [
            bench.operations.start("test.kind", {"n": n}, actor, key=key)
            for n, key in enumerate(("k_1:a", "k_1:b", "k_1", "kx1:a", "k_10"))
        ]
        assert [each.id for each in bench.operations.by_key(actor, "test.kind", "k_1")] == [
            each.id for each in started[:3]
        ]
        assert bench.operations.by_key(actor, "another.kind", "k_1") == []
        assert bench.operations.by_key(admin, "test.kind", "k_1") == []

    def test_another_user_may_use_the_same_key(self, bench: Bench, actor: Actor, admin: Actor) -> None:
        bench.register(kind(done))
        first = bench.operations.start("test.kind", {"n": 1}, actor, key="k")
        assert bench.operations.start("test.kind", {"n": 2}, admin, key="k").id != first.id

    def test_one_at_a_time_on_one_subject(self, bench: Bench, actor: Actor) -> None:
        refusals: list[Refused] = []

        def ask_again(ctx: StepContext) -> Outcome:
            try:
                bench.operations.start("test.kind", {}, actor, subject="node:1")
            except Refused as refused:
                refusals.append(refused)
            return Done()

        bench.register(kind(ask_again))
        first = bench.operations.start("test.kind", {}, actor, subject="node:1")
        bench.ended(first)
        assert [refused.code for refused in refusals] == ["operation_running"]
        assert first.id in refusals[0].detail
        again = bench.operations.start("test.kind", {}, actor, subject="node:1")
        assert again.id != first.id, "free again after the end"
        bench.ended(again)

    def test_the_subject_is_free_after_a_failure(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(lambda _: Failed("no")))
        bench.ended(bench.operations.start("test.kind", {}, actor, subject="node:1"))
        assert bench.operations.start("test.kind", {}, actor, subject="node:1")

    def test_kinds_that_do_not_exclude(self, bench: Bench, actor: Actor) -> None:
        def ask_again(ctx: StepContext) -> Outcome:
            if not ctx.params.get("inner"):
                bench.operations.start("test.kind", {"inner": True}, actor, subject="node:1")
            return Done()

        bench.register(replace(kind(ask_again), exclusive=False))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor, subject="node:1"))
        assert ended.phase is Phase.SUCCEEDED


class TestCancel:
    def test_between_two_attempts(self, bench: Bench, actor: Actor) -> None:
        undone: list[str] = []

        def wait(ctx: StepContext) -> Outcome:
            bench.operations.cancel(ctx.operation_id, reason="changed my mind")
            return Retry(30.0, "a day")

        def undo(ctx: StepContext) -> Outcome:
            undone.append(ctx.error.code if ctx.error else "")
            return Done()

        bench.register(kind(wait, done, on_failure=undo))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor), within=10)
        assert ended.phase is Phase.CANCELLED
        assert ended.cancel_requested
        assert [step.phase for step in ended.steps] == [Phase.CANCELLED, Phase.PENDING, Phase.SUCCEEDED]
        assert undone == ["cancelled"]

    def test_the_kind_says_what_to_do_where_nobody_else_does(self, bench: Bench, actor: Actor) -> None:
        def wait(ctx: StepContext) -> Outcome:
            bench.operations.cancel(ctx.operation_id)
            return Retry(30.0, "a day")

        bench.register(replace(kind(wait), next="steelyard thing mend {name}"))
        ended = bench.ended(bench.operations.start("test.kind", {"name": "a"}, actor), within=10)
        assert ended.error is not None
        assert (ended.error.code, ended.error.next) == ("cancelled", "steelyard thing mend a")
        bench.register(replace(kind(lambda _: Failed("no", next="better")), name="b", next="steelyard thing mend"))
        ended = bench.ended(bench.operations.start("b", {}, actor))
        assert ended.error is not None
        assert ended.error.next == "better"

    def test_after_the_end(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(done))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        with pytest.raises(Conflict) as refused:
            bench.operations.cancel(ended.id)
        assert refused.value.code == "operation_ended"


class TestLists:
    def test_newest_first_by_filter_and_page(self, bench: Bench, actor: Actor, admin: Actor) -> None:
        bench.register(kind(done))
        mine = [bench.operations.start("test.kind", {"n": n}, actor, subject=f"node:{n}") for n in range(5)]
        other = bench.operations.start("test.kind", {}, admin)
        for each in [*mine, other]:
            bench.ended(each)
        ids = [each.id for each in reversed(mine)]

        assert [o.id for o in bench.operations.all(limit=6)] == [other.id, *ids]
        assert [o.id for o in bench.operations.all(project_id=actor.project_id)] == ids
        assert [o.id for o in bench.operations.all(subject="node:3")] == [mine[3].id]
        assert [o.id for o in bench.operations.all(kind="test.kind", phase=Phase.SUCCEEDED, limit=2)] == [
            other.id, ids[0],
        ]  # fmt: skip
        assert bench.operations.all(project_id=actor.project_id, phase=Phase.FAILED) == []
        first = bench.operations.all(project_id=actor.project_id, limit=3)
        second = bench.operations.all(project_id=actor.project_id, limit=3, marker=first[-1].id)
        assert [o.id for o in first + second] == ids
        assert all(len(o.steps) == 1 for o in first)

    def test_unknown(self, bench: Bench) -> None:
        bench.register(kind(done))
        with pytest.raises(NotFound):
            bench.operations.get("none")
        with pytest.raises(NotFound):
            bench.operations.cancel("none")
        with pytest.raises(Invalid):
            bench.operations.all(marker="none")


class TestParams:
    @pytest.mark.parametrize(
        "params", [{"x": object()}, {"x": float("nan")}, {"x": "y" * (1 << 20)}], ids=["object", "NaN", "a megabyte"]
    )
    def test_must_be_json_of_a_decent_size(self, bench: Bench, actor: Actor, params: dict[str, Any]) -> None:
        bench.register(kind(done))
        with pytest.raises(Invalid):
            bench.operations.start("test.kind", params, actor)
        assert bench.operations.all(project_id=actor.project_id) == []

    def test_are_kept_as_they_were_given(self, bench: Bench, actor: Actor) -> None:
        params = {"text": "ä\u2028\x00'\"", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}}
        if bench.operations.__class__.__name__ == "DurableOperations":
            params["text"] = "ä\u2028'\""  # PostgreSQL's JSON has no U+0000
        bench.register(kind(done))
        ended = bench.ended(bench.operations.start("test.kind", params, actor))
        assert json.dumps(ended.params) == json.dumps(params)


def test_a_kind_is_registered_once(bench: Bench) -> None:
    bench.register(kind(done))
    with pytest.raises(ValueError, match=r"test\.kind"):
        bench.operations.register(kind(done))


class TestPause:
    def test_a_step_may_pause_its_operation_and_is_called_again_after_a_resume(
        self, bench: Bench, actor: Actor
    ) -> None:
        calls: list[int] = []

        def wait(ctx: StepContext) -> Outcome:
            calls.append(ctx.attempt)
            return Done({"found": 1}) if len(calls) == 2 else Pause("nobody has told the colour")

        bench.register(kind(done, wait, done))
        started = bench.operations.start("test.kind", {}, actor)
        paused = bench.until(started, lambda operation: operation.paused_at is not None)
        assert paused.phase is Phase.RUNNING
        assert paused.waiting_for is not None
        assert "nobody has told the colour" in paused.waiting_for
        assert paused.owner is None
        assert bench.operations.all(project_id=actor.project_id, paused=True) == [paused]
        bench.operations.resume(started.id, reason="blue")
        ended = bench.ended(started)
        assert ended.phase is Phase.SUCCEEDED
        assert ended.result == {"found": 1}
        assert (ended.paused_at, ended.pause_requested) == (None, False)
        assert calls == [1, 1]

    def test_a_paused_one_that_is_cancelled_ends(self, bench: Bench, actor: Actor) -> None:
        undone: list[str] = []

        def undo(_: StepContext) -> Outcome:
            undone.append("undone")
            return Done()

        bench.register(kind(lambda _: Pause("why"), on_failure=undo))
        started = bench.operations.start("test.kind", {}, actor)
        bench.until(started, lambda operation: operation.paused_at is not None)
        bench.operations.cancel(started.id)
        assert bench.ended(started).phase is Phase.CANCELLED
        assert undone == ["undone"]

    def test_a_cancel_during_an_attempt_that_then_pauses_is_not_lost(self, bench: Bench, actor: Actor) -> None:
        def slow(ctx: StepContext) -> Outcome:
            bench.operations.cancel(ctx.operation_id)  # as if by somebody else, at this moment
            return Pause("the token has run out")

        bench.register(kind(slow))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        assert ended.phase is Phase.CANCELLED
        assert ended.paused_at is None

    def test_what_has_ended_or_runs_cannot_be_resumed(self, bench: Bench, actor: Actor) -> None:
        bench.register(kind(done))
        ended = bench.ended(bench.operations.start("test.kind", {}, actor))
        for ask in (bench.operations.pause, bench.operations.resume):
            with pytest.raises(Conflict) as refused:
                ask(ended.id)
            assert refused.value.code == "operation_ended"


def test_what_is_known_while_it_waits_shows_at_once_and_stays(bench: Bench, actor: Actor) -> None:
    def count(ctx: StepContext) -> Outcome:
        return Done() if ctx.attempt == 3 else Retry(0.05, f"{ctx.attempt} of 2", {"counted": ctx.attempt})

    bench.register(kind(count))
    ended = bench.ended(bench.operations.start("test.kind", {}, actor))
    assert ended.result == {"counted": 2}
    assert ended.steps[0].waiting_since is not None


def test_several_are_found_in_one_question(bench: Bench, actor: Actor) -> None:
    bench.register(kind(done))
    started = [bench.ended(bench.operations.start("test.kind", {}, actor)) for _ in range(3)]
    found = bench.operations.found([started[0].id, started[2].id, "no such"])
    assert {each.id for each in found} == {started[0].id, started[2].id}
    assert bench.operations.found([]) == []

from __future__ import annotations

import io
import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.client.errors import ApiError, OperationFailed, ServerUnreachable, WaitTimeout
from steelyard.client.output import finish, show
from steelyard.client.progress import raise_if_failed, wait_for
from steelyard.client.rest import Client
from steelyard.client.text import cell, safe, table, width

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202e\u2028\x9bK\r\n\x00"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class TestText:
    @given(values)
    def test_nothing_that_a_terminal_would_act_on_comes_through(self, value: object) -> None:
        shown = cell(value)
        assert shown
        assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")]

    def test_a_hostile_name(self) -> None:
        assert safe(HOSTILE) == "\\x1b]0;owned\\x07\\x1b[31mred\\u202e\\u2028\\x9bK\\r\\n\\x00"

    def test_what_people_write_is_left_alone(self) -> None:
        assert safe("Ünïcode 日本語 e\u0301") == "Ünïcode 日本語 e\u0301"

    def test_columns_are_aligned_by_what_is_seen(self) -> None:
        text = table(("Name", "X"), [("日本", "1"), ("abcdef", "2"), ("e\u0301", "3")])
        assert [width(line[: line.index(mark)]) for line, mark in zip(text.splitlines(), "X123", strict=True)] == [
            8
        ] * 4


class TestShow:
    def test_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [{"id": 1, "deep": {"er": HOSTILE}, "n": None}]
        show(rows, [("Id", "id"), ("Deep", "deep.er"), ("None", "n.o"), ("Two", lambda row: row["id"] * 2)])
        title, line = capsys.readouterr().out.splitlines()
        assert title.split() == ["ID", "DEEP", "NONE", "TWO"]
        assert "\x1b" not in line
        assert line.endswith("-     2")

    def test_json_is_the_data_itself(self, capsys: pytest.CaptureFixture[str]) -> None:
        data = {"id": 1, "name": HOSTILE}
        show(data, [], "json")
        out = capsys.readouterr().out
        assert json.loads(out) == data
        assert "\x1b" not in out

    def test_no_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        show([], [("Id", "id")])
        assert capsys.readouterr().out == "ID\n"


def operation(phase: str, *steps: tuple[str, str, str | None], **more: Any) -> dict[str, Any]:
    return {
        "id": "op-1", "kind": "nodes.onboard", "subject": "node:1", "phase": phase, "seconds": 3.21, "error": None,
        "result": {}, "request_id": "req-1", "waiting_for": None,
        "steps": [
            {"name": name, "phase": step_phase, "seconds": 1.0 if step_phase != "running" else None, "error": error}
            for name, step_phase, error in steps
        ],
        **more,
    }  # fmt: skip


class Script(Client):
    """Answers the next thing of a list, whatever is asked."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)

    def get(self, path: str, params: object = None, *, patient: bool = True) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"operation": answer}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestWaiting:
    def test_plain_lines_for_a_log(self) -> None:
        stream = io.StringIO()
        ended = wait_for(
            Script(
                operation("running", ("enroll", "succeeded", None), ("clean", "running", None)),
                operation("succeeded", ("enroll", "succeeded", None), ("clean", "succeeded", None)),
            ),
            [operation("pending", ("enroll", "pending", None), ("clean", "pending", None))],
            stream=stream,
            sleep=lambda _: None,
        )
        assert ended[0]["phase"] == "succeeded"
        assert stream.getvalue().splitlines() == [
            "enroll done (1.0 s)",
            "clean done (1.0 s)",
            "nodes.onboard done (3.2 s)",
        ]

    def test_each_change_of_what_is_waited_for_is_a_line_with_its_time(self) -> None:
        stream = io.StringIO()
        waits = ("scheduling", "scheduling", "1 of 9 parts", "2 of 9 parts", "booting", None, None)
        wait_for(
            Script(
                *[operation("running", ("deploy", "running", None), waiting_for=wait) for wait in waits],
                operation("succeeded", ("deploy", "succeeded", None)),
            ),
            [operation("pending", ("deploy", "pending", None))],
            stream=stream,
            sleep=lambda _: None,
        )
        lines = stream.getvalue().splitlines()
        assert all(re.match(r" +\d+\.\d s  ", line) for line in lines[:-2])
        assert [line.partition(" s  ")[2] for line in lines[:-2]] == [
            "deploy: scheduling", "deploy: 1 of 9 parts", "deploy: booting", "deploy ...",
        ]  # fmt: skip
        assert lines[-2:] == ["deploy done (1.0 s)", "nodes.onboard done (3.2 s)"]

    def test_several_say_only_when_one_goes_on_to_its_next_step_and_how_it_ended(self) -> None:
        def of(number: int, phase: str, step: str, **more: Any) -> dict[str, Any]:
            steps = [(name, "succeeded" if name < step else "running", None) for name in ("a", "b") if name <= step]
            return {**operation(phase, *steps, waiting_for="x"), "id": f"op-{number}", "params": {"node": f"bm-{number}"}, **more}  # fmt: skip  # noqa: E501

        failed = {"detail": "on fire", "code": "fire", "next": None, "step": "b"}
        stream = io.StringIO()
        wait_for(
            Script(
                of(1, "running", "a"), of(2, "running", "b"), of(1, "succeeded", "b"), of(2, "running", "b"),
                of(2, "failed", "b", error=failed),
            ),
            [of(1, "running", "a"), of(2, "running", "a")],
            stream=stream,
            sleep=lambda _: None,
        )  # fmt: skip
        assert [line.partition(" s  ")[2] or line for line in stream.getvalue().splitlines()] == [
            "bm-1: a", "bm-2: a", "bm-2: b", "bm-1: done (3.2 s)", "bm-2: failed at 'b' (3.2 s): on fire",
        ]  # fmt: skip

    def test_one_rewritten_line_on_a_terminal(self) -> None:
        stream = Terminal()
        running = operation("running", ("clean", "running", None), waiting_for=f"the agent{HOSTILE}")
        wait_for(Script(operation("succeeded", ("clean", "succeeded", None))), [running], stream=stream, sleep=lambda _: None)  # fmt: skip  # noqa: E501
        assert "waiting for: the agent" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()
        assert stream.getvalue().splitlines()[-1] == "nodes.onboard done (3.2 s)"

    def test_a_server_that_is_restarted_meanwhile(self) -> None:
        ended = wait_for(
            Script(
                ServerUnreachable("refused"),
                ApiError(503, "unavailable", "Keystone does not answer."),
                operation("succeeded"),
            ),
            [operation("running")],
            stream=io.StringIO(),
            sleep=lambda _: None,
        )
        assert ended[0]["phase"] == "succeeded"

    def test_a_server_that_stays_away(self) -> None:
        with pytest.raises(ServerUnreachable):
            wait_for(
                Script(*[ServerUnreachable("refused")] * 500), [operation("running")], stream=io.StringIO(),
                sleep=lambda _: None,
            )  # fmt: skip

    def test_rights_that_are_lost_end_it_at_once(self) -> None:
        with pytest.raises(ApiError):
            wait_for(
                Script(ApiError(403, "forbidden", "no")), [operation("running")], stream=io.StringIO(),
                sleep=lambda _: None,
            )  # fmt: skip

    def test_not_in_time(self) -> None:
        with pytest.raises(WaitTimeout) as late:
            wait_for(Script(), [operation("running")], timeout=0, stream=io.StringIO())
        assert late.value.next == "steelyard operation wait op-1"

    def test_failed(self) -> None:
        error = {"detail": "on fire", "code": "fire", "next": "steelyard node show 1", "step": "clean"}
        with pytest.raises(OperationFailed) as failed:
            raise_if_failed([operation("failed", error=error)])
        assert failed.value.detail == "clean: on fire"
        assert failed.value.next == "steelyard node show 1"
        assert failed.value.exit_code == 1

    def test_some_of_many_failed(self) -> None:
        with pytest.raises(OperationFailed) as failed:
            raise_if_failed([operation("succeeded"), operation("cancelled")])
        assert "1 of 2" in failed.value.detail


class TestFinish:
    def test_without_waiting_says_how_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        finish(Script(), {"operation": operation("pending")}, wait=False)
        out, err = capsys.readouterr()
        assert "op-1" in out
        assert "steelyard operation wait op-1" in err

    def test_json_is_alone_on_standard_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        finish(Script(), {"operation": operation("succeeded")}, wait=True, format="json")
        assert json.loads(capsys.readouterr().out)["id"] == "op-1"

    def test_a_failure_is_shown_and_raised(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = {"detail": "on fire", "code": "fire", "next": None, "step": "clean"}
        failing = operation("failed", ("clean", "failed", "on fire"), error=error)
        with pytest.raises(OperationFailed):
            finish(Script(), {"operations": [failing, {**operation("succeeded"), "id": "op-2"}]}, wait=True)
        assert "on fire" in capsys.readouterr().out

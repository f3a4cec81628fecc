"""`server wait` and `node wait`: reached, failed, over time."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import pytest

from steelyard.client.errors import ApiError, OperationFailed, ServerUnreachable, WaitTimeout
from steelyard.client.rest import Client
from steelyard.client.waiting import Look, Thing, Verdict, wait_until
from steelyard.lifecycle.commands import NODE_PHASES, judge_node, judge_server
from steelyard.lifecycle.model import Phase

GONE = ApiError(404, "server_not_found", "There is no server.")


class Script(Client):
    """Answers the next thing of the path's list; the last one for ever."""

    def __init__(self, **answers: list[dict[str, Any] | Exception]) -> None:
        self.answers = answers

    def get(self, path: str, params: object = None, *, patient: bool = True) -> dict[str, Any]:
        row = self.answers[path].pop(0) if len(self.answers[path]) > 1 else self.answers[path][0]
        if isinstance(row, Exception):
            raise row
        return {"server": row}


class Ticking:
    """A clock on which every wait takes as long as it says."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def server(phase: str, task: str | None = None, status: str = "BUILD", fault: str | None = None) -> dict[str, Any]:
    return {"id": "s1", "phase": phase, "task": task, "status": status, "fault": fault}


def wait(script: Script, *paths: str, phase: str = "active", timeout: float | None = None) -> tuple[list[Any], str]:
    time, stream = Ticking(), io.StringIO()
    things = [Thing(path, path, "server", partial(judge_server, phase)) for path in paths]
    found = wait_until(script, things, timeout=timeout, stream=stream, sleep=time.sleep, clock=time.clock)
    return found, stream.getvalue()


def test_until_all_are_there_with_a_line_for_each_change() -> None:
    building, there = server("deploying", "spawning"), server("active", None, "ACTIVE")
    found, said = wait(Script(a=[building, building, there], b=[there]), "a", "b")
    assert found == [there, there]
    assert said.splitlines() == [
        "  0.0 s  a: deploying (spawning)", "  0.0 s  b: active", "  1.0 s  a: active",
    ]  # fmt: skip


def test_not_while_nova_still_works_on_it() -> None:
    busy, there = server("active", "powering-off", "ACTIVE"), server("active", None, "ACTIVE")
    found, _ = wait(Script(a=[busy, busy, there]), "a")
    assert found == [there]


def test_one_that_failed_ends_it_with_its_reason_and_what_to_do() -> None:
    failed = server("quarantined", None, "ERROR", "no valid host")
    with pytest.raises(OperationFailed) as caught:
        wait(Script(a=[failed]), "a")
    assert (caught.value.exit_code, caught.value.detail) == (1, "a is in error: no valid host.")
    assert caught.value.next == "steelyard server delete s1 --wait"


def test_over_time() -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait(Script(a=[server("deploying", "spawning")]), "a", timeout=7)
    assert caught.value.exit_code == 6
    assert "a is deploying (spawning)" in caught.value.detail


def test_gone_is_what_deleted_means_and_an_error_otherwise() -> None:
    assert wait(Script(a=[server("reclaiming", "deleting"), GONE]), "a", phase="deleted")[0] == [None]
    with pytest.raises(ApiError) as caught:
        wait(Script(a=[GONE]), "a")
    assert caught.value.exit_code == 4


def test_a_server_that_is_restarted_is_waited_for() -> None:
    there = server("active", None, "ACTIVE")
    assert wait(Script(a=[ServerUnreachable("refused"), ServerUnreachable("refused"), there]), "a")[0] == [there]


@pytest.mark.parametrize(
    ("phase", "wanted", "verdict"),
    [
        ("available", "available", Verdict.REACHED), ("cleaning", "available", Verdict.NOT_YET),
        ("quarantined", "available", Verdict.FAILED), ("quarantined", "quarantined", Verdict.REACHED),
    ],
)  # fmt: skip
def test_nodes(phase: str, wanted: str, verdict: Verdict) -> None:
    row = {
        "id": "n1",
        "phase": phase,
        "last_error": "dead disk",
        "candidate_id": "c1",
        "provision_state": "clean failed",
    }
    look = judge_node(wanted, row)
    assert look.verdict is verdict
    if verdict is Verdict.FAILED:
        assert look == Look(verdict, "quarantined (clean failed): dead disk", "steelyard node release n1 --wait")


def test_the_phases_that_can_be_named_are_those_of_the_life_cycle() -> None:
    assert set(NODE_PHASES) == {phase.value for phase in Phase} - {"candidate"} | {"deleted"}

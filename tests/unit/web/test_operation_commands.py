"""The commands `steelyard operation …` and `steelyard reconciler …`, against the real application over fakes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from steelyard import main
from steelyard.client.rest import Client
from steelyard.client.session import Session
from steelyard.errors import Refused, UpstreamError
from steelyard.operations import commands, reconciler_commands
from steelyard.operations.bulk import BulkAction, BulkContext
from steelyard.operations.model import Done, Operation, OperationKind, Outcome, Pause, Step, StepContext
from steelyard.operations.reconciling import Reconciler, Report

from .conftest import Site

Run = Callable[..., tuple[int, str, str]]


class AsAdministrator(Session):
    """Knows the address and has a token, without asking anybody."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, *, fresh: bool = False) -> str:
        return self._token

    def url(self) -> str:
        return "http://testserver"


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type a line; gives the exit code, standard output and standard error."""
    session = AsAdministrator(site.token("admin", project="admin"))

    def connect() -> Client:
        return Client(session, transport=site.client._transport)

    for module in (commands, reconciler_commands):
        monkeypatch.setattr(module, "connect", connect)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main.main(list(words))
        shown = capsys.readouterr()
        return int(exit.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def answers(site: Site) -> list[Outcome]:
    """What the step of `test.child` answers; `Done` when nothing is left to be said."""
    left: list[Outcome] = []
    operations = site.built.operations

    def do(ctx: StepContext) -> Outcome:
        return left.pop(0) if left else Done({"name": ctx.params.get("name")})

    operations.register(OperationKind("test.child", [Step("work", do)]))

    def start(item: Mapping[str, Any], ctx: BulkContext) -> Operation:
        if item.get("refuse"):
            raise Refused("bm-002 is deployed.", code="node_deployed", next="steelyard server list")
        return operations.start("test.child", dict(item), ctx.actor, key=ctx.key, subject=f"node:{item['name']}")

    site.built.bulk.register(BulkAction("test.child", "Work on nodes.", start, administrators=True))
    return left


def items_file(tmp_path: Path, *items: dict[str, Any]) -> str:
    path = tmp_path / "items.json"
    path.write_text(json.dumps(items))
    return str(path)


@pytest.mark.usefixtures("answers")
class TestBulk:
    def test_all_of_it(self, run: Run, tmp_path: Path) -> None:
        file = items_file(tmp_path, {"name": "bm-001"}, {"name": "bm-002", "refuse": True}, {"name": "bm-003"})
        code, out, err = run("operation", "bulk", "test.child", file, "--concurrency", "2", "--wait", "-f", "json")
        assert code == 1
        operation = json.loads(out)
        assert operation["kind"] == "bulk.admin"
        assert "1 of 3 did not succeed." in err
        assert f"steelyard operation items {operation['id']} --phase failed" in err

        code, out, _ = run("operation", "items", operation["id"], "--phase", "failed")
        assert code == 0
        assert "bm-002 is deployed." in out
        assert "steelyard server list" in out
        _, out, _ = run("operation", "list", "--parent", operation["id"], "-f", "json")
        assert {row["subject"] for row in json.loads(out)} == {"node:bm-001", "node:bm-003"}

    def test_what_can_be_asked_for(self, run: Run) -> None:
        code, out, _ = run("operation", "actions")
        assert code == 0
        assert "test.child" in out

    @pytest.mark.parametrize("text", ["not json", '{"name": "a"}', '["a"]'])
    def test_a_file_that_makes_no_sense(self, run: Run, tmp_path: Path, text: str) -> None:
        (tmp_path / "items.json").write_text(text)
        code, _, err = run("operation", "bulk", "test.child", str(tmp_path / "items.json"))
        assert code == 2
        assert "FILE" in err


class TestPause:
    def test_and_resume(self, run: Run, site: Site, answers: list[Outcome]) -> None:
        answers.append(Pause("nobody has told the colour"))
        actor = site.built.clouds.identity.validate(site.token("admin", project="admin"))
        operation = site.built.operations.start("test.child", {}, actor)
        _, out, _ = run("operation", "list", "--paused", "-f", "json")
        assert [row["id"] for row in json.loads(out)] == [operation.id]
        _, out, _ = run("operation", "show", operation.id)
        assert "nobody has told the colour" in out
        assert f"steelyard operation resume {operation.id}" in out
        code, out, _ = run("operation", "resume", operation.id, "--wait", "-f", "json")
        assert code == 0
        assert json.loads(out)["phase"] == "succeeded"
        code, _, err = run("operation", "pause", operation.id)
        assert code == 5
        assert "succeeded already" in err
        code, _, err = run("operation", "cancel", operation.id, "--children")
        assert code == 2
        assert "not a bulk one" in err


class TestReconcilers:
    def test_run_and_wait(self, run: Run, site: Site) -> None:
        fail = threading.Event()

        def count() -> Report:
            if fail.is_set():
                raise UpstreamError("Ironic answered 500.")
            return Report(12, 3, "3 nodes new")

        site.built.reconcilers.register(Reconciler("test.counts", "Counts nodes.", count, period=3600))
        lease = site.built.reconcilers._lease
        lease.acquire()
        for name in list(site.built.reconcilers._workers):
            if name != "test.counts":
                del site.built.reconcilers._workers[name]
        site.built.reconcilers.launch()
        try:
            code, out, _ = run("reconciler", "run", "test.counts", "--wait")
            assert code == 0
            assert "3 nodes new" in out
            fail.set()
            code, out, err = run("reconciler", "run", "test.counts", "--wait")
            assert code == 1
            assert "Ironic answered 500." in err
            code, out, _ = run("reconciler", "list")
            assert code == 0
            assert "Counts nodes." not in out
            assert "Ironic answered 500." in out
            code, out, _ = run("reconciler", "show", "test.counts", "-f", "json")
            assert json.loads(out)["runs"] == 2
            code, _, err = run("reconciler", "run", "no.such")
            assert code == 4
        finally:
            site.built.reconcilers.close()
            lease.release()

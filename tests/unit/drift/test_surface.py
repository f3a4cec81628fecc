"""Drift over REST and as it is typed: who may ask, exit codes, plan files, and files that are none."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.drift import commands
from steelyard.wiring import create_app

from .conftest import Bench

PATHS = (("get", "/v1/drift"), ("get", "/v1/drift/plan"), ("post", "/v1/drift/apply"))


class Site:
    """The REST application, and a client of the command line's over it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.client = TestClient(create_app(bench.built), raise_server_exceptions=False)

    def headers(self, *roles: str) -> dict[str, str]:
        return {"X-Auth-Token": self.bench.world.token(project="admin", roles=set(roles), user="ada")}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask("GET", path, params={k: v for k, v in (params or {}).items() if v})

    def post(self, path: str, json: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        return self._ask("POST", path, json=json, headers={"Idempotency-Key": key} if key else {})

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
        with contextlib.redirect_stdout(io.StringIO()):  # the server's log lines, which are another process's
            answer = self.client.request(method, path, headers={**self.headers("admin"), **(headers or {})}, **more)
        assert answer.status_code < 400, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def site(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(bench)
    monkeypatch.setattr(commands, "connect", lambda: made)
    with made.client:
        yield made


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["drift", *map(str, words)])
    return int(end.value.code or 0)


Printed = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_strangers_tenants_and_services_may_nothing(site: Site, method: str, path: str) -> None:
    body = {"json": {}} if method == "post" else {}
    assert site.client.request(method, path, **body).status_code == 401
    for role in ("member", "reader", "service"):
        answer = site.client.request(method, path, headers=site.headers(role), **body)
        assert answer.status_code == 403, (role, answer.text)


def test_agreement(site: Site, capsys: Printed) -> None:
    assert run("--exit-code") == 0
    assert "All systems agree (2 nodes" in capsys.readouterr().out


def test_a_drift(site: Site, capsys: Printed) -> None:
    consumer = site.bench.orphan_an_allocation()
    assert run() == 0, "without --exit-code it is an answer like any other"
    printed = capsys.readouterr()
    assert "delete_allocation" in printed.out
    assert "steelyard drift plan -o plan.json" in printed.err
    assert run("--exit-code", "-f", "json") == 7
    [found] = json.loads(capsys.readouterr().out)["drift"]
    assert found["evidence"]["placement"]["consumer"] == consumer
    assert found["action"] == {"verb": "delete_allocation", "consumer_id": consumer, "node_id": site.bench.free.id}


def test_plan_and_apply(site: Site, tmp_path: Path, capsys: Printed) -> None:
    consumer = site.bench.orphan_an_allocation()
    file = tmp_path / "plan.json"
    assert run("plan", "-o", file) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"consumer_id={consumer}" in capsys.readouterr().out
    assert run("plan", "-o", file) == 2, "a file that is there is not written over"
    assert run("apply", file) == 2, "nobody can be asked"
    assert consumer in site.bench.world.allocations
    assert run("apply", file, "--yes", "--reason", "ticket 4711") == 0
    assert consumer not in site.bench.world.allocations
    told = site.bench.store.events.of(f"node:{site.bench.free.id}")
    [event] = [each for each in told if each.kind == "drift.mended"]
    assert (event.actor, event.reason) == ("ada", "ticket 4711")


def test_an_outdated_and_a_tampered_plan_over_rest(site: Site) -> None:
    consumer = site.bench.orphan_an_allocation()
    plan = site.get("/v1/drift/plan")["plan"]
    apply = "/v1/drift/apply"
    tampered = {**plan, "made_by": "eve"}
    answer = site.client.post(apply, json={"plan": tampered}, headers=site.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (400, "plan_tampered")
    answer = site.client.post(apply, json={"plan": {**plan, "more": 1}}, headers=site.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert any("more" in error["field"] for error in answer.json()["errors"])
    site.bench.clouds.own.placement.delete_allocation(consumer)
    answer = site.client.post(apply, json={"plan": plan}, headers=site.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_outdated")
    assert answer.json()["next"] == "steelyard drift plan -o FILE"


def test_a_huge_plan_is_not_read(site: Site) -> None:
    body = b'{"plan": {"format": "' + b"x" * (1 << 21) + b'"}}'
    headers = {**site.headers("admin"), "content-type": "application/json"}
    assert site.client.post("/v1/drift/apply", content=body, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": "another"}', b"[" * 100_000, b"x" * (2 << 20), b"NaN"],
    ids=range(9),
)
def test_files_that_are_no_plan(site: Site, tmp_path: Path, capsys: Printed, content: bytes) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    assert run("apply", file, "--yes") == 2
    assert "drift plan -o FILE" in capsys.readouterr().err


def test_a_file_that_is_not_there(site: Site, tmp_path: Path) -> None:
    assert run("apply", tmp_path / "nothing.json", "--yes") == 2
    assert run("apply", tmp_path, "--yes") == 2
    assert run("plan", "-o", tmp_path / "no" / "such" / "folder.json") == 2

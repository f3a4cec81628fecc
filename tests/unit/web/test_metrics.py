"""/metrics: who may read it, what is in it, and that reading it costs the cloud nothing."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from steelyard.attention.metrics import MAX_POOLS, _bounded
from steelyard.attention.model import Finding, Severity
from steelyard.errors import Unavailable
from steelyard.operations.journal import new_operation
from steelyard.operations.model import OperationKind, Phase
from steelyard.web.metrics import read_token
from steelyard.wiring import create_app

from .conftest import Site

IMAGE = "/v1/images/{image}"
ROOT = Path(__file__).parents[3]


def bearer(site: Site) -> dict[str, str]:
    return {"Authorization": f"Bearer {read_token(site.built.settings.resolved_metrics_token())}"}


def scrape(site: Site) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name, then by their labels."""
    answer = site.client.get("/metrics", headers=bearer(site))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = tuple(sorted(sample.labels.items()))
            assert key not in found.setdefault(sample.name, {}), sample
            found[sample.name][key] = sample.value
    return found


def of(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


class TestAccess:
    def test_takes_its_own_token(self, site: Site) -> None:
        good = bearer(site)["Authorization"]
        wrong = [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            good[:-1],
            good + "x",
            good.replace("Bearer", "Basic"),
            "Bearer é",
        ]
        for given in wrong:
            answer = site.client.get("/metrics", headers=[(b"authorization", given.encode())] if given else [])
            assert answer.status_code == 401, given
            assert answer.json()["code"] == "metrics_token"
            assert "steelyard_" not in answer.text
        assert site.client.get("/metrics", headers={"authorization": good.replace("Bearer", "bearer")}).is_success

    def test_not_an_administrators_token(self, site: Site) -> None:
        assert site.client.get("/metrics", headers=site.admin).status_code == 401
        token = {"Authorization": f"Bearer {site.token('admin', project='admin')}"}
        assert site.client.get("/metrics", headers=token).status_code == 401

    def test_the_token_is_made_for_its_owner_only(self, site: Site) -> None:
        path = site.built.settings.resolved_metrics_token()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(path.read_text().strip()) >= 40
        assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []

    def test_the_token_can_be_changed_while_the_server_runs(self, site: Site) -> None:
        old = bearer(site)
        site.built.settings.resolved_metrics_token().write_text("another-token-of-some-length\n")
        assert site.client.get("/metrics", headers=old).status_code == 401
        assert site.client.get("/metrics", headers=bearer(site)).status_code == 200

    @pytest.mark.parametrize(
        "content", [b"", b"\n", b"short", b"\xff\xfe" * 20], ids=["empty", "line", "short", "no text"]
    )
    def test_a_token_that_is_none_lets_nobody_in(self, site: Site, content: bytes) -> None:
        path = site.built.settings.resolved_metrics_token()
        path.write_bytes(content)
        answer = site.client.get("/metrics", headers=[(b"authorization", b"Bearer " + content.strip())])
        assert (answer.status_code, answer.json()["code"]) == (503, "metrics_token_file")
        assert str(path) not in answer.text

    def test_two_that_make_it_at_once_agree(self, tmp_path: Path) -> None:
        path = tmp_path / "secrets" / "token"
        assert read_token(path) == read_token(path) == path.read_text().strip()


class TestCost:
    def test_asks_nothing_of_the_cloud(self, site: Site) -> None:
        site.world.add_node("bm-1")
        before = dict(site.world.calls)
        scrape(site)
        assert dict(site.world.calls) == before

    def test_a_database_that_is_away_is_told_from_an_empty_one(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away() -> None:
            raise Unavailable("the database does not answer")

        assert scrape(site)["steelyard_metrics_unreadable"][of({"part": "findings"})] == 0
        monkeypatch.setattr(site.built.store.findings, "counts", away)
        monkeypatch.setattr(site.built.store.events, "newest", away)
        found = scrape(site)
        assert found["steelyard_metrics_unreadable"][of({"part": "findings"})] == 1
        assert found["steelyard_metrics_unreadable"][of({"part": "operations"})] == 0
        assert "steelyard_findings" not in found
        assert found["steelyard_http_requests_total"]

    def test_two_applications_in_one_process_share_nothing(self, site: Site) -> None:
        create_app(site.built)
        site.client.get("/health")
        assert scrape(site)["steelyard_http_requests_total"][of(
            {"method": "GET", "route": "/health", "status": "200"}
        )] == 1  # fmt: skip


class TestRequests:
    def test_by_route_template_and_status(self, site: Site) -> None:
        for name in ("a", "b", "c"):
            site.client.get(f"/v1/images/{name}", headers=site.member)
        requests = scrape(site)["steelyard_http_requests_total"]
        assert requests[of({"method": "GET", "route": IMAGE, "status": "404"})] == 3
        count = scrape(site)["steelyard_http_request_duration_seconds_count"]
        assert count[of({"method": "GET", "route": IMAGE})] == 3

    def test_what_strangers_type_is_no_label(self, site: Site) -> None:
        for number in range(20):
            site.client.request(f"VERB{number}", f"/wp-admin/{number}")
            site.client.get(f"/v1/nodes/{number}")  # no token
        requests = scrape(site)["steelyard_http_requests_total"]
        assert requests[of({"method": "OTHER", "route": "unmatched", "status": "404"})] == 20
        assert requests[of({"method": "GET", "route": "unmatched", "status": "401"})] == 20
        assert not [key for key in requests if "wp-admin" in str(key) or "VERB" in str(key)]


class TestOperations:
    KIND = OperationKind("nodes.clean", [])

    def start(self, site: Site, *, replica: str = "steelyard", seconds: float = 90) -> str:
        """An operation that runs on some server since then, as the engine would have written it."""
        actor = site.world.service_actor
        at = datetime.now(UTC) - timedelta(seconds=seconds)
        new = new_operation(self.KIND, {}, actor, None, None, None, None, at)
        site.built.store.operations.create(new)
        assert site.built.store.operations.claim(new.id, f"boot-{replica}", replica, set())
        site.built.store.operations.step_begins(new.id, f"boot-{replica}", 0, "clean", at, at + timedelta(seconds=30))
        return new.id

    def test_those_that_have_not_ended(self, site: Site) -> None:
        self.start(site)
        found = scrape(site)
        assert found["steelyard_operations"] == {of({"kind": "nodes.clean", "phase": "running"}): 1}
        assert found["steelyard_operations_stuck"] == {of({"kind": "nodes.clean"}): 1}

    def test_those_that_this_server_has_ended(self, site: Site) -> None:
        mine, theirs = self.start(site), self.start(site, replica="other")
        scrape(site)
        records = site.built.store.operations
        assert records.finish(mine, "boot-steelyard", Phase.FAILED, datetime.now(UTC), None)
        assert records.finish(theirs, "boot-other", Phase.SUCCEEDED, datetime.now(UTC), None)
        for _ in range(2):  # counted once, however often it is asked
            found = scrape(site)
            assert found["steelyard_operations_ended_total"] == {
                of({"kind": "nodes.clean", "outcome": "failed"}): 1
            }  # fmt: skip
            assert found["steelyard_operation_duration_seconds_count"] == {of({"kind": "nodes.clean"}): 1}
            assert 90 <= found["steelyard_operation_duration_seconds_sum"][of({"kind": "nodes.clean"})] < 120
        assert "steelyard_operations" not in found


def test_findings_and_the_database(site: Site) -> None:
    node = Finding("isolation.flip_failed", "node:1", "bm-1", Severity.CRITICAL, "why", None)
    site.built.store.findings.replace("a", [node])
    found = scrape(site)
    assert found["steelyard_findings"] == {of({"kind": "isolation.flip_failed", "severity": "critical"}): 1}
    assert found["steelyard_events_total"][()] == site.built.store.events.newest() > 0
    assert found["steelyard_database_connections_limit"][()] == 40
    assert found["steelyard_event_streams"][()] == 0
    (build,) = found["steelyard_build_info"]
    assert dict(build)["version"].startswith("0.")


def test_reconcilers(site: Site) -> None:
    name = of({"reconciler": "attention.watch"})
    assert scrape(site)["steelyard_reconciler_last_success_timestamp_seconds"][name] == 0
    site.built.reconcilers.run_now("attention.watch")
    found = scrape(site)
    assert found["steelyard_reconciler_last_success_timestamp_seconds"][name] > 1.7e9
    assert found["steelyard_reconciler_runs_total"][name] == 1
    assert found["steelyard_reconciler_failures_total"][name] == 0
    assert found["steelyard_reconciler_failing"][name] == 0
    assert found["steelyard_reconciler_period_seconds"][name] == 30


def test_servers_of_the_index_by_phase_and_pool(site: Site) -> None:
    site.world.add_node("bm-1", resource_class="bm-small")
    site.world.set_state(site.world.add_node("bm-2", resource_class="bm-small").id, "clean failed")
    assert site.built.reconcilers.run_now("inventory.index").last_error is None
    servers = scrape(site)["steelyard_servers"]
    assert {dict(key)["phase"]: number for key, number in servers.items()} == {"available": 1, "quarantined": 1}
    assert len({dict(key)["pool"] for key in servers}) == 1


def test_pools_are_bounded() -> None:
    counts = {("available", f"pool-{number}"): number + 1 for number in range(MAX_POOLS + 50)}
    bounded = _bounded(counts)
    assert len({pool for _, pool in bounded}) == MAX_POOLS + 1
    assert sum(bounded.values()) == sum(counts.values())
    assert bounded["available", f"pool-{MAX_POOLS + 49}"] == MAX_POOLS + 50


def test_the_documented_metrics_are_those_that_there_are(site: Site) -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text()
    described = set(re.findall(r"^\| `(steelyard_[a-z_]+)`", document, re.MULTILINE))
    answer = site.client.get("/metrics", headers=bearer(site)).text
    there = {name for name in re.findall(r"^# TYPE (\S+)", answer, re.MULTILINE) if name.startswith("steelyard_")}
    assert described == there


def test_no_tenants_name_is_a_label(site: Site) -> None:
    site.client.get("/v1/servers", headers=site.headers("member", project="secret-project"))
    assert "secret-project" not in site.client.get("/metrics", headers=bearer(site)).text

"""What needs a human is told once, worst first, with why, since when and what to do; what is fine is not told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from steelyard.attention.model import Finding, Severity
from steelyard.attention.service import WATCH
from steelyard.attention.work import reconcilers as reconcilers_of
from steelyard.discovery.model import CandidateState
from steelyard.errors import Invalid, NotFound, Unavailable
from steelyard.events.hooks import Webhook
from steelyard.lifecycle.model import quarantine_note

from .conftest import ADMIN, BOTH, NOW, Bench, status

FLIP = Finding(
    kind="isolation.flip_failed", subject="node:x", name="bm-x", severity=Severity.CRITICAL, reason="still on VLAN 1",
    next="steelyard isolation show bm-x",
)  # fmt: skip


def test_nothing_needs_anybody(bench: Bench) -> None:
    bench.node()
    bench.server(bench.node("bm-2", provision_state="active"))
    bench.candidate()
    bench.reconcilers.statuses = [status()]
    assert bench.lines() == []


class TestNodes:
    def test_that_steelyard_quarantined(self, bench: Bench) -> None:
        since = NOW - timedelta(hours=3)
        mark = quarantine_note("leaf1 says VLAN 2001", operation=None, by="steelyard", now=since)
        bench.node(extra={"steelyard": {"quarantine": mark}}, maintenance=True)
        lead = bench.only().lead
        assert lead.finding.kind == "lifecycle.quarantined"
        assert "Steelyard says: leaf1 says VLAN 2001" in lead.finding.reason
        assert lead.finding.severity is Severity.MAJOR
        assert lead.finding.next == "steelyard node release bm-1"
        assert lead.since == since

    @pytest.mark.parametrize("state", ["clean failed", "deploy failed", "inspect failed", "rescue failed", "error"])
    def test_that_ironic_gave_up(self, bench: Bench, state: str) -> None:
        node = bench.node(provision_state=state, last_error="Timeout reached while waiting for the agent")
        lead = bench.only().lead
        assert lead.finding.reason == (
            f"quarantined ({state}); Ironic says: Timeout reached while waiting for the agent"
        )
        assert lead.since == node.provision_updated_at

    def test_that_ironic_put_into_maintenance(self, bench: Bench) -> None:
        bench.node(maintenance=True, fault="power failure", maintenance_reason="cannot reach the BMC")
        assert "(power failure): cannot reach the BMC" in bench.only().lead.finding.reason

    def test_not_that_a_person_put_into_maintenance(self, bench: Bench) -> None:
        bench.node(maintenance=True, maintenance_reason="ada swaps a disk")
        assert bench.lines() == []

    @pytest.mark.parametrize("state", ["clean wait", "cleaning", "wait call-back", "rescue wait"])
    def test_that_a_person_holds_while_an_agent_is_to_work(self, bench: Bench, state: str) -> None:
        bench.node(provision_state=state, maintenance=True, maintenance_reason="ada swaps a disk")
        lead = bench.only().lead
        assert lead.finding.kind == "lifecycle.held_in_maintenance"
        assert "ada swaps a disk" in lead.finding.reason
        assert lead.finding.next == "steelyard node maintenance off bm-1"

    def test_that_were_never_verified(self, bench: Bench) -> None:
        bench.node(provision_state="enroll", last_error="401 Unauthorized", extra={"steelyard": {"candidate_id": "c7"}})
        lead = bench.only().lead
        assert lead.finding.severity is Severity.MINOR
        assert "401 Unauthorized" in lead.finding.reason
        assert lead.finding.next == "steelyard node onboard c7"

    def test_not_that_were_enrolled_just_now(self, bench: Bench) -> None:
        bench.node(provision_state="enroll")
        bench.now = NOW - timedelta(minutes=50)
        assert bench.lines() == []

    def test_not_while_an_operation_works_on_them(self, bench: Bench) -> None:
        node = bench.node(provision_state="clean failed")
        bench.running("o1", subject=f"node:{node.id}")
        assert bench.lines() == []

    def test_a_mark_that_makes_no_sense_is_one_all_the_same(self, bench: Bench) -> None:
        node = bench.node(extra={"steelyard": {"quarantine": {"since": "yesterday"}}})
        lead = bench.only().lead
        assert lead.finding.kind == "lifecycle.quarantined"
        assert lead.since == node.provision_updated_at


class TestServersAndCandidates:
    def test_a_server_in_error(self, bench: Bench) -> None:
        server = bench.server(status="ERROR", fault="No valid host was found")
        line = bench.only()
        assert line.lead.finding.subject == "server:web-id"
        assert "Nova says: No valid host was found" in line.lead.finding.reason
        assert line.lead.finding.next == "steelyard server show web-id"
        assert line.lead.since == server.updated_at

    def test_not_one_that_is_being_deleted(self, bench: Bench) -> None:
        bench.server(status="ERROR", task_state="deleting")
        assert bench.lines() == []

    def test_a_candidate_whose_onboarding_failed(self, bench: Bench) -> None:
        bench.candidate(state=CandidateState.FAILED, reason="no LLDP", next="steelyard node onboard rack-7-id")
        lead = bench.only().lead
        assert (lead.finding.name, lead.finding.next) == ("rack-7", "steelyard node onboard rack-7-id")
        assert "no LLDP" in lead.finding.reason

    def test_not_while_it_is_being_onboarded_again(self, bench: Bench) -> None:
        candidate = bench.candidate(state=CandidateState.FAILED)
        bench.running("o1", subject=f"candidate:{candidate.id}")
        assert bench.lines() == []


@BOTH
class TestFailedOperations:
    def test_are_told_with_their_reason_and_next(self, bench: Bench) -> None:
        node = bench.node()
        bench.operation("o1", subject=f"node:{node.id}", ended_at=NOW - timedelta(minutes=10))
        lead = bench.only().lead
        assert lead.finding.name == "bm-1"
        assert lead.finding.reason == "nodes.clean failed at 'clean': the agent did not call back"
        assert lead.finding.next == "steelyard operation show o1"
        assert lead.since == NOW - timedelta(minutes=10)

    @pytest.mark.parametrize(("later", "told"), [("succeeded", 0), ("running", 0), ("pending", 0), ("cancelled", 1)])
    def test_until_a_later_one_has_made_it_good_or_is_at_it(self, bench: Bench, later: str, told: int) -> None:
        node = bench.node(provision_updated_at=NOW - timedelta(days=2))
        subject = f"node:{node.id}"
        bench.operation("o1", subject=subject)
        bench.operation("o2", subject=subject, phase=later, created_at=NOW - timedelta(minutes=1))
        assert len(bench.lines()) == told

    def test_the_newest_failure_counts(self, bench: Bench) -> None:
        node = bench.node(provision_updated_at=NOW - timedelta(days=2))
        for number in (1, 2, 3):
            created = NOW - timedelta(minutes=60 - number)
            bench.operation(f"o{number}", subject=f"node:{node.id}", created_at=created, ended_at=created)
        line = bench.only()
        assert line.lead.finding.evidence["operation_id"] == "o3"
        assert line.also == ()

    def test_not_of_what_is_gone(self, bench: Bench) -> None:
        for subject in ("node:gone", "server:gone", "candidate:gone", "release:gone", "image:gone"):
            bench.operation(subject, subject=subject)
        assert bench.lines() == []

    def test_not_when_the_node_has_gone_on_since(self, bench: Bench) -> None:
        node = bench.node(provision_updated_at=NOW - timedelta(minutes=5))
        bench.operation("o1", subject=f"node:{node.id}")
        assert bench.lines() == []

    def test_giving_back_a_server_is_its_nodes_matter(self, bench: Bench) -> None:
        node = bench.node(provision_updated_at=NOW - timedelta(days=1))
        bench.operation("o1", kind="servers.reclaim", subject="release:web-id", params={"node_id": node.id})
        assert bench.only().lead.finding.subject == f"node:{node.id}"

    def test_about_nothing_in_particular_are_news_for_a_day(self, bench: Bench) -> None:
        bench.operation("o1", kind="candidates.sweep")
        assert bench.told() == [("candidates.sweep", "operations.failed")]
        bench.go_on(days=1)
        assert bench.lines() == []

    def test_are_told_for_a_week_at_most(self, bench: Bench) -> None:
        node = bench.node(provision_updated_at=NOW - timedelta(days=30))
        bench.operation("o1", subject=f"node:{node.id}")
        bench.go_on(days=6)
        assert len(bench.lines()) == 1
        bench.go_on(days=1)
        assert bench.lines() == []


@BOTH
class TestUnfinishedOperations:
    def step(self, **values: Any) -> dict[str, Any]:
        times = {"started_at": NOW - timedelta(hours=1), "deadline_at": NOW + timedelta(hours=1)}
        return {**times, "waiting_for": "writing the image", **values}

    def test_that_get_on_are_fine(self, bench: Bench) -> None:
        bench.running("o1", step=self.step(waiting_since=NOW - timedelta(minutes=5)))
        bench.running("o2", phase="pending", created_at=NOW - timedelta(minutes=5))
        assert bench.lines() == []

    def test_past_their_deadline(self, bench: Bench) -> None:
        node = bench.node()
        late = NOW - timedelta(minutes=5)
        bench.running("o1", subject=f"node:{node.id}", step=self.step(deadline_at=late))
        lead = bench.only().lead
        assert (lead.finding.kind, lead.finding.name, lead.since) == ("operations.stuck", "bm-1", late)
        assert lead.finding.reason == "nodes.clean is past the deadline of 'deploy', waiting for: writing the image"
        assert lead.finding.next == "steelyard operation show o1"

    def test_that_wait_in_the_same_words(self, bench: Bench) -> None:
        since = NOW - timedelta(minutes=61)
        bench.running("o1", step=self.step(waiting_since=since))
        lead = bench.only().lead
        assert (lead.finding.kind, lead.finding.subject, lead.since) == ("operations.stuck", "operation:o1", since)

    def test_that_wait_for_their_turn(self, bench: Bench) -> None:
        bench.running("o1", phase="pending")
        assert "still waits for its turn" in bench.only().lead.finding.reason

    def test_that_are_paused(self, bench: Bench) -> None:
        bench.running(
            "o1", kind="bulk", paused_at=NOW - timedelta(minutes=3), pause_reason="the token has expired",
            step=self.step(deadline_at=NOW - timedelta(minutes=5)),
        )  # fmt: skip
        lead = bench.only().lead
        assert (lead.finding.kind, lead.finding.severity) == ("operations.paused", Severity.MINOR)
        assert "the token has expired" in lead.finding.reason
        assert lead.finding.next == "steelyard operation resume o1"


class TestReconcilers:
    LONG_AGO = NOW - timedelta(hours=2)

    @pytest.fixture(autouse=True)
    def _an_hour_later(self, bench: Bench) -> None:
        bench.go_on(hours=1)

    def test_that_fail_for_one_reason_share_a_line(self, bench: Bench) -> None:
        bench.reconcilers.statuses = [
            status(name, last_error="Ironic does not answer", last_succeeded_at=self.LONG_AGO) for name in "cab"
        ]
        lead = bench.only().lead
        assert (lead.finding.kind, lead.finding.name) == ("operations.reconciler_failing", "a and 2 more")
        assert "Ironic does not answer" in lead.finding.reason
        assert lead.since == self.LONG_AGO
        assert lead.finding.next == "steelyard reconciler show a"

    def test_that_do_not_run(self, bench: Bench) -> None:
        bench.reconcilers.statuses = [status(last_succeeded_at=self.LONG_AGO, running_since=self.LONG_AGO)]
        assert bench.only().lead.finding.kind == "operations.reconciler_late"
        bench.reconcilers.statuses = [status(last_succeeded_at=None, runs=0)]
        assert bench.only().lead.since == NOW

    def test_one_failure_is_no_matter(self, bench: Bench) -> None:
        recent = bench.now - timedelta(seconds=40)
        bench.reconcilers.statuses = [status(last_error="a passing trouble", last_succeeded_at=recent)]
        assert bench.lines() == []

    def test_a_server_that_has_just_started_has_not_failed_to_run(self, bench: Bench) -> None:
        bench.now = NOW + timedelta(seconds=30)
        bench.reconcilers.statuses = [status(last_succeeded_at=self.LONG_AGO)]
        assert bench.lines() == []


class TestWebhooks:
    def test_that_cannot_be_reached(self, bench: Bench) -> None:
        hook = Webhook(
            id="w1", name="tickets", url="https://tickets.example.org", secret_id="s", filter={}, created_at=NOW,
            created_by="ada", cursor=0, failures=7, failing_since=NOW - timedelta(minutes=5), last_error="status 500",
        )  # fmt: skip
        bench.store.webhooks.add(hook)
        assert bench.lines() == []
        bench.go_on(minutes=6)
        lead = bench.only().lead
        assert (lead.finding.name, lead.finding.kind) == ("tickets", "events.webhook_failing")
        assert "status 500" in lead.finding.reason
        assert lead.since == hook.failing_since


class TestOneLinePerSubject:
    def test_what_belongs_together(self, bench: Bench) -> None:
        node = bench.node(provision_state="deploy failed", instance_id="web-id")
        bench.server(node, status="ERROR")
        bench.candidate(state=CandidateState.FAILED, node_id=node.id)
        bench.store.findings.replace("isolation.guard", [replace(FLIP, subject=f"node:{node.id}", name="old name")])
        line = bench.only()
        assert line.lead.finding.kind == "isolation.flip_failed"
        assert line.lead.finding.name == "bm-1"
        assert line.lead.source == "isolation.guard"
        assert {each.finding.kind for each in line.also} == {
            "lifecycle.quarantined", "lifecycle.server_error", "discovery.onboarding_failed",
        }  # fmt: skip

    def test_the_same_found_twice_is_told_once(self, bench: Bench) -> None:
        bench.store.findings.replace("a", [FLIP])
        bench.store.findings.replace("b", [FLIP])
        assert bench.only().also == ()

    def test_worst_first_then_oldest(self, bench: Bench) -> None:
        bench.store.findings.replace("a", [FLIP])
        bench.node("young", provision_state="clean failed")
        old = bench.node("old", provision_state="clean failed")
        bench.world.nodes[old.id] = replace(old, provision_updated_at=NOW - timedelta(days=3))
        bench.running("o1", kind="bulk", paused_at=NOW - timedelta(days=9))
        assert [name for name, _ in bench.told()] == ["bm-x", "old", "young", "bulk"]
        assert [line.lead.finding.name for line in bench.lines(Severity.MAJOR)] == ["bm-x", "old", "young"]
        assert [line.lead.finding.name for line in bench.lines(Severity.CRITICAL)] == ["bm-x"]


class TestWatch:
    def test_keeps_since_when_for_what_nobody_else_does(self, bench: Bench) -> None:
        bench.node(maintenance=True, fault="power failure")
        assert bench.service.watch() == (1, 1)
        first = bench.store.findings.all()[0].since
        bench.go_on(days=365)
        assert bench.only().lead.since == first
        bench.observer.forget()
        assert bench.service.watch() == (1, 0)

    def test_tells_what_is_over(self, bench: Bench) -> None:
        node = bench.node(provision_state="clean failed")
        bench.service.watch()
        bench.world.nodes[node.id] = replace(node, provision_state="available")
        assert bench.lines() == []  # at once, before the next watch
        bench.observer.forget()
        assert bench.service.watch() == (0, 1)
        kinds = [event.kind for event in bench.store.events.of(f"node:{node.id}")]
        assert kinds == ["finding.closed", "finding.opened"]

    def test_a_cloud_that_is_away_closes_nothing(self, bench: Bench) -> None:
        node = bench.node(provision_state="clean failed")
        bench.service.watch()
        bench.observer.forget()
        bench.world.fail("nodes.all", Unavailable("Ironic does not answer"), times=2)
        assert bench.service.watch() == (2, 1)
        kinds = {each.finding.kind for each in bench.store.findings.all()}
        assert kinds == {"lifecycle.quarantined", "attention.unreadable"}
        assert {line.lead.finding.kind for line in bench.lines()} == kinds
        bench.observer.forget()
        assert bench.service.watch() == (1, 1)
        assert [event.kind for event in bench.store.events.of(f"node:{node.id}")] == ["finding.opened"]

    def test_is_a_reconciler(self, bench: Bench) -> None:
        (reconciler,) = reconcilers_of(bench.service)
        assert reconciler.name == WATCH
        bench.node(provision_state="clean failed")
        report = reconciler.run()
        assert (report.seen, report.changed) == (1, 1)


@BOTH
class TestAcknowledging:
    KIND = "isolation.flip_failed"

    @pytest.fixture(autouse=True)
    def _found(self, bench: Bench) -> None:
        bench.store.findings.replace("a", [FLIP])
        bench.now = bench.store.findings.all()[0].since + timedelta(minutes=1)

    def acknowledge(self, bench: Bench, **changes: Any) -> None:
        given = {"until": bench.now + timedelta(hours=8), "reason": "cable on order"} | changes
        bench.service.acknowledge(ADMIN, "bm-x", self.KIND, **given)

    def test_hides_it_for_a_while_and_is_recorded(self, bench: Bench) -> None:
        self.acknowledge(bench)
        assert bench.lines() == []
        (line,) = bench.lines(everything=True)
        assert line.acknowledged is not None
        assert (line.acknowledged.actor, line.acknowledged.reason) == ("ada", "cable on order")
        event = bench.store.events.of("node:x")[0]
        assert (event.kind, event.actor, event.reason) == ("finding.acknowledged", "ada", "cable on order")
        bench.go_on(hours=9)
        assert len(bench.lines()) == 1

    def test_what_went_away_and_comes_again_is_shown(self, bench: Bench) -> None:
        self.acknowledge(bench, until=bench.now + timedelta(days=29))
        bench.store.findings.replace("a", [])
        bench.store.findings.replace("a", [FLIP])
        again = bench.store.findings.all()[0]
        acknowledged = bench.store.acknowledgements.all(bench.now)[0]
        # the store's clock is the machine's: the finding is younger than the acknowledgement only in its own time
        assert not replace(acknowledged, at=again.since - timedelta(seconds=1)).covers(again, bench.now)
        assert replace(acknowledged, at=again.since).covers(again, bench.now)

    def test_the_rest_of_the_subject_is_still_shown(self, bench: Bench) -> None:
        other = replace(FLIP, kind="lifecycle.not_proven_clean", severity=Severity.MINOR)
        bench.store.findings.replace("b", [other])
        bench.go_on(minutes=1)
        self.acknowledge(bench)
        line = bench.only()
        assert line.lead.finding.kind == "lifecycle.not_proven_clean"
        assert [each.finding.kind for each in line.also] == [self.KIND]

    def test_can_be_taken_back(self, bench: Bench) -> None:
        self.acknowledge(bench)
        bench.service.withdraw(ADMIN, "node:x", self.KIND)
        assert len(bench.lines()) == 1
        assert bench.store.events.of("node:x")[0].kind == "finding.unacknowledged"
        with pytest.raises(NotFound):
            bench.service.withdraw(ADMIN, "node:x", self.KIND)

    def test_the_last_word_counts(self, bench: Bench) -> None:
        self.acknowledge(bench)
        self.acknowledge(bench, reason="cable arrived", until=bench.now + timedelta(hours=1))
        (found,) = bench.store.acknowledgements.all(bench.now)
        assert found.reason == "cable arrived"

    @pytest.mark.parametrize("hours", [-1, 0, 24 * 31])
    def test_a_time_that_makes_no_sense(self, bench: Bench, hours: float) -> None:
        with pytest.raises(Invalid) as refused:
            self.acknowledge(bench, until=bench.now + timedelta(hours=hours))
        assert refused.value.code == "invalid_until"
        assert len(bench.lines()) == 1

    def test_without_a_reason(self, bench: Bench) -> None:
        with pytest.raises(Invalid):
            self.acknowledge(bench, reason="  ")

    def test_what_is_not_there(self, bench: Bench) -> None:
        with pytest.raises(NotFound) as refused:
            bench.service.acknowledge(ADMIN, "bm-y", self.KIND, until=bench.now + timedelta(hours=1), reason="because")
        assert refused.value.code == "finding_not_found"

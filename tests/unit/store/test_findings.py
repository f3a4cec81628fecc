"""Findings keep since when they are so, tell of their coming and going, and are all replaced or none."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from steelyard.attention.model import Finding, Severity
from steelyard.store import Store

NODE, OTHER = "node:1", "node:2"
FAILED = Finding(
    kind="isolation.flip_failed",
    subject=NODE,
    name="bm-001",
    severity=Severity.CRITICAL,
    reason="leaf1 still says VLAN 2001",
    next="steelyard isolation show bm-001",
    evidence={"switch": {"vlan": 2001}, "macs": ("52:54:00:00:00:01",)},
)
STUCK = Finding("operations.stuck", OTHER, "bm-002", Severity.MINOR, "waits for the agent", None)


def told(store: Store, subject: str) -> list[tuple[str, str, str]]:
    return [(event.kind, event.actor, event.detail) for event in reversed(store.events.of(subject))]


def test_what_is_found_is_kept_with_everything_that_was_said(store: Store) -> None:
    assert store.findings.replace("isolation.guard", [FAILED]) == 1
    (found,) = store.findings.all()
    assert found.finding == replace(FAILED, evidence={"switch": {"vlan": 2001}, "macs": ["52:54:00:00:00:01"]})
    assert found.source == "isolation.guard"
    assert found.since == found.seen_at
    assert told(store, NODE) == [("finding.opened", "steelyard", "leaf1 still says VLAN 2001")]
    assert store.events.of(NODE)[0].data == {
        "kind": "isolation.flip_failed", "name": "bm-001", "severity": "critical",
        "next": "steelyard isolation show bm-001", "source": "isolation.guard",
    }  # fmt: skip


def test_what_is_found_again_is_as_old_as_it_was_and_says_what_is_so_now(store: Store) -> None:
    store.findings.replace("a", [FAILED])
    before = store.findings.all()[0]
    worse = replace(FAILED, reason="leaf1 says nothing", severity=Severity.MAJOR, evidence={}, next=None)
    assert store.findings.replace("a", [worse]) == 0
    (after,) = store.findings.all()
    assert after.finding == worse
    assert after.since == before.since
    assert after.seen_at >= before.seen_at
    assert len(told(store, NODE)) == 1


def test_a_source_that_finds_one_at_a_time(store: Store) -> None:
    store.findings.replace("b", [STUCK])
    assert store.findings.put("a", FAILED) is True
    again = replace(FAILED, reason="leaf1 says nothing", evidence={})
    assert store.findings.put("a", again) is False
    assert store.findings.put("a", replace(FAILED, subject=OTHER)) is True
    assert [each.finding for each in store.findings.by("a")] == [again, replace(FAILED, subject=OTHER, evidence={
        "switch": {"vlan": 2001}, "macs": ["52:54:00:00:00:01"],
    })]  # fmt: skip
    store.findings.close("a", FAILED)
    store.findings.close("a", FAILED)
    assert [each.finding.subject for each in store.findings.by("a")] == [OTHER]
    assert [each.finding for each in store.findings.by("b")] == [STUCK]
    assert [kind for kind, _, _ in told(store, NODE)] == ["finding.opened", "finding.closed"]


def test_what_is_found_no_longer_is_closed(store: Store) -> None:
    store.findings.replace("a", [FAILED, STUCK])
    assert store.findings.replace("a", [STUCK]) == 1
    assert [each.finding for each in store.findings.all()] == [STUCK]
    assert told(store, NODE)[-1] == ("finding.closed", "steelyard", "No longer so: leaf1 still says VLAN 2001")
    assert store.findings.replace("a", []) == 1
    assert store.findings.all() == []
    assert store.findings.replace("a", []) == 0


def test_what_comes_again_is_a_new_one(store: Store) -> None:
    store.findings.replace("a", [FAILED])
    first = store.findings.all()[0].since
    store.findings.replace("a", [])
    store.findings.replace("a", [FAILED])
    assert store.findings.all()[0].since > first
    assert [kind for kind, _, _ in told(store, NODE)] == ["finding.opened", "finding.closed", "finding.opened"]


def test_each_source_speaks_for_itself(store: Store) -> None:
    store.findings.replace("a", [FAILED])
    store.findings.replace("b", [FAILED, STUCK])
    assert store.findings.replace("a", []) == 1
    assert [(each.source, each.finding.kind) for each in store.findings.all()] == [
        ("b", "isolation.flip_failed"), ("b", "operations.stuck"),
    ]  # fmt: skip
    assert [each.finding for each in store.findings.of(OTHER)] == [STUCK]
    assert store.findings.of("node:3") == []


def test_of_two_of_one_kind_and_subject_the_worse_stays(store: Store) -> None:
    milder = replace(FAILED, severity=Severity.MINOR, reason="mild")
    assert store.findings.replace("a", [milder, FAILED, milder]) == 1
    assert store.findings.all()[0].finding.reason == FAILED.reason


def test_counts(store: Store) -> None:
    assert store.findings.counts() == {}
    store.findings.replace("a", [FAILED, replace(FAILED, subject=OTHER), STUCK])
    assert store.findings.counts() == {
        ("isolation.flip_failed", Severity.CRITICAL): 2,
        ("operations.stuck", Severity.MINOR): 1,
    }


def test_all_or_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.findings.replace("a", [STUCK])

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the event cannot be written")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(store.events, "append", fail)
        store.findings.replace("a", [FAILED])
    assert [each.finding for each in store.findings.all()] == [STUCK]


def test_inside_a_unit_of_work_it_is_part_of_it(store: Store) -> None:
    def fail() -> None:
        with store.unit_of_work():
            store.findings.replace("a", [FAILED])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.findings.all() == []
    assert told(store, NODE) == []


def test_two_servers_at_once_open_and_close_it_once(store: Store) -> None:
    many = [replace(FAILED, subject=f"node:{number}") for number in range(20)]
    failures: list[Exception] = []

    def look(seen: list[Finding]) -> None:
        try:
            store.findings.replace("a", seen)
        except Exception as error:
            failures.append(error)

    def at_once(seen: list[Finding]) -> None:
        threads = [threading.Thread(target=look, args=(seen,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    at_once(many)
    assert len(store.findings.all()) == 20
    at_once([])
    assert store.findings.all() == []
    assert failures == []
    for finding in many:
        assert [kind for kind, _, _ in told(store, finding.subject)] == ["finding.opened", "finding.closed"]


def test_a_whole_fleet_at_a_time(store: Store) -> None:
    many = [replace(STUCK, subject=f"node:{number}") for number in range(2000)]
    assert store.findings.replace("a", many) == 2000
    assert store.findings.replace("a", many) == 0
    assert store.findings.replace("a", []) == 2000

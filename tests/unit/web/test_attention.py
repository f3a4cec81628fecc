"""GET /v1/attention and its acknowledgements, through the whole server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from steelyard.attention.model import Finding, Severity

from .conftest import Site

PATH = "/v1/attention"


def finding(number: int, severity: Severity = Severity.MAJOR) -> Finding:
    return Finding(
        kind="isolation.flip_failed", subject=f"node:{number}", name=f"bm-{number}", severity=severity,
        reason="leaf1 still says VLAN 2001", next=f"steelyard isolation show bm-{number}",
        evidence={"switch": {"vlan": 2001}},
    )  # fmt: skip


@pytest.fixture
def found(site: Site) -> Site:
    site.built.store.findings.replace("a", [finding(1), finding(2, Severity.MINOR), finding(3, Severity.CRITICAL)])
    return site


def test_is_for_administrators(site: Site) -> None:
    assert site.client.get(PATH).status_code == 401
    for headers in (site.member, site.reader):
        assert site.client.get(PATH, headers=headers).status_code == 403
        for verb in ("acknowledge", "withdraw"):
            body = {"subject": "s", "kind": "k", "until": "2026-01-01T00:00:00Z", "reason": "r"}
            wanted = body if verb == "acknowledge" else {"subject": "s", "kind": "k"}
            assert site.client.post(f"{PATH}/{verb}", headers=headers, json=wanted).status_code == 403


def test_nothing(site: Site) -> None:
    answer = site.client.get(PATH, headers=site.admin).json()
    assert answer["attention"] == []
    assert answer["counts"] == {"critical": 0, "major": 0, "minor": 0}
    assert answer["next"] is None


def test_worst_first_with_everything_that_is_known(found: Site) -> None:
    answer = found.client.get(PATH, headers=found.admin).json()
    assert [row["name"] for row in answer["attention"]] == ["bm-3", "bm-1", "bm-2"]
    assert answer["counts"] == {"critical": 1, "major": 1, "minor": 1}
    assert datetime.fromisoformat(answer["at"]).tzinfo is not None
    first = answer["attention"][0]
    assert datetime.fromisoformat(first.pop("since")) <= datetime.fromisoformat(answer["at"])
    assert first == {
        "name": "bm-3", "subject": "node:3", "kind": "isolation.flip_failed", "severity": "critical",
        "reason": "leaf1 still says VLAN 2001", "next": "steelyard isolation show bm-3", "source": "a",
        "evidence": {"switch": {"vlan": 2001}}, "also": [], "acknowledged": None,
    }  # fmt: skip


def test_only_this_bad_or_worse(found: Site) -> None:
    rows = found.client.get(PATH, params={"severity": "major"}, headers=found.admin).json()["attention"]
    assert [row["name"] for row in rows] == ["bm-3", "bm-1"]
    assert found.client.get(PATH, params={"severity": "urgent"}, headers=found.admin).status_code == 422


def test_pages(found: Site) -> None:
    first = found.client.get(PATH, params={"limit": 2}, headers=found.admin).json()
    assert [row["name"] for row in first["attention"]] == ["bm-3", "bm-1"]
    second = found.client.get(first["next"], headers=found.admin).json()
    assert [row["name"] for row in second["attention"]] == ["bm-2"]
    assert second["next"] is None


def test_a_node_of_the_cloud_is_seen_at_once(site: Site) -> None:
    node = site.world.add_node("bm-9")
    site.world.set_state(node.id, "clean failed", error="the agent did not call back")
    row = site.client.get(PATH, headers=site.admin).json()["attention"][0]
    assert (row["name"], row["kind"]) == ("bm-9", "lifecycle.quarantined")
    assert "the agent did not call back" in row["reason"]


def test_acknowledging(found: Site) -> None:
    until = datetime.now(UTC) + timedelta(hours=8)
    body = {"subject": "bm-3", "kind": "isolation.flip_failed", "until": until.isoformat(), "reason": "cable ordered"}
    answer = found.client.post(f"{PATH}/acknowledge", headers=found.admin, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["acknowledged"]["subject"] == "node:3"
    rows = found.client.get(PATH, headers=found.admin).json()["attention"]
    assert [row["name"] for row in rows] == ["bm-1", "bm-2"]
    rows = found.client.get(PATH, params={"all": "true"}, headers=found.admin).json()["attention"]
    assert [row["name"] for row in rows] == ["bm-1", "bm-2", "bm-3"]
    assert rows[2]["acknowledged"]["reason"] == "cable ordered"
    assert [row["acknowledged"] for row in rows[:2]] == [None, None]

    again = {"subject": "node:3", "kind": "isolation.flip_failed"}
    assert found.client.post(f"{PATH}/withdraw", headers=found.admin, json=again).status_code == 204
    assert len(found.client.get(PATH, headers=found.admin).json()["attention"]) == 3
    gone = found.client.post(f"{PATH}/withdraw", headers=found.admin, json=again)
    assert (gone.status_code, gone.json()["code"]) == (404, "finding_not_found")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"until": "2026-01-01T00:00:00Z"}, 400),
        ({"until": "9999-01-01T00:00:00Z"}, 400),
        ({"until": "2026-01-01T00:00:00"}, 422),
        ({"until": "soon"}, 422),
        ({"reason": ""}, 422),
        ({"reason": "  "}, 400),
        ({"subject": "bm-4"}, 404),
        ({"kind": "isolation.other"}, 404),
        ({"colour": "red"}, 422),
    ],
)
def test_what_makes_no_sense_is_refused_and_hides_nothing(found: Site, changes: dict[str, str], status: int) -> None:
    until = datetime.now(UTC) + timedelta(hours=8)
    body = {"subject": "bm-3", "kind": "isolation.flip_failed", "until": until.isoformat(), "reason": "cable ordered"}
    answer = found.client.post(f"{PATH}/acknowledge", headers=found.admin, json=body | changes)
    assert answer.status_code == status, answer.text
    assert len(found.client.get(PATH, headers=found.admin).json()["attention"]) == 3

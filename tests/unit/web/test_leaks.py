"""The leak check is for administrators, and shows no secret."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Site


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.lifecycle.leaking.AGAIN", 0.0)


def test_only_administrators_look(site: Site) -> None:
    for path, ask in (("/v1/leaks", site.client.get), ("/v1/leaks/secrets", site.client.delete)):
        assert ask(path).status_code == 401
        assert ask(path, headers=site.member).status_code == 403
        assert ask(path, headers=site.reader).status_code == 403


def test_a_leak_is_told_with_its_evidence(site: Site) -> None:
    node, consumer = site.world.add_node("bm-1"), str(uuid.uuid4())
    site.world.allocate(consumer, node.id)
    answer = site.client.get("/v1/leaks", headers=site.admin).json()
    assert [(leak["kind"], leak["name"]) for leak in answer["leaks"]] == [("allocation_without_server", "bm-1")]
    assert answer["leaks"][0]["evidence"]["consumer"] == consumer
    assert answer["compared"]["nodes"] == 1
    assert site.client.get("/v1/leaks?thorough=true", headers=site.admin).json()["leaks"] == answer["leaks"]


def test_secrets_are_named_and_not_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.lifecycle.leaking.OLD", timedelta(hours=-1))
    site.built.store.secrets.put({"username": "root", "password": "canary-7"})
    answer = site.client.get("/v1/leaks", headers=site.admin)
    assert [leak["kind"] for leak in answer.json()["leaks"]] == ["secret_without_use"]
    assert "canary" not in answer.text
    forgotten = site.client.delete("/v1/leaks/secrets", headers=site.admin)
    assert forgotten.json() == {"forgotten": 1}
    assert site.client.get("/v1/leaks", headers=site.admin).json()["leaks"] == []

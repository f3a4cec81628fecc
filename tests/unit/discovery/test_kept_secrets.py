"""No credentials are left behind where a sweep and a deletion meet."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from steelyard.discovery.service import DiscoveryService
from steelyard.errors import NotFound, Unavailable
from steelyard.hardware.redfish.fake import FakeBmc
from steelyard.store import Candidate

if TYPE_CHECKING:
    from .conftest import Bench

PORT = 8443
OLD = [{"username": "root", "password": "calvin"}]
NEW = [{"username": "root", "password": "hobbes-and-rosalyn"}]


def sweep(service: DiscoveryService, bench: Bench, credentials: list[dict[str, str]]) -> None:
    operation = service.discover(bench.admin, ["10.0.0.0/28"], credentials, port=PORT)
    assert operation.phase.value == "succeeded", operation.error


def found(bench: Bench) -> tuple[DiscoveryService, Candidate]:
    bench.add_server(1)
    service = bench.service()
    sweep(service, bench, OLD)
    (candidate,) = bench.store.candidates.all()
    return service, candidate


def give_new_password(bench: Bench) -> None:
    bmc = bench.prober.bmcs[ipaddress.ip_address("10.0.0.1"), PORT]
    bench.prober.bmcs[ipaddress.ip_address("10.0.0.1"), PORT] = FakeBmc("root", NEW[0]["password"], bmc.systems)


def unnamed(bench: Bench) -> list[str]:
    return [secret.what for secret in bench.store.leftovers.secrets(before=datetime.now(UTC) + timedelta(hours=1))]


@pytest.mark.parametrize("credentials", [OLD, NEW], ids=["the same", "other"])
def test_deleted_at_the_moment_in_which_it_is_found_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, credentials: list[dict[str, str]]
) -> None:
    service, candidate = found(bench)
    if credentials is NEW:
        give_new_password(bench)
    everything = bench.store.candidates.all

    def then_deleted() -> list[Candidate]:
        known = everything()
        monkeypatch.undo()
        service.delete_candidate(bench.admin, candidate.id)
        return known

    monkeypatch.setattr(bench.store.candidates, "all", then_deleted)
    sweep(service, bench, credentials)
    (again,) = bench.store.candidates.all()
    assert again.id != candidate.id
    assert bench.store.secrets.get(again.secret_id or "") == credentials[0]
    assert unnamed(bench) == []


def test_given_other_credentials_at_the_moment_in_which_it_is_deleted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, candidate = found(bench)
    give_new_password(bench)
    looked = service.candidate

    def then_swept(reference: str) -> Candidate:
        there = looked(reference)
        monkeypatch.undo()
        sweep(service, bench, NEW)
        return there

    monkeypatch.setattr(service, "candidate", then_swept)
    service.delete_candidate(bench.admin, candidate.id)
    assert bench.store.candidates.all() == []
    assert unnamed(bench) == []


def test_a_candidate_that_cannot_be_stored_leaves_no_credentials(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add_server(1)
    service = bench.service()

    def full(candidate: Candidate) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(bench.store.candidates, "put", full)
    service.discover(bench.admin, ["10.0.0.0/28"], OLD, port=PORT)
    assert unnamed(bench) == []
    with pytest.raises(NotFound):
        service.candidate("bm-001")

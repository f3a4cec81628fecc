"""Sweeping, candidates, and refusing to onboard what cannot be."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from steelyard.discovery.model import CandidateState
from steelyard.discovery.service import DiscoveryService
from steelyard.errors import Invalid, NotFound, Refused
from steelyard.hardware.redfish.fake import FakeBmc
from steelyard.hardware.redfish.port import Verdict
from steelyard.operations.model import Operation, Phase

if TYPE_CHECKING:
    from .conftest import Bench

PORT = 8443
CREDENTIALS = [{"username": "root", "password": "calvin"}]


def sweep(service: DiscoveryService, bench: Bench, target: str = "10.0.0.0/24") -> Operation:
    operation = service.discover(bench.admin, [target], CREDENTIALS, port=PORT)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    return operation


class TestSweep:
    def test_finds_and_says_what_stood_in_the_way(self, bench: Bench) -> None:
        bench.add_server(1)
        bench.prober.bmcs[ipaddress.ip_address("10.0.0.2"), PORT] = FakeBmc("root", "other")
        bench.prober.bmcs[ipaddress.ip_address("10.0.0.3"), PORT] = FakeBmc("", "", fault=Verdict.GARBAGE)
        service = bench.service()
        result = sweep(service, bench).result
        assert result["asked"] == 254
        assert result["verdicts"] == {"found": 1, "nobody": 251, "wrong_credentials": 1, "garbage": 1}
        assert [(t["address"], t["verdict"]) for t in result["troubles"]] == [
            ("10.0.0.2", "wrong_credentials"), ("10.0.0.3", "garbage"),
        ]  # fmt: skip
        (found,) = service.candidates()
        assert (found.name, found.state) == ("bm-001", CandidateState.FOUND)
        assert bench.store.secrets.get(found.secret_id or "") == {"username": "root", "password": "calvin"}

    def test_no_secret_leaves_the_safe(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        operation = sweep(service, bench)
        assert "calvin" not in repr(operation)
        assert "calvin" not in repr(service.candidates())
        with pytest.raises(NotFound):  # the ones given for the sweep are gone with it
            bench.store.secrets.get(operation.params["secret_id"])

    def test_again_changes_nothing(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service(repeat_steps=True)
        sweep(service, bench)
        (before,) = service.candidates()
        result = sweep(service, bench).result
        (after,) = service.candidates()
        assert result["candidates"][0]["new"] is False
        assert (before.id, before.secret_id, before.first_seen_at) == (after.id, after.secret_id, after.first_seen_at)

    def test_failing_leaves_no_credentials(self, bench: Bench) -> None:
        service = bench.service(fail_step="ask every address")
        operation = service.discover(bench.admin, ["10.0.0.0/30"], CREDENTIALS, port=PORT)
        assert operation.phase is Phase.FAILED
        with pytest.raises(NotFound):
            bench.store.secrets.get(operation.params["secret_id"])

    def test_a_large_one_goes_on_in_parts(self, bench: Bench) -> None:
        bench.add_server(1)
        assert sweep(bench.service(), bench, "10.0.0.0/20").result["asked"] == 4094

    def test_a_bmc_with_a_new_address_stays_the_same_candidate(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        bmc = bench.prober.bmcs.pop((ipaddress.ip_address("10.0.0.1"), PORT))
        bench.prober.bmcs[ipaddress.ip_address("10.0.0.77"), PORT] = bmc
        sweep(service, bench)
        (found,) = service.candidates()
        assert (found.address, found.note) == ("10.0.0.77", "its BMC moved from 10.0.0.1 to 10.0.0.77")

    def test_a_node_of_somebody_else_is_known_as_one(self, bench: Bench) -> None:
        bench.add_server(1)
        node = bench.world.add_node("stock", bmc_address=f"https://10.0.0.1:{PORT}")
        service = bench.service()
        sweep(service, bench)
        (found,) = service.candidates()
        assert (found.state, found.node_id) == (CandidateState.ONBOARDED, node.id)

    @pytest.mark.parametrize("port", [0, 70000])
    def test_bad_ports(self, bench: Bench, port: int) -> None:
        with pytest.raises(Invalid):
            bench.service().discover(bench.admin, ["10.0.0.1"], CREDENTIALS, port=port)


class TestCandidates:
    def test_found_by_id_name_serial_or_address(self, bench: Bench) -> None:
        machine = bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        (found,) = service.candidates()
        for reference in (found.id, "bm-001", machine.serial, "10.0.0.1"):
            assert service.candidate(reference).id == found.id
        with pytest.raises(NotFound):
            service.candidate("bm-002")

    def test_deleted_with_its_credentials(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        (found,) = service.candidates()
        service.delete_candidate(bench.admin, "bm-001")
        assert service.candidates() == []
        with pytest.raises(NotFound):
            bench.store.secrets.get(found.secret_id or "")

    def test_a_node_is_not_deleted_as_a_candidate(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        service.onboard(bench.admin, ["bm-001"])
        with pytest.raises(Refused) as caught:
            service.delete_candidate(bench.admin, "bm-001")
        assert caught.value.code == "candidate_onboarded"
        assert caught.value.next
        assert caught.value.next.startswith("steelyard node delete ")

    def test_a_node_that_somebody_deleted_leaves_a_candidate(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        service.onboard(bench.admin, ["bm-001"])
        (node_id,) = bench.world.nodes
        assert bench.world.nodes.pop(node_id).provision_state == "available"
        bench.world.node_ports.clear()
        assert service.candidate("bm-001").state is CandidateState.FOUND


class TestRefusals:
    def test_twice(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        service.onboard(bench.admin, ["bm-001"])
        with pytest.raises(Refused) as caught:
            service.onboard(bench.admin, ["bm-001"])
        assert caught.value.code == "already_onboarded"

    def test_all_or_some_but_not_both(self, bench: Bench) -> None:
        with pytest.raises(Invalid):
            bench.service().onboard(bench.admin, [])
        with pytest.raises(Invalid):
            bench.service().onboard(bench.admin, ["x"], everything=True)

    def test_a_class_that_cannot_be(self, bench: Bench) -> None:
        with pytest.raises(Invalid):
            bench.service().onboard(bench.admin, ["x"], resource_class="bm large")

    def test_one_unknown_starts_nothing(self, bench: Bench) -> None:
        bench.add_server(1)
        service = bench.service()
        sweep(service, bench)
        with pytest.raises(NotFound):
            service.onboard(bench.admin, ["bm-001", "bm-404"])
        assert not bench.world.nodes

    def test_all_takes_what_is_no_node_yet(self, bench: Bench) -> None:
        for number in (1, 2, 3):
            bench.add_server(number)
        service = bench.service()
        sweep(service, bench)
        assert len(service.onboard(bench.admin, ["bm-002"])) == 1
        assert len(service.onboard(bench.admin, [], everything=True)) == 2
        assert service.onboard(bench.admin, [], everything=True) == []

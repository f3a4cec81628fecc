"""The index: what is one server, what changed about it, and how old an answer may be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steelyard.clouds.fake.hardware import FakeHardware
from steelyard.discovery.model import CandidateState
from steelyard.errors import NotFound, Unavailable
from steelyard.inventory import index
from steelyard.inventory.inspections import AT_ONCE
from steelyard.inventory.work import reconcilers
from steelyard.nouns import Inspection
from steelyard.operations.journal import NewOperation
from steelyard.store import Store

from .conftest import Bench

LISTS = ("nodes.all", "compute.all", "node_ports.all", "images.all", "attachments.all")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any fleet is one that cannot be read before every answer."""
    monkeypatch.setattr(index, "SMALL", 0)


class TestTheReconciler:
    def test_the_second_run_changes_nothing(self, bench: Bench) -> None:
        (reconciler,) = reconcilers(bench.service)
        first, second = reconciler.run(), reconciler.run()
        assert (first.seen, first.changed, first.detail) == (5, 5, "5 changed or new")
        assert (second.seen, second.changed, second.detail) == (5, 0, "")

    def test_it_asks_for_lists_and_for_no_node(self, bench: Bench) -> None:
        bench.world.calls.clear()
        bench.service.index.reconcile()
        assert [bench.world.calls[name] for name in LISTS] == [1] * 5
        assert not any(name.endswith(".get") or name == "nodes.inspection" for name in bench.world.calls)

    def test_what_another_reconciler_has_just_read_serves(self, bench: Bench) -> None:
        bench.service.index.reconcile()
        bench.world.calls.clear()
        bench.clock.pass_(1)
        bench.service.index.reconcile()
        assert not any(bench.world.calls[name] for name in LISTS)

    def test_a_failure_is_the_runs_own_and_loses_nothing(self, bench: Bench) -> None:
        bench.service.index.reconcile()
        bench.clock.pass_(60)
        bench.world.fail("compute.all", Unavailable("Nova is away"))
        with pytest.raises(Unavailable):
            bench.service.index.reconcile()
        assert len(bench.names()) == 5

    def test_old_history_is_dropped(self, bench: Bench) -> None:
        bench.service.index.reconcile()
        bench.clock.now += index.HISTORY + timedelta(days=1)
        bench.service.index.reconcile()
        assert bench.changes("bm-1") == []


class TestOneServerIsOneRecord:
    def test_a_candidate_is_listed_when_asked_for(self, bench: Bench) -> None:
        bench.candidate(1)
        assert "found-1" in bench.names()
        assert bench.names(kind="candidate") == bench.names(phase="candidate") == bench.names("CAND-1") == ["found-1"]

    def test_from_candidate_to_node_and_back(self, bench: Bench) -> None:
        candidate = bench.candidate(1, bmc_firmware="2.1", bios_version="1.0")
        assert bench.names("CAND-1") == ["found-1"]
        node = bench.world.add_node("bm-9", state="manageable")
        bench.change("bm-9", extra={"steelyard": {"candidate_id": candidate.id, "serial": "CAND-1", "vendor": "Acme"}})
        bench.clock.pass_(60)
        (record,) = bench.records("CAND-1")
        assert (record["kind"], record["id"], record["candidate_id"]) == ("node", node.id, candidate.id)
        assert record["firmware"] == {"bmc": "2.1", "bios": "1.0"}
        del bench.world.nodes[node.id]
        bench.clock.pass_(60)
        assert [(each["kind"], each["id"]) for each in bench.records("CAND-1")] == [("candidate", candidate.id)]
        kinds = [change for change in bench.changes(candidate.id) if change[0] == "kind"]
        assert kinds == [("kind", None, "candidate"), ("kind", "candidate", "node"), ("kind", "node", "candidate")]

    def test_a_node_that_a_sweep_finds_later_stays_the_record_that_it_was(self, bench: Bench) -> None:
        assert len(bench.names()) == 5
        bench.candidate(1, serial="SN-5")
        bench.clock.pass_(60)
        assert bench.names("SN-5") == ["bm-5"]
        assert bench.changes("bm-5")[0] == ("kind", None, "node")

    def test_gone_and_back(self, bench: Bench) -> None:
        bench.names()
        node = bench.world.nodes.pop(bench.id_of("bm-2"))
        bench.clock.pass_(60)
        assert "bm-2" not in bench.names()
        assert "bm-2" in bench.names(gone=True)
        assert bench.changes("bm-2")[-1] == ("gone", None, "true")
        with pytest.raises(NotFound):
            bench.service.get("bm-2")
        bench.world.nodes[node.id] = node
        bench.clock.pass_(60)
        assert "bm-2" in bench.names()
        assert bench.changes("bm-2")[-1] == ("gone", "true", None)

    def test_two_nodes_that_claim_one_candidate_are_two_records(self, bench: Bench) -> None:
        candidate = bench.candidate(1)
        for name in ("bm-1", "bm-2"):
            bench.change(name, extra={"steelyard": {"candidate_id": candidate.id}})
        assert bench.names() == ["bm-1", "bm-2", "bm-3", "bm-4", "bm-5"]
        bench.clock.pass_(60)
        assert len(bench.names()) == 5


class TestHistory:
    def test_what_changed_from_what_to_what(self, bench: Bench) -> None:
        bench.names()
        bench.clock.pass_(60)
        bench.change("bm-2", health="critical", maintenance=True, maintenance_reason="fan 3")
        bench.names()
        assert bench.changes("bm-2")[1:] == [
            ("health", None, "critical"),
            ("maintenance", "false", "true"),
            ("maintenance_reason", None, "fan 3"),
        ]

    def test_by_which_operation(self, bench: Bench) -> None:
        bench.names()
        new = NewOperation(
            id="0f000000-0000-4000-8000-000000000000", kind="nodes.test", params={}, actor=bench.admin, reason=None,
            key=None, subject=f"node:{bench.id_of('bm-2')}", exclusive=False, request_id=None, step_names=["one"],
            created_at=bench.clock.now, project_id=None,
        )  # fmt: skip
        begun, _ = bench.store.operations.create(new)
        bench.clock.pass_(60)
        bench.change("bm-2", power_state="on")
        bench.change("bm-3", power_state="on")
        bench.names()
        (_, lines), (_, others) = (bench.service.history(name) for name in ("bm-2", "bm-3"))
        assert (lines[0].field, lines[0].operation_id, lines[0].actor) == ("power", begun.id, "ada")
        assert (others[0].field, others[0].operation_id) == ("power", None)

    def test_a_look_that_was_overtaken_writes_nothing(self, bench: Bench, store: Store) -> None:
        """A slow reader must not put back what a faster one has already seen to be different."""
        bench.names()
        bench.change("bm-2", health="critical")
        bench.clock.pass_(60)
        bench.service.index.touch([bench.id_of("bm-2")])
        bench.change("bm-2", health=None)
        bench.clock.pass_(-30)
        bench.service.index.refresh(again=True)
        assert bench.store.inventory.search.find("bm-2")[0].document.count('"health":"critical"') == 1


class TestAge:
    def test_a_small_fleet_is_read_again_after_two_seconds(self, bench: Bench) -> None:
        bench.names()
        bench.change("bm-2", health="warning")
        assert bench.names(health="warning") == []
        bench.clock.pass_(2.1)
        assert bench.names(health="warning") == ["bm-2"]

    @pytest.mark.usefixtures("large")
    def test_a_large_one_waits_for_the_reconciler(self, bench: Bench) -> None:
        bench.names()
        bench.change("bm-2", health="warning")
        bench.clock.pass_(60)
        bench.world.calls.clear()
        assert bench.names(health="warning") == []
        assert not bench.world.calls
        bench.service.index.reconcile()
        assert bench.names(health="warning") == ["bm-2"]

    @pytest.mark.usefixtures("large")
    def test_but_what_steelyard_did_is_there_at_once(self, bench: Bench) -> None:
        candidate = bench.candidate(1)
        bench.names()
        bench.change("bm-2", provision_state="clean failed")
        gone = bench.world.nodes.pop(bench.id_of("bm-3"))
        node = bench.world.add_node("bm-9", state="manageable")
        bench.change("bm-9", extra={"steelyard": {"candidate_id": candidate.id}})
        bench.store.candidates.change(candidate.id, lambda now: _onboarded(now, node.id))
        for subject in (f"node:{bench.id_of('bm-2')}", f"node:{gone.id}", f"candidate:{candidate.id}", "operation:1"):
            bench.store.events.append(subject, "test", actor="ada", detail="something was done")
        bench.world.calls.clear()
        bench.clock.pass_(60)
        assert bench.names(phase="quarantined") == ["bm-2", "bm-5"]
        assert bench.names() == ["bm-1", "bm-2", "bm-4", "bm-5", "bm-9"]
        assert not bench.world.calls["nodes.all"]
        assert bench.signals == []
        bench.world.calls.clear()
        bench.names()
        assert not bench.world.calls, "it is looked at once"

    @pytest.mark.usefixtures("large")
    def test_a_tenants_server_is_followed_to_its_node(self, bench: Bench) -> None:
        bench.names()
        (server,) = bench.world.instances.values()
        bench.clouds.own.compute.delete(server.id)
        bench.world.settle()
        bench.store.events.append(f"server:{server.id}", "test", actor="ada", detail="released")
        bench.clock.pass_(60)
        assert bench.names(state="deployed") == []

    @pytest.mark.usefixtures("large")
    def test_too_many_are_left_to_the_reconciler(self, bench: Bench) -> None:
        bench.names()
        for number in range(index.FEW + 1):
            bench.store.events.append(f"node:{number}", "test", actor="ada", detail="something was done")
        bench.world.calls.clear()
        bench.names()
        assert bench.signals == ["inventory.index"]
        assert not bench.world.calls

    def test_an_answer_says_how_old_it_is_and_why(self, bench: Bench) -> None:
        seen = bench.clock.now
        bench.names()
        bench.clock.pass_(60)
        bench.world.fail("nodes.all", Unavailable("Ironic is away"))
        found = bench.service.index.current()
        assert (found.observed_at, found.problem) == (seen, "Ironic is away")
        assert len(bench.names()) == 5
        assert bench.service.index.current().problem is None

    def test_with_nothing_known_there_is_no_answer(self, bench: Bench) -> None:
        bench.world.fail("nodes.all", Unavailable("Ironic is away"))
        with pytest.raises(Unavailable):
            bench.names()


class TestParts:
    def disks(self, bench: Bench, name: str, *serials: str) -> None:
        disks = [{"name": f"/dev/sd{n}", "serial": s, "size": 10**12} for n, s in enumerate(serials)]
        bench.world.inspections[bench.id_of(name)] = Inspection({"disks": disks}, {})
        bench.change(name, inspected_at=bench.clock.now)

    def where(self, bench: Bench, serial: str) -> list[tuple[str, bool]]:
        """In which servers, the newest first, and whether it is there now."""
        return [(stay.name, stay.until is None) for stay in bench.service.part(serial)]

    def test_a_disk_is_followed_from_server_to_server(self, bench: Bench) -> None:
        self.disks(bench, "bm-1", "S100", "S101")
        assert self.where(bench, "s100") == [("bm-1", True)]
        bench.clock.pass_(60)
        self.disks(bench, "bm-1", "S101")
        bench.names()
        assert self.where(bench, "S100") == [("bm-1", False)]
        bench.clock.pass_(60)
        self.disks(bench, "bm-2", "S100")
        assert self.where(bench, "S100") == [("bm-2", True), ("bm-1", False)]
        assert bench.names("s100") == ["bm-2"]

    def test_it_is_where_it_was_seen_last_also_if_nobody_looked_into_the_old_server(self, bench: Bench) -> None:
        self.disks(bench, "bm-1", "S100", "S101")
        bench.names()
        bench.clock.pass_(60)
        self.disks(bench, "bm-2", "S100")
        assert self.where(bench, "S100") == [("bm-2", True), ("bm-1", False)]
        bench.clock.pass_(60)
        bench.change("bm-1", power_state="on")
        bench.names()
        assert self.where(bench, "S100") == [("bm-2", True), ("bm-1", False)]

    def test_a_nic_is_found_by_its_mac(self, bench: Bench) -> None:
        mac = next(port.mac for port in bench.world.node_ports.values() if port.node_id == bench.id_of("bm-3"))
        assert self.where(bench, mac.upper()) == [("bm-3", True)]

    def test_a_server_that_leaves_takes_its_parts_along(self, bench: Bench) -> None:
        self.disks(bench, "bm-2", "S100")
        bench.names()
        del bench.world.nodes[bench.id_of("bm-2")]
        bench.clock.pass_(60)
        (stay,) = bench.service.part("S100")
        assert stay.gone
        assert stay.until is not None

    @pytest.mark.parametrize("serial", ["", "0000000000", "N/A", "To Be Filled By O.E.M.", "abc"])
    def test_a_serial_number_that_says_nothing_is_none(self, bench: Bench, serial: str) -> None:
        self.disks(bench, "bm-1", serial)
        with pytest.raises(NotFound):
            bench.service.part(serial or "x")

    def test_an_inventory_is_read_once_for_each_inspection_and_few_at_a_time(self, bench: Bench) -> None:
        for number in range(AT_ONCE + 5):
            bench.world.add_node(f"more-{number}", hardware=FakeHardware(nics=()))
            self.disks(bench, f"more-{number}", f"SER{number:04d}")
        bench.names()
        assert bench.world.calls["nodes.inspection"] == AT_ONCE
        bench.clock.pass_(60)
        bench.names()
        assert bench.world.calls["nodes.inspection"] == AT_ONCE + 5
        bench.clock.pass_(60)
        bench.names()
        assert bench.world.calls["nodes.inspection"] == AT_ONCE + 5

    def test_an_inventory_that_cannot_be_read_is_tried_again(self, bench: Bench) -> None:
        self.disks(bench, "bm-1", "S100")
        bench.world.fail("nodes.inspection", Unavailable("Swift is away"))
        assert bench.names("s100") == []
        bench.clock.pass_(60)
        assert bench.names("s100") == ["bm-1"]


def _onboarded(candidate: object, node_id: str) -> object:
    from dataclasses import replace

    return replace(candidate, state=CandidateState.ONBOARDED, node_id=node_id)  # type: ignore[type-var]

"""Recognising servers, naming and sizing them, and reading inspections."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import naming
from steelyard.discovery.inband import identity_conflict, in_band, moved_links
from steelyard.discovery.model import (
    Candidate,
    CandidateState,
    is_class,
    node_name,
    recognise,
    refreshed,
    size_class,
    traits_for,
)
from steelyard.nouns import Inspection, SwitchLink

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def candidate(**changes: object) -> Candidate:
    base = Candidate(
        id="c1", address="10.0.0.1", port=443, system_path="/redfish/v1/Systems/1", state=CandidateState.FOUND,
        first_seen_at=NOW, last_seen_at=NOW, uuid="u1", serial="S1", vendor="Acme", macs=("02:00:00:00:00:01",),
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


class TestRecognise:
    def test_by_serial_although_the_address_changed(self) -> None:
        known = candidate()
        assert recognise([known], candidate(id="new", address="10.0.0.9")) is known

    def test_equal_uuids_with_other_serials_are_other_servers(self) -> None:
        assert recognise([candidate()], candidate(id="new", address="10.0.0.9", serial="S2")) is None

    def test_by_uuid_where_a_serial_is_missing(self) -> None:
        known = candidate(serial=None)
        assert recognise([known], candidate(id="new", address="10.0.0.9")) is known

    def test_another_server_at_a_known_address_is_new(self) -> None:
        assert recognise([candidate()], candidate(id="new", serial="S2", uuid="u2")) is None

    def test_by_place_when_there_is_no_identity(self) -> None:
        known = candidate(serial=None, uuid=None)
        assert recognise([known], candidate(id="new", serial=None, uuid=None)) is known

    def test_two_systems_of_one_bmc_are_two(self) -> None:
        known = candidate(serial=None, uuid=None)
        other = candidate(id="new", serial=None, uuid=None, system_path="/redfish/v1/Systems/2")
        assert recognise([known], other) is None

    def test_the_same_serial_of_another_maker_is_another_server(self) -> None:
        assert recognise([candidate()], candidate(id="new", vendor="Other", uuid="u2", address="10.0.0.2")) is None


class TestRefreshed:
    def test_keeps_what_steelyard_knows_and_notes_what_changed(self) -> None:
        link = SwitchLink("02:00:00:00:00:ff", "Ethernet1")
        known = candidate(
            state=CandidateState.ONBOARDED, node_id="n1", links={"m": link}, fingerprint="sha256:a", hostname="old"
        )
        seen = candidate(
            id="x", address="10.0.0.7", fingerprint="sha256:b", hostname="new", last_seen_at=LATER, first_seen_at=LATER
        )
        found = refreshed(known, seen)
        assert (found.id, found.state, found.node_id, found.links) == (
            "c1",
            CandidateState.ONBOARDED,
            "n1",
            {"m": link},
        )
        assert (found.first_seen_at, found.last_seen_at, found.hostname) == (NOW, LATER, "new")
        assert found.note == "its BMC moved from 10.0.0.1 to 10.0.0.7; its BMC presents another certificate than before"


def inspection(serial: str | None = "S1", macs: tuple[str, ...] = ("02:00:00:00:00:01",)) -> Inspection:
    return Inspection(
        inventory={
            "system_vendor": {"serial_number": serial, "manufacturer": "Acme", "product_name": "Anvil"},
            "interfaces": [{"name": f"eth{n}", "mac_address": mac.upper()} for n, mac in enumerate(macs)],
            "cpu": {"count": 32, "architecture": "x86_64"},
            "memory": {"physical_mb": 131072},
            "disks": [{"size": 960 * 10**9}, {"size": 480 * 10**9}],
        },
        plugin_data={
            "parsed_lldp": {
                "eth0": {
                    "switch_chassis_id": "02:AA:00:00:00:01", "switch_port_id": "Ethernet7", "switch_system_name": "l1"
                },
                "eth9": {"switch_chassis_id": "02:aa:00:00:00:01", "switch_port_id": "Ethernet8"},
            }
        },
    )  # fmt: skip


class TestInBand:
    def test_reads_identity_size_and_links(self) -> None:
        found = in_band(inspection())
        assert (found.serial, found.cpus, found.memory_mib, found.disk_gib) == ("S1", 32, 131072, 447)
        assert found.links == {"02:00:00:00:00:01": SwitchLink("02:aa:00:00:00:01", "Ethernet7", "l1")}

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(
                st.sampled_from(["system_vendor", "serial_number", "interfaces", "name", "mac_address", "cpu", "count",
                                 "memory", "disks", "size", "eth0", "switch_chassis_id"]) | st.text(), inner),
        )
    )  # fmt: skip
    def test_withstands_anything(self, anything: object) -> None:
        inventory = anything if isinstance(anything, dict) else {"interfaces": anything, "disks": anything}
        found = in_band(Inspection(inventory=inventory, plugin_data={"parsed_lldp": anything}))
        assert all(isinstance(mac, str) for mac in found.macs)


class TestIdentity:
    def test_equal_serials(self) -> None:
        assert identity_conflict(candidate(serial="s1 "), in_band(inspection())) is None

    def test_other_serials_are_a_conflict_although_a_mac_is_common(self) -> None:
        assert "S2" in (identity_conflict(candidate(serial="S2"), in_band(inspection())) or "")

    def test_macs_decide_without_serials(self) -> None:
        assert identity_conflict(candidate(serial=None), in_band(inspection())) is None
        assert identity_conflict(candidate(serial=None, macs=("02:00:00:00:00:99",)), in_band(inspection()))

    def test_nothing_to_compare_is_a_conflict(self) -> None:
        assert identity_conflict(candidate(serial=None, macs=()), in_band(inspection(serial=None)))

    def test_a_moved_cable_is_named(self) -> None:
        before = {"02:00:00:00:00:01": SwitchLink("02:aa:00:00:00:01", "Ethernet3", "l1")}
        assert moved_links(before, in_band(inspection())) == (
            "NIC 02:00:00:00:00:01 was cabled to l1 Ethernet3 and is now on l1 Ethernet7"
        )
        assert moved_links(in_band(inspection()).links, in_band(inspection())) is None


@pytest.mark.parametrize(
    ("cpus", "memory_mib", "wanted"),
    [
        (8, 32 << 10, "bm-small"), (32, 128 << 10, "bm-medium"), (64, 512 << 10, "bm-large"),
        (64, None, "bm-medium"), (None, None, "bm-unsized"), (128, None, "bm-large"),
    ],
)  # fmt: skip
def test_size_class(cpus: int | None, memory_mib: int | None, wanted: str) -> None:
    assert size_class(cpus, memory_mib) == wanted


def test_names_are_what_ironic_takes_and_unique() -> None:
    assert node_name(candidate(hostname="BM 001_x"), []) == "bm-001-x"
    assert node_name(candidate(hostname=None), ["s1"]) == "s1-c1"
    assert node_name(candidate(hostname="...", id="0123456789"), []) == "node-01234567"


def test_class_and_traits() -> None:
    assert naming.placement_class("bm-large.x") == "CUSTOM_BM_LARGE_X"
    assert traits_for("Acme, Inc.", "x86_64") == {"CUSTOM_VENDOR_ACME_INC", "HW_ARCH_X86_64"}
    assert traits_for(None, "riscv") == frozenset()
    assert is_class("bm-large")
    assert not is_class("bm large")
    assert not is_class("")

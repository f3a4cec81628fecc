"""The rack's plan: the same for the same seed, growing without changing, unique throughout."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steelyard.embedded.rack.files import write_rack
from steelyard.embedded.rack.neutron import ml2_sections
from steelyard.embedded.rack.plan import MAX_SERVERS, Rack, bmc_range, plan_rack
from steelyard.errors import Invalid


def plan(nodes: int, *, seed: str = "s", nics: int = 2, previous: Rack | None = None) -> Rack:
    return plan_rack(nodes, network="127.77", bmc_port=8443, seed=seed, nics=nics, previous=previous)


def without_passwords(rack: Rack) -> Rack:
    return replace(rack, servers=tuple(replace(server, bmc_password="") for server in rack.servers))


def test_the_same_seed_gives_the_same_rack_but_for_the_passwords() -> None:
    assert without_passwords(plan(12)) == without_passwords(plan(12))
    assert plan(12).servers[0].bmc_password != plan(12).servers[0].bmc_password


def test_another_seed_gives_other_servers() -> None:
    ours, theirs = plan(3, seed="a"), plan(3, seed="b")
    assert not {server.uuid for server in ours.servers} & {server.uuid for server in theirs.servers}


@given(st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=60))
def test_growing_keeps_every_server_as_it_was(before: int, more: int) -> None:
    small = plan(before)
    large = plan(before + more, previous=small)
    assert large.servers[:before] == small.servers


def test_another_seed_does_not_inherit_passwords() -> None:
    before = plan(1, seed="a")
    assert plan(1, seed="b", previous=before).servers[0].bmc_password != before.servers[0].bmc_password


def test_a_full_rack_has_nothing_twice() -> None:
    rack = plan(MAX_SERVERS, nics=4)
    macs = [nic.mac for server in rack.servers for nic in server.nics] + [server.bmc_mac for server in rack.servers]
    disks = [disk for server in rack.servers for disk in server.disks]
    ports = [(nic.switch, nic.port) for server in rack.servers for nic in server.nics]
    for values in (
        [server.name for server in rack.servers],
        [server.uuid for server in rack.servers],
        [server.serial for server in rack.servers],
        [server.bmc_address for server in rack.servers],
        [server.bmc_password for server in rack.servers],
        macs + [switch.chassis_mac for switch in rack.switches],
        [disk.serial for disk in disks],
        [disk.wwn for disk in disks],
        ports,
    ):
        assert len(values) == len(set(values))
    assert all(re.fullmatch(r"0x[0-9a-f]{16}", disk.wwn) for disk in disks)
    assert bmc_range(rack) == ("127.77.1.0/24", "127.77.2.0/24", "127.77.3.0/24", "127.77.4.0/24")


def test_eight_servers_have_two_makes_three_sizes_and_two_cabled_nics_each() -> None:
    rack = plan(8)
    assert {(server.vendor, server.size) for server in rack.servers} == {
        (vendor, size) for vendor in ("Ferrum", "Nordmark") for size in ("small", "medium", "large")
    }
    for server in rack.servers:
        assert [nic.switch for nic in server.nics] == ["leaf1", "leaf2"]
        for nic in server.nics:
            switch = rack.switch(nic.switch)
            assert nic.port in switch.ports
            assert nic.switch_mac == switch.chassis_mac


def test_more_nics_go_to_the_two_leaves_in_turn_and_change_nothing_of_the_first_two() -> None:
    rack = plan(3, nics=4)
    assert [server.nics[:2] for server in rack.servers] == [server.nics for server in plan(3).servers]
    for server in rack.servers:
        assert [nic.switch for nic in server.nics] == ["leaf1", "leaf2"] * 2
        assert len({nic.name for nic in server.nics}) == 4
        assert all(nic.port in rack.switch(nic.switch).ports for nic in server.nics)


def test_json_round_trip() -> None:
    rack = plan(9)
    assert Rack.from_json(rack.to_json()) == rack


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 99}',
        json.dumps({"format": 1}),
        json.dumps({**json.loads(plan(1).to_json()), "servers": [{}]}),
    ],
)
def test_a_damaged_plan_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Rack.from_json(text)
    assert caught.value.code == "rack_plan"


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0},
        {"nodes": 1001},
        {"network": "10.0"},
        {"network": "127.255"},
        {"bmc_port": 0},
        {"nics": 0},
        {"nics": 5},
    ],
)
def test_an_impossible_rack_is_refused(wrong: dict[str, object]) -> None:
    wanted = {"nodes": 1, "network": "127.77", "bmc_port": 8443, "nics": 2, **wrong}
    with pytest.raises(Invalid):
        plan_rack(
            int(str(wanted["nodes"])),
            network=str(wanted["network"]),
            bmc_port=int(str(wanted["bmc_port"])),
            seed="s",
            nics=int(str(wanted["nics"])),
        )


def test_no_password_in_the_text_form() -> None:
    rack = plan(2)
    assert all(server.bmc_password not in repr(rack) for server in rack.servers)


def test_files_are_private_and_say_what_they_should(tmp_path: Path) -> None:
    rack = plan(3)
    write_rack(rack, tmp_path, switch_port=1234)
    directory = tmp_path / "rack"
    for file in directory.iterdir():
        if file.is_file():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert Rack.from_json((directory / "rack.json").read_text()) == rack
    entries = yaml.safe_load((directory / "credentials.yaml").read_text())["credentials"]
    assert [(e["username"], e["password"], e["addresses"]) for e in entries] == [
        (server.bmc_username, server.bmc_password, [server.bmc_address]) for server in rack.servers
    ]
    authority = (directory / "ca.pem").read_bytes()
    write_rack(plan(5, previous=rack), tmp_path, switch_port=1234)
    assert (directory / "ca.pem").read_bytes() == authority, "growing must not make clients distrust every BMC"


def test_neutron_is_told_of_each_switch_and_of_no_secret(tmp_path: Path) -> None:
    rack = plan(1)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "rack_token").write_text("a-token-nobody-may-see")
    sections = ml2_sections(rack, tmp_path, switch_port=1234)
    assert set(sections) == {"genericswitch:leaf1", "genericswitch:leaf2"}
    assert sections["genericswitch:leaf1"]["ngs_mac_address"] == rack.switches[0].chassis_mac
    assert "a-token-nobody-may-see" not in json.dumps(sections)

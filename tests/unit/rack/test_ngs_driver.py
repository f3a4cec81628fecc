"""The networking-generic-switch driver, loaded by its entry point as Neutron does, against a really started switch."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.rack.neutron import ml2_sections
from steelyard.embedded.rack.standalone import StandaloneRack

OPENSTACK = Path(os.environ.get("STEELYARD_OPENSTACK_ENV", Path(__file__).parents[3] / ".venvs" / "openstack"))
PYTHON = OPENSTACK / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"the driver runs inside Neutron, and the OpenStack environment is not installed in {OPENSTACK}",
)


class Driver:
    """The driver in a process of its own, under the OpenStack environment."""

    def __init__(self, rack: StandaloneRack, process: subprocess.Popen[str]):
        self.rack = rack
        self._process = process

    def __call__(self, *calls: tuple[str, dict[str, Any]], **options: str) -> list[dict[str, Any]]:
        section = ml2_sections(self.rack.rack, self.rack.home, switch_port=self.rack.ports["rack_switch"])
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([{**section["genericswitch:leaf1"], **options}, calls]), file=self._process.stdin, flush=True)
        answers: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answers


@pytest.fixture(scope="module")
def driver_process() -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    # A proxy of the environment must make no difference: the driver's token goes to the switch only.
    with subprocess.Popen(
        [str(PYTHON), str(Path(__file__).with_name("ngs_driver_script.py"))],
        env={**environment, "http_proxy": "http://127.0.0.1:9"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.terminate()


@pytest.fixture
def drive(rack: StandaloneRack, driver_process: subprocess.Popen[str]) -> Driver:
    return Driver(rack, driver_process)


def plug(port: str, vlan: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return "plug_port_to_network", {"port_id": port, "segmentation_id": vlan, **more}


def unplug(port: str, vlan: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return "delete_port", {"port_id": port, "segmentation_id": vlan, **more}


def test_networks_ports_bonds_and_trunks(rack: StandaloneRack, drive: Driver) -> None:
    trunk = {"sub_ports": [{"segmentation_id": 301, "port_id": "x"}, {"segmentation_id": 302, "port_id": "y"}]}
    answers = drive(
        ("add_network", {"segmentation_id": 120, "network_id": "5a0b"}),
        plug("Ethernet1", 120, trunk_details=trunk),
        ("vlan_has_ports", {"segmentation_id": 120}),
        ("plug_bond_to_network", {"bond_id": "Ethernet2", "segmentation_id": 120}),
        ("unplug_bond_from_network", {"bond_id": "Ethernet2", "segmentation_id": 120}),
        ("del_subports_on_trunk", {"binding_profile": {}, "port_id": "Ethernet1", "subports": trunk["sub_ports"][:1]}),
        (
            "add_subports_on_trunk",
            {"binding_profile": {}, "port_id": "Ethernet1", "subports": [{"segmentation_id": 9}]},
        ),
    )
    assert [answer for answer in answers if "error" in answer] == []
    assert answers[2]["value"] is True
    port = rack.port("leaf1/Ethernet1")
    assert (port["untagged_vlan"], port["tagged_vlans"]) == (120, [9, 302])
    assert rack.port("leaf1/Ethernet2")["untagged_vlan"] is None
    vlans = rack.call("switch", "GET", "/switches/leaf1")["vlans"]
    assert vlans["120"] == "5a0b"


def test_a_bonds_port_is_in_a_group_while_it_is_plugged(rack: StandaloneRack, drive: Driver) -> None:
    drive(("plug_bond_to_network", {"bond_id": "Ethernet2", "segmentation_id": 123}))
    assert rack.port("leaf1/Ethernet2")["lag"] == "lacp"
    drive(plug("Ethernet2", 124))
    assert rack.port("leaf1/Ethernet2")["lag"] is None, "a ramdisk boots over one NIC, without LACP"
    drive(("plug_bond_to_network", {"bond_id": "Ethernet2", "segmentation_id": 123}))
    drive(("unplug_bond_from_network", {"bond_id": "Ethernet2", "segmentation_id": 123}))
    assert (rack.port("leaf1/Ethernet2")["untagged_vlan"], rack.port("leaf1/Ethernet2")["lag"]) == (None, None)


def test_no_tag_stays_when_the_untagged_network_goes(rack: StandaloneRack, drive: Driver) -> None:
    drive(
        plug("Ethernet3", 125, trunk_details={"sub_ports": [{"segmentation_id": 303, "port_id": "x"}]}),
        unplug("Ethernet3", 126),
    )
    assert rack.port("leaf1/Ethernet3")["tagged_vlans"] == [303], "it is on another network, whose tags stay"
    drive(unplug("Ethernet3", 125))
    assert rack.port("leaf1/Ethernet3")["tagged_vlans"] == []


def test_unplugging_is_of_one_network_and_idempotent(drive: Driver) -> None:
    answers = drive(
        plug("Ethernet3", 121),
        unplug("Ethernet3", 122),
        ("vlan_has_ports", {"segmentation_id": 121}),
        unplug("Ethernet3", 121),
        unplug("Ethernet3", 121),
        ("vlan_has_ports", {"segmentation_id": 121}),
        ("del_network", {"segmentation_id": 121, "network_id": "x"}),
        ("del_network", {"segmentation_id": 121, "network_id": "x"}),
    )
    assert [answer.get("value") for answer in answers] == [None, None, True, None, None, False, None, None]
    assert not any("error" in answer for answer in answers)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("refuse", "locked by another session"), ("garbage", "not JSON"), ("drop", "no answer"), ("hang", "no answer")],
)
def test_a_switch_that_does_not_do_as_it_is_told_is_an_error_that_says_so(
    rack: StandaloneRack, drive: Driver, kind: str, said: str
) -> None:
    before = rack.port("leaf1/Ethernet4")
    rack.call("switch", "POST", "/faults", {"target": "leaf1/Ethernet4", "kind": kind, "match": "plug", "times": 1})
    [answer] = drive(plug("Ethernet4", 130), steelyard_timeout="1")
    assert answer["error"] == "SimulatedSwitchError"
    assert said in answer["text"]
    assert rack.token not in answer["text"]
    assert rack.port("leaf1/Ethernet4") == before


def test_a_write_that_is_not_applied_looks_like_success(rack: StandaloneRack, drive: Driver) -> None:
    rack.call("switch", "POST", "/faults", {"target": "leaf1/Ethernet5", "kind": "not_applied", "times": 1})
    before = rack.port("leaf1/Ethernet5")
    assert drive(plug("Ethernet5", 131)) == [{"value": None}]
    assert rack.port("leaf1/Ethernet5") == before


def test_a_switch_that_is_not_there(drive: Driver) -> None:
    answers = drive(
        plug("Ethernet6", 132),
        ("vlan_has_ports", {"segmentation_id": 132}),
        steelyard_url="http://127.0.0.1:9",
    )
    assert answers[0]["error"] == "SimulatedSwitchError"
    assert answers[1] == {"value": True}, "when in doubt, a VLAN is in use"


def test_what_it_cannot_do_is_refused(drive: Driver) -> None:
    [answer] = drive(("plug_switch_to_network", {"vni": 5000, "segmentation_id": 120}))
    assert answer["error"] == "GenericSwitchNotSupported"


WEB = "0d1c6d1e-6d3b-4a8e-9c11-6f3a5c0b7e21"
SSH = "5b0a4d0e-2d44-4b4e-8a52-0c1f7e6d9a32"
HTTPS = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 443, "port_range_max": 443}
FROM = {"direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": "192.0.2.0/24"}


def sg(sg_id: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"id": sg_id, "rules": rules}


def filters(rack: StandaloneRack) -> dict[str, Any]:
    found: dict[str, Any] = rack.call("switch", "GET", "/switches/leaf1/filters")["filters"]
    return found


def test_a_security_group_is_a_filter_with_its_rules(rack: StandaloneRack, drive: Driver) -> None:
    same = [{**rule} for rule in (FROM, HTTPS)]
    for rules in (same, same[::-1]):
        assert drive(("add_security_group", {"sg": sg(WEB, *rules)})) == [{"value": None}]
        assert filters(rack)[WEB] == [HTTPS, FROM], "in the same order whatever Neutron's is"
    everything = {"direction": "egress", "ethertype": "IPv6", "remote_group_id": SSH}
    group = {**HTTPS, "remote_address_group_id": WEB, "port_range_min": 0}
    drive(("update_security_group", {"sg": sg(WEB, everything, group)}))
    assert filters(rack)[WEB] == [everything, group]
    answers = drive(("del_security_group", {"sg_id": WEB}), ("del_security_group", {"sg_id": WEB}))
    assert answers == [{"value": None}] * 2
    assert WEB not in filters(rack)


def test_a_port_has_the_groups_that_were_bound_and_not_unbound(rack: StandaloneRack, drive: Driver) -> None:
    port = {"port_id": "Ethernet7", "port_ids": ["Ethernet7"]}
    answers = drive(
        plug("Ethernet7", 150),
        ("bind_security_group", {"sg": sg(WEB, HTTPS), **port}),
        ("bind_security_group", {"sg": sg(SSH), **port}),
        ("bind_security_group", {"sg": sg(WEB, HTTPS), **port}),
        ("del_security_group", {"sg_id": WEB}),
    )
    assert "still on Ethernet7" in answers[-1]["text"], "without it everything would pass there"
    assert [answer for answer in answers[:-1] if "error" in answer] == []
    assert (rack.port("leaf1/Ethernet7")["filters"], filters(rack)[WEB]) == ([WEB, SSH], [HTTPS])
    for _ in range(2):
        assert drive(("unbind_security_group", {"sg_id": WEB, **port, "port_ids": []})) == [{"value": None}]
    assert rack.port("leaf1/Ethernet7")["filters"] == [SSH]
    drive(("set_security_groups", {"sgs": [sg(WEB, FROM)], "port_id": "Ethernet7"}))
    assert (rack.port("leaf1/Ethernet7")["filters"], filters(rack)[WEB]) == ([WEB], [FROM])
    drive(("set_security_groups", {"sgs": [], "port_id": "Ethernet7", "leaving": [150]}))
    drive(unplug("Ethernet7", 151))
    assert rack.port("leaf1/Ethernet7")["filters"] == [WEB], "it is on another network, whose groups stay"
    drive(unplug("Ethernet7", 150))
    assert rack.port("leaf1/Ethernet7")["filters"] == []


def test_a_group_that_the_switch_does_not_take_is_an_error(rack: StandaloneRack, drive: Driver) -> None:
    rack.call("switch", "POST", "/faults", {"target": "leaf1/Ethernet8", "kind": "refuse", "match": "filter"})
    [answer] = drive(("bind_security_group", {"sg": sg(WEB), "port_id": "Ethernet8", "port_ids": []}))
    assert answer["error"] == "SimulatedSwitchError"
    assert "locked by another session" in answer["text"]
    assert rack.port("leaf1/Ethernet8")["filters"] == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("steelyard_url", ""), ("steelyard_url", "ftp://x"), ("steelyard_token_file", ""), ("steelyard_timeout", "soon")],
)
def test_a_wrong_configuration_is_refused_when_it_is_loaded(drive: Driver, option: str, value: str) -> None:
    [answer] = drive(**{option: value})
    assert option in answer["text"]


def test_a_missing_token_file_is_said(drive: Driver) -> None:
    [answer] = drive(plug("Ethernet6", 132), steelyard_token_file="/nonexistent/token")
    assert "cannot read the token" in answer["text"]

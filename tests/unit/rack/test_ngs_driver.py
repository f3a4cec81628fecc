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
    [answer] = drive(("add_security_group", {"sg": {}}))
    assert answer["error"] == "GenericSwitchNotSupported"


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

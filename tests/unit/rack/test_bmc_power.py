"""Power, boot and media of the BMCs, by sushy on a really started process; faults; kills."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import sushy

from steelyard.embedded.rack.bmc.makes import MAKES
from steelyard.embedded.rack.standalone import StandaloneRack

from .redfish_client import BOTH_MAKES, QUICK, basic, cd_of, connect, eventually, off, raw, system_of

# Power and boot


@BOTH_MAKES
def test_power_takes_its_time_and_gets_there(rack: StandaloneRack, index: int) -> None:
    server = rack.rack.servers[index]
    off(rack, server)
    system = system_of(rack, server)
    system.reset_system(sushy.RESET_ON)
    eventually(lambda: rack.machine(server.name)["power"] == "On")
    system.refresh(force=True)
    assert system.power_state == sushy.POWER_STATE_ON
    system.reset_system(sushy.RESET_FORCE_OFF)
    assert rack.machine(server.name)["running"] == "nothing", "what ran stops at once"
    eventually(lambda: rack.machine(server.name)["power"] == "Off")
    off(rack, server)


@BOTH_MAKES
def test_telling_it_what_is_so_already(rack: StandaloneRack, index: int) -> None:
    server = rack.rack.servers[index]
    off(rack, server)
    system = system_of(rack, server)
    if MAKES[server.vendor].tolerates_repeats:
        system.reset_system(sushy.RESET_FORCE_OFF)
    else:
        with pytest.raises(sushy.exceptions.HTTPError) as caught:
            system.reset_system(sushy.RESET_FORCE_OFF)
        assert caught.value.status_code == 409


def test_power_cycle_is_for_the_make_that_has_it(rack: StandaloneRack) -> None:
    ferrum, nordmark = rack.rack.servers[0], rack.rack.servers[1]
    with pytest.raises(sushy.exceptions.InvalidParameterValueError):
        system_of(rack, ferrum).reset_system(sushy.RESET_TYPE_POWER_CYCLE)
    off(rack, nordmark)
    system = system_of(rack, nordmark)
    system.reset_system(sushy.RESET_ON)
    eventually(lambda: rack.machine(nordmark.name)["running"] == "no boot device")
    boot = rack.machine(nordmark.name)["boot_id"]
    system.reset_system(sushy.RESET_TYPE_POWER_CYCLE)
    eventually(lambda: rack.machine(nordmark.name)["boot_id"] == boot + 1)
    off(rack, nordmark)


@BOTH_MAKES
def test_virtual_media_boots_once_and_then_the_disk_is_next(rack: StandaloneRack, index: int, iso: str) -> None:
    server = rack.rack.servers[index]
    off(rack, server)
    system = system_of(rack, server)
    media = cd_of(system)
    media.insert_media(iso)
    media.refresh()
    assert media.inserted
    assert media.image == iso
    system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
    system.reset_system(sushy.RESET_ON)
    eventually(lambda: rack.machine(server.name)["running"] == "ramdisk")
    assert rack.machine(server.name)["booted_image"] == iso
    system.refresh(force=True)
    assert system.boot.target == sushy.BOOT_SOURCE_TARGET_NONE, "a one-time override is used up"
    system.reset_system(sushy.RESET_FORCE_RESTART)
    eventually(lambda: rack.machine(server.name)["running"] == "no boot device")
    media.eject_media()
    media.refresh()
    assert not media.inserted
    off(rack, server)


def test_an_override_without_a_medium_does_not_boot_the_ramdisk(rack: StandaloneRack) -> None:
    server = rack.rack.servers[4]
    system = system_of(rack, server)
    system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
    system.reset_system(sushy.RESET_ON)
    eventually(lambda: rack.machine(server.name)["running"] == "no boot device")
    off(rack, server)


def test_a_persistent_override_is_for_the_make_that_takes_it(rack: StandaloneRack) -> None:
    ferrum, nordmark = (system_of(rack, server) for server in rack.rack.servers[:2])
    for system in (ferrum, nordmark):
        accept = system is ferrum
        try:
            system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_HDD, enabled=sushy.BOOT_SOURCE_ENABLED_CONTINUOUS)
        except sushy.exceptions.BadRequestError:
            assert not accept
        else:
            assert accept
    assert rack.machine(rack.rack.servers[0].name)["boot"]["enabled"] == "Continuous"
    ferrum.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_NONE, enabled=sushy.BOOT_SOURCE_ENABLED_DISABLED)


@BOTH_MAKES
def test_an_image_that_cannot_be_opened_is_not_inserted(rack: StandaloneRack, index: int, iso: str) -> None:
    server = rack.rack.servers[index]
    with pytest.raises(sushy.exceptions.BadRequestError, match="could not be opened"):
        cd_of(system_of(rack, server)).insert_media(iso.replace("agent", "missing"))
    assert rack.machine(server.name)["media"] == {}


def test_a_request_to_shut_down_is_lost_where_nobody_listens(rack: StandaloneRack) -> None:
    server = rack.rack.servers[4]
    system = system_of(rack, server)
    system.reset_system(sushy.RESET_ON)
    eventually(lambda: rack.machine(server.name)["running"] == "no boot device")
    system.reset_system(sushy.RESET_GRACEFUL_SHUTDOWN)
    assert rack.machine(server.name)["power"] == "On"
    off(rack, server)


# Faults


def fault(rack: StandaloneRack, **wanted: Any) -> None:
    rack.call("bmc", "POST", "/faults", wanted)


def test_faults_in_what_a_bmc_says(rack: StandaloneRack) -> None:
    server = rack.rack.servers[6]
    headers = basic(server.bmc_username, server.bmc_password)

    def read() -> tuple[int, Any, Any]:
        return raw(rack, server, "GET", "/redfish/v1/Systems/1", headers=headers)

    fault(rack, target=server.name, kind="refuse", match="read", times=1)
    assert read()[0] == 503
    fault(rack, target=server.name, kind="garbage", match="read", times=1)
    with pytest.raises(ValueError):
        read()
    for kind in ("drop", "hang"):
        fault(rack, target=server.name, kind=kind, match="read", times=1, seconds=0.2)
        with pytest.raises((http.client.HTTPException, OSError)):
            read()
    fault(rack, target=server.name, kind="wrong_answer", match="read", times=1)
    lie = read()[2]
    assert lie["PowerState"] == "On"
    assert lie["SerialNumber"] != server.serial
    truth = read()[2]
    assert (truth["PowerState"], truth["SerialNumber"]) == ("Off", server.serial)
    fault(rack, target=server.name, kind="refuse", match="login", times=1)
    assert raw(rack, server, "POST", "/redfish/v1/SessionService/Sessions", body="{}")[0] == 503


def test_faults_in_what_a_bmc_does(rack: StandaloneRack) -> None:
    server = rack.rack.servers[6]
    system = system_of(rack, server)
    fault(rack, target=server.name, kind="not_applied", match="power", times=1)
    system.reset_system(sushy.RESET_ON)
    assert rack.machine(server.name)["power"] == "Off"
    fault(rack, target=server.name, kind="late", match="power", times=1, seconds=0.3)
    system.reset_system(sushy.RESET_ON)
    assert rack.machine(server.name)["power"] == "Off"
    eventually(lambda: rack.machine(server.name)["power"] == "On")
    fault(rack, target=server.name, kind="wrong_answer", match="power", times=1)
    with pytest.raises(sushy.exceptions.ServerSideError):
        system.reset_system(sushy.RESET_FORCE_OFF)
    eventually(lambda: rack.machine(server.name)["power"] == "Off")
    assert rack.call("bmc", "GET", "/faults")["faults"] == []


# The process


def test_a_killed_process_comes_back_with_the_state_that_it_had(tmp_path: Path, iso: str) -> None:
    with StandaloneRack.make(tmp_path / "home", nodes=2, timing=QUICK).running("bmc") as rack:
        server = rack.rack.servers[0]
        system = system_of(rack, server)
        cd_of(system).insert_media(iso)
        system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
        system.reset_system(sushy.RESET_ON)
        eventually(lambda: rack.machine(server.name)["running"] == "ramdisk")
        headers = basic(server.bmc_username, server.bmc_password)
        body = json.dumps({"Password": "a-new-password"})
        assert raw(rack, server, "PATCH", "/redfish/v1/AccountService/Accounts/1", body=body, headers=headers)[0] == 204
        before = rack.machine(server.name)
        certificate = ssl.get_server_certificate((server.bmc_address, rack.rack.bmc_port))
        rack.kill("bmc")
        rack.start("bmc")
        assert rack.machine(server.name) == before
        assert ssl.get_server_certificate((server.bmc_address, rack.rack.bmc_port)) == certificate
        assert raw(rack, server, "GET", "/redfish/v1/Systems", headers=headers)[0] == 401
        assert connect(rack, server, password="a-new-password").get_system_collection().get_members()


def test_a_server_on_its_way_up_goes_on_after_a_kill(tmp_path: Path) -> None:
    slow = {**QUICK, "power_seconds": 1.0}
    with StandaloneRack.make(tmp_path / "home", nodes=1, timing=slow).running("bmc") as rack:
        server = rack.rack.servers[0]
        system_of(rack, server).reset_system(sushy.RESET_ON)
        assert rack.machine(server.name)["power"] == "PoweringOn"
        rack.kill("bmc")
        rack.start("bmc")
        eventually(lambda: rack.machine(server.name)["running"] == "no boot device")


def test_a_disk_is_written_by_what_runs_now_and_by_nothing_else(tmp_path: Path, iso: str) -> None:
    with StandaloneRack.make(tmp_path / "home", nodes=1, timing=QUICK).running("bmc") as rack:
        server = rack.rack.servers[0]
        write = {"boot_id": 0, "step": "write_image", "content": {"bootable": True}}
        path = f"/servers/{server.name}/disks/sda"
        with pytest.raises(Exception, match="409"):
            rack.call("bmc", "PUT", path, write)
        system = system_of(rack, server)
        cd_of(system).insert_media(iso)
        system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
        system.reset_system(sushy.RESET_ON)
        eventually(lambda: rack.machine(server.name)["running"] == "ramdisk")
        rack.call("bmc", "PUT", path, {**write, "boot_id": 1})
        with pytest.raises(Exception, match="404"):
            rack.call("bmc", "PUT", f"/servers/{server.name}/disks/sdz", {**write, "boot_id": 1})
        system.reset_system(sushy.RESET_FORCE_RESTART)
        eventually(lambda: rack.machine(server.name)["running"] == "system")
        with pytest.raises(Exception, match="409"):
            rack.call("bmc", "PUT", path, {**write, "boot_id": 1, "content": None})
        log = rack.call("bmc", "GET", "/log")["log"]
        assert [(entry["disk"], entry["step"], entry["before"]) for entry in log] == [("sda", "write_image", None)]


def test_what_keeps_a_process_from_starting_is_said(tmp_path: Path) -> None:
    rack = StandaloneRack.make(tmp_path / "home", nodes=1)
    (rack.home / "rack" / "rack.json").write_text('{"format": 1')
    with pytest.raises(Exception, match="rack plan is not JSON") as caught:
        rack.start("bmc")
    assert "Traceback" not in str(caught.value)

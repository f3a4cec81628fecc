"""What the agents do when they are told, and what they leave on the disks; faults."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sushy

from .fake_ironic import AgentError
from .redfish_client import eventually
from .scene import GONE, Scene

# Steps


def test_write_image_verifies_real_bytes_and_the_server_boots_them(booted: Scene) -> None:
    command = booted.write_image()
    assert command["command_status"] == "SUCCEEDED", command
    assert command["command_result"]["deploy_step"]["step"] == "write_image"
    content = booted.machine["disks"]["sda"]
    assert content["bootable"] is True
    assert content["image"]["checksum"] == "sha512:" + hashlib.sha512(booted.ironic.image).hexdigest()
    assert content["image"]["bytes"] == len(booted.ironic.image)
    assert content["node"] == booted.ironic.node_id
    assert "secret-signature" not in str(booted.machine)
    assert booted.ironic.command("standby.power_off")["command_status"] == "SUCCEEDED"
    eventually(lambda: booted.machine["power"] == "Off")
    booted.system.reset_system(sushy.RESET_ON)
    eventually(lambda: booted.machine["running"] == "system")
    assert booted.agents == {}


def test_a_wrong_checksum_fails_and_leaves_a_disk_that_does_not_boot(booted: Scene) -> None:
    command = booted.write_image(os_hash_value="0" * 128)
    assert command["command_status"] == "FAILED"
    assert command["command_error"]["type"] == "ImageChecksumError"
    content = booted.machine["disks"]["sda"]
    assert content["bootable"] is False
    assert content["partial"] is True, "the data is there all the same"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"urls": []}, "InvalidCommandParamsError"),
        ({"os_hash_algo": "md5"}, "InvalidCommandParamsError"),
        ({"os_hash_algo": None, "checksum": "d41d8cd98f00b204e9800998ecf8427e"}, "InvalidCommandParamsError"),
        ({"urls": ["http://127.0.0.1:9/image"]}, "ImageDownloadError"),
    ],
)
def test_an_image_that_cannot_be_had_or_trusted_fails(booted: Scene, changes: dict[str, Any], kind: str) -> None:
    command = booted.write_image(**changes)
    assert command["command_status"] == "FAILED"
    assert command["command_error"]["type"] == kind


def test_only_a_full_erase_takes_the_data_away(booted: Scene) -> None:
    booted.write_image()
    booted.step("clean", "erase_devices_metadata")
    left = booted.machine["disks"]["sda"]
    assert (left["bootable"], left["image"]["id"]) == (False, "image-1")
    command = booted.step("clean", "erase_devices")
    assert command["command_status"] == "SUCCEEDED"
    assert booted.machine["disks"] == {}
    writes = [entry["step"] for entry in booted.rack.call("bmc", "GET", "/log")["log"]]
    assert writes[-2:] == ["erase_devices_metadata", "erase_devices"]


def test_an_unknown_step_fails_and_an_unknown_command_is_refused(booted: Scene) -> None:
    assert booted.step("clean", "polish")["command_error"]["type"] == "HardwareManagerMethodNotFound"
    with pytest.raises(AgentError, match="404"):
        booted.ironic.command("standby.sing")


def test_the_steps_are_listed_as_ironic_wants_them(booted: Scene) -> None:
    for kind in ("clean", "deploy", "service"):
        result = booted.ironic.command(f"{kind}.get_{kind}_steps")["command_result"]
        assert set(result) == {f"{kind}_steps", "hardware_manager_version"}
        for steps in result[f"{kind}_steps"].values():
            assert all({"interface", "step", "priority"} <= set(step) for step in steps)


def test_steps_listed_by_another_version_are_a_mismatch(booted: Scene) -> None:
    step = {"step": "erase_devices", "interface": "deploy"}
    params = {"step": step, "clean_version": {"generic_hardware_manager": "0.9"}}
    assert booted.ironic.command("clean.execute_clean_step", params)["command_status"] == "VERSION_MISMATCH"


def test_one_command_at_a_time(booted: Scene) -> None:
    booted.fault(kind="slow", match="erase_devices", seconds=1)
    step = {"step": "erase_devices", "interface": "deploy"}
    first = booted.ironic.command("clean.execute_clean_step", {"step": step})
    assert first["command_status"] == "RUNNING"
    with pytest.raises(AgentError, match="409"):
        booted.ironic.command("clean.execute_clean_step", {"step": step})
    assert booted.finished(first["id"])["command_status"] == "SUCCEEDED"


def test_a_wrong_token_moves_nothing(booted: Scene) -> None:
    with pytest.raises(AgentError, match="401"):
        booted.ironic.command("standby.power_off", token="guess")
    assert booted.machine["power"] == "On"


def test_the_agent_ends_with_the_password_and_the_rescue_system_runs(booted: Scene) -> None:
    assert booted.ironic.command("rescue.finalize_rescue", {})["command_status"] == "FAILED"
    assert booted.answers()
    assert booted.ironic.command("rescue.finalize_rescue", {"rescue_password": "x"})["command_status"] == "SUCCEEDED"
    assert booted.is_silent()
    assert booted.machine["power"] == "On"
    booted.rack.kill("agents")
    booted.rack.start("agents")
    assert booted.is_silent(), "the agent came back with the simulator, but not with a boot"


def test_logs_and_lockdown(booted: Scene) -> None:
    assert booted.ironic.command("log.collect_system_logs")["command_result"]["system_logs"]
    with pytest.raises(GONE):
        booted.ironic.command("system.lockdown")
    assert booted.is_silent()


# Faults


def test_a_step_that_lies_about_being_done(booted: Scene) -> None:
    booted.write_image()
    booted.fault(kind="not_applied", match="erase_devices", times=1)
    assert booted.step("clean", "erase_devices")["command_status"] == "SUCCEEDED"
    assert booted.machine["disks"] != {}, "the data of the tenancy is still there"
    booted.step("clean", "erase_devices")


def test_faults_of_steps_and_answers(booted: Scene) -> None:
    booted.fault(kind="refuse", match="erase_devices", times=1)
    assert booted.step("clean", "erase_devices")["command_status"] == "FAILED"
    booted.fault(kind="wrong_answer", match="erase_devices", times=1)
    assert booted.step("clean", "erase_devices")["command_result"]["clean_step"]["step"] == "collect_dust"
    booted.fault(kind="drop", match="command", times=1)
    with pytest.raises(GONE):
        booted.ironic.command("standby.sync")
    booted.fault(kind="garbage", match="command", times=1)
    with pytest.raises(ValueError):
        booted.ironic.command("standby.sync")
    booted.fault(kind="refuse", match="status", times=1)
    with pytest.raises(AgentError, match="500"):
        booted.ironic.commands()
    assert booted.ironic.command("standby.sync")["command_status"] == "SUCCEEDED"


def test_faults_of_what_it_sends(scene: Scene) -> None:
    scene.fault(kind="wrong_answer", match="inspect", times=1)
    scene.fault(kind="drop", match="heartbeat", times=1)
    scene.boot_ramdisk()
    eventually(lambda: len(scene.ironic.inspections) >= 2)
    lie, truth = scene.ironic.inspections[0]["inventory"], scene.ironic.inspections[1]["inventory"]
    assert lie["system_vendor"]["serial_number"] != truth["system_vendor"]["serial_number"]
    scene.fault(kind="garbage", match="inspect", times=1)
    eventually(lambda: scene.ironic.garbage == 1)
    scene.fault(kind="wrong_answer", match="heartbeat", times=1)
    eventually(lambda: any(beat["agent_token"] != scene.ironic.token for beat in scene.ironic.heartbeats))

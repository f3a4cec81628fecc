"""The agents' life, on real bmc and switch processes, against the endpoints that a ramdisk uses of Ironic."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sushy

from steelyard.embedded.rack.agents.agent import Agent
from steelyard.embedded.rack.agents.inventory import lldp, root_device
from steelyard.embedded.rack.agents.links import HardwareLink, IronicLink
from steelyard.embedded.rack.agents.steps import Machine
from steelyard.embedded.rack.faults import Faults
from steelyard.embedded.rack.plan import plan_rack
from steelyard.embedded.rack.records import Records
from steelyard.embedded.rack.standalone import RAMDISK_VLANS

from .redfish_client import QUICK, eventually
from .scene import SERVER, TENANT_VLAN, Scene

# From boot to heartbeat


def test_the_agent_looks_its_node_up_by_all_its_macs_and_then_heartbeats(booted: Scene) -> None:
    assert booted.ironic.lookups[0] == [nic.mac for nic in booted.server.nics]
    beat = booted.ironic.heartbeats[0]
    assert beat["path"] == f"/v1/heartbeat/{booted.ironic.node_id}"
    assert beat["agent_token"] == booted.ironic.token
    booted.beats()


@pytest.mark.parametrize("status", [404, 409, 500])
def test_a_refused_lookup_is_tried_again(scene: Scene, status: int) -> None:
    scene.ironic.lookup_status = status
    scene.boot_ramdisk()
    eventually(lambda: len(scene.ironic.lookups) >= 2)
    assert scene.ironic.heartbeats == []
    scene.ironic.lookup_status = 200
    eventually(lambda: bool(scene.ironic.heartbeats))


def test_a_locked_node_is_tried_again_and_the_token_is_kept(booted: Scene) -> None:
    booted.ironic.heartbeat_status = 409
    booted.beats()
    booted.ironic.heartbeat_status = 202
    booted.beats()
    assert booted.ironic.heartbeats[-1]["agent_token"] == booted.ironic.token
    assert len(booted.ironic.lookups) == 1


def test_a_node_that_is_gone_is_looked_up_again(booted: Scene) -> None:
    booted.ironic.heartbeat_status, booted.ironic.tokens_given, booted.ironic.token = 404, 0, "another-token"
    eventually(lambda: len(booted.ironic.lookups) >= 2)
    booted.ironic.heartbeat_status = 202
    eventually(lambda: booted.ironic.heartbeats[-1]["agent_token"] == "another-token")


def test_inspection_waits_until_somebody_wants_it(scene: Scene) -> None:
    scene.boot_ramdisk()
    eventually(lambda: len(scene.ironic.inspections) >= 2)
    assert scene.ironic.heartbeats, "meanwhile it heartbeats"
    scene.ironic.inspection_status = 202
    eventually(lambda: scene.agents[SERVER]["inspected"])
    count = len(scene.ironic.inspections)
    scene.beats()
    assert len(scene.ironic.inspections) == count, "once is enough"


def test_the_inventory_is_that_of_the_server_with_its_cables(booted: Scene) -> None:
    data, server = booted.ironic.inspections[0], booted.server
    inventory = data["inventory"]
    assert inventory["cpu"]["count"] == server.cpus
    assert inventory["memory"]["physical_mb"] == server.memory_mib
    assert [disk["serial"] for disk in inventory["disks"]] == [disk.serial for disk in server.disks]
    assert inventory["system_vendor"]["serial_number"] == server.serial
    assert inventory["bmc_address"] == server.bmc_address
    assert data["boot_interface"] == server.boot_nic.mac
    for interface, nic in zip(inventory["interfaces"], server.nics, strict=True):
        assert interface["mac_address"] == nic.mac
        frames = {kind: bytes.fromhex(value) for kind, value in interface["lldp"]}
        assert frames[1] == b"\x04" + bytes.fromhex(nic.switch_mac.replace(":", ""))
        assert frames[2] == b"\x05" + nic.port.encode()
        assert frames[5] == nic.switch.encode()
    vlan = dict(inventory["interfaces"][0]["lldp"])[127]
    assert int(vlan[-4:], 16) == RAMDISK_VLANS["provisioning"]


# Honest about power


def test_nobody_answers_for_a_server_that_was_switched_off(booted: Scene) -> None:
    assert booted.answers()
    booted.power_off()
    eventually(lambda: booted.agents == {})
    assert booted.is_silent()


def test_power_off_ends_what_was_running_at_once(booted: Scene) -> None:
    booted.fault(kind="slow", match="write_image", seconds=60)
    step = {"step": "write_image", "interface": "deploy", "args": {"image_info": {"urls": [f"{booted.url}/image"]}}}
    command = booted.ironic.command("deploy.execute_deploy_step", {"step": step})
    assert command["command_status"] == "RUNNING"
    booted.power_off()
    eventually(lambda: booted.agents == {})
    assert booted.machine["disks"] == {}


def test_a_server_that_boots_something_else_has_no_agent(scene: Scene) -> None:
    scene.system.reset_system(sushy.RESET_ON)
    eventually(lambda: scene.machine["running"] == "no boot device")
    assert scene.agents == {}
    assert scene.ironic.lookups == []


def test_a_restart_is_another_boot_with_another_agent(booted: Scene) -> None:
    before = booted.agents[SERVER]["boot_id"]
    booted.system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
    booted.ironic.tokens_given = 0
    booted.system.reset_system(sushy.RESET_FORCE_RESTART)
    eventually(lambda: booted.agents.get(SERVER, {}).get("boot_id") == before + 1)
    eventually(lambda: len(booted.ironic.lookups) == 2)


def test_a_masked_token_is_not_taken_for_one(scene: Scene) -> None:
    scene.ironic.tokens_given = 1
    scene.boot_ramdisk()
    eventually(lambda: len(scene.ironic.lookups) >= 2)
    assert scene.ironic.heartbeats == []


# Honest about the network


@pytest.mark.parametrize("vlan", [None, TENANT_VLAN])
def test_an_agent_in_the_wrong_vlan_reaches_nobody_and_nobody_reaches_it(booted: Scene, vlan: int | None) -> None:
    booted.plug(vlan)
    eventually(lambda: not booted.agents[SERVER]["reachable"])
    assert booted.is_silent()
    booted.plug(RAMDISK_VLANS["cleaning"])
    booted.beats()
    assert booted.answers()


def test_a_server_that_boots_in_the_wrong_vlan_waits(scene: Scene) -> None:
    scene.plug(TENANT_VLAN)
    scene.boot_ramdisk()
    time.sleep(4 * QUICK["heartbeat_seconds"])
    assert scene.ironic.lookups == []
    scene.plug(RAMDISK_VLANS["inspection"])
    eventually(lambda: bool(scene.ironic.heartbeats))


@pytest.mark.parametrize("process", ["switch", "bmc"])
def test_while_another_process_is_down_nobody_is_reached_and_the_answer_waits(booted: Scene, process: str) -> None:
    booted.rack.kill(process)
    eventually(lambda: not booted.agents[SERVER]["reachable"])
    count = len(booted.ironic.heartbeats)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(booted.answers)
        time.sleep(3 * QUICK["heartbeat_seconds"])
        assert not answer.done()
        assert len(booted.ironic.heartbeats) == count
        booted.rack.start(process)
        assert answer.result()
    booted.beats()
    assert len(booted.ironic.lookups) == 1, "the same boot, the same token"


# Restarts of either side


def test_killed_agents_come_back_with_their_token_and_finish_what_they_were_doing(booted: Scene) -> None:
    booted.fault(kind="slow", match="erase_devices", seconds=60)
    booted.write_image()
    step = {"step": "erase_devices", "interface": "deploy"}
    command = booted.ironic.command("clean.execute_clean_step", {"step": step})
    assert command["command_status"] == "RUNNING"
    booted.rack.kill("agents")
    booted.rack.start("agents")
    booted.beats()
    assert booted.ironic.heartbeats[-1]["agent_token"] == booted.ironic.token
    assert booted.finished(command["id"])["command_status"] == "SUCCEEDED"
    assert booted.machine["disks"] == {}
    assert len(booted.ironic.lookups) == 1


def test_agents_that_were_down_when_power_went_off_know_it_when_they_are_back(booted: Scene) -> None:
    booted.rack.kill("agents")
    booted.power_off()
    booted.rack.start("agents")
    assert booted.agents == {}
    assert booted.is_silent()


# Pure parts


@pytest.mark.parametrize(
    ("index", "hints", "expected"),
    [
        (4, {}, "nvme0n1"),
        (4, {"name": "/dev/sda"}, "sda"),
        (4, {"rotational": True}, "sda"),
        (4, {"serial": "nothing-like-it"}, None),
        (2, {"size": 894}, "sda"),
        (2, {"colour": "red"}, None),
    ],
)
def test_the_root_device(index: int, hints: dict[str, Any], expected: str | None) -> None:
    server = plan_rack(6, network="127.77", bmc_port=1, seed="s").servers[index]
    disk = root_device(server, hints)
    assert (disk.name if disk else None) == expected


def test_an_idle_port_still_says_who_it_is() -> None:
    nic = plan_rack(1, network="127.77", bmc_port=1, seed="s").servers[0].boot_nic
    assert [kind for kind, _ in lldp(nic, None)] == [1, 2, 3, 5, 6]


@pytest.mark.parametrize("turns", range(4))
def test_power_off_ends_an_agent_whatever_else_happens_in_that_moment(tmp_path: Path, turns: int) -> None:
    server = plan_rack(1, network="127.77", bmc_port=1, seed="s").servers[0]
    rounds = 0

    def connected() -> bool:
        nonlocal rounds
        rounds += 1
        return False

    async def scenario() -> int:
        async with aiohttp.ClientSession() as client:
            agent = Agent(
                Machine(server, 1, HardwareLink(client, "http://127.0.0.1:9", "token"), client, 0.0),
                IronicLink(client, "http://127.0.0.1:9"),
                faults=Faults(None),
                records=Records(tmp_path / "agents.sqlite"),
                connected=connected,
                vlans=dict,
                callback_url="http://127.0.0.1:9/agent/x",
                period=lambda: 0.01,
            )
            agent.start()
            await asyncio.sleep(0.05)
            agent.kick()
            for _ in range(turns):
                await asyncio.sleep(0)
            agent.stop()
            await asyncio.sleep(0)
            after = rounds
            await asyncio.sleep(1.0)
            return rounds - after

    assert asyncio.run(scenario()) == 0

"""Steelyard's interfaces inside Ironic, with Ironic's own classes, in the OpenStack environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OPENSTACK = Path(os.environ.get("STEELYARD_OPENSTACK_ENV", Path(__file__).parents[3] / ".venvs" / "openstack"))
PYTHON = OPENSTACK / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"the interfaces run inside Ironic, and the OpenStack environment is not installed in {OPENSTACK}",
)

Scene = Callable[..., dict[str, Any]]
PARKED = {"steelyard_parked": {"nics": []}}
NODE = "11111111-2222-4333-8444-555555555555"
STEPS = [
    {"interface": "deploy", "step": "erase_devices", "priority": 10, "argsinfo": None},
    {"interface": "power", "step": "record_cleaning", "priority": 1},
]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the process complains of: a file, since a pipe that nobody reads stops it when it is full."""
    return tmp_path_factory.mktemp("ironic") / "errors"


@pytest.fixture(scope="module")
def process(errors: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with errors.open("w") as complaints, subprocess.Popen(
        [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("interfaces_script.py"))],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
    ) as process:  # fmt: skip
        yield process
        process.terminate()


@pytest.fixture
def play(process: subprocess.Popen[str], errors: Path) -> Scene:
    def one(do: str, **scene: Any) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({"do": do, **scene}), file=process.stdin, flush=True)
        line = process.stdout.readline()
        if not line:
            pytest.fail(errors.read_text()[-3000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    return one


def test_ironic_loads_them_and_its_hardware_types_take_them(play: Scene) -> None:
    found = play("about")
    assert found["networks"] == ["neutron", "noop", "steelyard"]
    assert found["powers"] == ["redfish", "steelyard-redfish"]
    assert found["supports"] is True
    assert found["rescue"] == "steelyard", "a node that is enrolled gets it without being told"
    assert found["ipmi"] == ["SteelyardIPMIPower", "IPMIPower"]
    [step] = found["steps"]
    assert (step["step"], step["priority"], step["requires_ramdisk"]) == ("record_cleaning", 1, False)
    assert not {"available", "manageable", "cleaning", "clean wait", "deleting"} & set(found["states"])


class TestPower:
    @pytest.mark.parametrize("to", ["power on", "soft rebooting"])
    def test_a_parked_server_asks_before_the_bmc_is_told(self, play: Scene, to: str) -> None:
        done = play("power", to=to, extra=PARKED)
        asked = ["asked", f"http://steelyard.test:8990/v1/nodes/{NODE}/power-gate"]
        assert done["calls"] == [asked, ["bmc", to]]
        assert done["error"] is None

    def test_reboot_asks_too(self, play: Scene) -> None:
        assert [call[0] for call in play("reboot", extra=PARKED)["calls"]] == ["asked", "bmc"]

    @pytest.mark.parametrize(
        "scene",
        [
            {"to": "power on"},
            {"to": "power off", "extra": PARKED},
            {"to": "power on", "extra": PARKED, "state": "cleaning"},
            {"to": "power on", "extra": {"steelyard": {"candidate_id": "x"}}},
        ],
        ids=["not parked", "off", "Ironic's own work", "other notes"],
    )
    def test_nobody_is_asked_where_there_is_nothing_to_ask(self, play: Scene, scene: dict[str, Any]) -> None:
        assert play("power", **scene)["calls"] == [["bmc", scene["to"]]]

    def test_a_refusal_is_told_in_steelyards_words(self, play: Scene) -> None:
        body = json.dumps({"detail": "The switch does not obey.", "next": "steelyard isolation show bm-1"})
        done = play("power", to="power on", extra=PARKED, status=409, body=body)
        assert [call[0] for call in done["calls"]] == ["asked"]
        kind, text = done["error"]
        assert kind == "SteelyardRefused"
        assert text.endswith("get power: The switch does not obey. Next: steelyard isolation show bm-1")

    @pytest.mark.parametrize(
        ("scene", "said"),
        [
            ({"steelyard": "away"}, "cannot be reached (ConnectFailure)"),
            ({"endpoint": ""}, "no address of Steelyard"),
            ({"status": 500, "body": "<html>"}, "HTTP 500"),
            ({"status": 302, "body": "{}"}, "HTTP 302"),
            ({"status": 401, "body": "[]"}, "HTTP 401"),
        ],
    )
    def test_every_doubt_is_a_refusal(self, play: Scene, scene: dict[str, Any], said: str) -> None:
        done = play("power", to="power on", extra=PARKED, **scene)
        assert "bmc" not in [call[0] for call in done["calls"]]
        assert said in done["error"][1]
        assert "secret" not in done["error"][1]

    @pytest.mark.parametrize(("state", "used"), [("active", True), ("deploying", True), ("cleaning", False)])
    def test_a_use_by_a_tenant_is_noted_beside_the_other_notes(self, play: Scene, state: str, used: bool) -> None:
        internal = {"steelyard": {"cleaned": {"at": "then"}}}
        notes = play("power", to="power off", state=state, internal=internal)["internal"]["steelyard"]
        assert ("used" in notes) is used
        assert notes["cleaned"] == {"at": "then"}


class TestRecord:
    def test_an_automated_clean_that_ran_to_its_end(self, play: Scene) -> None:
        internal = {"clean_steps": STEPS, "clean_step_index": 1, "steelyard": {"used": "then"}}
        done = play("record", state="cleaning", target="available", internal=internal)
        notes = done["internal"]["steelyard"]
        assert done["error"] is None
        assert done["saved"] == 1
        assert notes["used"] == "then"
        assert notes["cleaned"]["at"].endswith("+00:00")
        assert notes["cleaned"]["steps"] == [
            {"interface": "deploy", "step": "erase_devices", "priority": 10},
            {"interface": "power", "step": "record_cleaning", "priority": 1},
        ]

    @pytest.mark.parametrize(
        ("target", "index", "steps"),
        [("manageable", 1, STEPS), ("available", 0, STEPS[::-1]), ("available", None, []), (None, 1, STEPS)],
        ids=["manual", "not the last", "no steps", "no target"],
    )
    def test_anything_else_proves_nothing(self, play: Scene, target: str | None, index: int | None, steps: Any) -> None:
        internal = {"clean_steps": steps, "clean_step_index": index}
        done = play("record", state="cleaning", target=target, internal=internal)
        assert done["error"] is None
        assert "steelyard" not in done["internal"]


class TestQuarantinePorts:
    @pytest.mark.parametrize(
        ("do", "stock"),
        [("add", "add"), ("configure_tenant_networks", "configure"), ("unconfigure_tenant_networks", "unconfigure")],
    )
    def test_they_go_first(self, play: Scene, do: str, stock: str) -> None:
        done = play(do, extra=PARKED, ports=["q1", "q2"])
        assert done["error"] is None
        assert [call for call in done["calls"] if call[:2] != ["asked", SEGMENT]][:5] == [
            ["asked", f"http://steelyard.test:8990/v1/nodes/{NODE}/network-gate"],
            ["ports", {"device_id": NODE, "name": "steelyard-quarantine"}],
            ["delete", "q1"],
            ["delete", "q2"],
            ["stock", stock],
        ]

    def test_they_go_also_when_steelyard_is_away(self, play: Scene) -> None:
        done = play("unconfigure_tenant_networks", extra=PARKED, ports=["q1"], steelyard="away")
        assert [call[0] for call in done["calls"]] == ["asked", "ports", "delete", "stock"]

    def test_those_of_a_node_without_a_mark_go_too_and_nobody_is_asked(self, play: Scene) -> None:
        done = play("unconfigure_tenant_networks", ports=["q1"])
        assert [call[0] for call in done["calls"]] == ["ports", "delete", "stock"]


TENANT, CLEANING, PROVISIONING = "tenant_vif_port_id", "cleaning_vif_port_id", "provisioning_vif_port_id"
SEGMENT = f"http://steelyard.test:8990/v1/nodes/{NODE}/segment"
GATE = f"http://steelyard.test:8990/v1/nodes/{NODE}/flip-gate"
TWO = [{"address": "mac-1"}, {"address": "mac-2", "pxe": False}]
ATTACHED = [{"address": "mac-1", "info": {TENANT: "vif-1"}}, {"address": "mac-2"}]


def asked(done: dict[str, Any]) -> list[Any]:
    """What Steelyard was asked to verify, each time."""
    return [call[2] for call in done["calls"] if call[:2] == ["asked", GATE]]


def changes(done: dict[str, Any]) -> list[Any]:
    """What was asked and done, but for the looks for ports in quarantine."""
    return [call for call in done["calls"] if call[0] != "ports"]


class TestVerified:
    """Every change of a node's networks is told to Steelyard after it was made, and is nothing without its yes."""

    def test_a_ramdisks_network_on_all_nics(self, play: Scene) -> None:
        done = play("add", nics=TWO)
        assert [call[0] for call in changes(done)] == ["asked", "stock", "asked"]
        assert changes(done)[0] == ["asked", SEGMENT, {"role": "cleaning"}]
        assert asked(done) == [{
            "role": "cleaning", "joined": True, "nics": [
                {"mac": "mac-1", "network_id": "net", "port_id": "vif of mac-1"},
                {"mac": "mac-2", "network_id": "net", "port_id": "vif of mac-2"},
            ],
        }]  # fmt: skip

    def test_by_pxe_only_the_nics_that_boot_are_put_there(self, play: Scene) -> None:
        [body] = asked(play("add", nics=TWO, boot=["pxe_boot"]))
        assert [nic["mac"] for nic in body["nics"]] == ["mac-1"]

    def test_a_nic_that_ironic_only_warned_of_is_among_them(self, play: Scene) -> None:
        [body] = asked(play("add", nics=TWO, not_made=["mac-2"]))
        assert body["nics"][1] == {"mac": "mac-2", "network_id": "net"}

    def test_off_it_again(self, play: Scene) -> None:
        nics = [{"address": "mac-1", "info": {CLEANING: "c1"}}, {"address": "mac-2"}]
        done = play("remove", nics=nics)
        assert asked(done) == [{"role": "cleaning", "joined": False, "nics": [{"mac": "mac-1"}]}]
        assert changes(play("remove", nics=TWO)) == [["stock", "remove"]], "there was nothing to take off"

    def test_the_tenants_networks(self, play: Scene) -> None:
        wanted = {"mac": "mac-1", "port_id": "vif-1"}
        assert asked(play("configure_tenant_networks", nics=ATTACHED)) == [
            {"role": "tenant", "joined": True, "nics": [wanted]}
        ]
        assert asked(play("unconfigure_tenant_networks", nics=ATTACHED)) == [
            {"role": "tenant", "joined": False, "nics": [{"mac": "mac-1"}]}
        ]

    def test_a_servers_port_goes_on_a_nic_whose_switch_port_is_known(self, play: Scene) -> None:
        nics = [
            {"address": "mac-1", "link": {}}, {"address": "mac-2"},
            {"address": "mac-3", "link": {}, "extra": {"client-id": "of InfiniBand"}},
        ]  # fmt: skip
        done = play("attach", nics=nics)
        assert done["calls"] == [["stock", "attach", "vif-1", ["mac-2", "mac-3"]]]
        assert done["internal"]["ports"] == ["mac-1", "mac-2", "mac-3"], "Ironic has them all again"
        none = play("attach", nics=nics[:1])
        assert none["error"][0] == "NoFreePhysicalPorts"
        assert none["internal"]["ports"] == ["mac-1"]

    def test_what_a_failed_deployment_left_behind_may_still_be_there(self, play: Scene) -> None:
        nics = [{"address": "mac-1", "info": {TENANT: "vif-1", PROVISIONING: "p1"}}]
        [body] = asked(play("unconfigure_tenant_networks", nics=nics))
        assert body["nics"] == [{"mac": "mac-1", "port_id": "p1"}]

    def test_the_nics_of_a_bond_share_its_port(self, play: Scene) -> None:
        nics = [{"address": "mac-1", "bond": 7}, {"address": "mac-2", "bond": 7, "info": {TENANT: "stale"}}]
        bonds = [{"id": 7, "address": "mac-b", "info": {TENANT: "vif-b"}}]
        [body] = asked(play("configure_tenant_networks", nics=nics, bonds=bonds))
        assert body["nics"] == [{"mac": "mac-1", "port_id": "vif-b"}, {"mac": "mac-2", "port_id": "vif-b"}]

    @pytest.mark.parametrize(
        ("do", "after"), [("add", [["stock", "remove"]]), ("configure_tenant_networks", [["stock", "unconfigure"]])]
    )
    @pytest.mark.parametrize(
        ("scene", "said"),
        [
            (
                {"status": 409, "body": json.dumps({"detail": "The switch carries VLAN 9."})},
                "The switch carries VLAN 9.",
            ),
            ({"steelyard": "gone at the flip gate"}, "cannot be reached (ConnectFailure)"),
            ({"status": 500, "body": "<html>"}, "HTTP 500"),
            ({"status": 404, "body": "{}"}, "HTTP 404"),
        ],
    )
    def test_without_a_yes_the_step_fails_and_the_nics_are_taken_off(
        self, play: Scene, do: str, after: list[Any], scene: dict[str, Any], said: str
    ) -> None:
        done = play(do, nics=ATTACHED, **scene)
        kind, text = done["error"]
        assert kind == "SteelyardRefused"
        assert said in text
        assert "secret" not in text
        assert done["calls"][-1:] == after

    @pytest.mark.parametrize("do", ["remove", "unconfigure_tenant_networks"])
    def test_without_a_yes_leaving_fails_too(self, play: Scene, do: str) -> None:
        nics = [{"address": "mac-1", "info": {TENANT: "vif-1", CLEANING: "c1"}}]
        done = play(do, nics=nics, status=409, body=json.dumps({"detail": "The switch carries VLAN 9."}))
        assert done["error"][0] == "SteelyardRefused"

    def test_a_steelyard_that_is_being_restarted_is_waited_for(self, play: Scene) -> None:
        done = play("remove", nics=[{"address": "mac-1", "info": {CLEANING: "c1"}}], away_for=3, patience=5)
        assert done["error"] is None
        assert len(asked(done)) == 4

    def test_but_not_one_that_has_said_no(self, play: Scene) -> None:
        done = play("remove", nics=[{"address": "mac-1", "info": {CLEANING: "c1"}}], status=409, patience=5)
        assert len(asked(done)) == 1


OWN = "22222222-2222-4333-8444-555555555555"
GIVEN = [200, json.dumps({"network_id": OWN, "network": "segment-003", "shared": False})]
NONE_FREE = [409, json.dumps({"code": "segments_exhausted", "detail": "8 of 8 are leased."})]


class TestSegments:
    """Before a node is put on a network for an agent, Steelyard is asked for the one that it has to itself."""

    def test_the_node_is_put_on_it_and_that_is_verified(self, play: Scene) -> None:
        done = play("add", segments=[GIVEN], internal={"steelyard": {"used": "then"}})
        assert changes(done)[0] == ["asked", SEGMENT, {"role": "cleaning"}]
        assert changes(done)[1] == ["stock", "add", OWN]
        [body] = asked(done)
        assert [nic["network_id"] for nic in body["nics"]] == [OWN]
        assert done["internal"]["steelyard"] == {"used": "then", "segments": {"cleaning": OWN}}
        assert done["saved"] == 1

    def test_its_ports_are_looked_for_there_when_it_is_taken_off(self, play: Scene) -> None:
        internal = {"steelyard": {"segments": {"cleaning": OWN, "rescue": "another"}}}
        done = play("remove", nics=[{"address": "mac-1", "info": {CLEANING: "c1"}}], internal=internal)
        assert changes(done)[0] == ["stock", "remove", OWN]
        assert done["internal"]["steelyard"]["segments"] == {"rescue": "another"}

    def test_what_cannot_be_verified_is_taken_off_it_and_stays_noted(self, play: Scene) -> None:
        done = play("add", segments=[GIVEN], status=409, body=json.dumps({"detail": "The switch carries VLAN 9."}))
        assert done["error"][0] == "SteelyardRefused"
        assert done["calls"][-1] == ["stock", "remove", OWN]
        assert done["internal"]["steelyard"]["segments"] == {"cleaning": OWN}, "a port of it may be left there"

    def test_while_none_is_free_it_waits_and_is_on_no_network(self, play: Scene) -> None:
        done = play("add", segments=[NONE_FREE, NONE_FREE, GIVEN])
        assert done["error"] is None
        assert [call[0] for call in changes(done)] == ["asked", "asked", "asked", "stock", "asked"]

    def test_a_restart_of_steelyard_meanwhile_is_waited_for(self, play: Scene) -> None:
        done = play("add", segments=[NONE_FREE, [503, "{}"], NONE_FREE, GIVEN], patience=5)
        assert done["error"] is None
        assert changes(done)[4] == ["stock", "add", OWN]

    def test_not_for_ever(self, play: Scene) -> None:
        done = play("add", segments=[NONE_FREE], segment_patience=0)
        assert done["error"][0] == "SteelyardRefused"
        assert done["error"][1].endswith("join a cleaning network: 8 of 8 are leased.")
        assert [call[0] for call in changes(done)] == ["asked"]

    @pytest.mark.parametrize(
        ("scene", "said"),
        [
            ({"steelyard": "away"}, "cannot be reached (ConnectFailure)"),
            ({"endpoint": ""}, "no address of Steelyard"),
            ({"segments": [[404, "{}"]]}, "HTTP 404"),
            ({"segments": [[409, json.dumps({"code": "other", "detail": "It is retired."})]]}, "It is retired."),
            ({"segments": [[200, "[]"]]}, "did not say which network"),
            ({"segments": [[500, "<html>"]]}, "HTTP 500"),
        ],
    )
    def test_without_an_answer_it_is_on_no_network_at_all(self, play: Scene, scene: dict[str, Any], said: str) -> None:
        done = play("add", **scene)
        assert said in done["error"][1]
        assert "secret" not in done["error"][1]
        assert "stock" not in [call[0] for call in done["calls"]]

    def test_where_there_is_no_pool_it_is_the_configured_network(self, play: Scene) -> None:
        done = play("add", internal={"steelyard": {"segments": {"cleaning": OWN}}})
        assert changes(done)[1] == ["stock", "add"]
        assert done["internal"]["steelyard"]["segments"] == {}


class TestRescue:
    def test_a_rescue_system_that_runs_keeps_its_power_and_its_boot_medium(self, play: Scene) -> None:
        done = play("end rescue", state="rescuing", power_state="power on")
        assert done["error"] is None
        assert done["calls"] == [["forget"], ["stock", "remove rescuing"]]

    @pytest.mark.parametrize(
        ("state", "power"),
        [
            ("rescuing", "power off"), ("rescue wait", "power off"), ("rescue wait", "power on"),
            ("rescue failed", "power on"), ("unrescuing", "power on"), ("deleting", "power on"), ("rescuing", None),
        ],
    )  # fmt: skip
    def test_however_a_rescue_ends_its_boot_is_cleaned_up(self, play: Scene, state: str, power: str | None) -> None:
        assert play("end rescue", state=state, power_state=power)["calls"] == [["stock", "clean up"]]

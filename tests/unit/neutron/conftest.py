"""Neutron with the controller's drivers, in the OpenStack environment, beside a controller and the rack's switches."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.contrail.standalone import StandaloneController
from steelyard.embedded.rack.standalone import StandaloneRack

OPENSTACK = Path(os.environ.get("STEELYARD_OPENSTACK_ENV", Path(__file__).parents[3] / ".venvs" / "openstack"))
PYTHON = OPENSTACK / "bin" / "python"
SOON = 10.0
"""Seconds within which the controller's fabric manager has written to a switch."""

Json = dict[str, Any]


class NeutronError(Exception):
    """What Neutron raised: its class's name and its text."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


@dataclass
class Neutron:
    """A process with Neutron's core plugin; `neutron("create_port", ...)` calls it."""

    directory: Path
    controller: StandaloneController
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        with (self.directory / "errors").open("a") as errors:
            self.process = subprocess.Popen(
                [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("neutron_script.py")),
                 str(self.directory), self.controller.url],
                env={**environment, "CONTRAIL_TOKEN": self.controller.tokens["admin"]},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert self._line() == "ready\n", (self.directory / "errors").read_text()[-3000:]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __call__(self, method: str, /, **arguments: Any) -> Any:
        """Raises NeutronError."""
        self.send(method, **arguments)
        line = self._line()
        assert line, (self.directory / "errors").read_text()[-3000:]
        answer = json.loads(line)
        if "error" in answer:
            raise NeutronError(answer["error"], answer["text"])
        return answer["value"]

    def send(self, method: str, /, **arguments: Any) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        print(json.dumps([method, arguments]), file=self.process.stdin, flush=True)

    def _line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    # What several tests need

    def network(self, cidr: str = "10.0.0.0/24", **subnet: Any) -> Json:
        """A network with one subnet, which is under `subnet`."""
        network = self("network", name="net")
        return {**network, "subnet": self("subnet", network_id=network["id"], cidr=cidr, **subnet)}

    def bind(self, port_id: str, *links: tuple[str, str], **more: Any) -> Json:
        """Bind a port to switch ports, as Ironic does it; none: unbind it."""
        told = [{"switch_info": switch, "switch_id": "52:54:00:00:00:00", "port_id": port} for switch, port in links]
        profile = {"local_link_information": told} if links else {}
        wanted = {"binding:host_id": "node-1" if links else "", "binding:profile": profile, **more}
        port: Json = self("update_port", id=port_id, port={"port": wanted})
        return port


@dataclass
class Scene:
    """Everything a test works with."""

    neutron: Neutron
    controller: StandaloneController
    rack: StandaloneRack

    def vlan(self, place: str) -> int | None:
        """The untagged VLAN that a switch port really carries."""
        vlan: int | None = self.rack.port(place)["untagged_vlan"]
        return vlan

    def filters(self, place: str) -> list[str]:
        """The filters that a switch port really has."""
        filters: list[str] = self.rack.port(place)["filters"]
        return filters

    def rules(self, switch: str, group: str) -> list[Json]:
        """What a filter of a switch is."""
        found = self.rack.call("switch", "GET", f"/switches/{switch}/filters")["filters"]
        rules: list[Json] = found.get(group, [])
        return rules

    def soon(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + SOON
        while not (found := look()):
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.02)
        return found

    def read(self, kind: str, uuid: str) -> Json | None:
        """An object as the controller shows it to an administrator."""
        status, text, document = self.controller.call("GET", f"/{kind}/{uuid}")
        assert status in (200, 404), text
        return document[kind] if status == 200 else None

    def ours(self, kind: str) -> list[Json]:
        """Objects of Neutron's at the controller."""
        _, _, document = self.controller.call("GET", f"/{kind}s?detail=true")
        found = [one[kind] for one in document[f"{kind}s"]]
        return [one for one in found if one["fq_name"][-1].startswith("neutron-")]

    def fault(self, target: str, kind: str, **more: Any) -> None:
        self.controller.control("POST", "/faults", {"target": target, "kind": kind, **more})

    def mend(self) -> None:
        self.controller.control("DELETE", "/faults")
        time.sleep(1.1)  # a controller that did not answer is left alone for a second

    def compared(self) -> Json:
        """What came of the second of two rounds: nothing is repaired in the first."""
        first = self.neutron("compare")
        assert (first["repaired"], first["failed"]) == ([], [])
        outcome: Json = self.neutron("compare")
        return outcome

    def settled(self) -> None:
        """Compare until nothing is repaired any more; fails when something cannot be."""
        for _ in range(4):
            outcome = self.neutron("compare")
            assert outcome["failed"] == []
            if outcome == {"repaired": [], "failed": [], "suspected": []}:
                return
        raise AssertionError(f"never at rest: {outcome}")


@pytest.fixture(scope="module")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not PYTHON.exists():
        pytest.skip(f"the drivers run inside Neutron, and the OpenStack environment is not installed in {OPENSTACK}")
    home = tmp_path_factory.mktemp("scene")
    with (
        StandaloneRack.make(home / "rack", nodes=8).running("switch") as rack,
        StandaloneController.make(home / "contrail", rack=home / "rack").running() as controller,
    ):
        (home / "neutron").mkdir()
        neutron = Neutron(home / "neutron", controller)
        neutron.start()
        try:
            yield Scene(neutron, controller, rack)
        finally:
            neutron.stop()


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    """The shared scene; afterwards nothing of the test is in Neutron, and so nothing may be at the controller."""
    yield shared_scene
    neutron = shared_scene.neutron
    if shared_scene.controller.process is None:
        shared_scene.controller.start()
        shared_scene.mend()
    shared_scene.controller.control("DELETE", "/faults")
    if neutron.process is None or neutron.process.poll() is not None:
        neutron.stop()
        neutron.start()
    shared_scene.settled()
    for trunk in neutron("trunks"):
        neutron.bind(trunk["port_id"])
        neutron("delete_trunk", trunk_id=trunk["id"])
    for port in neutron("get_ports"):
        neutron("delete_port", id=port["id"])
    for network in neutron("get_networks"):
        neutron("delete_network", id=network["id"])
    for group in neutron("get_security_groups"):
        if group["name"] != "default":
            neutron("delete_security_group", id=group["id"])
    groups = {group["id"] for group in neutron("get_security_groups")}
    assert {one["uuid"] for one in shared_scene.ours("security-group")} == groups
    kinds = ("instance-ip", "virtual-machine-interface", "network-ipam", "virtual-network")
    assert {kind: shared_scene.ours(kind) for kind in kinds} == {kind: [] for kind in kinds}
    _, _, left = shared_scene.controller.call("GET", "/virtual-port-groups")
    assert left["virtual-port-groups"] == []

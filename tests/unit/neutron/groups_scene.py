"""Neutron's API with the plugin of security groups, beside the rack's switches, as test_groups uses it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.embedded.rack.neutron import ml2_sections
from steelyard.embedded.rack.standalone import StandaloneRack

from .conftest import PYTHON, Json

OLD_SWITCH = "old"
"""A device of networking-generic-switch that has one access list for a port, and logs what it is told."""
OPTED_OUT = "opted-out"
CONF = """
[DEFAULT]
core_plugin = ml2
service_plugins = {plugin}
state_path = {directory}
transport_url = fake://
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
use_stderr = true
[oslo_concurrency]
lock_path = {directory}
[database]
connection = sqlite:///{directory}/neutron.sqlite
[quotas]
quota_port = -1
[ml2]
type_drivers = vlan
tenant_network_types = vlan
mechanism_drivers = genericswitch
extension_drivers = port_security
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:999
"""
SERVER, RAMDISK = "compute:nova", "baremetal:none"


class RefusedError(Exception):
    """What Neutron answered."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass
class Groups:
    """Neutron's API in a process of its own, and the switches."""

    directory: Path
    rack: StandaloneRack
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        sections = ml2_sections(self.rack.rack, self.rack.home, switch_port=self.rack.ports["rack_switch"])
        one = {"device_type": "netmiko_fake", "ip": "127.0.0.1", "ngs_physical_networks": "physnet1"}
        sections[f"genericswitch:{OLD_SWITCH}"] = {**one, "ngs_security_groups_enabled": "true"}
        sections[f"genericswitch:{OPTED_OUT}"] = {**one, "ngs_security_groups_enabled": "false"}
        lines = [CONF.format(directory=self.directory, plugin="steelyard_groups")]
        for name, options in sections.items():
            lines += [f"[{name}]", *(f"{option} = {value}" for option, value in options.items())]
        (self.directory / "neutron.conf").write_text("\n".join(lines))
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("groups_script.py")), str(self.directory)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._line() == "ready\n", self.log()[-3000:]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def told_old_switch(self) -> list[str]:
        """What was said to the switch with access lists."""
        return [line.partition("] ")[2] for line in self.log().splitlines() if "netmiko_devices.fake [" in line]

    def at_once(self, requests: Sequence[tuple[str, str, Json | None]]) -> list[tuple[int, Any]]:
        assert self.process is not None
        assert self.process.stdin is not None
        print(json.dumps(requests), file=self.process.stdin, flush=True)
        line = self._line()
        assert line, self.log()[-3000:]
        return [(status, document) for status, document in json.loads(line)]

    def __call__(self, method: str, path: str, body: Json | None = None) -> Any:
        """What is inside of the answer. Raises RefusedError."""
        [(status, document)] = self.at_once([(method, path, body)])
        if status >= 400:
            raise RefusedError(status, document["NeutronError"]["message"])
        return next(iter(document.values())) if document else None

    def _line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    # What tests need of Neutron

    def network(self) -> Json:
        network: Json = self("POST", "/networks", {"network": {}})
        self("POST", "/subnets", {"subnet": {"network_id": network["id"], "cidr": "10.0.0.0/24", "ip_version": 4}})
        return network

    def group(self, *rules: Json) -> str:
        group: str = self("POST", "/security-groups", {"security_group": {"name": "g"}})["id"]
        for rule in rules:
            self.rule(group, **rule)
        return group

    def rule(self, group: str, **rule: Any) -> str:
        body = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", **rule}
        made: str = self("POST", "/security-group-rules", {"security_group_rule": body})["id"]
        return made

    def default_group(self) -> str:
        found: str = self("GET", "/security-groups?name=default")[0]["id"]
        return found

    def port(self, network: Json, owner: str = SERVER, **more: Any) -> Json:
        body = {"network_id": network["id"], "device_owner": owner, "binding:vnic_type": "baremetal", **more}
        port: Json = self("POST", "/ports", {"port": body})
        return port

    def update(self, port: Json, **wanted: Any) -> Json:
        changed: Json = self("PUT", f"/ports/{port['id']}", {"port": wanted})
        return changed

    def bind(self, port: Json, *places: str, **more: Any) -> Json:
        """Bind a port to switch ports, as Ironic does it; none: unbind it."""
        return self.update(port, **binding(*places), **more)

    # What is true of the switches

    def at(self, place: str) -> tuple[int | None, list[str]]:
        """The untagged VLAN and the filters of a switch port."""
        port = self.rack.port(place)
        return port["untagged_vlan"], port["filters"]

    def filters(self, switch: str) -> Json:
        found: Json = self.rack.call("switch", "GET", f"/switches/{switch}/filters")["filters"]
        return found

    def fault(self, target: str, kind: str = "refuse", **more: Any) -> None:
        self.rack.call("switch", "POST", "/faults", {"target": target, "kind": kind, "match": "filter", **more})

    def mend(self) -> None:
        self.rack.call("switch", "DELETE", "/faults")

    def clean(self) -> None:
        """Nothing of a test is left, and so nothing may be on the switches."""
        self.mend()
        for port in self("GET", "/ports"):
            self("DELETE", f"/ports/{port['id']}")
        state = self.rack.call("switch", "GET", "/state")["ports"]
        assert {place: port["filters"] for place, port in state.items() if port["filters"]} == {}
        for network in self("GET", "/networks"):
            self("DELETE", f"/networks/{network['id']}")
        for group in self("GET", "/security-groups"):
            self("DELETE", f"/security-groups/{group['id']}")


def binding(*places: str) -> Json:
    told: Iterable[list[str]] = (place.split("/") for place in places)
    links = [{"switch_info": switch, "switch_id": "52:54:00:00:00:00", "port_id": port} for switch, port in told]
    profile: Json = {"local_link_information": links} if links else {}
    if len(links) > 1:
        profile["local_group_information"] = {"bond_mode": "802.3ad"}
    return {"binding:host_id": "node-1" if links else "", "binding:profile": profile}

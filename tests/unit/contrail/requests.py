"""Requests that most tests of the controller make."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.standalone import StandaloneController

VMI = "virtual-machine-interface"
BINDINGS = "virtual_machine_interface_bindings"
ADMIN = ["default-domain", "admin"]


def eventually(condition: Callable[[], bool], *, seconds: float = 10.0, what: str = "") -> None:
    """Wait until something is so. The time is a limit for a hung test, not a measurement."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class Requests:
    """One controller, asked as its administrator."""

    controller: StandaloneController

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, text, document = self.controller.call(method, path, body)
        assert status == 200, f"{method} {path}: {status} {text}"
        return document

    def create(self, type: str, fq_name: list[str], **properties: Any) -> str:
        made = self.ok("POST", f"/{type}s", {type: {"fq_name": fq_name, **properties}})
        return str(made[type]["uuid"])

    def show(self, type: str, uuid: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.ok("GET", f"/{type}/{uuid}")[type]
        return shown

    def network(self, cidr: str = "10.0.0.0/24", **properties: Any) -> str:
        self.ok("GET", "/projects")  # the administrator's project is there from now on
        ipam = [*ADMIN, f"ipam-{secrets.token_hex(4)}"]
        self.create("network-ipam", ipam, parent_type="project")
        prefix, _, length = cidr.partition("/")
        subnets = [{"subnet": {"ip_prefix": prefix, "ip_prefix_len": int(length)}}]
        refs = [{"to": ipam, "attr": {"ipam_subnets": subnets}}]
        name = [*ADMIN, f"network-{secrets.token_hex(4)}"]
        return self.create("virtual-network", name, parent_type="project", network_ipam_refs=refs, **properties)

    def number(self, network: str) -> int:
        """The VLAN of a network without a segmentation id."""
        return int(self.show("virtual-network", network)["virtual_network_network_id"])

    def interface(self, network: str, *links: str, vlan: int | None = None, tag: int | None = None) -> str:
        """A bare metal VMI, created unbound and then bound to these ports (`leaf1/Ethernet1`)."""
        name = self.show("virtual-network", network)["fq_name"]
        uuid = self.create(
            VMI, [*ADMIN, f"vmi-{secrets.token_hex(4)}"], parent_type="project",
            virtual_network_refs=[{"to": name}],
            **{BINDINGS: {"key_value_pair": [{"key": "vnic_type", "value": "baremetal"}]}},
        )  # fmt: skip
        if links:
            self.bind(uuid, *links, vlan=vlan, tag=tag)
        return uuid

    def bind(self, interface: str, *links: str, vlan: int | None = None, tag: int | None = None) -> None:
        """Without links: the profile {}."""
        information = [
            {"switch_info": switch, "port_id": port} for link in links for switch, _, port in (link.partition("/"),)
        ]
        profile = {"local_link_information": information} if links else {}
        pairs = [{"key": "vnic_type", "value": "baremetal"}, {"key": "profile", "value": json.dumps(profile)}]
        if vlan is not None:
            pairs.append({"key": "tor_port_vlan_id", "value": str(vlan)})
        change: dict[str, Any] = {BINDINGS: {"key_value_pair": pairs}}
        if tag is not None:
            change["virtual_machine_interface_properties"] = {"sub_interface_vlan_tag": tag}
        self.ok("PUT", f"/{VMI}/{interface}", {VMI: change})

    def fault(self, **fault: Any) -> None:
        self.controller.control("POST", "/faults", fault)

    def settled(self) -> None:
        """Wait until the fabric manager has nothing to do."""
        eventually(lambda: self.controller.control("GET", "/fabric")["pending"] == {}, what="pending writes")

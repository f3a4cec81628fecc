"""What the Contrail adapter costs at 10,000 ports, and the checks of preflight at as many NICs; for docs/benchmarks.md.

    .venvs/steelyard/bin/python benchmarks/contrail.py

The controller's answers are in memory, in pages of 1,000 as it gives them: what is measured is Steelyard's own CPU for
reading them, not the controller's time.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from steelyard.clouds.contrail.attachments import ContrailAttachments
from steelyard.clouds.contrail.fabric import ContrailFabric
from steelyard.clouds.contrail.flips import Flips
from steelyard.clouds.contrail.groups import Groups
from steelyard.clouds.contrail.rest import PAGE, ContrailRest
from steelyard.clouds.contrail.vlans import Vlans
from steelyard.clouds.openstack.session import Access, Answer
from steelyard.networks.model import NetworkRole, OperatorNetworks
from steelyard.networks.preflight import Seen, checks
from steelyard.nouns import NodePort, SwitchLink

PER_SWITCH = 48
Objects = list[dict[str, Any]]


class InMemory(ContrailRest):
    """A controller whose lists are ready; asked by ids, it gives those."""

    def __init__(self, lists: Mapping[str, Objects]):
        super().__init__(cast(Access, SimpleNamespace(own=True)), url="http://127.0.0.1:9")
        self.asked = 0
        self._by_id = {entry["uuid"]: entry for entries in lists.values() for entry in entries}
        self._pages = {
            f"{kind}s": [
                json.dumps({
                    f"{kind}s": [{kind: entry} for entry in entries[start : start + PAGE]],
                    "marker": str(start // PAGE + 1) if start + PAGE < len(entries) else None,
                }).encode()
                for start in range(0, len(entries), PAGE)
            ]
            for kind, entries in lists.items()
        }  # fmt: skip

    def call(
        self, method: str, path: str, *, body: Any = None, data: Any = None,
        params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        self.asked += 1
        if path == "list-bulk-collection":
            kind = body["type"]
            some = [{kind: self._by_id[each]} for each in body["obj_uuids"].split(",")]
            return Answer(200, json.dumps({f"{kind}s": some}).encode(), {})
        if params is not None and "page_marker" in params:
            number = 0 if params["page_marker"] == "none" else int(params["page_marker"])
            return Answer(
                200, self._pages[path][number] if self._pages.get(path) else b'{"%s": []}' % path.encode(), {}
            )
        if "/" in path:
            kind, identifier = path.split("/")
            return Answer(200, json.dumps({kind: self._by_id[identifier]}).encode(), {})
        return Answer(200, json.dumps({path: []}).encode(), {})


def controller(size: int) -> tuple[InMemory, str]:
    """Ports of servers and of virtual machines in turn, each with an address, on 500 networks; and one node's id."""
    lists: dict[str, Objects] = {
        name: [] for name in ("virtual-machine-interface", "instance-ip", "virtual-port-group", "physical-interface",
                              "physical-router", "virtual-router", "network-ipam")
    }  # fmt: skip
    networks = [str(uuid.uuid4()) for _ in range(500)]
    node = ""
    for number in range(size):
        identifier, group, interface = (str(uuid.uuid4()) for _ in range(3))
        network, leaf, name = networks[number % 500], f"leaf{number // PER_SWITCH}", f"xe-0/0/{number % PER_SWITCH}"
        link = {"switch_info": leaf, "port_id": name, "switch_id": "02:00:00:00:00:01", "fabric": "default-fabric"}
        bindings = {"vnic_type": "normal", "host_id": f"compute-{number % 100}"}
        of_server = number % 2 == 0
        if of_server:
            node = str(uuid.uuid4())
            profile = json.dumps({"local_link_information": [link]})
            bindings = {"vnic_type": "baremetal", "host_id": node, "tor_port_vlan_id": "100", "profile": profile}
        port = {
            "uuid": identifier, "fq_name": ["default-domain", "project", identifier], "display_name": f"port-{number}",
            "parent_uuid": str(uuid.uuid4()), "id_perms": {"enable": True, "created": "2026-01-01T00:00:00.000000"},
            "virtual_network_refs": [{"to": ["default-domain", "project", "n"], "uuid": network, "attr": None}],
            "virtual_machine_interface_mac_addresses": {"mac_address": ["52:54:00:00:00:01"]},
            "virtual_machine_interface_bindings": {
                "key_value_pair": [{"key": key, "value": value} for key, value in bindings.items()]
            },
            "virtual_machine_interface_device_owner": "compute:nova",
            "virtual_port_group_back_refs": [{"to": ["g", "f", "v"], "uuid": group}] if of_server else [],
        }  # fmt: skip
        lists["virtual-machine-interface"].append(port)
        lists["instance-ip"].append({
            "uuid": str(uuid.uuid4()), "fq_name": [f"ip-{number}"], "subnet_uuid": str(uuid.uuid4()),
            "instance_ip_address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "virtual_network_refs": [{"to": ["d", "p", "n"], "uuid": network, "attr": None}],
            "virtual_machine_interface_refs": [{"to": ["d", "p", "v"], "uuid": identifier, "attr": None}],
        })  # fmt: skip
        place = ["default-global-system-config", leaf, name]
        lists["physical-interface"].append({"uuid": interface, "fq_name": place})
        if of_server:
            lists["virtual-port-group"].append({
                "uuid": group, "fq_name": ["g", "default-fabric", f"vpg-internal-{number}"],
                "physical_interface_refs": [{"to": place, "uuid": interface, "attr": None}],
                "virtual_machine_interface_refs": [{"to": ["d", "p", "v"], "uuid": identifier, "attr": None}],
            })  # fmt: skip
        if number % PER_SWITCH == 0:
            router = {
                "uuid": str(uuid.uuid4()),
                "fq_name": place[:2],
                "physical_router_management_mac": "02:00:00:00:00:01",
            }
            lists["physical-router"].append(router)
    return InMemory(lists), node


def cpu(function: Callable[[], object]) -> float:
    """Seconds of CPU, the best of three: other work on the machine only adds."""
    taken = []
    for _ in range(3):
        before = time.process_time()
        function()
        taken.append(time.process_time() - before)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="ports")
    size = parser.parse_args().size
    rest, node = controller(size)
    groups = Groups(rest)
    attachments = ContrailAttachments(rest, rest, groups, Flips(rest, groups, Vlans(rest, None, physical_network="p")))
    fabric = ContrailFabric(rest, groups)
    found = attachments.all()
    assert (len(found), sum(port.link is not None for port in found)) == (size, size // 2)
    assert all(len(port.addresses) == 1 for port in found)
    assert [port.host_id for port in attachments.bound(node)] == [node]
    rest.asked = 0
    attachments.all()
    requests = rest.asked
    seen = Seen(
        controller="contrail", operators=OperatorNetworks({NetworkRole.CLEANING: "cleaning"}), networks=[],
        facts=fabric.facts(), nodes={}, virtual_media=True,
        nics=[
            NodePort(str(number), str(number), "52:54:00:00:00:01", True, "physnet1",
                     SwitchLink("02:00:00:00:00:01", f"xe-0/0/{number % PER_SWITCH}", f"leaf{number // PER_SWITCH}"))
            for number in range(size)
        ],
    )  # fmt: skip
    assert {each.name: each.status.value for each in checks(seen)}["switch_ports"] == "ok"
    rows = [
        (f"{size} ports with addresses and switch ports, {requests} requests", cpu(attachments.all), "at most 1.5 s"),
        (f"what is bound to one node, among {size} ports", cpu(lambda: attachments.bound(node)), "at most 0.5 s"),
        (f"what nobody owns, among {size} ports", cpu(fabric.leftovers), "at most 1 s"),
        (f"the fabric's facts: {size} interfaces", cpu(fabric.facts), "at most 0.5 s"),
        (f"checks of preflight over {size} NICs", cpu(lambda: checks(seen)), "at most 0.5 s"),
    ]
    print("| what | measured, CPU | wanted |\n|---|---|---|")
    for what, measured, wanted in rows:
        print(f"| {what} | {measured:.2f} s | {wanted} |")


if __name__ == "__main__":
    main()

"""Runs in the OpenStack environment: Steelyard's Ironic interfaces with Ironic's own classes around them.

Reads one JSON scene a line, `{"do": …, …}`, and writes what happened. What is replaced is only what would leave the
process: the BMC (the parent class's method), Neutron's client, Keystone's session.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

from ironic.common import driver_factory, exception, keystone, neutron, states
from ironic.conductor import utils as manager_utils
from ironic.conf import CONF
from ironic.drivers.modules import agent
from ironic.drivers.modules.network import neutron as neutron_network
from ironic.drivers.modules.network.common import NetType
from ironic.drivers.modules.redfish import power as redfish_power
from keystoneauth1 import exceptions as ksa

from steelyard_ironic import asking as gates
from steelyard_ironic import hardware, network, power, rescue

CONF([], project="ironic")
CONF.set_override("rpc_transport", "none")
gates.ASK_AGAIN = gates.ASK_AGAIN_WAITING = 0.01


class Node(dict):  # type: ignore[type-arg]
    """As much of Ironic's node as the interfaces touch; saved and read like one."""

    def __init__(self, given: dict[str, Any]):
        super().__init__()
        self.uuid = "11111111-2222-4333-8444-555555555555"
        self.provision_state = given.get("state", states.ACTIVE)
        self.target_provision_state = given.get("target")
        self.power_state = given.get("power_state")
        self.extra = given.get("extra", {})
        self.driver_info = given.get("driver_info", {})
        self.driver_internal_info = given.get("internal", {})
        self.saved = 0

    def set_driver_internal_info(self, key: str, value: Any) -> None:
        self.driver_internal_info = {**self.driver_internal_info, key: value}

    def save(self) -> None:
        self.saved += 1


class Port:
    """A NIC, or a bond."""

    def __init__(self, given: dict[str, Any]):
        self.id = given.get("id")
        self.uuid = f"uuid of {given['address']}"
        self.address = given["address"]
        self.pxe_enabled = given.get("pxe", True)
        self.portgroup_id = given.get("bond")
        self.internal_info = dict(given.get("info", {}))
        self.local_link_connection = given.get("link", {"switch_id": "s", "port_id": "p"})
        self.extra = given.get("extra", {})


class Task:
    def __init__(self, given: dict[str, Any]):
        self.node = Node(given)
        self.context = None
        self.shared = False
        self.ports = [Port(each) for each in given.get("nics", [{"address": "mac-1"}])]
        self.portgroups = [Port(each) for each in given.get("bonds", [])]
        self.driver = mock.Mock()
        self.driver.boot.capabilities = given.get("boot", [])


def asking(given: dict[str, Any], calls: list[Any]) -> Any:
    """An adapter that answers as the scene says; to the question for a segment with `segments`, one after the other."""
    segments = list(given.get("segments", [[200, '{"network_id": null}']]))

    def post(url: str, **options: Any) -> Any:
        body = options["json"]
        calls.append(["asked", url, *([body] if body else [])])
        gone = given.get("steelyard") in ("away", "gone at the flip gate" if url.endswith("/flip-gate") else "away")
        if gone or len([call for call in calls if call[0] == "asked"]) <= given.get("away_for", 0):
            raise ksa.ConnectFailure("secret-in-a-client-libraries-text")
        status, text = given.get("status", 200), given.get("body", "{}")
        if url.endswith("/segment"):
            status, text = segments.pop(0) if len(segments) > 1 else segments[0]
        answer = mock.Mock(status_code=status)
        answer.json.side_effect = lambda: json.loads(text)
        return answer

    adapter = mock.Mock()
    adapter.post.side_effect = post
    adapter.get_endpoint.return_value = given.get("endpoint", "http://steelyard.test:8990/v1/")
    return adapter


def client(given: dict[str, Any], calls: list[Any]) -> Any:
    """Neutron with some ports."""
    made = mock.Mock()
    made.ports.side_effect = lambda **query: (
        calls.append(["ports", query]) or [mock.Mock(id=port) for port in given.get("ports", [])]
    )
    made.delete_port.side_effect = lambda port, **options: calls.append(["delete", port])
    return made


def play(given: dict[str, Any]) -> dict[str, Any]:
    task, calls = Task(given), []  # type: Any, list[Any]

    def told_bmc(self: Any, task: Any, state: str = "reboot", timeout: int | None = None) -> None:
        calls.append(["bmc", state])

    def added(self: Any, task: Any, network: str, groups: Any, net_type: Any) -> dict[str, str]:
        calls.append(["stock", "add", *([] if network == "net" else [network])])
        made = [port for port in task.ports if port.address not in given.get("not_made", [])]
        for port in made:
            port.internal_info[net_type.vif_key] = f"vif of {port.address}"
        return {port.uuid: f"vif of {port.address}" for port in made}

    def forgotten(node: Any, save: bool) -> None:
        calls.append(["forget"])

    def cleaned_up(self: Any, task: Any) -> None:
        calls.append(["stock", "clean up"])

    def removed(self: Any, task: Any, network: str, net_type: Any) -> None:
        calls.append(["stock", "remove", *([] if network == "net" else [network])])
        for port in task.ports:
            port.internal_info.pop(net_type.vif_key, None)

    def attached(self: Any, task: Any, vif_info: dict[str, str]) -> None:
        calls.append(["stock", "attach", vif_info["id"], [port.address for port in task.ports]])
        if not task.ports:
            raise exception.NoFreePhysicalPorts(vif=vif_info["id"])

    CONF.set_override("flip_gate_patience", given.get("patience", 0), group="steelyard")
    CONF.set_override("segment_patience", given.get("segment_patience", 5), group="steelyard")
    gates._adapter.cache_clear()
    with (
        mock.patch.multiple(redfish_power.RedfishPower, set_power_state=told_bmc, reboot=told_bmc),
        mock.patch.object(keystone, "get_session"),
        mock.patch.object(keystone, "get_auth"),
        mock.patch.object(keystone, "get_adapter", return_value=asking(given, calls)),
        mock.patch.object(neutron, "get_client", return_value=client(given, calls)),
        mock.patch.multiple(
            neutron_network.NeutronNetwork,
            _add_network=added,
            _remove_network=removed,
            vif_attach=attached,
            configure_tenant_networks=lambda self, task: calls.append(["stock", "configure"]),
            unconfigure_tenant_networks=lambda self, task: calls.append(["stock", "unconfigure"]),
            remove_rescuing_network=lambda self, task: calls.append(["stock", "remove rescuing"]),
        ),
        mock.patch.object(manager_utils, "remove_node_rescue_password", forgotten),
        mock.patch.object(agent.AgentRescue, "clean_up", cleaned_up),
    ):
        error = None
        try:
            act(given, task)
        except Exception as raised:
            error = [type(raised).__name__, str(raised)]
    return {"calls": calls, "error": error, "internal": task.node.driver_internal_info, "saved": task.node.saved}


def act(given: dict[str, Any], task: Task) -> None:
    powering, networking = power.SteelyardRedfishPower(), network.SteelyardNetwork()
    task.driver.network = networking
    if given["do"] == "power":
        powering.set_power_state(task, given["to"])
    elif given["do"] == "reboot":
        powering.reboot(task)
    elif given["do"] == "record":
        powering.execute_clean_step(task, {"interface": "power", "step": "record_cleaning"})
    elif given["do"] == "end rescue":
        rescue.SteelyardRescue().clean_up(task)
    elif given["do"] == "add":
        networking._add_network(task, "net", None, NetType.CLEANING)
    elif given["do"] == "attach":
        try:
            networking.vif_attach(task, {"id": "vif-1"})
        finally:
            task.node.set_driver_internal_info("ports", [port.address for port in task.ports])
    elif given["do"] == "remove":
        networking._remove_network(task, "net", NetType.CLEANING)
    else:
        getattr(networking, given["do"])(task)


def about() -> dict[str, Any]:
    """What Ironic itself makes of the entry points."""
    CONF.set_override("enabled_hardware_types", ["steelyard-redfish", "steelyard-ipmi"])
    CONF.set_override("enabled_network_interfaces", ["noop", "neutron", "steelyard"])
    CONF.set_override("enabled_power_interfaces", ["steelyard-redfish", "redfish"])
    CONF.set_override("enabled_rescue_interfaces", ["no-rescue", "agent", "steelyard"])
    networks = driver_factory._INTERFACE_LOADERS["network"]()
    powers = driver_factory._INTERFACE_LOADERS["power"]()
    made = hardware.SteelyardRedfishHardware()
    return {
        "networks": sorted(networks.names),
        "powers": sorted(powers.names),
        "supports": type(networks["steelyard"].obj) in made.supported_network_interfaces
        and type(powers["steelyard-redfish"].obj) in made.supported_power_interfaces,
        "rescue": driver_factory.default_interface(made, "rescue", driver_name="steelyard-redfish"),
        "ipmi": [each.__name__ for each in hardware.SteelyardIPMIHardware().supported_power_interfaces],
        "steps": power.SteelyardRedfishPower().get_clean_steps(None),
        "states": sorted(power.TENANCY),
    }


for line in sys.stdin:
    scene = json.loads(line)
    print(json.dumps(about() if scene["do"] == "about" else play(scene), default=str), flush=True)

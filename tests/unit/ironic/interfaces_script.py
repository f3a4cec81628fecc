"""Runs in the OpenStack environment: Steelyard's Ironic interfaces with Ironic's own classes around them.

Reads one JSON scene a line, `{"do": …, …}`, and writes what happened. What is replaced is only what would leave the
process: the BMC (the parent class's method), Neutron's client, Keystone's session.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

import tenacity
from ironic.common import driver_factory, keystone, neutron, states
from ironic.conductor import utils as manager_utils
from ironic.conf import CONF
from ironic.drivers.modules import agent
from ironic.drivers.modules.network import neutron as neutron_network
from ironic.drivers.modules.redfish import power as redfish_power
from keystoneauth1 import exceptions as ksa

from steelyard_ironic import hardware, network, power, rescue

CONF([], project="ironic")
CONF.set_override("rpc_transport", "none")
neutron.wait_for_port_status.retry.wait = tenacity.wait_none()  # ten seconds between two looks otherwise


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


class Task:
    def __init__(self, given: dict[str, Any]):
        self.node = Node(given)
        self.context = None
        self.shared = False
        self.ports: list[Any] = []
        self.portgroups: list[Any] = []
        self.driver = mock.Mock()


def asking(given: dict[str, Any], calls: list[Any]) -> Any:
    """An adapter that answers as the scene says."""

    def post(url: str, **options: Any) -> Any:
        calls.append(["asked", url])
        if given.get("steelyard") == "away":
            raise ksa.ConnectFailure("secret-in-a-client-libraries-text")
        answer = mock.Mock(status_code=given.get("status", 200))
        answer.json.side_effect = lambda: json.loads(given.get("body", "{}"))
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
    made.get_port.side_effect = lambda port: mock.MagicMock(status=given.get("port_status", "ACTIVE"))
    return made


def play(given: dict[str, Any]) -> dict[str, Any]:
    task, calls = Task(given), []  # type: Any, list[Any]

    def told_bmc(self: Any, task: Any, state: str = "reboot", timeout: int | None = None) -> None:
        calls.append(["bmc", state])

    def rolled_back(*given: Any) -> None:
        calls.append(["rollback"])

    def forgotten(node: Any, save: bool) -> None:
        calls.append(["forget"])

    def cleaned_up(self: Any, task: Any) -> None:
        calls.append(["stock", "clean up"])

    with (
        mock.patch.multiple(redfish_power.RedfishPower, set_power_state=told_bmc, reboot=told_bmc),
        mock.patch.object(keystone, "get_session"),
        mock.patch.object(keystone, "get_auth"),
        mock.patch.object(keystone, "get_adapter", return_value=asking(given, calls)),
        mock.patch.object(neutron, "get_client", return_value=client(given, calls)),
        mock.patch.object(neutron, "_get_port_by_uuid", lambda client, port: client.get_port(port)),
        mock.patch.multiple(
            neutron_network.NeutronNetwork,
            _add_network=lambda self, *given: calls.append(["stock", "add"]) or {"nic": "vif"},
            _remove_network=lambda self, *given: calls.append(["stock", "remove"]),
            configure_tenant_networks=lambda self, task: calls.append(["stock", "configure"]),
            unconfigure_tenant_networks=lambda self, task: calls.append(["stock", "unconfigure"]),
            remove_rescuing_network=lambda self, task: calls.append(["stock", "remove rescuing"]),
            vif_list=lambda self, task: [{"id": "vif"}],
        ),
        mock.patch.object(neutron, "rollback_ports", rolled_back),
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
        networking._add_network(task, "net", None, None)
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

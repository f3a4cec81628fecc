"""What an action depends on, whether it is done, and doing it; all by way of the ports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.drift.model import (
    Action,
    BindPort,
    ClearInstance,
    DeleteAllocation,
    DeletePort,
    DetachPort,
    DetachVif,
    EmptySwitchPort,
    ForgetSecret,
    RemoveLeftover,
    SetNodeTraits,
    SetProviderTraits,
)
from steelyard.errors import NotFound, SteelyardError
from steelyard.isolation.mending import Mending
from steelyard.lifecycle.leaking import OLD
from steelyard.lifecycle.vifs import holders, take_off
from steelyard.nouns import NetworkPort, Node, NodePort
from steelyard.store import Store

Facts = Mapping[str, Any]
"""JSON: what an action changes, and what it depends on."""


class Acting:
    """Looks at and does single actions. Raises what the ports raise."""

    def __init__(self, *, clouds: Clouds, store: Store, mending: Mending) -> None:
        self._clouds = clouds
        self._store = store
        self._mending = mending

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def observe(self, action: Action) -> Facts:
        """What is so now. Equal facts mean that nothing has changed on which the action depends."""
        match action:
            case DeletePort():
                return self._of_port(action.port_id)
            case DetachPort():
                return {**self._of_port(action.port_id), **self._of_node(action.node_id)}
            case BindPort() | EmptySwitchPort():
                return self._of_nic(action)
            case DeleteAllocation():
                held = self._cloud.placement.allocations([action.node_id])
                mine = [dict(each.resources) for each in held if each.consumer_id == action.consumer_id]
                return {"allocation": mine[0] if mine else None, "server": self._is_server(action.consumer_id)}
            case ClearInstance():
                return {**self._of_node(action.node_id), "server": self._is_server(action.instance_id)}
            case DetachVif():
                return {**self._of_node(action.node_id), **self._of_vif(action)}
            case SetNodeTraits():
                node = self._node(action.node_id)
                return {"traits": sorted(node.traits) if node else None}
            case SetProviderTraits():
                node = self._node(action.node_id)
                had = self._cloud.placement.traits().get(action.node_id)
                return {
                    "traits": sorted(node.traits) if node else None,
                    "provider": sorted(had) if had is not None else None,
                }
            case ForgetSecret():
                unused = self._store.leftovers.secrets(before=datetime.now(UTC) - OLD)
                return {"secret": any(secret.id == action.secret_id for secret in unused)}
            case RemoveLeftover():
                wanted = (action.kind, action.object_id)
                there = [each for each in self._cloud.fabric.leftovers() if (each.kind, each.id) == wanted]
                return {"leftover": {"name": there[0].name, "reason": there[0].reason} if there else None}

    def is_done(self, action: Action, facts: Facts) -> bool:
        """Whether it is as the action would make it."""
        match action:
            case DeletePort():
                return facts["port"] is None
            case DetachPort():
                return facts["port"] is None or facts["port"]["bound_to"] is None
            case BindPort():
                port, switch = facts["port"], facts["switch"]
                return (
                    port is not None
                    and port["status"] == "ACTIVE"
                    and port["bound_to"] == action.node_id
                    and port["at"] == facts["nic"]
                    and switch == {"untagged": facts["vlan"], "tagged": [], "extra": None, "enabled": True}
                )
            case EmptySwitchPort():
                switch = facts["switch"]
                if not isinstance(switch, dict):
                    return False  # it cannot be read
                return switch["enabled"] is False or (switch["untagged"], switch["tagged"], switch["extra"]) == (
                    None, [], None
                )  # fmt: skip
            case DeleteAllocation():
                return facts["allocation"] is None
            case ClearInstance():
                return facts["node"] is None or facts["node"]["server"] != action.instance_id
            case DetachVif():
                return facts["vif_on"] is None
            case SetNodeTraits():
                return facts["traits"] is not None and set(action.add) <= set(facts["traits"])
            case SetProviderTraits():
                return facts["provider"] is not None and set(action.traits) == set(facts["provider"])
            case ForgetSecret():
                return not facts["secret"]
            case RemoveLeftover():
                return facts["leftover"] is None

    def act(self, action: Action) -> None:
        """Do it. Doing it again changes nothing more."""
        match action:
            case DeletePort():
                self._cloud.attachments.delete(action.port_id)
            case DetachPort():
                self._mending.detach(action.node_id, action.port_id)
            case BindPort():
                node = self._cloud.nodes.get(action.node_id)
                self._mending.bind(
                    node, self._cloud.attachments.get(action.port_id), self._mending.nic(node, action.mac)
                )
            case EmptySwitchPort():
                node = self._cloud.nodes.get(action.node_id)
                self._mending.empty(node, self._mending.nic(node, action.mac))
            case DeleteAllocation():
                self._cloud.placement.delete_allocation(action.consumer_id)
            case ClearInstance():
                self._cloud.nodes.update(action.node_id, {"/instance_uuid": None})
            case DetachVif():
                take_off(self._cloud, action.node_id, action.vif_id)
            case SetNodeTraits():
                node = self._cloud.nodes.get(action.node_id)
                self._cloud.nodes.set_traits(node.id, node.traits | set(action.add))
            case SetProviderTraits():
                self._cloud.placement.set_traits(action.node_id, frozenset(action.traits))
            case ForgetSecret():
                self._store.secrets.delete(action.secret_id)
            case RemoveLeftover():
                self._cloud.fabric.remove(action.kind, action.object_id)

    # Facts

    def _of_port(self, port_id: str) -> dict[str, Any]:
        port = self._port(port_id)
        owner = port.device_id if port is not None else None
        return {
            "port": _port_facts(port),
            "owner_is_server": self._is_server(owner) if owner else False,
            "owner_is_node": self._node(owner) is not None if owner else False,
        }

    def _of_node(self, node_id: str) -> dict[str, Any]:
        node = self._node(node_id)
        return {"node": None if node is None else {"state": node.provision_state, "server": node.instance_id}}

    def _of_vif(self, action: DetachVif) -> dict[str, Any]:
        """On which NIC or bond it is, and where the port itself is bound."""
        there = holders(self._cloud, action.node_id)
        port = self._port(action.vif_id)
        return {
            "vif_on": next((each.id for each in there if each.vif_id == action.vif_id), None),
            "bound_to": port.host_id if port is not None else None,
        }

    def _of_nic(self, action: BindPort | EmptySwitchPort) -> dict[str, Any]:
        node = self._node(action.node_id)
        nic = self._mending.find_nic(node, action.mac) if node is not None else None
        port = self._port(action.port_id) if isinstance(action, BindPort) else None
        network_id = port.network_id if port is not None else None
        vlan = next((each.segmentation_id for each in self._cloud.networks.all() if each.id == network_id), None)
        there = self._mending.on_nic(nic) if nic is not None else []
        return {
            **self._of_node(action.node_id),
            "nic": _at(nic) if nic is not None else None,
            "port": _port_facts(port),
            "vlan": vlan,
            "others": sorted(each.id for each in there if port is None or each.id != port.id),
            "switch": self._carried(nic),
        }

    def _carried(self, nic: NodePort | None) -> dict[str, Any] | str | None:
        if nic is None or nic.link is None:
            return None
        try:
            port = self._mending.carried(nic)
        except SteelyardError as error:
            return error.detail
        if port is None:
            return None
        return {
            "untagged": port.untagged_vlan, "tagged": sorted(port.tagged_vlans), "extra": port.extra,
            "enabled": port.enabled,
        }  # fmt: skip

    def _is_server(self, instance_id: str) -> bool:
        try:
            self._cloud.compute.get(instance_id)
        except NotFound:
            return False
        return True

    def _node(self, node_id: str) -> Node | None:
        try:
            return self._cloud.nodes.get(node_id)
        except NotFound:
            return None

    def _port(self, port_id: str) -> NetworkPort | None:
        try:
            return self._cloud.attachments.get(port_id)
        except NotFound:
            return None


def _port_facts(port: NetworkPort | None) -> dict[str, Any] | None:
    if port is None:
        return None
    return {
        "network": port.network_id, "mac": port.mac, "owner": port.device_owner, "device": port.device_id,
        "bound_to": port.host_id, "at": _at(port), "status": port.status,
    }  # fmt: skip


def _at(there: NodePort | NetworkPort) -> str | None:
    return f"{there.link.switch_id.lower()} {there.link.port_id}" if there.link is not None else None

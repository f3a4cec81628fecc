"""Sub-interfaces of servers that are being released: off before Nova deletes the port that they are on.

Neutron deletes no port that is a trunk's parent, and Nova puts a server into ERROR whose port it cannot delete. Our
network interface in Ironic asks when a node has left its tenant's networks, which is before that; where the operator
has not installed it, the reconciler here finds the server in ERROR, and its second deletion succeeds.

Runbook, by hand: `openstack network trunk list`; for each whose server is being deleted, or is gone or in error without
a node: `openstack network trunk delete`, and the ports of its sub-interfaces; then delete the server again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.nouns import Instance, NetworkPort
from steelyard.operations.reconciling import Reconciler, Report

STRIP: Final = "networks.sub_interfaces"
PERIOD: Final = 5.0
"""Seconds."""


def strip(own: Cloud, ports: Iterable[NetworkPort]) -> int:
    """Remove every sub-interface of these ports; returns how many there were."""
    found = [(port.id, subport.port_id) for port in ports for subport in port.subports]
    for port_id, sub_id in found:
        own.sub_interfaces.remove(port_id, sub_id)
    return len(found)


def is_leaving(instance: Instance | None, *, on_node: bool) -> bool:
    """Whether the server needs its sub-interfaces no more: it is gone, goes, or failed and no node is its own."""
    if instance is None or instance.task_state == "deleting" or instance.status == "DELETED":
        return True
    return instance.status == "ERROR" and not on_node


class TagWatch:
    """Looks for sub-interfaces of servers that are leaving."""

    def __init__(self, *, clouds: Clouds, observer: Observer) -> None:
        self._clouds = clouds
        self._observer = observer

    def reconcile(self) -> Report:
        """One run. The ports are looked at first: a server that was made since is in the list of instances."""
        parents = [port for port in self._observer.attachments() if port.subports and port.device_id]
        if not parents:
            return Report(0, 0, "")
        instances = {instance.id: instance for instance in self._observer.instances()}
        held = {node.instance_id for node in self._observer.nodes()}
        leaving = [
            port
            for port in parents
            # Of a device that Nova does not list only a server's: others make trunks too, which are not ours to end.
            if (port.device_id in instances or port.is_novas)
            and is_leaving(instances.get(port.device_id or ""), on_node=port.device_id in held)
        ]
        removed = strip(self._clouds.own, leaving)
        if removed:
            self._observer.forget()
        return Report(len(parents), removed, f"{removed} removed" if removed else "")

    def reconciler(self) -> Reconciler:
        about = "Takes the sub-interfaces off servers that are being released, so that Nova can delete their ports."
        return Reconciler(STRIP, about, self.reconcile, period=PERIOD)

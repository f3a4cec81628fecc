"""Reconciler of networks: security groups that tenants set with stock clients, and that nothing enforces.

Runbook, by hand: look at the security groups of every port that is bound to a server's NIC (`openstack port show`). One
with another group than its project's default promises a filter that is not there; tell the tenant, or take it off:
`openstack port unset --security-group GROUP PORT`.
"""

from __future__ import annotations

from typing import Final

from steelyard.attention.model import Finding, Severity
from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.networks.nics import unenforced
from steelyard.nouns import NetworkPort
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store

GROUPS: Final = "networks.security_groups"
NOT_ENFORCED: Final = "network.security_group_not_enforced"
PERIOD: Final = 60.0


class GroupWatch:
    """Looks at the security groups of all ports that are on servers' NICs."""

    def __init__(self, *, clouds: Clouds, store: Store, observer: Observer) -> None:
        self._clouds = clouds
        self._store = store
        self._observer = observer

    def reconcile(self) -> Report:
        """One run. Nothing is found where the controller enforces them."""
        ports = self._observer.attachments()
        groups = self._clouds.own.security_groups
        if groups.enforced_on_nics():
            self._store.findings.replace(GROUPS, ())
            return Report(len(ports), 0, "the network controller enforces them")
        names = {group.id: group.name for group in groups.all()}
        defaults = {group_id for group_id, name in names.items() if name == "default"}
        servers = {instance.id: instance.name for instance in self._observer.instances()}
        found = [_finding(port, defaults, names, servers) for port in unenforced(ports, defaults)]
        changed = self._store.findings.replace(GROUPS, found)
        return Report(len(ports), changed, f"{len(found)} not enforced" if found else "")

    def reconciler(self) -> Reconciler:
        about = "Finds security groups on servers' NICs that nothing enforces."
        return Reconciler(GROUPS, about, self.reconcile, period=PERIOD)


def _finding(port: NetworkPort, defaults: set[str], names: dict[str, str], servers: dict[str, str]) -> Finding:
    groups = sorted(names.get(group, group) for group in set(port.security_groups) - defaults)
    server = servers.get(port.device_id or "")
    return Finding(
        kind=NOT_ENFORCED,
        subject=f"port:{port.id}",
        name=server or port.name or port.id,
        severity=Severity.MAJOR,
        reason=f"its NIC {port.mac} has the security group {', '.join(groups)}, which nothing enforces there",
        next=f"openstack port unset {' '.join(f'--security-group {group}' for group in groups)} {port.id}",
        evidence={"project_id": port.project_id, "server_id": port.device_id, "groups": groups},
    )

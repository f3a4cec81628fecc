"""What the switches' append-only log says about isolation: every moment between two changes is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
TENANT_VLANS = range(100, 1000)


class History:
    """The changes of switch ports over some time, by server."""

    def __init__(self, log: Sequence[Json], servers: Mapping[str, Json], ramdisk_vlans: Mapping[str, int]):
        self._log = log
        self._ramdisk = dict(ramdisk_vlans)
        self._server_at = {
            f"{nic['switch']}/{nic['port']}": name for name, server in servers.items() for nic in server["nics"]
        }

    @property
    def changes(self) -> int:
        return len(self._log)

    def tenant_vlans_of(self, servers: Iterable[str]) -> set[int]:
        """Every tenant VLAN that was ever on a port of one of these servers."""
        wanted = set(servers)
        return {
            vlan
            for change in self._log
            if self._server_at.get(_port(change)) in wanted
            for vlan in _carried(change["after"])
            if vlan in TENANT_VLANS
        }

    def visited(self, server: str, role: str) -> bool:
        """Whether a port of the server was ever on the network of that role."""
        vlan = self._ramdisk[role]
        return any(
            self._server_at.get(_port(change)) == server and vlan in _carried(change["after"]) for change in self._log
        )

    def doubled(self) -> list[str]:
        """Moments at which one port carried more than one VLAN."""
        return [_told(change) for change in self._log if len(_carried(change["after"])) > 1]

    def mixed(self) -> list[str]:
        """Moments at which one server had a NIC on a tenant's network and another on a ramdisk's (cleaning, …)."""
        ramdisk = set(self._ramdisk.values())
        now: dict[str, dict[str, set[int]]] = {}
        for change in self._log:  # where a port was before its first change is in that change
            server = self._server_at.get(_port(change), "?")
            now.setdefault(server, {}).setdefault(_port(change), _carried(change["before"]))
        found = []
        for change in self._log:
            ports = now[self._server_at.get(_port(change), "?")]
            ports[_port(change)] = _carried(change["after"])
            together = set().union(*ports.values())
            if together & ramdisk and together & set(TENANT_VLANS):
                found.append(_told(change))
        return found


def _port(change: Json) -> str:
    return f"{change['switch']}/{change['port']}"


def _carried(port: Json) -> set[int]:
    untagged = set() if port["untagged_vlan"] is None else {int(port["untagged_vlan"])}
    return untagged | {int(vlan) for vlan in port["tagged_vlans"]}


def _told(change: Json) -> str:
    before, after = sorted(_carried(change["before"])), sorted(_carried(change["after"]))
    return f"{change['time']} {_port(change)}: {before} -> {after}"

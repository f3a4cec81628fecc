"""What the switches' append-only log says about isolation: every moment between two changes is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
TENANT_VLANS = range(100, 1000)
QUARANTINE_VLAN = 2004


class History:
    """The changes of switch ports over some time, by server."""

    def __init__(self, log: Sequence[Json], servers: Mapping[str, Json], record: Json):
        """`record`: the home's, which names the VLANs."""
        self._log = log
        self._ramdisk = dict(record["ramdisk_vlans"])
        first = record["first_segment_vlan"]
        self.segments = range(first, first + record["segments"])
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

    def visited(self, server: str, vlans: Iterable[int]) -> set[int]:
        """Those of the VLANs that were ever on a port of the server."""
        wanted = set(vlans)
        return {
            vlan
            for change in self._log
            if self._server_at.get(_port(change)) == server
            for vlan in _carried(change["after"]) & wanted
        }

    def shared(self) -> set[int]:
        """VLANs of the networks that several ramdisks, or servers in quarantine, would share; but for the one on which
        every switch port is that was never configured."""
        return {vlan for role, vlan in self._ramdisk.items() if role != "inspection"} | {QUARANTINE_VLAN}

    def together(self) -> list[str]:
        """Moments at which two servers were on the same segment, or the same network of those that would be shared."""
        looked_at = self.shared() | set(self.segments)
        now: dict[str, set[int]] = {}
        for change in self._log:  # where a port was before its first change is in that change
            now.setdefault(_port(change), _carried(change["before"]) & looked_at)
        found = []
        for change in self._log:
            now[_port(change)] = _carried(change["after"]) & looked_at
            on: dict[int, set[str]] = {}
            for port, vlans in now.items():
                for vlan in vlans:
                    on.setdefault(vlan, set()).add(self._server_at.get(port, port))
            found += [f"{_told(change)}: VLAN {vlan}: {sorted(who)}" for vlan, who in on.items() if len(who) > 1]
        return found

    def doubled(self) -> list[str]:
        """Moments at which one port carried more than one VLAN."""
        return [_told(change) for change in self._log if len(_carried(change["after"])) > 1]

    def mixed(self) -> list[str]:
        """Moments at which one server had a NIC on a tenant's network and another on a ramdisk's (cleaning, …)."""
        ramdisk = {*self._ramdisk.values(), *self.segments}
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

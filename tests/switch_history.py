"""What the switches' own log says about isolation: every moment between two changes is looked at.

One checker for the embedded cloud's simulated switches and for those of the fakes: both keep a log of every change of
what a port carries. A server that has no power counts as one that has: its port must not be there either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
TENANT_VLANS = range(100, 1000)


@dataclass(frozen=True, slots=True)
class Change:
    """A switch port carries other VLANs from now on."""

    at: str
    """When, for people."""
    port: str
    """Switch and port: leaf1/Ethernet1."""
    before: frozenset[int]
    after: frozenset[int]

    def __str__(self) -> str:
        return f"{self.at} {self.port}: {sorted(self.before)} -> {sorted(self.after)}"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A server is somebody's from now on."""

    position: int
    """How many changes were before it."""
    server: str
    owner: str | None
    """None: nobody's any more."""


class SwitchHistory:
    """The changes of switch ports over some time, by server."""

    def __init__(
        self, changes: Sequence[Change], server_at: Mapping[str, str], *, tenancies: Iterable[Tenancy] = ()
    ) -> None:
        """`server_at`: the server at each switch port. A port at which there is none is a stranger of its own."""
        self._changes = changes
        self._server_at = server_at
        self._tenancies = sorted(tenancies, key=lambda each: each.position)

    @classmethod
    def of_rack(
        cls, log: Sequence[Json], servers: Mapping[str, Json], *, tenancies: Iterable[Tenancy] = ()
    ) -> SwitchHistory:
        """Of the simulated rack's log and servers, as its control endpoint tells of them."""
        changes = [
            Change(
                at=str(entry["time"]), port=f"{entry['switch']}/{entry['port']}", before=_carried(entry["before"]),
                after=_carried(entry["after"]),
            )
            for entry in log
        ]  # fmt: skip
        cables = {f"{nic['switch']}/{nic['port']}": name for name, server in servers.items() for nic in server["nics"]}
        return cls(changes, cables, tenancies=tenancies)

    def __len__(self) -> int:
        """How many changes there were."""
        return len(self._changes)

    def _server(self, port: str) -> str:
        return self._server_at.get(port, port)

    def tenant_vlans_of(self, servers: Iterable[str]) -> set[int]:
        """Every tenant VLAN that was ever on a port of one of these servers."""
        wanted = set(servers)
        return {
            vlan
            for change in self._changes
            if self._server(change.port) in wanted
            for vlan in change.after
            if vlan in TENANT_VLANS
        }

    def visited(self, server: str, vlans: Iterable[int]) -> set[int]:
        """Those of the VLANs that were ever on a port of the server."""
        seen = (change.after for change in self._changes if self._server(change.port) == server)
        return set(vlans) & set[int]().union(*seen)

    def doubled(self) -> list[str]:
        """Moments at which one port carried more than one VLAN."""
        return [str(change) for change in self._changes if len(change.after) > 1]

    def mixed(self, ramdisk: Collection[int]) -> list[str]:
        """Moments at which one server had a NIC on a tenant's network and another on a ramdisk's (cleaning, …)."""
        now = self._at_first()
        found = []
        for change in self._changes:
            now[change.port] = change.after
            server = self._server(change.port)
            together = {vlan for port, vlans in now.items() if self._server(port) == server for vlan in vlans}
            if together & set(ramdisk) and together & set(TENANT_VLANS):
                found.append(str(change))
        return found

    def meetings(self, *, owner_of: Mapping[int, str], shared: Collection[int] = ()) -> list[str]:
        """Moments at which ports of two servers were in one segment that were not both that segment's owner's.

        `owner_of`: whose network each VLAN is. Servers that nobody has meet whoever they are with. `shared`: segments
        in which any two servers may be; with none, which is the strict form, only one tenant's own may ever meet.
        """
        now = self._at_first()
        owners: dict[str, str | None] = {}
        tenancies = list(self._tenancies)
        found: list[str] = []
        for position in range(len(self._changes) + 1):
            while tenancies and tenancies[0].position <= position:
                tenancy = tenancies.pop(0)
                owners[tenancy.server] = tenancy.owner
            moment = "at first" if position == 0 else str(self._changes[position - 1])
            if position:
                change = self._changes[position - 1]
                now[change.port] = change.after
            for vlan, servers in self._together(now).items():
                owner = owner_of.get(vlan)
                strangers = sorted(each for each in servers if owner is None or owners.get(each) != owner)
                if len(servers) > 1 and strangers and vlan not in shared:
                    found.append(f"{moment}: {', '.join(sorted(servers))} are in VLAN {vlan}")
        return found

    def _together(self, now: Mapping[str, frozenset[int]]) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for port, vlans in now.items():
            for vlan in vlans:
                found.setdefault(vlan, set()).add(self._server(port))
        return found

    def _at_first(self) -> dict[str, frozenset[int]]:
        """What each port carried before its first change."""
        first: dict[str, frozenset[int]] = {}
        for change in self._changes:
            first.setdefault(change.port, change.before)
        return first


def _carried(port: Json) -> frozenset[int]:
    untagged = set() if port["untagged_vlan"] is None else {int(port["untagged_vlan"])}
    return frozenset(untagged | {int(vlan) for vlan in port["tagged_vlans"]})

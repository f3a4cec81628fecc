"""The state of the switches: which VLANs exist, and what each port carries. No I/O but the records."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard.embedded.rack.plan import Rack, Switch
from steelyard.embedded.rack.records import Records
from steelyard.errors import Conflict, Invalid, NotFound

MAX_VLAN = 4094


@dataclass(frozen=True, slots=True)
class Port:
    switch: str
    name: str
    untagged_vlan: int | None = None
    """None: no untagged VLAN; whatever is plugged in is cut off."""
    tagged_vlans: frozenset[int] = frozenset()
    enabled: bool = True
    lag: str | None = None
    """The link aggregation group that it is in."""
    filters: frozenset[str] = frozenset()
    """Names of those that its frames have to pass; without any, all pass."""

    @property
    def key(self) -> str:
        return f"{self.switch}/{self.name}"

    def as_json(self) -> dict[str, Any]:
        return {
            "port_id": self.name,
            "untagged_vlan": self.untagged_vlan,
            "tagged_vlans": sorted(self.tagged_vlans),
            "enabled": self.enabled,
            "lag": self.lag,
            "filters": sorted(self.filters),
        }


class Fabric:
    """All switches of the rack.

    A port that was never configured carries the discovery VLAN, as racks are delivered; once it was, that is over for
    good: unplugged, it carries nothing.
    """

    def __init__(self, rack: Rack, records: Records, discovery_vlan: int | None = None):
        self._records = records
        self._switches = {switch.name: switch for switch in rack.switches}
        self._ports = {
            port.key: port
            for switch in rack.switches
            for port in (Port(switch.name, name, untagged_vlan=discovery_vlan) for name in switch.ports)
        }
        self._cabled = {f"{nic.switch}/{nic.port}" for server in rack.servers for nic in server.nics}
        self._vlans: dict[str, dict[int, str]] = {name: {} for name in self._switches}
        self._filters: dict[str, dict[str, list[Any]]] = {name: {} for name in self._switches}
        for key, value in records.all():
            kind, _, rest = key.partition(":")
            if kind == "port" and rest in self._ports:
                self._ports[rest] = replace(
                    self._ports[rest],
                    untagged_vlan=value["untagged_vlan"],
                    tagged_vlans=frozenset(value["tagged_vlans"]),
                    enabled=value["enabled"],
                    lag=value.get("lag"),
                    filters=frozenset(value.get("filters", ())),
                )
            elif kind == "vlans" and rest in self._vlans:
                self._vlans[rest] = {int(vlan): name for vlan, name in value.items()}
            elif kind == "filters" and rest in self._filters:
                self._filters[rest] = dict(value)

    def switches(self) -> Iterator[Switch]:
        return iter(self._switches.values())

    def switch(self, name: str) -> Switch:
        """Raises NotFound."""
        try:
            return self._switches[name]
        except KeyError:
            raise NotFound(f"There is no switch {name}", code="switch_not_found") from None

    def port(self, switch: str, name: str) -> Port:
        """Raises NotFound."""
        self.switch(switch)
        try:
            return self._ports[f"{switch}/{name}"]
        except KeyError:
            raise NotFound(f"Switch {switch} has no port {name}", code="port_not_found") from None

    def ports(self, switch: str) -> list[Port]:
        """Raises NotFound for an unknown switch."""
        return [self._ports[f"{switch}/{name}"] for name in self.switch(switch).ports]

    def last_cabled(self, switch: str) -> str:
        """The name of the last port that a server is cabled to; of the last port where none is."""
        ports = self.ports(switch)
        return next((port.name for port in reversed(ports) if port.key in self._cabled), ports[-1].name)

    def all_ports(self) -> Iterator[Port]:
        return iter(self._ports.values())

    def vlans(self, switch: str) -> Mapping[int, str]:
        """VLAN id -> name. Raises NotFound for an unknown switch."""
        self.switch(switch)
        return self._vlans[switch]

    def add_vlan(self, switch: str, vlan: int, name: str) -> None:
        """Idempotent; a new name replaces the old one."""
        check_vlan(vlan)
        self.vlans(switch)
        self._vlans[switch][vlan] = name
        self._save_vlans(switch)

    def remove_vlan(self, switch: str, vlan: int) -> None:
        """Idempotent. Raises Conflict while a port still carries it, rather than cutting somebody off."""
        self.vlans(switch)
        if using := [port.name for port in self.ports(switch) if vlan in _carried(port)]:
            raise Conflict(f"VLAN {vlan} is still on {', '.join(using[:5])} of {switch}", code="vlan_in_use")
        if self._vlans[switch].pop(vlan, None) is not None:
            self._save_vlans(switch)

    def filters(self, switch: str) -> Mapping[str, Sequence[Any]]:
        """Rules by name of the filter. Raises NotFound for an unknown switch."""
        self.switch(switch)
        return self._filters[switch]

    def put_filter(self, switch: str, name: str, rules: Sequence[Any]) -> None:
        """Idempotent; ports that have the filter follow its new rules. A switch keeps the rules and filters nothing:
        there are no frames in the simulated rack."""
        self.filters(switch)
        self._filters[switch][name] = list(rules)
        self._records.put(f"filters:{switch}", self._filters[switch])

    def remove_filter(self, switch: str, name: str) -> None:
        """Idempotent. Raises Conflict while a port has it: without it everything would pass there."""
        self.filters(switch)
        if using := [port.name for port in self.ports(switch) if name in port.filters]:
            raise Conflict(f"Filter {name} is still on {', '.join(using[:5])} of {switch}", code="filter_in_use")
        if self._filters[switch].pop(name, None) is not None:
            self._records.put(f"filters:{switch}", self._filters[switch])

    def change(self, port: Port, *, by: str) -> Port:
        """Make a port what is given. Logs the change before it takes effect; nothing is logged when nothing changes.

        Raises Conflict for a filter that the switch does not have.
        """
        before = self.port(port.switch, port.name)
        for vlan in _carried(port):
            check_vlan(vlan)
        if unknown := port.filters - self._filters[port.switch].keys():
            raise Conflict(f"Switch {port.switch} has no filter {min(unknown)}", code="filter_unknown")
        if before == port:
            return port
        self._records.append(
            {
                "time": datetime.datetime.now(datetime.UTC).isoformat(),
                "monotonic": time.monotonic(),
                "switch": port.switch,
                "port": port.name,
                "before": before.as_json(),
                "after": port.as_json(),
                "by": by,
            }
        )
        self._records.put(f"port:{port.key}", port.as_json())
        self._ports[port.key] = port
        if missing := [vlan for vlan in _carried(port) if vlan not in self._vlans[port.switch]]:
            # As most real ones do: putting a port into a VLAN that is not there makes it.
            self._vlans[port.switch].update({vlan: f"VLAN{vlan:04d}" for vlan in missing})
            self._save_vlans(port.switch)
        return port

    def log(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        return self._records.log(after=after, limit=limit)

    def _save_vlans(self, switch: str) -> None:
        self._records.put(f"vlans:{switch}", {str(vlan): name for vlan, name in self._vlans[switch].items()})


def check_vlan(vlan: int) -> None:
    """Raises Invalid unless 1 to 4094 (IEEE 802.1Q)."""
    if not 1 <= vlan <= MAX_VLAN:
        raise Invalid(f"{vlan} is not a VLAN id (1 to {MAX_VLAN})", code="vlan")


def _carried(port: Port) -> frozenset[int]:
    return port.tagged_vlans | ({port.untagged_vlan} if port.untagged_vlan is not None else frozenset())

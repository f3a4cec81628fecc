"""Security groups as the filters of switch ports: what each rule means at the port of whoever has the group. Pure.

A rule of the config API says which traffic may flow from its sources to its destinations, one of which is `local`: the
interface that has the group. A switch is told the same in the words of Neutron's rules. What cannot be said in them
admits nothing and is left out: a rule only ever lets something pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.database import Database, Thing

Rule = Mapping[str, Any]
"""direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, remote_group_id; what is left open
is left out."""

_LOCAL, _ANY = "local", "any"
_LAST_PORT = 65535
_PROTOCOLS = {"icmp6": "ipv6-icmp"}
"""The controller's word for a protocol -> Neutron's, where they differ."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a switch is to have under the name of a security group, its uuid."""

    name: str
    rules: tuple[Rule, ...] = ()


def filters_of(database: Database, interfaces: Iterable[Thing], known: dict[str, Filter]) -> tuple[Filter, ...]:
    """Those of all groups that some interfaces refer to, by name. `known`: those made before from the same config."""
    groups = sorted({uuid for one in interfaces for uuid in one.targets("security_group_refs")})
    for uuid in groups:
        if uuid not in known:
            known[uuid] = Filter(uuid, rules_of(database, database[uuid]))
    return tuple(known[uuid] for uuid in groups)


def rules_of(database: Database, group: Thing) -> tuple[Rule, ...]:
    """The rules of a security-group, each once, in an order that does not depend on that of the group's."""
    entries = (group.properties.get("security_group_entries") or {}).get("policy_rule") or []
    found = {json.dumps(rule, sort_keys=True): rule for entry in entries for rule in _translated(database, entry)}
    return tuple(found[key] for key in sorted(found))


def _translated(database: Database, entry: Mapping[str, Any]) -> Iterator[Rule]:
    direction = str(entry.get("direction", ">"))
    ends = entry.get("src_addresses"), entry.get("src_ports"), entry.get("dst_addresses"), entry.get("dst_ports")
    if ">" in direction:
        yield from _one_way(database, entry, *ends)
    if "<" in direction:
        yield from _one_way(database, entry, *ends[2:], *ends[:2])


def _one_way(
    database: Database, entry: Mapping[str, Any], sources: Any, source_ports: Any, targets: Any, target_ports: Any
) -> Iterator[Rule]:
    """The rules of one entry, from its sources to its targets."""
    if any(span != (None, None) for span in _spans(source_ports, icmp=False)):
        return  # Neutron's rules know no source ports
    if _is_local(targets):
        way, remotes = "ingress", _mappings(sources)
    elif _is_local(sources):
        way, remotes = "egress", _mappings(targets)
    else:
        return
    protocol = str(entry.get("protocol", _ANY))
    said: dict[str, Any] = {"direction": way, "ethertype": str(entry.get("ethertype") or "IPv4")}
    if protocol != _ANY:
        said["protocol"] = _PROTOCOLS.get(protocol, protocol)
    for remote in (each for address in remotes for each in _remotes(database, address)):
        for lowest, highest in _spans(target_ports, icmp=protocol in ("icmp", "icmp6", "1", "58")):
            ports = {"port_range_min": lowest, "port_range_max": highest}
            yield {**said, **{name: port for name, port in ports.items() if port is not None}, **remote}


def _is_local(addresses: Any) -> bool:
    return any(address.get("security_group") == _LOCAL for address in _mappings(addresses))


def _remotes(database: Database, address: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What one address says of the other side; nothing for one that nobody has."""
    if group := address.get("security_group"):
        if group == _ANY:
            yield {}
        elif (known := database.find("security-group", tuple(str(group).split(":")))) is not None:
            yield {"remote_group_id": known.uuid}
    for subnet in _mappings([address.get("subnet"), *_mappings(address.get("subnet_list"))]):
        prefix, length = subnet.get("ip_prefix"), subnet.get("ip_prefix_len")
        if prefix and isinstance(length, int):
            yield {"remote_ip_prefix": f"{prefix}/{length}"} if length else {}


def _spans(ports: Any, *, icmp: bool) -> Iterator[tuple[int | None, int | None]]:
    """First and last port (ICMP: type and code) of each range; None where it is open."""
    for span in _mappings(ports) or [{}]:
        first, last = span.get("start_port"), span.get("end_port")
        first = first if isinstance(first, int) and first >= 0 else 0
        last = last if isinstance(last, int) and last >= 0 else _LAST_PORT
        if (first, last) == (0, _LAST_PORT):
            yield None, None
        else:
            yield first, None if icmp and last == _LAST_PORT else last


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []

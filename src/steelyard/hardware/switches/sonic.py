"""SONiC over a shell: what its switch state service was told, by `sonic-db-dump`, as JSON.

Read is APPL_DB, which holds what SONiC's own daemons have put into force (CONFIG_DB only says what somebody wants).
Formats: SONiC's `Configuration.md` and the schema of sonic-swss (`doc/swss-schema.md`: PORT_TABLE, LAG_TABLE,
LAG_MEMBER_TABLE, VLAN_MEMBER_TABLE with `tagging_mode`, INTF_TABLE) and `sonic-db-dump` of sonic-py-swsssdk: per key an
object whose `value` has the fields. The account must be in the group `redis`, as SONiC's own `admin` is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from steelyard.hardware.switches.outputs import (
    Family,
    Reading,
    ReadPort,
    Unreadable,
    document,
    joined,
    macs,
    mapping,
    text_of,
    vlan,
)
from steelyard.naming import vlan_ranges
from steelyard.nouns import PortMode

COMMANDS: Final = (
    "sonic-db-dump -n CONFIG_DB -y -k 'DEVICE_METADATA|localhost'",
    "sonic-db-dump -n APPL_DB -y -k 'PORT_TABLE:*'",
    "sonic-db-dump -n APPL_DB -y -k 'LAG_*'",
    "sonic-db-dump -n APPL_DB -y -k 'VLAN_MEMBER_TABLE:*'",
    "sonic-db-dump -n APPL_DB -y -k 'INTF_TABLE:*'",
)

_PORT: Final = re.compile(r"(Ethernet\d[\d/_]*|PortChannel\d+)")


def parse(outputs: Sequence[str]) -> Reading:
    """Raises Unreadable."""
    metadata, port_table, lags, vlan_members, interfaces = (
        _values(output, command) for output, command in zip(outputs, COMMANDS, strict=True)
    )
    device = metadata.get("DEVICE_METADATA|localhost")
    if device is None:
        raise Unreadable("it has no DEVICE_METADATA")
    member_of = _member_of(lags)
    enabled = _enabled(port_table, "PORT_TABLE:") | _enabled(lags, "LAG_TABLE:")
    carried = _carried(vlan_members)
    routed = _routed(interfaces)
    for name in (*member_of.values(), *carried, *routed):
        if name not in enabled:
            raise Unreadable(f"it reports {name[:40]} in use, and no such port")
    own = {name: _port(name, enabled[name], carried.get(name, {}), routed.get(name)) for name in enabled}
    ports = []
    for name, port in own.items():
        lag = member_of.get(name)
        ports.append(port if lag is None else own[lag].member(name, enabled=enabled[name]))
    return Reading(macs=macs([device.get("mac")]), ports=tuple(ports))


def _values(output: str, command: str) -> dict[str, Mapping[str, Any]]:
    dump = mapping(document(output, command), command)
    return {key: mapping(mapping(entry, key).get("value"), f"the value of {key}") for key, entry in dump.items()}


def _enabled(table: Mapping[str, Mapping[str, Any]], prefix: str) -> dict[str, bool]:
    """Is it administratively up; without the keys `PortConfigDone` and `PortInitDone`, which are no ports."""
    return {
        name: text_of(fields, "admin_status", key) == "up"
        for key, fields in table.items()
        if key.startswith(prefix) and _PORT.fullmatch(name := key.removeprefix(prefix))
    }


def _member_of(lags: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in lags:
        if key.startswith("LAG_MEMBER_TABLE:"):
            lag, _, member = key.removeprefix("LAG_MEMBER_TABLE:").partition(":")
            if not member or member in found:
                raise Unreadable(f"{key[:80]} makes no sense")
            found[member] = lag
    return found


def _carried(members: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[int, str]]:
    """Per port: the tagging mode by VLAN."""
    found: dict[str, dict[int, str]] = {}
    for key, fields in members.items():
        name, _, port = key.removeprefix("VLAN_MEMBER_TABLE:").partition(":")
        if not name.startswith("Vlan") or not port:
            raise Unreadable(f"{key[:80]} is no member of a VLAN")
        found.setdefault(port, {})[vlan(name.removeprefix("Vlan"), key)] = text_of(fields, "tagging_mode", key)
    return found


def _routed(interfaces: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Ports that the switch routes on, itself or by a sub-interface. Keys with an address follow that of the port."""
    found: dict[str, str] = {}
    for key in interfaces:
        name = key.removeprefix("INTF_TABLE:").partition(":")[0]
        port, dot, _ = name.partition(".")
        if _PORT.fullmatch(port):
            found[port] = "routed" if not dot or found.get(port) == "routed" else "routed sub-interface"
    return found


def _port(name: str, enabled: bool, members: Mapping[int, str], routed: str | None) -> ReadPort:
    by_mode: dict[str, set[int]] = {"untagged": set(), "tagged": set(), "priority_tagged": set()}
    for member, tagging in members.items():
        if tagging not in by_mode:
            raise Unreadable(f"{name}: VLAN {member} has the tagging mode {tagging[:40]!r}")
        by_mode[tagging].add(member)
    untagged = by_mode["untagged"] | by_mode["priority_tagged"]
    extra = joined(
        routed,
        f"untagged in VLANs {vlan_ranges(untagged)}" if len(untagged) > 1 else None,
        "priority tagged" if by_mode["priority_tagged"] else None,
    )
    unbridged = PortMode.ROUTED if routed and not untagged else PortMode.ACCESS
    mode = PortMode.TRUNK if by_mode["tagged"] else unbridged
    return ReadPort(name, mode, min(untagged, default=None), frozenset(by_mode["tagged"]), enabled, extra=extra)


FAMILY: Final = Family(COMMANDS, parse, exit_status_counts=True)

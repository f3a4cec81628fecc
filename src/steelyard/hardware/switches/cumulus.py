"""NVIDIA Cumulus Linux with NVUE over a shell.

Formats: NVIDIA's NVUE command reference, `nv show bridge port-vlan` (since 5.6; domain, port, vlan with `tag-state`,
ranges as one key), and iproute2's ip-address(8) and ip-link(8) for `ip -json -details address show`, which has what
NVUE prints differently from release to release: the ports, their administrative state, bonds and VRFs. The kernel is
what Cumulus programs the hardware from. NVUE's role `nvue-monitor` (group `nvshow`) is enough; `ip` needs no rights.
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
    listed,
    macs,
    mapping,
    text_of,
    vlans,
)
from steelyard.naming import vlan_ranges
from steelyard.nouns import PortMode

COMMANDS: Final = ("nv show bridge port-vlan -o json", "ip -json -details address show")

_PORT: Final = re.compile(r"swp\d+(s\d+)?")


def parse(outputs: Sequence[str]) -> Reading:
    """Raises Unreadable."""
    bridges, addresses = (document(output, command) for output, command in zip(outputs, COMMANDS, strict=True))
    links: dict[str, Mapping[str, Any]] = {}
    for entry in listed(addresses, COMMANDS[1]):
        if not (link := mapping(entry, "a link")):
            continue  # iproute2 prints empty objects for what it filtered
        name = text_of(link, "ifname", "a link")
        if name in links:
            raise Unreadable(f"it reports {name[:40]} twice")
        links[name] = link
    carried = _carried(mapping(bridges, COMMANDS[0]))
    for name in carried:
        if name not in links:
            raise Unreadable(f"it reports {name[:40]} in a bridge, and no such port")
    names = [name for name, link in links.items() if _PORT.fullmatch(name) or _info(link).get("info_kind") == "bond"]
    own = {name: _port(name, links[name], carried.get(name, {})) for name in names}
    ports = []
    for name in names:
        if _info(links[name]).get("info_slave_kind") != "bond":
            ports.append(own[name])
            continue
        bond = text_of(links[name], "master", name)
        if bond not in own:
            raise Unreadable(f"{name} is in {bond[:40]}, which it does not report")
        ports.append(own[bond].member(name, enabled=_enabled(name, links[name])))
    return Reading(macs=macs(link.get("address") for link in links.values()), ports=tuple(ports))


def _info(link: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(link.get("linkinfo", {}), "linkinfo")


def _enabled(name: str, link: Mapping[str, Any]) -> bool:
    return "UP" in listed(link.get("flags"), f"flags of {name}")


def _carried(bridges: Mapping[str, Any]) -> dict[str, dict[str, set[int]]]:
    """Per port: its VLANs by `tag-state`. No bridge at all is an empty object."""
    found: dict[str, dict[str, set[int]]] = {}
    if bridges and "domain" not in bridges:
        raise Unreadable(f"`{COMMANDS[0]}` printed no domains")
    for domain, bridge in mapping(bridges.get("domain", {}), "domain").items():
        for name, port in mapping(mapping(bridge, domain).get("port", {}), f"port of {domain}").items():
            if name in found:
                raise Unreadable(f"it reports port {name[:40]} twice")
            states = found.setdefault(name, {"tagged": set(), "untagged": set()})
            for key, value in mapping(mapping(port, name).get("vlan", {}), f"vlan of {name}").items():
                state = text_of(mapping(value, f"{name} VLAN {key}"), "tag-state", f"{name} VLAN {key}")
                if state not in ("tagged", "untagged", "access"):
                    raise Unreadable(f"{name}: VLAN {key[:20]} is {state[:40]!r}, neither tagged nor untagged")
                states["tagged" if state == "tagged" else "untagged"] |= vlans(key, f"vlan of {name}")
    return found


def _port(name: str, link: Mapping[str, Any], states: Mapping[str, set[int]]) -> ReadPort:
    untagged, tagged = states.get("untagged", set()), states.get("tagged", set())
    routed = _info(link).get("info_slave_kind") == "vrf" or any(
        mapping(address, f"an address of {name}").get("scope") == "global"
        for address in listed(link.get("addr_info", []), f"addr_info of {name}")
    )
    extra = joined(
        "routed" if routed else None,
        f"untagged in VLANs {vlan_ranges(untagged)}" if len(untagged) > 1 else None,
        "bridged without VLANs" if not untagged | tagged and _info(link).get("info_slave_kind") == "bridge" else None,
    )
    if tagged:
        mode = PortMode.TRUNK
    elif routed and not untagged:
        mode = PortMode.ROUTED
    else:
        mode = PortMode.OTHER if extra and not untagged else PortMode.ACCESS
    return ReadPort(name, mode, min(untagged, default=None), frozenset(tagged), _enabled(name, link), extra=extra)


FAMILY: Final = Family(COMMANDS, parse, exit_status_counts=True)

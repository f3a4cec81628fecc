"""The networks that exist from the start: those of the ramdisks, the quarantine, and the segments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from steelyard.embedded.configuration import PHYSICAL_NETWORK
from steelyard.embedded.home import QUARANTINE_VLAN, RAMDISK_VLANS
from steelyard.embedded.requests import Session
from steelyard.errors import Conflict, Unavailable

VLANS: Mapping[str, int] = {**RAMDISK_VLANS, "quarantine": QUARANTINE_VLAN}
"""Network name -> VLAN."""
PATIENCE = 20
"""How often a Neutron that says 503 is asked: one that began before its controller does so for a second or two."""
SEGMENT = "segment-"
"""How the names of the segments begin; three digits follow."""
SEGMENT_PATTERN = f"{SEGMENT}[0-9][0-9][0-9]"


def vlans_with(segments: range) -> dict[str, int]:
    """Every seeded network by its name, with the segments on these VLANs."""
    return {**VLANS, **{f"{SEGMENT}{number:03}": vlan for number, vlan in enumerate(segments, 1)}}


def subnet_of(name: str, vlan: int, segments: range) -> str:
    """Address range of a seeded network: private. One /20 for a network that a rack of 1,000 may share, a /27 for one
    that a node has to itself."""
    if name in VLANS:
        return f"172.30.{16 * (vlan - 2001)}.0/20"
    start = 32 * segments.index(vlan)
    return f"172.31.{start // 256}.{start % 256}/27"


def seed(session: Session, port: int, segments: range = range(0)) -> dict[str, str]:
    """Make the networks that are missing, in the project of `session`, not shared; gives name -> id.

    All in one request, and all their subnets in another: one by one they would take a minute on a large rack. Raises
    Conflict when a network of that name exists in the project on another VLAN.
    """
    networks = session.request(port, "GET", "/v2.0/networks")["networks"]
    subnets = session.request(port, "GET", "/v2.0/subnets")["subnets"]
    wanted = vlans_with(segments)
    present: dict[str, dict[str, Any]] = {
        # A tenant may give its network the same name; only ours lies on a VLAN of the reserved range.
        one["name"]: one
        for one in networks
        if one.get("provider:segmentation_id") in wanted.values()
    }
    missing = [_network(name, vlan) for name, vlan in wanted.items() if name not in present]
    if missing:
        made = session.request(port, "POST", "/v2.0/networks", body={"networks": missing})["networks"]
        present |= {one["name"]: one for one in made}
    for name, vlan in wanted.items():
        if (found := present[name]["provider:segmentation_id"]) != vlan:
            raise Conflict(f"the network {name} exists on VLAN {found} instead of {vlan}")
    with_subnet = {one["network_id"] for one in subnets}
    bare = [
        _subnet(name, present[name], subnet_of(name, vlan, segments))
        for name, vlan in wanted.items()
        if present[name]["id"] not in with_subnet
    ]
    if bare:
        session.request(port, "POST", "/v2.0/subnets", body={"subnets": bare})
    return {name: present[name]["id"] for name in wanted}


def seed_patiently(
    session: Session, port: int, segments: range = range(0), *, sleep: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """The same, once Neutron can. Raises Unavailable when it cannot for long."""
    for _ in range(PATIENCE - 1):
        try:
            return seed(session, port, segments)
        except Unavailable:
            sleep(0.5)
    return seed(session, port, segments)


def _network(name: str, vlan: int) -> dict[str, Any]:
    return {
        "name": name,
        "shared": False,
        "provider:network_type": "vlan",
        "provider:physical_network": PHYSICAL_NETWORK,
        "provider:segmentation_id": vlan,
    }


def _subnet(name: str, network: Mapping[str, Any], cidr: str) -> dict[str, Any]:
    return {
        "name": name,
        "network_id": network["id"],
        "project_id": network["project_id"],
        "ip_version": 4,
        "cidr": cidr,
        "enable_dhcp": True,
    }

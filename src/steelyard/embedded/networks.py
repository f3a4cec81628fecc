"""The networks that exist from the start: those of the ramdisks and the quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.embedded.configuration import PHYSICAL_NETWORK
from steelyard.embedded.home import QUARANTINE_VLAN, RAMDISK_VLANS
from steelyard.embedded.requests import Session
from steelyard.errors import Conflict

VLANS: Mapping[str, int] = {**RAMDISK_VLANS, "quarantine": QUARANTINE_VLAN}
"""Network name -> VLAN."""


def subnet_of(name: str) -> str:
    """Address range of a seeded network: private, one /20 per network, large enough for a rack of 1,000."""
    return f"172.30.{16 * (VLANS[name] - 2001)}.0/20"


def seed(session: Session, port: int) -> dict[str, str]:
    """Make the networks that are missing, in the project of `session`, not shared; gives name -> id.

    Raises Conflict when a network of that name exists in the project on another VLAN.
    """
    networks = session.request(port, "GET", "/v2.0/networks")["networks"]
    subnets = session.request(port, "GET", "/v2.0/subnets")["subnets"]
    present: dict[str, dict[str, Any]] = {one["name"]: one for one in networks if _is_ours(one)}
    with_subnet = {one["network_id"] for one in subnets}
    ids = {}
    for name, vlan in VLANS.items():
        network = present.get(name) or _make_network(session, port, name, vlan)
        if network["provider:segmentation_id"] != vlan:
            raise Conflict(f"the network {name} exists on VLAN {network['provider:segmentation_id']} instead of {vlan}")
        if network["id"] not in with_subnet:
            _make_subnet(session, port, name, network)
        ids[name] = network["id"]
    return ids


def _is_ours(network: Mapping[str, Any]) -> bool:
    """A tenant may give its network the same name; only ours lies on a VLAN of the reserved range."""
    return network.get("provider:segmentation_id") in VLANS.values()


def _make_network(session: Session, port: int, name: str, vlan: int) -> dict[str, Any]:
    wanted = {
        "name": name,
        "shared": False,
        "provider:network_type": "vlan",
        "provider:physical_network": PHYSICAL_NETWORK,
        "provider:segmentation_id": vlan,
    }
    made: dict[str, Any] = session.request(port, "POST", "/v2.0/networks", body={"network": wanted})["network"]
    return made


def _make_subnet(session: Session, port: int, name: str, network: Mapping[str, Any]) -> None:
    wanted = {
        "name": name,
        "network_id": network["id"],
        "project_id": network["project_id"],
        "ip_version": 4,
        "cidr": subnet_of(name),
        "enable_dhcp": True,
    }
    session.request(port, "POST", "/v2.0/subnets", body={"subnet": wanted})

"""What the config asks for on each switch port. Pure.

A simulated switch has VLANs and no overlay, so a network is on a port as its VLAN: the one that the interface asks for
(`tor_port_vlan_id` untagged, `sub_interface_vlan_tag` tagged), else that of the network. Of two untagged interfaces on
one group (trap 1) the later has the port untagged and the earlier one tagged: the port is in both networks. A port has
the filters of the security groups of all interfaces on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.database import Database, Thing
from steelyard.embedded.contrail.filters import Filter, filters_of
from steelyard.embedded.contrail.networks import vlan_of
from steelyard.embedded.contrail.port_groups import ROOT, vlan_on_port


@dataclass(frozen=True, slots=True)
class PortConfig:
    """What a switch port is to carry."""

    untagged: int | None = None
    tagged: tuple[int, ...] = ()
    lacp: bool = False
    """Whether it is one of several that are aggregated."""
    filters: tuple[Filter, ...] = ()
    """Those that its frames have to pass, by name; without any, all pass."""

    def as_json(self) -> dict[str, Any]:
        return {
            "untagged": self.untagged,
            "tagged": list(self.tagged),
            "lacp": self.lacp,
            "filters": [one.name for one in self.filters],
        }

    def stored(self) -> dict[str, Any]:
        """As `restored` takes it."""
        return {**self.as_json(), "filters": {one.name: list(one.rules) for one in self.filters}}


def restored(content: Mapping[str, Any]) -> PortConfig:
    """One that was stored; before there were filters, too."""
    filters = tuple(Filter(name, tuple(rules)) for name, rules in content.get("filters", {}).items())
    return PortConfig(content["untagged"], tuple(content["tagged"]), content["lacp"], filters)


def wanted(database: Database, *, filters: bool = True) -> dict[tuple[str, str], PortConfig]:
    """(switch, port) -> what it is to carry, for every physical interface in a port group.

    `filters`: whether the switches can filter.
    """
    found, known = {}, dict[str, Filter]()
    for group in database.of_type("virtual-port-group"):
        config = _config(database, group, known if filters else None)
        for uuid in group.targets("physical_interface_refs"):
            physical = database[uuid]
            found[(physical.fq_name[1], port_id(physical))] = config
    return found


def wanted_on(database: Database, switch: str, port: str, *, filters: bool = True) -> PortConfig:
    """The same for one port."""
    physical = database.find("physical-interface", (ROOT, switch, port.replace(":", "_")))
    group = next(database.referrers(physical.uuid, "virtual-port-group"), None) if physical is not None else None
    return PortConfig() if group is None else _config(database, group, {} if filters else None)


def port_id(physical: Thing) -> str:
    """The port as its switch calls it: names in the config API cannot hold a colon."""
    return str(physical.properties.get("physical_interface_port_id") or physical.properties["display_name"])


def _config(database: Database, group: Thing, known: dict[str, Filter] | None) -> PortConfig:
    """`known`: filters that are made already; None: the switches cannot filter."""
    untagged: list[int] = []
    tagged: set[int] = set()
    interfaces = [database[uuid] for uuid in group.targets("virtual_machine_interface_refs")]
    for interface in interfaces:
        vlan, is_tagged = vlan_on_port(interface)
        networks = interface.targets("virtual_network_refs")
        vlan = vlan or (vlan_of(database[networks[0]]) if networks else 0)
        if not vlan:
            continue
        if is_tagged:
            tagged.add(vlan)
        else:
            untagged.append(vlan)
    native = untagged[-1] if untagged else None
    aggregated = len(group.targets("physical_interface_refs")) > 1
    lacp = aggregated and group.properties.get("virtual_port_group_lacp_enabled") is not False
    carried = tuple(sorted((tagged | set(untagged)) - {native}))
    return PortConfig(native, carried, lacp, () if known is None else filters_of(database, interfaces, known))

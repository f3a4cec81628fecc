"""Virtual port groups and the interfaces (VMIs) of bare metal servers: who is on which switch port.

This is where most traps are (docs/contrail-controller.md). In short: the physical interfaces that a VMI names in its
binding profile are put into a port group, one of the controller's own (`vpg-internal-N`) unless `vpg` names another.
Whether two VMIs may be on one group is looked at only when the request carries a VLAN.
"""

# The base class fixes the signatures of the rules.
# ruff: noqa: ARG002

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.checking import key_values, pairs, without
from steelyard.embedded.contrail.database import Ref, Thing
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.rules import Request, Rules
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.visibility import INTERNAL

ROOT = "default-global-system-config"
DEFAULT_FABRIC = "default-fabric"
BINDINGS = "virtual_machine_interface_bindings"
NO_MAC = "00:00:00:00:00:00"
_INTERNAL_PREFIX = "vpg-internal"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of an interface's place on the fabric."""

    links: tuple[Mapping[str, Any], ...]
    """`local_link_information` of the binding profile."""
    group: str | None
    """`vpg`: a group made by somebody else."""
    vlan: int
    """0 when the request carries none."""
    untagged: bool


def asked_of(bindings: Mapping[str, str], properties: Any) -> Asked:
    """Read a request's bindings. Raises ApiError 400."""
    vlan, untagged = _vlan(bindings, properties)
    return Asked(tuple(_links(bindings)), bindings.get("vpg") or None, vlan, untagged)


def _vlan(bindings: Mapping[str, str], properties: Any) -> tuple[int, bool]:
    """The VLAN in some bindings and properties (0: none), and whether it is untagged."""
    try:
        untagged = int(bindings.get("tor_port_vlan_id") or 0)
        tagged = int((properties or {}).get("sub_interface_vlan_tag") or 0)
    except (TypeError, ValueError):
        raise ApiError(400, "Cannot get vlan or phy_links") from None
    if not (0 <= tagged <= 4094 and 0 <= untagged <= 4094):
        raise ApiError(400, f"Invalid sub-interface VLAN tag ID: {untagged or tagged}")
    return untagged or tagged, bool(untagged)


def _links(bindings: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    text = bindings.get("profile")
    if not text:
        return
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError):
        raise ApiError(400, "The binding profile is not JSON") from None
    links = profile.get("local_link_information") if isinstance(profile, dict) else None
    for link in links or []:
        if not isinstance(link, dict) or not all(isinstance(link.get(key), str) for key in ("port_id", "switch_info")):
            raise ApiError(400, "Each local_link_information needs switch_info and port_id")
        yield link


def vlan_on_port(interface: Thing) -> tuple[int, bool]:
    """The VLAN that a stored interface asks for on its switch port (0: that of its network), and whether tagged."""
    try:
        vlan, untagged = _vlan(
            key_values(interface, BINDINGS), interface.properties.get("virtual_machine_interface_properties")
        )
    except ApiError:
        return 0, False
    return vlan, bool(vlan) and not untagged


class InterfaceRules(Rules):
    """virtual-machine-interface."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        if not thing.targets("virtual_network_refs"):
            raise ApiError(400, "Virtual Machine Interface must have valide Virtual Network reference")
        bindings = key_values(thing, BINDINGS)
        place = asked_of(bindings, thing.properties.get("virtual_machine_interface_properties"))
        bare_metal = bindings.get("vnic_type") == "baremetal"
        _set_macs(thing, unbound=bare_metal and not place.links)
        if thing.properties.get(BINDINGS):
            _complete_bindings(thing, bindings)

    def after_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        bindings = key_values(thing, BINDINGS)
        place = asked_of(bindings, thing.properties.get("virtual_machine_interface_properties"))
        if bindings.get("vnic_type") == "baremetal" and (place.group or bindings.get("profile")):
            # Unlike at an update, a group that holds the interfaces already is not looked for: refused, not joined.
            group = _attach(resources, thing, place, own=None, was_untagged=None)
            _join(resources, group, thing)
        network = resources.database[thing.targets("virtual_network_refs")[0]]
        routing = resources.database.find("routing-instance", (*network.fq_name, network.name))
        if routing is not None:
            attr = {"direction": "both", "protocol": None, "vlan_tag": None, "mpls_label": None}
            present = resources.database[thing.uuid].refs.get("routing_instance_refs", ())
            resources.set_refs(thing.uuid, "routing_instance_refs", (*present, Ref(routing.uuid, attr)))

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        # The routing instance stays that of the first network, whatever happens to virtual_network_refs.
        if "virtual_machine_interface_mac_addresses" in asked.body:
            _set_macs(after, unbound=False)
        given = pairs(asked.body.get(BINDINGS))
        for update in asked.updates:
            if update.get("field") == BINDINGS and str(update.get("operation", "")).lower() == "set":
                given |= pairs({"key_value_pair": [update.get("value")]})
        if given.get("vnic_type") != "baremetal":
            return
        properties = asked.body.get("virtual_machine_interface_properties")
        place = asked_of(given, properties)
        stored = key_values(before, BINDINGS)
        old_tag = (before.properties.get("virtual_machine_interface_properties") or {}).get("sub_interface_vlan_tag")
        was_untagged = True if stored.get("tor_port_vlan_id") else (False if old_tag else None)
        own = next(resources.database.referrers(before.uuid, "virtual-port-group"), None)
        group = _attach(resources, before, place, own=own, was_untagged=was_untagged, update=True)
        if own is None:
            _join(resources, group, before)

    def before_delete(self, resources: Resources, thing: Thing) -> None:
        field = "virtual_machine_interface_refs"
        for group in resources.database.referrers(thing.uuid, "virtual-port-group"):
            left = without(group.refs[field], thing.uuid)
            resources.set_refs(group.uuid, field, left)
            if not left and group.properties.get("virtual_port_group_user_created") is False:
                resources.delete(INTERNAL, TYPES["virtual-port-group"], group.uuid)


def _set_macs(interface: Thing, *, unbound: bool) -> None:
    given = (interface.properties.get("virtual_machine_interface_mac_addresses") or {}).get("mac_address")
    if given:
        if not isinstance(given, list) or not all(isinstance(mac, str) for mac in given):
            raise ApiError(400, "Error validating property virtual_machine_interface_mac_addresses: a list of MACs")
        macs = [mac.replace("-", ":") for mac in given]
    elif unbound:
        macs = [NO_MAC]
    else:
        digits = interface.uuid.replace("-", "")
        macs = [":".join(("02", *(digits[index : index + 2] for index in range(0, 10, 2))))]
    interface.properties["virtual_machine_interface_mac_addresses"] = {"mac_address": macs}


def _complete_bindings(interface: Thing, bindings: Mapping[str, str]) -> None:
    listed = list(interface.properties[BINDINGS].get("key_value_pair") or [])
    if "vif_type" not in bindings:
        listed.append({"key": "vif_type", "value": "vrouter"})
    if "vnic_type" not in bindings:
        listed.append({"key": "vnic_type", "value": "normal"})
    interface.properties[BINDINGS] = {"key_value_pair": listed}


def _attach(
    resources: Resources, interface: Thing, place: Asked, *, own: Thing | None, was_untagged: bool | None,
    update: bool = False,
) -> Thing:  # fmt: skip
    """Put the physical interfaces of a request into its port group, which is made when there is none."""
    known = own
    name = place.group or (own.name if own is not None else None)
    if update and place.links and known is None:
        # One that the first physical interface is in already is joined, whosoever's it is.
        first = place.links[0]
        physical = resources.database.find("physical-interface", (ROOT, first["switch_info"], first["port_id"]))
        if physical is None:
            wanted = [ROOT, first["switch_info"], first["port_id"]]
            raise ApiError(404, f"Retrive physical_interface ({wanted}) failed while trying to read vpg refs")
        known = next(resources.database.referrers(physical.uuid, "virtual-port-group"), None)
        name = known.name if known is not None else name
    fabric, physical_interfaces = _interfaces(resources, place.links, name, known)
    if name is not None:
        group = resources.database.find("virtual-port-group", (ROOT, fabric, name))
        if group is None:
            raise ApiError(404, f"Vpg object {name} is not found")
        if not physical_interfaces and group.properties.get("virtual_port_group_user_created") is not False:
            physical_interfaces = [resources.database[uuid] for uuid in group.targets("physical_interface_refs")]
    else:
        if not physical_interfaces:
            raise ApiError(400, "Unable to retrieve fabric name. No physical interfaces and no vpg refs")
        group = _make_internal(resources, fabric)
    _check_vlan(resources, interface, group, place, was_untagged)
    _set_physical_interfaces(resources, group, physical_interfaces)
    return resources.database[group.uuid]


def _interfaces(
    resources: Resources, links: tuple[Mapping[str, Any], ...], name: str | None, known: Thing | None
) -> tuple[str, list[Thing]]:
    """The fabric's name and the physical interfaces of some links. Raises ApiError 400 or 404."""
    fabric: str | None = None
    found: dict[str, Thing] = {}
    for link in links:
        if link.get("fabric"):
            if fabric is not None and fabric != link["fabric"]:
                raise ApiError(400, "Physical interfaces in the same vpg should belong to the same fabric")
            fabric = str(link["fabric"])
        else:
            fabric = known.fq_name[-2] if known is not None else DEFAULT_FABRIC
        physical = resources.database.find("physical-interface", (ROOT, link["switch_info"], link["port_id"]))
        if physical is None:
            raise ApiError(
                404,
                f"Unable to attach Physical interface to Virtual Port Group ({name or 'vpg-internal-missing'}). "
                f"No such Physical Interface object ({link['port_id'][:100]}) exists",
            )
        found[physical.uuid] = physical
    if fabric is None:
        if known is None:
            raise ApiError(400, "Unable to retrieve fabric name. No physical interfaces and no vpg refs")
        if known.parent_type != "fabric":
            raise ApiError(400, "VPG do not belong to fabric object, Unable to retrieve fabric name")
        fabric = known.fq_name[-2]
    for physical in found.values():
        for holder in resources.database.referrers(physical.uuid, "virtual-port-group"):
            if holder.name != name:
                raise ApiError(400, f"Physical interface {physical.name} already belong to the vpg {holder.name}")
    return fabric, list(found.values())


def _make_internal(resources: Resources, fabric: str) -> Thing:
    taken = {group.name for group in resources.database.of_type("virtual-port-group")}
    number = next(number for number in range(len(taken) + 1) if f"{_INTERNAL_PREFIX}-{number}" not in taken)
    body = {
        "fq_name": [ROOT, fabric, f"{_INTERNAL_PREFIX}-{number}"],
        "parent_type": "fabric",
        "virtual_port_group_user_created": False,
        "virtual_port_group_lacp_enabled": True,
    }
    return resources.create(INTERNAL, TYPES["virtual-port-group"], body)


def _check_vlan(resources: Resources, interface: Thing, group: Thing, place: Asked, was_untagged: bool | None) -> None:
    """One untagged interface per group and one per network and tag, but only of those that carry a VLAN.

    An interface whose binding held an untagged VLAN before is not looked at again. Raises ApiError 400.
    """
    if not place.vlan:
        return
    network = interface.targets("virtual_network_refs")[0]
    for uuid in group.targets("virtual_machine_interface_refs"):
        other = resources.database[uuid]
        vlan, tagged = vlan_on_port(other)
        if not vlan:
            continue
        if place.untagged and not tagged and uuid != interface.uuid and was_untagged is None:
            raise ApiError(
                400, f"Virtual machine interface:({uuid}) already exists for virtual port group:({group.uuid})"
            )
        same_tag = tagged and vlan == place.vlan and other.targets("virtual_network_refs")[:1] == (network,)
        if not place.untagged and same_tag:
            raise ApiError(
                400,
                f"Virtual machine interface:({uuid}) already exists in virtual network:({network}) "
                f"with vlan({place.vlan})",
            )


def _set_physical_interfaces(resources: Resources, group: Thing, wanted: list[Thing]) -> None:
    """Make these the group's physical interfaces, each added or removed as one reference."""
    type = TYPES["virtual-port-group"]
    present, keep = set(group.targets("physical_interface_refs")), {physical.uuid for physical in wanted}
    for uuid in group.targets("physical_interface_refs"):
        if uuid not in keep:
            resources.remove_ref(INTERNAL, type, group.uuid, resources.database[uuid])
    for physical in wanted:
        if physical.uuid not in present:
            resources.add_ref(INTERNAL, type, group.uuid, physical, relaxed=True)


def _join(resources: Resources, group: Thing, interface: Thing) -> None:
    refs = resources.database[group.uuid].refs.get("virtual_machine_interface_refs", ())
    if interface.uuid not in {ref.uuid for ref in refs}:
        resources.set_refs(group.uuid, "virtual_machine_interface_refs", (*refs, Ref(interface.uuid, relaxed=True)))


class PortGroupRules(Rules):
    """virtual-port-group."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        if thing.properties.get("virtual_port_group_user_created") is not False and _INTERNAL_PREFIX in thing.name:
            raise ApiError(
                400,
                f"Virtual port group({thing.uuid}) with name vpg-internal as prefix can only be created internally",
            )
        if thing.targets("physical_interface_refs"):
            raise ApiError(
                400,
                "API Infra do not support allocating AE-ID when Physical Interface refs are sent in VPG create "
                "request. Workaround: Create VPG first, then add Physical Interface to VPG",
            )
        properties = thing.properties
        properties.setdefault("virtual_port_group_user_created", True)
        properties.setdefault("virtual_port_group_lacp_enabled", True)

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        field = "physical_interface_refs"
        if before.targets(field) == after.targets(field):
            return
        added = [uuid for uuid in after.targets(field) if uuid not in before.targets(field)]
        elsewhere = ""
        for uuid in added:
            for other in resources.database.referrers(uuid, "virtual-port-group"):
                if other.uuid != before.uuid:
                    elsewhere += f"PI ({uuid}) VPG-UUID ({other.uuid}) VPG-FQNAME ({':'.join(other.fq_name)}); "
        if elsewhere:
            raise ApiError(
                400,
                "physical interfaces already added at other VPGs can not be attached to this VPG "
                f"({before.uuid}): {elsewhere}",
            )
        after.refs[field] = self._numbered(resources, before, after.refs[field])

    def after_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        was, now = set(before.targets("physical_interface_refs")), set(after.targets("physical_interface_refs"))
        for uuid in sorted(now - was):
            resources.set_property(uuid, "physical_interface_type", "access")
        for uuid in sorted(was - now):
            resources.set_property(uuid, "physical_interface_type", None)

    def before_delete(self, resources: Resources, thing: Thing) -> None:
        if thing.targets("virtual_machine_interface_refs"):
            raise ApiError(
                400,
                f"Virtual port group({thing.uuid}) can not be deleted as refernces to VMI and BMS instance "
                "association still exists.",
            )
        for uuid in thing.targets("physical_interface_refs"):
            resources.set_property(uuid, "physical_interface_type", None)

    def _numbered(self, resources: Resources, group: Thing, refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
        """With two or more interfaces, each has the number of its router's aggregated Ethernet interface."""
        if len(refs) < 2:
            return tuple(Ref(ref.uuid, None, ref.relaxed) for ref in refs)
        numbers: dict[str, int] = {}
        used: dict[str, set[int]] = {}
        for other in resources.database.of_type("virtual-port-group"):
            for ref in other.refs.get("physical_interface_refs", ()):
                number = (ref.attr or {}).get("ae_num")
                if number is None:
                    continue
                router = resources.database[ref.uuid].fq_name[1]
                if other.uuid == group.uuid:
                    numbers[router] = number
                used.setdefault(router, set()).add(number)
        numbered = []
        for ref in refs:
            router = resources.database[ref.uuid].fq_name[1]
            if router not in numbers:
                numbers[router] = next(number for number in range(128) if number not in used.get(router, set()))
            numbered.append(Ref(ref.uuid, {"ae_num": numbers[router]}, ref.relaxed))
        return tuple(numbered)

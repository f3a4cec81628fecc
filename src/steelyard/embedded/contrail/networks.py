"""What is peculiar to networks, instance-ips, floating IPs and security groups."""

# The base class fixes the signatures of the rules.
# ruff: noqa: ARG002

from __future__ import annotations

import ipaddress
import uuid as uuids
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steelyard.embedded.contrail import addresses
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Database, Ref, Thing
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.rules import Request, Rules
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.visibility import ALL, INTERNAL, LINK, READ


class NetworkRules(Rules):
    """Subnets, sharing, the number that the controller gives, and the routing instance that comes with a network."""

    def __init__(self, vlans: range):
        """`vlans`: the numbers of networks without a segmentation id of their own."""
        self._vlans = vlans

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        if thing.properties.get("virtual_network_network_id") is not None:
            raise ApiError(403, "Cannot set the virtual network ID")
        _check_provider(thing.properties.get("provider_properties"), "create")
        _share(thing, asked.body)
        _complete_subnets(thing)
        thing.properties["virtual_network_network_id"] = self._free_number(resources.database)

    def after_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        resources.create(
            INTERNAL,
            TYPES["routing-instance"],
            {
                "fq_name": [*thing.fq_name, thing.name],
                "parent_type": "virtual-network",
                "routing_instance_is_default": True,
                "perms2": thing.properties["perms2"],
            },
        )

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        number = "virtual_network_network_id"
        if after.properties.get(number) != before.properties[number]:
            raise ApiError(403, "Cannot update the virtual network ID")
        if "provider_properties" in asked.body:
            _check_provider(after.properties.get("provider_properties"), "update")
        if asked.body.keys() & {"is_shared", "router_external", "perms2"}:
            _share(after, asked.body)
        if "network_ipam_refs" not in asked.body:
            return
        _complete_subnets(after, before)
        resources.database.scanned.pop(before.uuid, None)
        kept = [subnet.network for subnet in addresses.subnets_of(after)]
        for address in resources.database.addresses(before.uuid):
            found = ipaddress.ip_address(address)
            was_in = any(found in subnet.network for subnet in addresses.subnets_of(before))
            if was_in and not any(found in network for network in kept):
                raise ApiError(409, f"Cannot Delete IP Block, IP({address}) is in use")

    def after_delete(self, resources: Resources, thing: Thing) -> None:
        for address in list(resources.database.addresses(thing.uuid)):
            resources.database.free_address(thing.uuid, address)

    def _free_number(self, database: Database) -> int:
        taken = set()
        for network in database.of_type("virtual-network"):
            taken.add(network.properties.get("virtual_network_network_id"))
            taken.add((network.properties.get("provider_properties") or {}).get("segmentation_id"))
        for number in self._vlans:
            if number not in taken:
                return number
        raise ApiError(500, "No virtual network ID is left")


def vlan_of(network: Thing) -> int:
    """The VLAN by which the fabric carries a network: its segmentation id, else the number that it was given."""
    provider = network.properties.get("provider_properties") or {}
    return int(provider.get("segmentation_id") or network.properties["virtual_network_network_id"])


def _check_provider(properties: Any, what: str) -> None:
    if not properties:
        return
    if properties.get("segmentation_id") is None:
        raise ApiError(400, f"Segmenation ID must be configured to {what}")
    if not properties.get("physical_network"):
        raise ApiError(400, f"Physical Network must be configured to {what}")
    segment = properties["segmentation_id"]
    if isinstance(segment, bool) or not isinstance(segment, int) or not 1 <= segment <= 4094:
        raise ApiError(400, f"segmentation_id: value must be between 1 and 4094, not {str(segment)[:50]}")


def _share(network: Thing, body: Mapping[str, Any]) -> None:
    """`is_shared` and the access of everybody say the same; `router_external` lets everybody look."""
    perms = dict(network.properties["perms2"])
    given = (body.get("perms2") or {}).get("global_access")
    if given is not None and body.get("is_shared") is not None and body["is_shared"] != (given == ALL):
        raise ApiError(400, f"Inconsistent is_shared ({body['is_shared']}) and global_access ({given})")
    if given is None and body.get("is_shared") is not None:
        perms["global_access"] = ALL if body["is_shared"] else 0
    elif given is None and body.get("router_external"):
        perms["global_access"] = READ | LINK
    network.properties["perms2"] = perms
    network.properties["is_shared"] = perms.get("global_access") == ALL


def _complete_subnets(network: Thing, before: Thing | None = None) -> None:
    known = {subnet.name: subnet.uuid for subnet in addresses.subnets_of(before)} if before is not None else {}
    refs: list[Ref] = []
    for ref in network.refs.get("network_ipam_refs", ()):
        attr = dict(ref.attr or {})
        entries = attr.get("ipam_subnets") or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ApiError(400, "Bad reference: ipam_subnets is a list of subnets")
        attr["ipam_subnets"] = [
            addresses.complete(entry, known.get(_cidr(entry)) or str(uuids.uuid4())) for entry in entries
        ]
        refs.append(replace(ref, attr=attr))
    network.refs["network_ipam_refs"] = tuple(refs)
    addresses.check_overlap(list(addresses.subnets_of(network)))


def _cidr(entry: Mapping[str, Any]) -> str:
    prefix = entry.get("subnet") or {}
    return f"{prefix.get('ip_prefix')}/{prefix.get('ip_prefix_len')}"


class InstanceIpRules(Rules):
    """An address is taken when it is made, and free when it is deleted. It cannot be changed."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        networks = thing.targets("virtual_network_refs")
        if not networks:
            raise ApiError(400, "Instance IP must refer to a virtual network")
        properties = thing.properties
        family = properties.get("instance_ip_family")
        if family not in (None, "v4", "v6"):
            raise ApiError(400, "Bad property in create: instance_ip_family: value must be one of ['v4', 'v6']")
        address, subnet = addresses.allocate(
            resources.database,
            resources.database[networks[0]],
            thing.uuid,
            subnet_uuid=properties.get("subnet_uuid"),
            asked=properties.get("instance_ip_address"),
            family=family,
        )
        properties.update(instance_ip_address=address, subnet_uuid=subnet)

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        wanted = asked.body.get("instance_ip_address")
        if wanted and wanted != before.properties["instance_ip_address"]:
            raise ApiError(400, "Instance IP Address can not be changed")
        after.properties["instance_ip_address"] = before.properties["instance_ip_address"]

    def after_delete(self, resources: Resources, thing: Thing) -> None:
        for network in thing.targets("virtual_network_refs"):
            addresses.free(resources.database, network, thing.properties["instance_ip_address"], thing.uuid)


class FloatingIpRules(Rules):
    """An address of the network whose pool is the parent."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        network = _network_of_pool(resources.database, thing)
        if network is None:
            return
        address, _ = addresses.allocate(
            resources.database, network, thing.uuid, asked=thing.properties.get("floating_ip_address")
        )
        thing.properties["floating_ip_address"] = address

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        wanted = asked.body.get("floating_ip_address")
        if wanted and wanted != before.properties.get("floating_ip_address"):
            raise ApiError(400, "Floating IP Address can not be changed")

    def after_delete(self, resources: Resources, thing: Thing) -> None:
        network = _network_of_pool(resources.database, thing)
        if network is not None:
            addresses.free(resources.database, network.uuid, thing.properties["floating_ip_address"], thing.uuid)


def _network_of_pool(database: Database, floating_ip: Thing) -> Thing | None:
    if floating_ip.parent_type != "floating-ip-pool" or floating_ip.parent_uuid is None:
        return None
    pool = database[floating_ip.parent_uuid]
    return None if pool.parent_uuid is None else database[pool.parent_uuid]


_DIRECTIONS, _PROTOCOLS = (">", "<", "<>"), ("any", "tcp", "udp", "icmp", "icmp6", "sctp")


class SecurityGroupRules(Rules):
    """Rules are checked for their words and get a uuid each; a group gets a number."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        taken = {group.properties.get("security_group_id") for group in resources.database.of_type("security-group")}
        thing.properties["security_group_id"] = next(
            number for number in range(8_000_000, 9_000_000) if number not in taken
        )
        self._check(thing)

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        if "security_group_entries" in asked.body:
            self._check(after)

    def _check(self, group: Thing) -> None:
        entries = group.properties.get("security_group_entries")
        if not entries:
            return
        rules = entries.get("policy_rule") or []
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise ApiError(400, "Error validating property security_group_entries: policy_rule is a list of rules")
        for rule in rules:
            protocol = str(rule.get("protocol", "any"))
            known = protocol in _PROTOCOLS or (protocol.isdecimal() and len(protocol) < 4 and int(protocol) < 256)
            if rule.get("direction", ">") not in _DIRECTIONS or not known:
                raise ApiError(
                    400, f"Error validating property security_group_entries value {str(rule)[:300]}: not a rule"
                )
        group.properties["security_group_entries"] = {
            **entries,
            "policy_rule": [{**rule, "rule_uuid": rule.get("rule_uuid") or str(uuids.uuid4())} for rule in rules],
        }

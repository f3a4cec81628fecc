"""What Neutron's security groups are at the controller, pure functions.

A group is a `security-group` of the same id. Each of its rules is a policy rule that says from where to where traffic
may flow, with `local` for whoever has the group. A rule for an address group is one for each of its addresses.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from neutron_lib import constants

from steelyard_neutron.contrail.objects import Object, name_of, references, same

KIND = "security-group"
FIELD = "security_group_refs"
SERVERS = constants.DEVICE_OWNER_COMPUTE_PREFIX
"""How the owner of a server's port begins. Ports of Ironic's and of Steelyard's own, on which a ramdisk is reached, are
never filtered."""
NAMED_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
"""Numbers of the protocols for which the controller has a word."""
ALL_PORTS = (0, 65535)

FullName = Callable[[Mapping[str, Any]], list[str]]
"""Full name of a group, of which `id` and `project_id` are known."""


def groups_of(port: Mapping[str, Any]) -> list[str]:
    """The groups (ids) that a port's interface refers to: those of a server's port, and of no other."""
    if not str(port.get("device_owner") or "").startswith(SERVERS):
        return []
    return sorted(str(one) for one in port.get("security_groups") or [])


def resolved(
    group: Mapping[str, Any], projects: Mapping[str, str], addresses: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """A group of Neutron's with what its rules only name by id.

    `projects`: group -> its project, of the groups that rules name; a rule for one that is gone goes with it.
    `addresses`: address group -> its prefixes.
    """
    rules: list[Mapping[str, Any]] = []
    for rule in group["security_group_rules"]:
        remote, many = rule.get("remote_group_id"), rule.get("remote_address_group_id")
        if remote:
            if remote in projects:
                rules.append({**rule, "remote": {"id": remote, "project_id": projects[remote]}})
        elif many:
            rules += [
                {**rule, "id": str(uuid.uuid5(uuid.UUID(rule["id"]), prefix)), "remote_ip_prefix": prefix}
                for prefix in sorted(set(addresses.get(many, ())))
                if (":" in prefix) == (rule["ethertype"] == constants.IPv6)
            ]
        else:
            rules.append(rule)
    return {"id": group["id"], "name": group["name"], "project_id": group["project_id"], "rules": rules}


def group(group: Mapping[str, Any], parent: Sequence[str], owner: str, full_name: FullName) -> Object:
    """A security-group."""
    return {
        "uuid": group["id"],
        "fq_name": [*parent, name_of(owner, group["id"])],
        "parent_type": "project",
        **group_changes(group, full_name),
    }


def group_changes(group: Mapping[str, Any], full_name: FullName) -> Object:
    """What may change of a security-group: its name and its rules."""
    return {
        "display_name": group["name"] or group["id"],
        "security_group_entries": {"policy_rule": [_policy_rule(rule, full_name) for rule in group["rules"]]},
    }


def same_group(group: Mapping[str, Any], present: Mapping[str, Any] | None, full_name: FullName) -> bool:
    """Whether the controller has the group with this name and these rules; what it adds to a rule does not count."""
    if present is None:
        return False
    wanted = group_changes(group, full_name)
    there = {str(rule.get("rule_uuid")): rule for rule in _rules_in(present)}
    here = {rule["rule_uuid"]: rule for rule in _rules_in(wanted)}
    return (
        present.get("display_name") == wanted["display_name"]
        and len(list(_rules_in(present))) == len(here)
        and there.keys() == here.keys()
        and all(same(value, there[uuid_].get(key)) for uuid_, rule in here.items() for key, value in rule.items())
    )


def same_groups(port: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    """Whether an interface refers to exactly the groups that it should."""
    return sorted(references(present, KIND)) == groups_of(port)


def _rules_in(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (content.get("security_group_entries") or {}).get("policy_rule") or []


def _policy_rule(rule: Mapping[str, Any], full_name: FullName) -> Object:
    here, there = [{"security_group": "local"}], [_remote(rule, full_name)]
    incoming = rule["direction"] == constants.INGRESS_DIRECTION
    protocol = _protocol(rule.get("protocol"))
    return {
        "rule_uuid": rule["id"],
        "direction": ">",
        "ethertype": rule["ethertype"],
        "protocol": protocol,
        "src_addresses": there if incoming else here,
        "src_ports": [_span(ALL_PORTS)],
        "dst_addresses": here if incoming else there,
        "dst_ports": [_span(_ports(rule, icmp=protocol.startswith("icmp")))],
    }


def _remote(rule: Mapping[str, Any], full_name: FullName) -> Object:
    """The other side: a group, a prefix, or everybody."""
    if remote := rule.get("remote"):
        return {"security_group": ":".join(full_name(remote))}
    everybody = "::/0" if rule["ethertype"] == constants.IPv6 else "0.0.0.0/0"
    prefix = ipaddress.ip_network(str(rule.get("remote_ip_prefix") or everybody), strict=False)
    return {"subnet": {"ip_prefix": str(prefix.network_address), "ip_prefix_len": prefix.prefixlen}}


def _protocol(given: Any) -> str:
    name = str(given or "any").lower()
    number = int(name) if name.isdecimal() else constants.IP_PROTOCOL_MAP.get(name)
    return name if number is None else NAMED_PROTOCOLS.get(int(number), str(number))


def _ports(rule: Mapping[str, Any], *, icmp: bool) -> tuple[int, int]:
    """First and last port; of ICMP the type and the code, or all codes.

    From 0 to 65535 is everything. So type 0 has its one code: the answer to an echo (RFC 792).
    """
    first, last = rule.get("port_range_min"), rule.get("port_range_max")
    if first is None:
        return ALL_PORTS
    if last is None:
        last = 0 if icmp and int(first) == 0 else ALL_PORTS[1]
    return int(first), int(last)


def _span(ports: tuple[int, int]) -> Object:
    return {"start_port": ports[0], "end_port": ports[1]}

"""The checks of a network controller's set-up before the first deployment. Pure.

Each answers one question that otherwise answers itself by a server that hangs: a missing DHCP association gives no
error anywhere, a private network that is shared looks like any other. What could not be looked at is said to be so; it
is never "ok".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from steelyard.networks.model import NetworkRole, OperatorNetworks
from steelyard.nouns import FabricFacts, FabricPort, Network, NetworkFacts, NodePort

RAMDISK: Final = (
    NetworkRole.PROVISIONING, NetworkRole.CLEANING, NetworkRole.INSPECTION, NetworkRole.RESCUE, NetworkRole.SEGMENT,
)  # fmt: skip
"""Networks on which a server boots the agent, and needs an address for it."""
LEAST_MTU: Final = 1500
"""Bytes; what a server's NIC sends unless it is told otherwise."""
SHOWN: Final = 5
"""Subjects named in a reason; all of them are in `subjects`."""


class Status(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be checked; the reason says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question."""

    name: str
    """Stable, for scripts: `private_networks`."""
    title: str
    """The question as a statement, for people."""
    status: Status
    reason: str
    next: str | None = None
    """What to do, or where to look, where it is not ok."""
    subjects: tuple[str, ...] = ()
    """What it failed for: names of networks, switches, switch ports."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read, and what could not be, and why."""

    controller: str
    """neutron or contrail, as the settings have it."""
    operators: OperatorNetworks
    networks: Sequence[Network] | None
    facts: FabricFacts | None
    nics: Sequence[NodePort] | None
    nodes: Mapping[str, str]
    """Labels by id."""
    virtual_media: bool
    """Whether servers boot the agent from an image that their BMC inserts, and need nothing of DHCP but an address."""
    segment_projects: Collection[str] = ()
    """Ids of the projects whose networks may be segments."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why, of `networks`, `facts` and `nics` that could not be read."""
    forbidden: bool = False
    """Whether the controller refused a question for lack of rights."""

    def found(self) -> dict[NetworkRole, list[Network]]:
        """The operator's networks, by role: any number of segments; more of another role where a name is used twice."""
        found: dict[NetworkRole, list[Network]] = {role: [] for role in (*self.operators.by_role, NetworkRole.SEGMENT)}
        for network in self.networks or ():
            role = self.operators.role_of(network)
            if role is NetworkRole.SEGMENT and network.project_id not in self.segment_projects:
                continue  # a tenant's, whose name happens to be like a segment's
            if role is not None:
                found[role].append(network)
        return found

    def of_operator(self) -> list[Network]:
        return [network for networks in self.found().values() for network in networks]

    def facts_of(self, network: Network) -> NetworkFacts | None:
        return self.facts.networks.get(network.id) if self.facts is not None else None


def checks(seen: Seen) -> list[Check]:
    """All checks that apply to the controller, in the order in which one mends."""
    asked: list[Callable[[Seen], Check]] = [
        _reachable, _rights, _present, _private, _vlans, _dhcp, _mtu, _cables, _one_each,
    ]  # fmt: skip
    if seen.controller == "contrail":
        asked += [_access_rules, _switch_ports, _service_nodes, _boot_server]
    return [ask(seen) for ask in asked]


def passed(found: Iterable[Check], *, strict: bool = False) -> bool:
    """Whether nothing failed; `strict`: and everything could be checked."""
    return all(each.status is Status.OK or (each.status is Status.UNKNOWN and not strict) for each in found)


# The controller itself


def _reachable(seen: Seen) -> Check:
    title = "The network controller answers"
    for what in ("networks", "facts"):
        if what in seen.errors and not seen.forbidden:
            setting = "STEELYARD_CONTRAIL_URL" if seen.controller == "contrail" else "the catalogue's address"
            return Check("reachable", title, Status.FAILED, seen.errors[what], f"check {setting}")
    return Check("reachable", title, Status.OK, f"{seen.controller} answered")


def _rights(seen: Seen) -> Check:
    title = "Steelyard has an administrator's rights in it"
    if seen.forbidden:
        said = next(
            (seen.errors[what] for what in ("networks", "facts") if what in seen.errors), "it refused a question"
        )
        return _failed("rights", title, said, "give the user of STEELYARD_CLOUD the role admin")
    if seen.networks is None or seen.facts is None:
        return _unknown("rights", title, "nothing could be read")
    if seen.of_operator() and not any(network.segmentation_id for network in seen.networks):
        return _failed(
            "rights",
            title,
            "it does not tell the VLAN of any network",
            "give the user of STEELYARD_CLOUD the role admin",
        )
    return Check("rights", title, Status.OK, "it tells what only administrators are told")


def _access_rules(seen: Seen) -> Check:
    title = "It decides by project who may do what"
    mode = seen.facts.access_rules if seen.facts is not None else None
    if mode is None:
        return _unknown("access_rules", title, "it does not tell its aaa_mode", next="see its contrail-api.conf")
    if mode != "rbac":
        harm = {
            "no-auth": "anybody who reaches it may change every switch port",
            "cloud-admin": "it refuses the tokens of all tenants",
        }
        said = harm.get(mode, "nobody here knows what that means")
        return _failed("access_rules", title, f"its aaa_mode is {mode[:40]}: {said}", "set aaa_mode=rbac")
    return Check("access_rules", title, Status.OK, "its aaa_mode is rbac")


# The operator's networks


def _present(seen: Seen) -> Check:
    title = "Every network of the operator's is there, once"
    if seen.networks is None:
        return _unknown("operator_networks", title, "networks could not be read")
    found = seen.found()
    segments = found.pop(NetworkRole.SEGMENT)
    missing = [str(seen.operators.by_role[role]) for role, networks in found.items() if not networks]
    twice = [str(seen.operators.by_role[role]) for role, networks in found.items() if len(networks) > 1]
    if missing:
        return _failed(
            "operator_networks", title, f"there is no network {_some(missing)}",
            f"openstack network create {missing[0]}, or set STEELYARD_{_role_of(seen, missing[0]).upper()}_NETWORK",
            missing,
        )  # fmt: skip
    if twice:
        next_step = f"set STEELYARD_{_role_of(seen, twice[0]).upper()}_NETWORK to an id"
        return _failed("operator_networks", title, f"several networks have the name {_some(twice)}", next_step, twice)
    if seen.operators.segments and not segments:
        return _failed(
            "operator_networks", title, f"no segment is there: {_some(seen.operators.segments)}",
            "make networks of such names in the project of STEELYARD_SEGMENTS_PROJECT", seen.operators.segments,
        )  # fmt: skip
    more = f" and {len(segments)} segments" if segments else ""
    return Check("operator_networks", title, Status.OK, f"{len(found)} networks{more}")


def _role_of(seen: Seen, named: str) -> str:
    return next(role.value for role, name in seen.operators.by_role.items() if name == named)


def _private(seen: Seen) -> Check:
    title = "They are private: no tenant may use them"
    if (networks := seen.of_operator()) == [] or seen.facts is None:
        return _unknown("private_networks", title, "nobody could be asked who may use them")
    open_to = {network.name: facts.users for network in networks if (facts := seen.facts_of(network)) and facts.users}
    unknown = [network.name for network in networks if seen.facts_of(network) is None]
    if open_to:
        said = "; ".join(f"{name} may be used by {_some(users)}" for name, users in sorted(open_to.items()))
        name = min(open_to)
        step = (
            f"openstack network set --no-share --internal {name}; openstack network rbac list --type network"
            if seen.controller == "neutron"
            else f"set global_access 0 and an empty share in perms2 of {name}, is_shared and router_external false"
        )
        return _failed("private_networks", title, said, step, sorted(open_to))
    if unknown:
        return _unknown("private_networks", title, f"the controller tells nothing of {_some(unknown)}", unknown)
    return Check("private_networks", title, Status.OK, f"{len(networks)} networks are nobody else's")


def _vlans(seen: Seen) -> Check:
    title = "Each has a VLAN of its own"
    if (networks := seen.of_operator()) == []:
        return _unknown("vlans", title, "networks could not be read, or none is there")
    without = [network.name for network in networks if network.segmentation_id is None]
    if without and not seen.forbidden:
        step = (
            "set provider_properties.segmentation_id, or STEELYARD_CONTRAIL_VLANS"
            if seen.controller == "contrail"
            else f"openstack network show {without[0]}"
        )
        return _failed("vlans", title, f"no VLAN is known of {_some(without)}", step, without)
    used = Counter(network.segmentation_id for network in seen.networks or () if network.segmentation_id)
    shared = [network.name for network in networks if used[network.segmentation_id or 0] > 1]
    if shared:
        said = f"another network has the same VLAN as {_some(shared)}"
        return _failed("vlans", title, said, "give each network its own VLAN", shared)
    return Check("vlans", title, Status.OK, f"{len(networks)} networks")


def _dhcp(seen: Seen) -> Check:
    title = "Servers in a ramdisk get an address there"
    networks = [network for role in RAMDISK for network in seen.found().get(role, ())]
    if not networks or seen.facts is None:
        return _unknown("dhcp", title, "nobody could be asked about subnets")
    without = [network.name for network in networks if (facts := seen.facts_of(network)) and not facts.dhcp]
    if without:
        return _failed(
            "dhcp", title, f"no subnet with DHCP is on {_some(without)}",
            f"openstack subnet create --network {without[0]} --dhcp --subnet-range CIDR NAME", without,
        )  # fmt: skip
    return Check("dhcp", title, Status.OK, f"{len(networks)} networks have a subnet with DHCP")


def _mtu(seen: Seen) -> Check:
    title = f"Frames of {LEAST_MTU} bytes get through"
    if seen.facts is None:
        return _unknown("mtu", title, "nobody could be asked")
    named = {network.id: network.name for network in seen.of_operator()}
    mtus = {named[each.network_id]: each.mtu for each in seen.facts.networks.values() if each.network_id in named}
    small = sorted(name for name, mtu in mtus.items() if mtu is not None and mtu < LEAST_MTU)
    wanted = max([LEAST_MTU, *(mtu for mtu in mtus.values() if mtu is not None)])
    narrow = sorted(
        f"{port.switch_name} {port.port_id}"
        for port, _ in _wired(seen)
        if port is not None and port.mtu is not None and port.mtu < wanted
    )
    if small:
        return _failed(
            "mtu", title, f"{_some(small)} carries less", f"openstack network set --mtu {LEAST_MTU} NAME", small
        )
    if narrow:
        return _failed("mtu", title, f"{_some(narrow)} carries less than {wanted} bytes", "raise its MTU", narrow)
    if not any(mtu for mtu in mtus.values()) and not any(port and port.mtu for port, _ in _wired(seen)):
        return _unknown("mtu", title, "the controller says nothing of any MTU", next="ping -M do -s 1472 from a server")
    return Check("mtu", title, Status.OK, "nothing that the controller says of is smaller")


# Cables and switch ports


def _cables(seen: Seen) -> Check:
    title = "The switch port of every NIC that boots is known"
    if seen.nics is None:
        return _unknown("cables", title, f"NICs could not be read: {seen.errors.get('nics', 'no answer')}")
    lost = [_nic(seen, nic) for nic in seen.nics if nic.link is None and nic.pxe_enabled]
    if lost:
        return _failed("cables", title, f"nobody knows it of {_some(lost)}", "steelyard node inspect NODE", lost)
    if not seen.nics:
        return _unknown(
            "cables", title, "there is no node yet", next="steelyard discover BMC_NETWORK --credentials FILE"
        )
    return Check("cables", title, Status.OK, f"{len(seen.nics)} NICs")


def _one_each(seen: Seen) -> Check:
    title = "No switch port is said to have two NICs"
    if seen.nics is None:
        return _unknown("one_nic_each", title, "NICs could not be read")
    at: dict[tuple[str, str], list[str]] = defaultdict(list)
    for nic in seen.nics:
        if nic.link is not None:
            at[nic.link.switch_id.lower(), nic.link.port_id].append(_nic(seen, nic))
    double = [f"{place[1]} of {place[0]}" for place, nics in sorted(at.items()) if len(nics) > 1]
    if double:
        who = next(nics for nics in at.values() if len(nics) > 1)
        step = "steelyard node inspect NODE, one after the other"
        return _failed("one_nic_each", title, f"{_some(double)}: {_some(who)}", step, double)
    return Check("one_nic_each", title, Status.OK, f"{len(at)} switch ports")


def _switch_ports(seen: Seen) -> Check:
    title = "The controller knows the switch port of every NIC"
    if (unread := _unread(seen, "switch_ports", title)) is not None:
        return unread
    assert seen.facts is not None  # it was read
    switches = {each.name: each for each in seen.facts.switches or ()}
    wrong: list[str] = []
    for port, nic in _wired(seen):
        link = nic.link
        assert link is not None  # it is wired
        there = switches.get(link.switch_name or "")
        if there is None:
            wrong.append(f"{_nic(seen, nic)} at {link.switch_name or link.switch_id} {link.port_id} (no such switch)")
        elif there.chassis_id is not None and there.chassis_id != link.switch_id.lower():
            wrong.append(f"{_nic(seen, nic)} at {link.switch_name} {link.port_id} (another switch has that name)")
        elif port is None:
            wrong.append(f"{_nic(seen, nic)} at {link.switch_name} {link.port_id} (no such interface)")
    if wrong:
        return _failed(
            "switch_ports", title, f"it does not know {_some(wrong)}",
            "have the fabric's devices discovered again, or make the physical-interface", wrong,
        )  # fmt: skip
    return Check("switch_ports", title, Status.OK, f"{len(_wired(seen))} switch ports")


def _service_nodes(seen: Seen) -> Check:
    title = "A service node answers DHCP behind every leaf"
    if (unread := _unread(seen, "service_nodes", title)) is not None:
        return unread
    assert seen.facts is not None  # it was read
    used = {nic.link.switch_name for _, nic in _wired(seen) if nic.link is not None}
    leaves = [each for each in seen.facts.switches or () if not used or each.name in used]
    without = sorted(each.name for each in leaves if not each.service_nodes)
    if without:
        return _failed(
            "service_nodes", title,
            f"{_some(without)} has none: a server behind it never gets an address, and nothing says so",
            "refer from the physical-router to a virtual-router of type tor-service-node", without,
        )  # fmt: skip
    if not leaves:
        return _unknown("service_nodes", title, "the controller knows no switch")
    return Check("service_nodes", title, Status.OK, f"{len(leaves)} switches")


def _boot_server(seen: Seen) -> Check:
    title = "DHCP names a boot server"
    if seen.virtual_media:
        return Check(
            "boot_server", title, Status.OK, "servers boot from virtual media (STEELYARD_DEPLOY_ISO), without it"
        )
    networks = [network for role in RAMDISK for network in seen.found().get(role, ())]
    if not networks or seen.facts is None:
        return _unknown("boot_server", title, "nobody could be asked about DHCP options")
    without = [network.name for network in networks if (facts := seen.facts_of(network)) and not facts.boot_servers]
    if without:
        return _failed(
            "boot_server", title,
            f"{_some(without)} has no DHCP option 66, and the service node itself serves no TFTP",
            "add option 66 to the network-ipam, or boot from virtual media (STEELYARD_DEPLOY_ISO)", without,
        )  # fmt: skip
    return Check("boot_server", title, Status.OK, f"{len(networks)} networks")


# Words


def _wired(seen: Seen) -> list[tuple[FabricPort | None, NodePort]]:
    """NICs whose switch port is known, each with what the controller has of it."""
    ports = {(each.switch_name, each.port_id): each for each in (seen.facts.ports if seen.facts else None) or ()}
    return [
        # The controller writes the end of a port's name after a ":" with a "_".
        (ports.get((nic.link.switch_name or "", nic.link.port_id.replace(":", "_"))), nic)
        for nic in seen.nics or ()
        if nic.link is not None
    ]


def _unread(seen: Seen, name: str, title: str) -> Check | None:
    if seen.facts is None or seen.facts.switches is None:
        return _unknown(name, title, seen.errors.get("facts", "the controller has no list of switches"))
    if seen.nics is None:
        return _unknown(name, title, f"NICs could not be read: {seen.errors.get('nics', 'no answer')}")
    return None


def _nic(seen: Seen, nic: NodePort) -> str:
    return f"{seen.nodes.get(nic.node_id, nic.node_id)} {nic.mac}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _failed(name: str, title: str, reason: str, next: str, subjects: Sequence[str] = ()) -> Check:
    return Check(name, title, Status.FAILED, reason, next, tuple(subjects))


def _unknown(name: str, title: str, reason: str, subjects: Sequence[str] = (), *, next: str | None = None) -> Check:
    return Check(name, title, Status.UNKNOWN, reason, next, tuple(subjects))

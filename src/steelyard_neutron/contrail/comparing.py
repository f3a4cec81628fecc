"""Neutron and the controller compared by bulk lists, and what differs repaired, in rounds.

Neutron is right about what there is and where it is bound; the controller about who has an address. The two are read
one after the other while both go on, so nothing is repaired that was not the same in two rounds, and Neutron is asked
once more right before. What only the controller has may belong to a transaction that is not committed yet; it must have
been there for longer than one can take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import netaddr
from neutron.ipam import exceptions as ipam_exc
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib import exceptions as n_exc
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins import directory
from oslo_log import log

from steelyard_neutron.contrail import objects, security_groups
from steelyard_neutron.contrail.addresses import Subnet
from steelyard_neutron.contrail.client import Refused, Unreachable
from steelyard_neutron.contrail.controller_view import (
    ControllerView,
    read_controller,
    same_network,
    same_port,
    same_subnet,
)
from steelyard_neutron.contrail.group_objects import same_group
from steelyard_neutron.contrail.neutron_view import NeutronView, is_allocated, read
from steelyard_neutron.contrail.parts import (
    Parts,
    addresses_of,
    as_subport,
    is_bound_here,
    is_live,
    parts,
    segments_of,
    subports_of,
)

LOG = log.getLogger(__name__)

Repair = Callable[[], str | None]
"""Does it; says why it did nothing, when it did nothing."""
FIRST_RETRY = 1.0
"""Seconds between two attempts at the first round, while the controller does not answer."""
LOOK_AGAIN = 5.0
"""Seconds until the next round, at the most, when something differs."""
REMOVED_AFTER = 60.0
"""Seconds for which something must have been at the controller alone: longer than a transaction of Neutron's, which
waits for a few requests with their timeouts."""


@dataclass
class Outcome:
    """What came of one round, in words."""

    repaired: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    suspected: list[str] = field(default_factory=list)
    """Different for the first time, or at the controller alone for not long enough."""

    @property
    def agrees(self) -> bool:
        return not (self.repaired or self.failed or self.suspected)


class Comparison:
    """Keeps what was suspected from one round to the next. Without `repair` it only says what it would."""

    def __init__(self, using: Parts, *, repair: bool = True, removed_after: float = REMOVED_AFTER):
        self._parts = using
        self._repair = repair
        self._removed_after = removed_after
        self._suspects: dict[str, float] = {}
        """What differs, in words -> since when."""

    def round(self, context: Any) -> Outcome:
        """Compare and repair. Raises Unreachable when the controller does not answer."""
        controller = read_controller(self._parts.mirror)
        neutron = read(context)
        outcome, now, suspects = Outcome(), time.monotonic(), dict[str, float]()

        def judge(what: str, repair: Repair, *, after: float) -> None:
            since = self._suspects.get(what)
            suspects[what] = now if since is None else since
            if since is None or now - since < after:
                outcome.suspected.append(what)
            else:
                self._attempt(outcome, what, repair)

        for what, repair in self._differences(context, controller, neutron):
            judge(what, repair, after=0.0)
        for what, repair in self._extras(context, controller, neutron):
            judge(what, repair, after=self._removed_after)
        self._suspects = suspects
        return outcome

    def _attempt(self, outcome: Outcome, what: str, repair: Repair) -> None:
        if not self._repair:
            outcome.failed.append(what)
            return
        try:
            nothing = repair()
        except (Refused, ipam_exc.IpAddressAlreadyAllocated, ipam_exc.InvalidIpForSubnet) as error:
            LOG.error("%s; not repaired: %s", what, error)
            outcome.failed.append(f"{what}: {error}")
        except n_exc.NotFound:
            LOG.debug("%s; gone meanwhile", what)
        else:
            if nothing is None:
                LOG.warning("%s; repaired", what)
                outcome.repaired.append(what)

    # What is missing or different at the controller

    def _differences(
        self, context: Any, controller: ControllerView, neutron: NeutronView
    ) -> Iterator[tuple[str, Repair]]:
        mirror = self._parts.mirror
        missing = neutron.networks.keys() - controller.networks.keys()
        if missing or neutron.security_groups.keys() - controller.security_groups.keys():
            mirror.forget()
        for network in neutron.networks.values():
            if not same_network(network, controller.networks.get(network["id"])):
                yield (
                    f"network {network['id']} is missing or different at the controller",
                    partial(mirror.ensure_network, network, segments_of(network)),
                )
        for subnet in neutron.subnets.values():
            if not same_subnet(subnet, controller):
                yield (
                    f"subnet {subnet['id']} is missing or different at the controller",
                    partial(mirror.ensure_subnet, subnet),
                )
        for group_id, group in neutron.security_groups.items():
            if not same_group(group, controller.security_groups.get(group_id), mirror.group_name):
                yield (
                    f"security group {group_id} is missing or different at the controller",
                    partial(security_groups.ensure, context, group_id),
                )
        for port in neutron.ports.values():
            yield from self._port(context, controller, neutron, port)

    def _port(
        self, context: Any, controller: ControllerView, neutron: NeutronView, port: Mapping[str, Any]
    ) -> Iterator[tuple[str, Repair]]:
        mirror, port_id = self._parts.mirror, port["id"]
        present = controller.ports.get(port_id)
        if present is None or objects.references(present, objects.NETWORK) != [port["network_id"]]:
            yield (
                f"port {port_id} is missing at the controller, or in another network",
                lambda: mirror.ensure_port(self._with_groups(context, port_id)),
            )
        elif not same_port(port, present):
            yield (
                f"port {port_id} has another name, MAC address or owner, or other security groups, at the controller",
                lambda: mirror.change_port(self._with_groups(context, port_id)),
            )
        foreign = controller.foreign_macs.get((port["network_id"], str(port["mac_address"]).lower()))
        if foreign is not None:
            # The controller takes a MAC address twice without a word; which of the two is wrong, nobody can say here.
            yield (
                f"the MAC address {port['mac_address']} of port {port_id} is there twice",
                partial(_cannot, f"interface {foreign} of somebody else's has it too"),
            )
        for fixed in port["fixed_ips"]:
            there = controller.addresses.get((fixed["subnet_id"], fixed["ip_address"]))
            if there is None:
                yield (
                    f"address {fixed['ip_address']} of port {port_id} is missing at the controller",
                    partial(self._take, context, neutron, port_id, fixed),
                )
            elif port_id not in objects.references(there, objects.PORT):
                yield (
                    f"address {fixed['ip_address']} is not given to port {port_id} at the controller",
                    partial(self._give, context, port_id, there["uuid"]),
                )
        if is_bound_here(port) and not self._is_in_place(controller, neutron, port):
            yield (
                f"port {port_id} is not on its switch port at the controller",
                partial(self._bind, context, neutron, port_id),
            )

        if port_id in neutron.subports and not self._is_tagged(controller, neutron, port_id):
            yield (
                f"port {port_id} is not tagged on the switch port of its parent at the controller",
                partial(self._bind_tagged, context, neutron, port_id),
            )

    def _is_tagged(self, controller: ControllerView, neutron: NeutronView, port_id: str) -> bool:
        """Whether a subport is where its parent is; True also where the parent is on no switch port."""
        parent_id, tag = neutron.subports[port_id]
        parent, present = neutron.ports.get(parent_id), controller.ports.get(port_id)
        if parent is None or not is_bound_here(parent):
            return True
        return (
            present is not None
            and objects.tag_of(present) == tag
            and controller.places.get(port_id, frozenset()) == self._wanted(parent)
        )

    def _wanted(self, port: Mapping[str, Any]) -> frozenset[tuple[str, ...]]:
        return frozenset(tuple(self._parts.switch_ports.name_of(link)) for link in objects.links_of(port))

    def _is_in_place(self, controller: ControllerView, neutron: NeutronView, port: Mapping[str, Any]) -> bool:
        present = controller.ports.get(port["id"])
        vlan = neutron.vlan(port["network_id"])
        return (
            present is not None
            and objects.bound_vlan(present) == vlan
            and controller.places.get(port["id"], frozenset()) == self._wanted(port)
            and port["status"] == constants.PORT_STATUS_ACTIVE
        )

    def _again(self, context: Any, port_id: str) -> Mapping[str, Any]:
        """The port as it is now. Raises PortNotFound."""
        port: Mapping[str, Any] = directory.get_plugin().get_port(context, port_id)
        return port

    def _with_groups(self, context: Any, port_id: str) -> Mapping[str, Any]:
        """The same, when the controller has its security groups."""
        port = self._again(context, port_id)
        security_groups.ensure_for(context, port)
        return port

    def _take(self, context: Any, neutron: NeutronView, port_id: str, fixed: Mapping[str, str]) -> str | None:
        if fixed not in self._again(context, port_id)["fixed_ips"]:
            return "the port has left it"
        taken = self._parts.addresses.take(_as_subnet(neutron.subnets[fixed["subnet_id"]]), fixed["ip_address"])
        self._give(context, port_id, taken.uuid)
        return None

    def _give(self, context: Any, port_id: str, address: str) -> None:
        self._parts.mirror.ensure_port(self._with_groups(context, port_id), [address])

    def _bind(self, context: Any, neutron: NeutronView, port_id: str) -> str | None:
        port = self._with_groups(context, port_id)
        if not is_bound_here(port):
            return "the port has been unbound"
        vlan = neutron.vlan(port["network_id"])
        plugin = directory.get_plugin()
        try:
            if vlan is None:
                raise Refused(what=f"bind port {port_id}", reason="its network has no VLAN")
            self._parts.switch_ports.bind(
                port,
                vlan,
                objects.links_of(port),
                addresses_of,
                lambda other: is_live(context, other),
                subports_of(context, port_id),
            )
        except Refused:
            plugin.update_port_status(context, port_id, constants.PORT_STATUS_DOWN)
            raise
        plugin.update_port_status(context, port_id, constants.PORT_STATUS_ACTIVE)
        return None

    def _bind_tagged(self, context: Any, neutron: NeutronView, port_id: str) -> str | None:
        parent_id, tag = neutron.subports[port_id]
        parent = self._again(context, parent_id)
        if not is_bound_here(parent):
            return "its parent has been unbound"
        subport = as_subport(context, port_id, tag)
        self._parts.switch_ports.bind_tagged(subport, parent_id, objects.links_of(parent), addresses_of)
        return None

    # What only the controller has

    def _extras(self, context: Any, controller: ControllerView, neutron: NeutronView) -> Iterator[tuple[str, Repair]]:
        """In the order in which things can be removed."""
        mirror = self._parts.mirror
        for port_id, interfaces in controller.places.items():
            port = neutron.ports.get(port_id)
            parent = neutron.ports.get(neutron.subports[port_id][0]) if port_id in neutron.subports else None
            stays = port is None or is_bound_here(port) or (parent is not None and is_bound_here(parent))
            if interfaces and not stays:
                what = f"port {port_id} is on a switch port that Neutron took it off"
                yield what, partial(self._release, context, port_id)
        for subnet_id, address in controller.addresses.keys() - neutron.allocations:
            uuid = controller.addresses[subnet_id, address]["uuid"]
            what = f"address {address} of subnet {subnet_id} is of no port"
            yield what, partial(self._free, context, subnet_id, address, uuid)
        removals: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any], Callable[[str], None]], ...] = (
            ("port", controller.ports, neutron.ports, self._remove_port),
            ("security group", controller.security_groups, neutron.security_groups, mirror.remove_group),
            ("subnet", controller.subnets, neutron.subnets, mirror.remove_subnet),
            ("network", controller.networks, neutron.networks, mirror.remove_network),
        )
        for word, there, here, remove in removals:
            for uuid in there.keys() - here.keys():
                what = f"{word} {uuid} is unknown to Neutron"
                getter = f"get_{word.replace(' ', '_')}"
                yield what, partial(self._unless_known, getter, context, uuid, remove)

    def _release(self, context: Any, port_id: str) -> str | None:
        port = self._again(context, port_id)
        if is_live(context, port_id):
            return "the port has been bound"
        self._parts.switch_ports.release({**port, portbindings.VNIC_TYPE: objects.BAREMETAL})
        return None

    def _free(self, context: Any, subnet_id: str, address: str, uuid: str) -> str | None:
        if is_allocated(context, subnet_id, address):
            return "it has been given to a port"
        self._parts.addresses.give_back(uuid)
        return None

    def _remove_port(self, port_id: str) -> None:
        self._parts.switch_ports.release({"id": port_id, portbindings.VNIC_TYPE: objects.BAREMETAL})
        self._parts.mirror.remove_port(port_id)

    @staticmethod
    def _unless_known(getter: str, context: Any, uuid: str, remove: Callable[[str], None]) -> str | None:
        try:
            getattr(directory.get_plugin(), getter)(context, uuid)
        except n_exc.NotFound:
            remove(uuid)
            return None
        return "Neutron has it now"


def start(interval: int) -> None:
    """Compare in a thread of this process, at once and then every `interval` seconds; 0: never."""
    if interval:
        threading.Thread(target=_run, args=(interval,), name="steelyard-contrail-comparing", daemon=True).start()


def _run(interval: int) -> None:
    comparison = Comparison(parts())
    pause = FIRST_RETRY
    while True:
        try:
            outcome = comparison.round(neutron_context.get_admin_context())
            pause = float(interval) if outcome.agrees else min(LOOK_AGAIN, interval)
        except Unreachable as error:
            LOG.warning("Not compared: %s", error)
        except Exception:
            LOG.exception("Neutron and the controller were not compared")
        time.sleep(pause)


def _cannot(reason: str) -> None:
    raise Refused(what="repair", reason=reason)


def _as_subnet(subnet: Mapping[str, Any]) -> Subnet:
    gateway = subnet.get("gateway_ip")
    return Subnet(
        id=subnet["id"],
        network_id=subnet["network_id"],
        cidr=netaddr.IPNetwork(subnet["cidr"]),
        gateway=netaddr.IPAddress(gateway) if gateway else None,
        pools=[netaddr.IPRange(pool["start"], pool["end"]) for pool in subnet["allocation_pools"]],
    )

"""A server's interface on its switch ports: put there, taken off, and read back each time.

The controller keeps a port group for the physical interfaces that an interface names in its binding profile: one is an
access port, several are a bond, on one leaf or on two. It lets two networks onto one switch port more often than it
should, so nothing here believes an answer of 200.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from oslo_log import log

from steelyard_neutron.contrail import group_objects, objects
from steelyard_neutron.contrail.client import Refused, Unreachable
from steelyard_neutron.contrail.mirror import Mirror

LOG = log.getLogger(__name__)

IsLive = Callable[[str], bool]
"""Whether Neutron has a port of this id that is bound to a switch port, be it as a sub-interface of another one."""
FindAddresses = Callable[[Mapping[str, Any]], list[str]]
"""The instance-ips of a port, for an interface that has to be made (again)."""


@dataclass(frozen=True)
class Subport:
    """A tagged sub-interface of a port that is bound to switch ports."""

    port: Mapping[str, Any]
    tag: int
    vlan: int | None
    """That of its network."""


@dataclass(frozen=True)
class Place:
    """Where the controller has an interface: the physical interfaces (ids) of its port groups, and the VLAN."""

    interfaces: frozenset[str]
    vlan: int | None
    tag: int | None
    networks: tuple[str, ...]
    groups: tuple[str, ...]


class SwitchPorts:
    """Binds to the switches of one fabric."""

    def __init__(self, mirror: Mirror, fabric: str, system: str):
        self._mirror = mirror
        self._controller = mirror.controller
        self._fabric = fabric
        self._system = system

    def bind(
        self,
        port: Mapping[str, Any],
        vlan: int,
        links: Sequence[Mapping[str, str]],
        addresses: FindAddresses,
        is_live: IsLive,
        subports: Sequence[Subport] = (),
    ) -> None:
        """Put the port untagged on exactly these switch ports, and its subports tagged; read back that it is so.

        Repeating it changes nothing. Raises Refused, when the interface is on none of them, or Unreachable.
        """
        wanted = self._interfaces(links)
        present = self._place(port["id"])
        if present is None or present.networks != (port["network_id"],):
            self._mirror.ensure_port(port, addresses(port))
            present = self._place(port["id"])
        if present is not None and present.interfaces and present.interfaces != frozenset(wanted):
            self.release(port)
        own = {port["id"], *(subport.port["id"] for subport in subports)}
        for uuid, name in wanted.items():
            self._make_free(uuid, name, own, is_live)
        # In one request with the security groups: the switch port carries no network without them.
        changes = {
            **self._mirror.port_changes(port),
            "virtual_machine_interface_bindings": objects.bindings(port, links, vlan, fabric=self._fabric),
        }
        try:
            self._controller.update(objects.PORT, port["id"], changes)
            self._verify(port, vlan, wanted, own)
            for subport in subports:
                self.bind_tagged(subport, port["id"], links, addresses)
        except (Refused, Unreachable):
            self._release_after_failure(port)
            raise

    def bind_tagged(
        self, subport: Subport, parent_id: str, links: Sequence[Mapping[str, str]], addresses: FindAddresses
    ) -> None:
        """Put a sub-interface tagged on the switch ports of its parent, which is bound there, and read it back.

        Its tag must be its network's VLAN: a tag that anybody may choose could be another network's on the switch.
        Raises Refused, when the sub-interface is on none, or Unreachable.
        """
        port, what = subport.port, f"bind port {subport.port['id']} tagged"
        if subport.tag != subport.vlan:
            raise Refused(what=what, reason=f"its tag is {subport.tag}, and the VLAN of its network {subport.vlan}")
        parent = self._place(parent_id)
        if parent is None or len(parent.groups) != 1:
            raise Refused(what=what, reason=f"its parent {parent_id} is in no port group")
        present, networks = self._place(port["id"]), (port["network_id"],)
        if present is not None and (present.groups, present.tag, present.networks) == (
            parent.groups, subport.tag, networks,
        ):  # fmt: skip
            return  # repeated, the controller would refuse it because of itself
        if present is None or present.groups or present.networks != networks:
            self.release_tagged(port, addresses)
        changes = {
            **self._mirror.port_changes(port),
            "virtual_machine_interface_properties": {"sub_interface_vlan_tag": subport.tag},
            "virtual_machine_interface_bindings": objects.bindings(
                port, links, subport.tag, fabric=self._fabric, tagged=True
            ),
        }
        try:
            self._controller.update(objects.PORT, port["id"], changes)
            place = self._place(port["id"])
            if place is None or (place.groups, place.tag, place.vlan) != (parent.groups, subport.tag, None):
                raise Refused(what=what, reason="it said yes and has the sub-interface elsewhere")
        except (Refused, Unreachable):
            with contextlib.suppress(Refused, Unreachable):
                self._mirror.remove_port(port["id"], and_addresses=False)
            raise

    def release_tagged(self, port: Mapping[str, Any], addresses: FindAddresses) -> None:
        """Take a sub-interface off its switch ports: it is made anew.

        An empty profile would take the whole group off its switch ports, and so the parent.
        """
        self._mirror.remove_port(port["id"], and_addresses=False)
        self._mirror.ensure_port(port, addresses(port))

    def release(self, port: Mapping[str, Any]) -> None:
        """Take the port off its switch ports. Raises Refused when the controller still has it on one, or Unreachable.

        After a refused bind the controller refuses this too ("Unable to retrieve fabric name"); what counts is where
        it has the interface then.
        """
        place = self._place(port["id"])
        if place is not None and place.tag is not None:
            self._mirror.remove_port(port["id"], and_addresses=False)  # the next comparison makes it anew, if need be
            return
        if place is None or not (place.interfaces or place.vlan):
            return
        refusal: Refused | None = None
        left = objects.bindings(port, [], None, fabric=self._fabric, left=True)
        try:
            self._controller.update(objects.PORT, port["id"], {"virtual_machine_interface_bindings": left})
        except Refused as error:
            refusal = error
        place = self._place(port["id"])
        if place is not None and place.interfaces:
            reason = refusal.reason if refusal else "it said yes and the port group still has the switch port"
            raise Refused(what=f"take port {port['id']} off its switch port", reason=reason)

    def name_of(self, link: Mapping[str, str]) -> list[str]:
        """The full name of the physical interface at the end of a link."""
        return objects.interface_name(self._system, link)

    def _interfaces(self, links: Sequence[Mapping[str, str]]) -> dict[str, str]:
        """Id -> name of the physical interfaces at the ends of the links. Raises Refused for one that is unknown."""
        found = {}
        for link in links:
            if not link.get("switch_info") or not link.get("port_id"):
                raise Refused(what="bind", reason="a link names no switch (switch_info) or no port (port_id)")
            name = self.name_of(link)
            uuid = self._controller.find(objects.INTERFACE, name)
            if uuid is None:
                raise Refused(what="bind", reason=f"the controller has no physical interface {':'.join(name[1:])}")
            found[uuid] = ":".join(name[1:])
        return found

    def _place(self, port_id: str) -> Place | None:
        """Where the interface is; None: there is no such interface."""
        present = self._controller.read(
            objects.PORT, port_id, "virtual_machine_interface_bindings", "virtual_machine_interface_properties",
            "virtual_network_refs", "virtual_port_group_back_refs",
        )  # fmt: skip
        if present is None:
            return None
        groups = self._groups(objects.back_references(present, objects.GROUP))
        return Place(
            interfaces=frozenset(uuid for group in groups for uuid in objects.references(group, objects.INTERFACE)),
            vlan=objects.bound_vlan(present),
            tag=objects.tag_of(present),
            groups=tuple(group["uuid"] for group in groups),
            networks=tuple(objects.references(present, objects.NETWORK)),
        )

    def _groups(self, uuids: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        for uuid in uuids:
            group = self._controller.read(
                objects.GROUP, uuid, "physical_interface_refs", "virtual_machine_interface_refs"
            )
            if group is not None:
                found.append(group)
        return found

    def _make_free(self, interface: str, name: str, own: Set[str], is_live: IsLive) -> None:
        """Nobody else may be on the switch port. What an interrupted unbind has left there goes; else Refused."""
        present = self._controller.read(objects.INTERFACE, interface, "virtual_port_group_back_refs") or {}
        for group in self._groups(objects.back_references(present, objects.GROUP)):
            others = [uuid for uuid in objects.references(group, objects.PORT) if uuid not in own]
            for other in others:
                content = self._controller.read(objects.PORT, other, "display_name")
                if content is not None and objects.owned_id(self._mirror.owner, content["fq_name"]) is None:
                    raise Refused(what=f"bind to {name}", reason=f"interface {other} of somebody else's is on it")
                if is_live(other):
                    raise Refused(what=f"bind to {name}", reason=f"port {other} is still bound to it")
            for other in others:
                LOG.warning("Port %s is not bound any more, and is taken off %s", other, name)
                self.release({"id": other, "binding:vnic_type": objects.BAREMETAL})

    def _verify(self, port: Mapping[str, Any], vlan: int, wanted: Mapping[str, str], own: Set[str]) -> None:
        """One port group, with these switch ports and its `own` interfaces alone, in Neutron's network, with the port's
        security groups; or Refused."""
        what = f"bind port {port['id']}"
        present = self._controller.read(
            objects.PORT, port["id"], "virtual_machine_interface_bindings", "virtual_network_refs",
            "virtual_port_group_back_refs", group_objects.FIELD,
        )  # fmt: skip
        if present is None:
            raise Refused(what=what, reason="the interface is gone")
        networks = objects.references(present, objects.NETWORK)
        if networks != [port["network_id"]]:
            raise Refused(what=what, reason=f"the interface is in networks {networks}")
        if not group_objects.same_groups(port, present):
            groups = objects.references(present, group_objects.KIND)
            raise Refused(what=what, reason=f"the interface has the security groups {groups}")
        if objects.bound_vlan(present) != vlan:
            raise Refused(what=what, reason=f"it says VLAN {objects.bound_vlan(present)} instead of {vlan}")
        port_groups = self._groups(objects.back_references(present, objects.GROUP))
        if len(port_groups) != 1:
            raise Refused(what=what, reason=f"the interface is in {len(port_groups)} port groups")
        if set(objects.references(port_groups[0], objects.INTERFACE)) != set(wanted):
            raise Refused(what=what, reason=f"its port group has other switch ports than {', '.join(wanted.values())}")
        members = set(objects.references(port_groups[0], objects.PORT))
        if port["id"] not in members or not members <= own:
            raise Refused(what=what, reason="other interfaces are on the same switch port")
        for uuid, name in wanted.items():
            interface = self._controller.read(objects.INTERFACE, uuid, "virtual_port_group_back_refs") or {}
            if objects.back_references(interface, objects.GROUP) != [port_groups[0]["uuid"]]:
                raise Refused(what=what, reason=f"{name} is in another port group as well")

    def _release_after_failure(self, port: Mapping[str, Any]) -> None:
        try:
            self.release(port)
        except (Refused, Unreachable) as error:
            LOG.error("Port %s may be on a switch port after a bind that failed: %s", port["id"], error)

"""A server's interface on its switch ports: put there, taken off, and read back each time.

The controller keeps a port group for the physical interfaces that an interface names in its binding profile: one is an
access port, several are a bond, on one leaf or on two. It lets two networks onto one switch port more often than it
should, so nothing here believes an answer of 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_log import log

from steelyard_neutron.contrail import objects
from steelyard_neutron.contrail.client import Refused, Unreachable
from steelyard_neutron.contrail.mirror import Mirror

LOG = log.getLogger(__name__)

IsLive = Callable[[str], bool]
"""Whether Neutron has a port of this id that is bound to a switch port."""


@dataclass(frozen=True)
class Place:
    """Where the controller has an interface: the physical interfaces (ids) of its port groups, and the VLAN."""

    interfaces: frozenset[str]
    vlan: int | None
    networks: tuple[str, ...]


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
        addresses: Callable[[], list[str]],
        is_live: IsLive,
    ) -> None:
        """Put the port untagged on exactly these switch ports, and read back that the controller has it so.

        Repeating it changes nothing. `addresses` finds the port's instance-ips, should the controller have lost it.
        Raises Refused, when the interface is on none of them, or Unreachable.
        """
        wanted = self._interfaces(links)
        present = self._place(port["id"])
        if present is None or present.networks != (port["network_id"],):
            self._mirror.ensure_port(port, addresses())
            present = self._place(port["id"])
        if present is not None and present.interfaces and present.interfaces != frozenset(wanted):
            self.release(port)
        for uuid, name in wanted.items():
            self._make_free(uuid, name, port["id"], is_live)
        changes = {
            **objects.port_changes(port),
            "virtual_machine_interface_bindings": objects.bindings(port, links, vlan, fabric=self._fabric),
        }
        try:
            self._controller.update(objects.PORT, port["id"], changes)
            self._verify(port, vlan, wanted)
        except (Refused, Unreachable):
            self._release_after_failure(port)
            raise

    def release(self, port: Mapping[str, Any]) -> None:
        """Take the port off its switch ports. Raises Refused when the controller still has it on one, or Unreachable.

        After a refused bind the controller refuses this too ("Unable to retrieve fabric name"); what counts is where
        it has the interface then.
        """
        place = self._place(port["id"])
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
            objects.PORT, port_id, "virtual_machine_interface_bindings", "virtual_network_refs",
            "virtual_port_group_back_refs",
        )  # fmt: skip
        if present is None:
            return None
        groups = self._groups(objects.back_references(present, objects.GROUP))
        return Place(
            interfaces=frozenset(uuid for group in groups for uuid in objects.references(group, objects.INTERFACE)),
            vlan=objects.bound_vlan(present),
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

    def _make_free(self, interface: str, name: str, port_id: str, is_live: IsLive) -> None:
        """Nobody else may be on the switch port. What an interrupted unbind has left there goes; else Refused."""
        present = self._controller.read(objects.INTERFACE, interface, "virtual_port_group_back_refs") or {}
        for group in self._groups(objects.back_references(present, objects.GROUP)):
            for other in objects.references(group, objects.PORT):
                if other == port_id:
                    continue
                content = self._controller.read(objects.PORT, other, "virtual_machine_interface_bindings")
                if content is None:
                    continue
                if objects.owned_id(self._mirror.owner, content["fq_name"]) is None:
                    raise Refused(what=f"bind to {name}", reason=f"interface {other} of somebody else's is on it")
                if is_live(other):
                    raise Refused(what=f"bind to {name}", reason=f"port {other} is still bound to it")
                LOG.warning("Port %s is not bound any more, and is taken off %s", other, name)
                self.release({"id": other, "binding:vnic_type": objects.BAREMETAL})

    def _verify(self, port: Mapping[str, Any], vlan: int, wanted: Mapping[str, str]) -> None:
        """One port group, with these switch ports and this interface alone, in Neutron's network. Raises Refused."""
        what = f"bind port {port['id']}"
        present = self._controller.read(
            objects.PORT, port["id"], "virtual_machine_interface_bindings", "virtual_network_refs",
            "virtual_port_group_back_refs",
        )  # fmt: skip
        if present is None:
            raise Refused(what=what, reason="the interface is gone")
        networks = objects.references(present, objects.NETWORK)
        if networks != [port["network_id"]]:
            raise Refused(what=what, reason=f"the interface is in networks {networks}")
        if objects.bound_vlan(present) != vlan:
            raise Refused(what=what, reason=f"it says VLAN {objects.bound_vlan(present)} instead of {vlan}")
        groups = self._groups(objects.back_references(present, objects.GROUP))
        if len(groups) != 1:
            raise Refused(what=what, reason=f"the interface is in {len(groups)} port groups")
        if set(objects.references(groups[0], objects.INTERFACE)) != set(wanted):
            raise Refused(what=what, reason=f"its port group has other switch ports than {', '.join(wanted.values())}")
        if objects.references(groups[0], objects.PORT) != [port["id"]]:
            raise Refused(what=what, reason="other interfaces are on the same switch port")
        for uuid, name in wanted.items():
            interface = self._controller.read(objects.INTERFACE, uuid, "virtual_port_group_back_refs") or {}
            if objects.back_references(interface, objects.GROUP) != [groups[0]["uuid"]]:
                raise Refused(what=what, reason=f"{name} is in another port group as well")

    def _release_after_failure(self, port: Mapping[str, Any]) -> None:
        try:
            self.release(port)
        except (Refused, Unreachable) as error:
            LOG.error("Port %s may be on a switch port after a bind that failed: %s", port["id"], error)

"""Putting a port on switch ports and taking it off again, proven in the controller.

The rules, each of which answers something that the controller does not refuse (docs/adr/0027):

* the VLAN is always sent: without one, a switch port in use is put into the second network as well, and that is a 200
* nothing is bound to a switch port that another port's network is on: that one is unbound first, by who asked for it
* after every flip the port group is read back and must hold exactly one untagged network, and this port's VLAN;
  otherwise the port is taken off again and the flip has failed
* what was refused is unbound: taking it off again is refused too ("Unable to retrieve fabric name"), and that is fine
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from steelyard.clouds.contrail.groups import Groups, Interface
from steelyard.clouds.contrail.reading import PORT_NAME, as_pairs, network_id_of, pairs_of, ref_ids, tag_of
from steelyard.clouds.contrail.rest import ContrailRest, place_is_taken
from steelyard.clouds.contrail.vlans import Vlans
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Invalid, SteelyardError, UpstreamError
from steelyard.nouns import SwitchLink

VMI = "virtual-machine-interface"
PROPERTIES = "virtual_machine_interface_properties"
BINDINGS = "virtual_machine_interface_bindings"
PLACE = frozenset({"host_id", "profile", "tor_port_vlan_id", "vpg"})
"""Keys of the bindings that say where a port is."""
NOT_BOUND = "Unable to retrieve fabric name"
"""The controller's answer to unbinding what is not bound."""


class Flips:
    """With Steelyard's own rights."""

    def __init__(self, rest: ContrailRest, groups: Groups, vlans: Vlans):
        self._rest = rest
        self._groups = groups
        self._vlans = vlans

    def bind(self, port: Document, *, node_id: str, mac: str, links: Sequence[SwitchLink], fresh: bool = False) -> None:
        """Put a port on the switch ports of these cables, alone there, and prove it. Twice is once.

        `fresh`: the port is in no group yet. Raises `Conflict`: `switch_port_taken` while another network is on one of
        the switch ports, `flip_not_verified` when the group does not hold what it must (the port is off again then);
        `NotFound` (`unknown_switch_port`).
        """
        port_id, network_id = port.text("uuid"), network_id_of(port)
        vlan = self._vlans.of(network_id)
        interfaces = self._groups.interfaces(links)
        if not fresh and self._is_there(port, interfaces, node_id, mac, vlan):
            return
        self._require_free(port, node_id, vlan, interfaces)
        if not fresh and any(group.interface_ids for group in self._groups.of_port(port_id)):
            self.unbind(port)
        bindings = self._kept(port) | self._binding(node_id, vlan, links, interfaces, tag_of(port))
        try:
            changes: dict[str, Any] = {
                "virtual_machine_interface_mac_addresses": {"mac_address": [mac.lower()]}, BINDINGS: as_pairs(bindings),
            }  # fmt: skip
            if tag_of(port) is not None:
                changes[PROPERTIES] = dict(port.mapping(PROPERTIES))  # the tag is looked at only where it is sent
            self._rest.change(VMI, port_id, changes)
            wrong = self._wrong(port_id, network_id, interfaces, vlan, tag_of(port))
        except SteelyardError as error:
            self._off_again(port_id, error)
            if isinstance(error, Invalid) and place_is_taken(error):
                raise Conflict(
                    error.detail, code="switch_port_taken", next="steelyard isolation check", internal=error.internal
                ) from None
            raise
        if wrong:
            failed = Conflict(f"the port was put on its switch port and is not alone there: {wrong}",
                              code="flip_not_verified", next="steelyard isolation check")  # fmt: skip
            self._off_again(port_id, failed)
            raise failed

    def unbind(self, port: Document) -> None:
        """Take a port off its switch ports and prove it; port, MAC and addresses stay. Twice is once."""
        port_id = port.text("uuid")
        groups = [group for group in self._groups.of_port(port_id) if group.interface_ids]
        if all(group.internal and set(group.port_ids) == {port_id} for group in groups):
            self._empty(port)
        else:
            # An empty profile would take the switch ports from the others in the group as well.
            for group in groups:
                self._groups.leave(group, port_id)
            held = pairs_of(self._rest.read(VMI, port_id, fields=(BINDINGS,))).keys() & PLACE
            if held:
                self._rest.forget(port_id, BINDINGS, sorted(held))
        if left := [group.name for group in self._groups.of_port(port_id) if group.interface_ids]:
            raise UpstreamError(
                f"the controller was asked to take the port off and has it in {', '.join(left)} still",
                code="flip_not_verified", next="steelyard isolation check",
            )  # fmt: skip

    def _empty(self, port: Document) -> None:
        """An empty profile makes the controller take the switch ports out of its own group; the group stays."""
        bindings = {**self._kept(port), "vnic_type": "baremetal", "profile": "{}"}
        try:
            self._rest.change(VMI, port.text("uuid"), {BINDINGS: as_pairs(bindings)})
        except Invalid as error:
            if NOT_BOUND not in error.detail:
                raise
            # It is in no group, as after a refusal: that is unbound. What it remembers of a place is forgotten.
            if held := pairs_of(port).keys() & PLACE:
                self._rest.forget(port.text("uuid"), BINDINGS, sorted(held))
            return
        for group in self._groups.of_port(port.text("uuid")):
            self._groups.empty(group)

    def _off_again(self, port_id: str, why: SteelyardError) -> None:
        """After a refusal: nothing of the port is on a switch port, or it is said loudly."""
        try:
            self.unbind(self._rest.read(VMI, port_id))
        except SteelyardError as error:
            raise UpstreamError(
                f"{why.detail} The port could not be taken off again either: {error.detail}",
                code="flip_not_undone", next="steelyard isolation check", internal=why.internal,
            ) from None  # fmt: skip

    # What is there

    def _is_there(
        self, port: Document, interfaces: Sequence[Interface], node_id: str, mac: str, vlan: int
    ) -> bool:  # fmt: skip
        bindings, macs = pairs_of(port), port.mapping("virtual_machine_interface_mac_addresses").get("mac_address")
        if bindings.get("host_id") != node_id or macs != [mac.lower()]:
            return False
        return not self._wrong(port.text("uuid"), network_id_of(port), interfaces, vlan, tag_of(port))

    def _wrong(
        self, port_id: str, network_id: str, interfaces: Sequence[Interface], vlan: int, tag: int | None
    ) -> str | None:
        """What is not as it must be, as the groups are now; None when the port has exactly these switch ports."""
        groups = self._groups.of_port(port_id)
        have = {each for group in groups for each in group.interface_ids}
        if have != {each.id for each in interfaces}:
            return f"it has {len(have)} switch port(s) and not the {len(interfaces)} that it was given"
        now = {each.id: self._rest.read("physical-interface", each.id) for each in interfaces}
        ids = {group_id for read in now.values() for group_id in ref_ids(read, "virtual_port_group_back_refs")}
        carried = self._groups.carried(self._groups.some(ids | {group.id for group in groups}))
        mine = next((each for each in carried if each.port_id == port_id), None)
        if mine is None or (mine.vlan != str(vlan) if tag is None else mine.tag != vlan):
            return f"it is not carried in VLAN {vlan}"
        untagged = {each.network_id for each in carried if each.tag is None}
        if len(untagged) > 1 or (tag is None and untagged != {network_id}):
            return f"{len(untagged)} networks are on the switch port"
        foreign = {each.host_id for each in carried if each.host_id != mine.host_id}
        return "a port of another server is on the switch port" if foreign else None

    def _require_free(self, port: Document, node_id: str, vlan: int, interfaces: Sequence[Interface]) -> None:
        """Unbind before bind: nobody else's network may be on the switch ports, and one untagged network only."""
        groups = self._groups.some(group_id for each in interfaces for group_id in each.group_ids)
        tag = tag_of(port)
        for other in self._groups.carried([group for group in groups if group.interface_ids]):
            if other.port_id == port.text("uuid"):
                continue
            if other.host_id == node_id and (other.tag is None) != (tag is None):
                continue  # a server's port and its tagged sub-interfaces share a cable
            if other.host_id == node_id and other.tag is not None and other.tag != vlan:
                continue
            where = ", ".join(f"{each.switch} {each.name}" for each in interfaces)
            raise Conflict(
                f"port {other.port_id} of network {other.network_id} is on {where}; it must be taken off first",
                code="switch_port_taken", next=f"openstack port show {other.port_id}",
            )  # fmt: skip

    # What is sent

    @staticmethod
    def _kept(port: Document) -> dict[str, str]:
        """Bindings that say nothing of where the port is; a change of bindings replaces all of them."""
        return {key: value for key, value in pairs_of(port).items() if key not in PLACE | {"vif_type", "vif_details"}}

    def _binding(
        self, node_id: str, vlan: int, links: Sequence[SwitchLink], interfaces: Sequence[Interface], tag: int | None
    ) -> dict[str, str]:
        fabrics = {switch: self._groups.fabric_of(switch) for switch in {each.switch for each in interfaces}}
        information: list[dict[str, Any]] = [
            {"switch_info": there.switch, "port_id": there.name, "switch_id": link.switch_id,
             "fabric": fabrics[there.switch], **({PORT_NAME: link.port_id} if link.port_id != there.name else {})}
            for link, there in zip(links, interfaces, strict=True)
        ]  # fmt: skip
        binding = {
            "vnic_type": "baremetal", "host_id": node_id,
            "profile": json.dumps({"local_link_information": information}),
        }  # fmt: skip
        # A sub-interface has its tag among its properties, which nobody changes.
        return binding if tag is not None else {**binding, "tor_port_vlan_id": str(vlan)}

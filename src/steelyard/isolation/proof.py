"""Proof that a flip is done: the controller and the switch itself both carry exactly what is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound, Refused, SteelyardError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.filters import unlike
from steelyard.isolation.parking import PORT_NAME, is_on
from steelyard.isolation.reading import read_switches
from steelyard.naming import vlan_ranges
from steelyard.nouns import AttachmentSpec, Lag, Network, Node, SwitchLink, SwitchPort

PROVEN_WITHIN: Final = 25.0
"""Seconds until controller and switch must both say what is wanted."""
WRITE_AGAIN_AFTER: Final = 5.0
"""Seconds after which the controller is made to write once more to a switch that does not carry what it should."""
LOOK_EVERY: Final = 0.3
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One NIC as it must be: on this port of the controller's and no other, on this network; or on none."""

    link: SwitchLink
    port_id: str | None
    mac: str
    network: Network | None
    lag: Lag | None = None
    """The bond that the NIC acts in; each of its NICs is wanted by itself."""
    tagged: frozenset[int] = frozenset()
    """The VLANs of the port's sub-interfaces."""
    filters: frozenset[str] | None = None
    """The security groups that the switch must filter by (`SecurityGroups.on_switch`)."""


def sweep(cloud: Cloud, node: Node, mac: str, link: SwitchLink, network: Network) -> None:
    """Have the controller take everything off the switch port of a NIC on which it has nothing.

    By itself it writes nothing there. So a port of ours is bound there, on a network for quarantine, and deleted: what
    it then writes is what is wanted. Where the deletion fails that port is left, as one of `parking.own_ports`.
    """
    spec = AttachmentSpec(PORT_NAME, network.id, node.id, mac, link)
    cloud.attachments.delete(cloud.attachments.create(spec).id)


class Proof:
    """Reads the controller and the switches back, and binds and unbinds ports."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        switches: SwitchReaders,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clouds = clouds
        self._switches = switches
        self._clock = clock
        self._sleep = sleep

    def bind(self, node: Node, wanted: Wanted) -> None:
        assert wanted.port_id is not None
        self._clouds.own.attachments.bind(
            wanted.port_id,
            node_id=node.id,
            mac=wanted.mac,
            link=wanted.lag.links[0] if wanted.lag else wanted.link,
            lag=wanted.lag,
        )

    def unbind(self, port_id: str) -> None:
        try:
            self._clouds.own.attachments.unbind(port_id)
        except NotFound:
            return  # deleted meanwhile: it is on no NIC

    def prove(self, node: Node, wanted: Sequence[Wanted], *, empty: Sequence[SwitchLink] = ()) -> list[str]:
        """Wait until controller and switch carry exactly what is wanted, and nothing at the places of `empty`; returns
        why switches could not be read.

        Only a switch that no reader is configured for may stay unread. Raises `Refused` (`flip_failed`).
        """
        began = self._clock()
        written_again = False
        while True:
            wrong, unread, to_write = self._compare(node, wanted, empty)
            if not wrong:
                return unread
            waited = self._clock() - began
            if waited >= PROVEN_WITHIN:
                raise Refused(
                    f"{wrong[0]} (after {waited:.0f} s)",
                    code="flip_failed",
                    next=f"steelyard isolation show {node.label}",
                )
            if not written_again and waited >= WRITE_AGAIN_AFTER:
                written_again = True
                for each in {wrong.port_id: wrong for wrong in to_write}.values():
                    if each.port_id is not None:
                        self.unbind(each.port_id)
                        self.bind(node, each)
            self._sleep(LOOK_EVERY)

    def _compare(
        self, node: Node, wanted: Sequence[Wanted], empty: Sequence[SwitchLink]
    ) -> tuple[list[str], list[str], list[Wanted]]:
        """What is wrong, which switches could not be read and why, and what may be cured by writing it again."""
        wrong: list[str] = []
        unread: set[str] = set()
        to_write: list[Wanted] = []
        links = [*(each.link for each in wanted), *empty]
        read = read_switches(self._switches, {link.switch_id.lower() for link in links})
        for each in wanted:
            at_controller = self._at_controller(node, each)
            said_by_switch, why = _said(read[each.link.switch_id.lower()], each)
            unread |= {why} if why else set()
            if at_controller or said_by_switch:
                wrong += [said for said in (at_controller, said_by_switch) if said]
                to_write.append(each)
        for link in empty:
            nothing = Wanted(link, None, "", None, filters=self._clouds.own.security_groups.on_switch(None))
            said_by_switch, why = _said(read[link.switch_id.lower()], nothing)
            unread |= {why} if why else set()
            wrong += [said_by_switch] if said_by_switch else []
        return wrong, sorted(unread), to_write

    def _at_controller(self, node: Node, wanted: Wanted) -> str | None:
        """What is wrong in the controller."""
        if wanted.port_id is None or wanted.network is None:
            there = [port for port in self._clouds.own.attachments.bound(node.id) if is_on(port, wanted.link)]
            return f"the controller still has a port on NIC {wanted.mac}, wanted none" if there else None
        try:
            port = self._clouds.own.attachments.get(wanted.port_id)
        except NotFound:
            return f"the port of NIC {wanted.mac} was deleted meanwhile"
        if port.host_id == node.id and port.status == "ACTIVE" and is_on(port, wanted.link):
            return None
        status = port.status or "unknown"
        return f"the controller has not bound NIC {wanted.mac} to {wanted.network.name}: status {status}"


def _said(read: Sequence[SwitchPort] | SteelyardError, wanted: Wanted) -> tuple[str | None, str | None]:
    """What is wrong on the switch; and why nobody can tell, where no reader is configured for it."""
    if isinstance(read, NotFound) and read.code == "switch_unknown":
        return None, read.detail
    if isinstance(read, SteelyardError):
        return read.detail, None
    return at_switch(read, wanted.link, wanted.network, wanted.tagged, wanted.filters), None


def at_switch(
    ports: Sequence[SwitchPort],
    link: SwitchLink,
    network: Network | None,
    tagged: frozenset[int] = frozenset(),
    filters: frozenset[str] | None = None,
) -> str | None:
    """What is wrong on the switch, where the port is to carry this network's VLAN, those of its sub-interfaces and
    nothing else, filtered by these security groups, or (None) nothing.

    A port that is shut down carries nothing, whatever it is configured for. Filters are compared where they are
    enforced (`filters` is not None) and the switch's reader reads them.
    """
    where = f"{link.switch_name or link.switch_id} {link.port_id}"
    port = next((port for port in ports if port.port_id == link.port_id), None)
    if port is None:
        return f"the switch reports no port {where}"
    untagged = () if port.untagged_vlan is None else (port.untagged_vlan,)
    vlans = vlan_ranges({*untagged, *port.tagged_vlans}) if port.enabled else ""
    wanted = "nothing"
    if network is None:
        if not vlans and (port.extra is None or not port.enabled):
            return _filtered(port, filters, where) if port.enabled else None
    else:
        wanted = f"VLAN {network.segmentation_id} ({network.name})"
        if tagged:
            wanted += f" and tagged {vlan_ranges(tagged)}"
        alone = port.tagged_vlans == tagged and port.extra is None
        if port.enabled and port.untagged_vlan == network.segmentation_id and alone:
            return _filtered(port, filters, where)
    has = f"VLAN {vlans}" if vlans else "no VLAN"
    also = [*(["tagged among them"] if vlans and port.tagged_vlans else []), *([port.extra] if port.extra else [])]
    if not port.enabled:
        also = ["the port is shut down"]
    said = f" ({'; '.join(also)})" if also else ""
    return f"the switch carries {has}{said} on {where}, wanted {wanted}"


def _filtered(port: SwitchPort, wanted: frozenset[str] | None, where: str) -> str | None:
    """How the filters on the switch port differ, as a sentence."""
    amiss = unlike(port, wanted)
    return f"the switch has {where} {amiss}" if amiss else None

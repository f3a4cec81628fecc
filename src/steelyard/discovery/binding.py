"""Which server it is, and at which switch ports its cables end: between inspection and cleaning."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.discovery.inband import InBand, identity_conflict, in_band, moved_links
from steelyard.discovery.model import Candidate, KnownNodes, size_class, traits_for
from steelyard.errors import Forbidden, NotFound, UpstreamError
from steelyard.lifecycle.model import noting
from steelyard.nouns import Driver, Node, NodePort, NodePortSpec, SwitchLink
from steelyard.operations.model import Done, Failed, Outcome, StepContext
from steelyard.settings import Settings
from steelyard.store import Store

LEFT_BEHIND = frozenset({"deploy failed", "error"})
"""Ironic's states of a node whose deployment or release failed. When Nova has given the server up meanwhile (it does
so if it was deleted while it was deployed), nobody takes the node back but us."""
AFTER_INSPECTION = frozenset({"cleaning", "clean wait", "clean failed", "available", "deleting"}) | LEFT_BEHIND

HARDWARE_TYPE, NETWORK_INTERFACE = "steelyard-redfish", "steelyard"
"""Those of the package steelyard-ironic, which hold the power back until the network is where it has to be."""
DRIVERS_FRESH = 60.0
"""Seconds for which the conductors' hardware types are remembered."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The hardware type and network interface that a new node gets."""

    driver: str
    network: str


class Binding:
    """Knows cables, and binds NICs to switch ports."""

    def __init__(self, *, clouds: Clouds, store: Store, settings: Settings, observer: Observer):
        self._clouds = clouds
        self._store = store
        self._settings = settings
        self._observer = observer
        self._binding = threading.Lock()
        """Between looking whether a switch port is free and taking it, no other onboarding does the same."""

        self._drivers: tuple[float, Mapping[str, Driver]] = (float("-inf"), {})
        """What the conductors had, and when: `time.monotonic()`."""

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def offered(self, driver: str | None = None) -> Offered:
        """Steelyard's own where the conductors have them, else Ironic's; for a node that has a driver already, with it.

        Ironic shows its hardware types to system-scoped readers only; whoever may not look gets what every Ironic has.
        """
        enabled = self._enabled()
        chosen = driver or (HARDWARE_TYPE if HARDWARE_TYPE in enabled else "redfish")
        networks = enabled[chosen].network_interfaces if chosen in enabled else frozenset()
        return Offered(chosen, NETWORK_INTERFACE if NETWORK_INTERFACE in networks else "neutron")

    def _enabled(self) -> Mapping[str, Driver]:
        """The hardware types by name. Conductors get others by a restart, not while servers are onboarded."""
        asked, known = self._drivers
        if time.monotonic() - asked > DRIVERS_FRESH:
            try:
                known = {each.name: each for each in self._cloud.provisioning.drivers()}
            except (Forbidden, UpstreamError):
                return {}
            self._drivers = (time.monotonic(), known)
        return known

    def identify(self, ctx: StepContext) -> Outcome:
        """The server that booted is the one whose BMC was asked; its NICs, size and capabilities are on the node."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        node = node_of(ctx, self._cloud, self._store)
        if node.provision_state in AFTER_INSPECTION:
            return Done()
        others = KnownNodes(each for each in self._observer.nodes() if each.id != node.id)
        if (other := others.of(candidate)) is not None:  # enrolled at the same moment, when neither saw the other
            return enrolled_already(other)
        try:
            found = in_band(self._cloud.nodes.inspection(node.id))
        except NotFound:
            return Failed("The inspection left no inventory.", code="inspection_failed", next=again(ctx))
        if conflict := identity_conflict(candidate, found):
            return Failed(
                f"Identity conflict: {conflict}. The BMC's cable or its address may belong to another server.",
                code="identity_conflict",
                next=f"check the BMC's cable and address, then: {again(ctx)}",
            )
        moved = None if ctx.params.get("recabled") else moved_links(self._known_links(candidate), found)
        if moved is not None:
            return Failed(
                f"A cable moved since the last inspection: {moved}. Its switch port may serve somebody else.",
                code="cable_moved",
                next=f"if it was moved on purpose: {again(ctx)} --recabled",
            )
        if not found.links:
            return Failed(
                "No NIC heard LLDP from a switch, so no switch port can be bound to it.",
                code="no_lldp",
                next="enable LLDP on the switch ports, then: " + again(ctx),
            )
        with self._binding:
            if taken := self._taken(node, found, ctx):
                return taken
            self._bind(node, found)
        self._describe(node, candidate, found, ctx.params.get("resource_class"))
        with self._store.unit_of_work():
            self._store.cables.learn(found.links)
            self._store.candidates.change(
                candidate.id, lambda now: replace(now, links=dict(found.links), macs=found.macs or now.macs)
            )
        return Done({
            "nics": [
                {"mac": mac, "switch": link.switch_name or link.switch_id, "port": link.port_id}
                for mac, link in sorted(found.links.items())
            ],
            "uncabled": sorted(set(found.macs) - set(found.links)),
        })  # fmt: skip

    def _taken(self, node: Node, found: InBand, ctx: StepContext) -> Failed | None:
        """A switch port belongs to one NIC. What the server heard may be wrong, or a lie to get at another's port."""
        held = self._held_by_others(node)
        seen: dict[tuple[str, str], str] = {}
        for mac, link in sorted(found.links.items()):
            where = f"{link.switch_name or link.switch_id} {link.port_id}"
            if owner := held.get(_place(link)):
                return Failed(
                    f"NIC {mac} says that it is on {where}, which is node {owner}'s switch port.",
                    code="switch_port_taken",
                    next=f"steelyard node show {owner}",
                )
            if seen.setdefault(_place(link), mac) != mac:
                return Failed(
                    f"The NICs {seen[_place(link)]} and {mac} both say that they are on {where}.",
                    code="switch_port_taken",
                    next=f"check LLDP on the switch, then: {again(ctx)}",
                )
        return None

    def _bind(self, node: Node, found: InBand) -> None:
        """Every NIC with a switch port gets a port bound to it; one without gets none, so that nothing relies on it."""
        existing: dict[str, NodePort] = {port.mac: port for port in self._cloud.node_ports.all(node_id=node.id)}
        for mac, link in found.links.items():
            port = existing.pop(mac, None)
            if port is None:
                self._cloud.node_ports.create(
                    NodePortSpec(
                        node_id=node.id, mac=mac, pxe_enabled=False,
                        physical_network=self._settings.physical_network, link=link,
                    )
                )  # fmt: skip
            elif port.link != link or port.physical_network != self._settings.physical_network:
                self._cloud.node_ports.update(
                    port.id,
                    {"/local_link_connection": link, "/physical_network": self._settings.physical_network},
                )
        for port in existing.values():
            self._cloud.node_ports.delete(port.id)

    def _describe(self, node: Node, candidate: Candidate, found: InBand, resource_class: str | None) -> None:
        vendor = found.vendor or candidate.vendor
        wanted_class = resource_class
        if wanted_class is None:
            given = node.notes.get("class_given")
            size = size_class(found.cpus or candidate.cpus, found.memory_mib or candidate.memory_mib)
            wanted_class = node.resource_class if given and node.resource_class else size
        properties = {
            "cpus": found.cpus, "memory_mb": found.memory_mib, "local_gb": found.disk_gib,
            "cpu_arch": found.architecture, "vendor": vendor,
        }  # fmt: skip
        notes = {
            "serial": candidate.serial or found.serial, "vendor": candidate.vendor or vendor,
            "model": candidate.model or found.product,
            "class_given": resource_class is not None or bool(node.notes.get("class_given")),
            "bmc_firmware": candidate.bmc_firmware,
        }  # fmt: skip
        changes: dict[str, Any] = {
            "/network_interface": self.offered(node.driver).network,
            "/resource_class": wanted_class,
            **noting(node, notes),
        }
        changes |= {f"/properties/{name}": value for name, value in properties.items() if value is not None}
        self._cloud.nodes.update(node.id, changes)
        self._cloud.nodes.set_traits(node.id, node.traits | traits_for(vendor, found.architecture))

    def _known_links(self, candidate: Candidate) -> dict[str, SwitchLink]:
        """The switch ports of its NICs, as far as an inspection ever told: of this candidate or an earlier one."""
        return {**self._store.cables.of(candidate.macs), **candidate.links}

    def usable_links(self, candidate: Candidate, node: Node | None) -> dict[str, SwitchLink]:
        """Those of the known switch ports that no other node is on now: Ironic would move that node's network."""
        known = self._known_links(candidate)
        held = self._held_by_others(node) if known else {}
        return {mac: link for mac, link in known.items() if _place(link) not in held}

    def _held_by_others(self, node: Node | None) -> dict[tuple[str, str], str]:
        """Switch ports that belong to other nodes' NICs, with the node's id."""
        return {
            _place(port.link): port.node_id
            for port in self._cloud.node_ports.all()
            if port.link is not None and (node is None or port.node_id != node.id)
        }


def node_id_of(ctx: StepContext, store: Store) -> str:
    """The id of the candidate's node. Raises `NotFound`."""
    node_id = ctx.results.get("node_id")
    if node_id is None:
        node_id = store.candidates.get(ctx.params["candidate_id"]).node_id
    if node_id is None:
        raise NotFound("The candidate has no node.", code="node_not_found")
    return str(node_id)


def node_of(ctx: StepContext, cloud: Cloud, store: Store) -> Node:
    """The candidate's node. Raises `NotFound`."""
    return cloud.nodes.get(node_id_of(ctx, store))


def enrolled_already(node: Node) -> Failed:
    """Another node is this server: to work on it by two would put one's tenant at the other's mercy."""
    return Failed(
        f"This server is enrolled already: node {node.label} ({node.provision_state}) has its serial number, UUID or "
        "BMC address.",
        code="already_enrolled",
        next=f"steelyard node show {node.id}",
    )


def _place(link: SwitchLink) -> tuple[str, str]:
    return link.switch_id.lower(), link.port_id


def again(ctx: StepContext) -> str:
    """The command that goes on with an onboarding where it stopped."""
    return f"steelyard node onboard {ctx.params['candidate_id']}"

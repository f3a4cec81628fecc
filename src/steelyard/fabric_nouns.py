"""What a network controller is set up with; see `nouns`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FabricSwitch:
    """A switch as the network controller knows it (Contrail's physical-router)."""

    name: str
    chassis_id: str | None
    """Its MAC, lower-case with colons; None where the controller does not have it."""
    service_nodes: tuple[str, ...]
    """Names of those that answer DHCP for the servers behind it."""


@dataclass(frozen=True, slots=True)
class FabricPort:
    """A port of such a switch (Contrail's physical-interface)."""

    switch_name: str
    port_id: str
    mtu: int | None
    """Bytes; None where the controller does not say."""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What a server in transition depends on, of one network."""

    network_id: str
    users: tuple[str, ...]
    """Who else may use it than its owner and administrators: "everybody", or ids of projects; empty: it is private."""
    dhcp: bool
    """Whether any subnet of it answers DHCP."""
    mtu: int | None = None
    """Bytes; None where the controller does not say."""
    boot_servers: tuple[str, ...] = ()
    """What DHCP names as the server of boot files (options 66 and 150)."""


@dataclass(frozen=True, slots=True)
class FabricFacts:
    """What a network controller is set up with, at one moment."""

    controller: str
    """neutron or contrail."""
    networks: Mapping[str, NetworkFacts]
    """By id, those that were asked about."""
    switches: tuple[FabricSwitch, ...] | None = None
    """None: this controller has no list of switches."""
    ports: tuple[FabricPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object of the network controller that nothing uses any more."""

    kind: str
    """As the controller calls it: instance-ip, virtual-port-group, network-ipam."""
    id: str
    name: str
    reason: str

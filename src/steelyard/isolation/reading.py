"""What flips and views both look at: the operator's networks, and the switches themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from steelyard.clouds.ports import SecurityGroups
from steelyard.errors import SteelyardError
from steelyard.hardware.switches.port import ConfiguredSwitch, SwitchReaders
from steelyard.isolation.model import Role, Unread
from steelyard.nouns import Network, NetworkPort, NodePort, SwitchPort
from steelyard.settings import Settings

READERS: Final = 8
"""Switches that are read at a time."""


def named_roles(settings: Settings) -> dict[Role, str]:
    """The operator's networks as the settings name them, by id or name."""
    return {
        Role.PROVISIONING: settings.provisioning_network,
        Role.CLEANING: settings.cleaning_network,
        Role.INSPECTION: settings.inspection_network,
        Role.RESCUE: settings.rescue_network,
        Role.QUARANTINE: settings.quarantine_network,
    }


def role_networks(networks: Sequence[Network], roles: Mapping[Role, str]) -> dict[Role, str]:
    """The ids of the operator's networks.

    A tenant can give a network the same name with the stock client. Then none of them is taken, so that every NIC of
    that role shows as differing, until the settings give the id.
    """
    found: dict[Role, str] = {}
    for role, named in roles.items():
        exact = [network.id for network in networks if network.id == named]
        by_name = exact or [network.id for network in networks if network.name == named]
        if len(by_name) == 1:
            found[role] = by_name[0]
    return found


def filters_of(groups: SecurityGroups, ports: Iterable[NetworkPort]) -> dict[str, frozenset[str]] | None:
    """The security groups that switches must filter by, by the port's id; None where nothing enforces them."""
    if groups.on_switch(None) is None:
        return None
    return {port.id: groups.on_switch(port) or frozenset() for port in ports}


def read_switches(readers: SwitchReaders, switch_ids: Iterable[str]) -> dict[str, list[SwitchPort] | SteelyardError]:
    """Every switch once, side by side; for one that cannot be read, the error."""

    def read(switch_id: str) -> list[SwitchPort] | SteelyardError:
        try:
            return readers.ports(switch_id)
        except SteelyardError as error:
            return error

    wanted = sorted(switch_ids)
    if not wanted:
        return {}
    with ThreadPoolExecutor(max_workers=min(READERS, len(wanted)), thread_name_prefix="switches") as pool:
        return dict(zip(wanted, pool.map(read, wanted), strict=True))


@dataclass(frozen=True, slots=True)
class SwitchRead:
    """One switch, read at this moment."""

    switch: ConfiguredSwitch
    seconds: float
    """How long it took, the failed try included."""
    ports: tuple[SwitchPort, ...] | None
    """None: it could not be read, and `error` says why."""
    error: str | None


def try_switches(
    readers: SwitchReaders, switches: Sequence[ConfiguredSwitch], *, clock: Callable[[], float] = time.monotonic
) -> list[SwitchRead]:
    """Every one of these once, side by side, in their order."""

    def read(switch: ConfiguredSwitch) -> SwitchRead:
        began = clock()
        try:
            ports = tuple(readers.ports(switch.chassis_id))
        except SteelyardError as error:
            return SwitchRead(switch, clock() - began, None, error.detail)
        return SwitchRead(switch, clock() - began, ports, None)

    if not switches:
        return []
    with ThreadPoolExecutor(max_workers=min(READERS, len(switches)), thread_name_prefix="switches") as pool:
        return list(pool.map(read, switches))


def ports_at(
    switches: Mapping[str, list[SwitchPort] | SteelyardError], nics: Iterable[NodePort]
) -> dict[tuple[str, str], SwitchPort | Unread]:
    """By place; a NIC's place on a switch that could not be read, or does not know the port, gets the reason."""
    places: dict[tuple[str, str], SwitchPort | Unread] = {}
    known = {
        (switch_id, port.port_id): port
        for switch_id, read in switches.items()
        if not isinstance(read, SteelyardError)
        for port in read
    }
    for nic in nics:
        if nic.link is None:
            continue
        switch_id, port_id = nic.link.switch_id.lower(), nic.link.port_id
        read = switches[switch_id]
        if isinstance(read, SteelyardError):
            places[switch_id, port_id] = read.detail
            continue
        name = nic.link.switch_name or switch_id
        mine = known.get((switch_id, port_id))
        places[switch_id, port_id] = mine if mine is not None else f"switch {name} reports no port {port_id}"
    return places

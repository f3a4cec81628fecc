"""Use cases of the address plan. Every answer is joined from bulk lists; nothing is asked for one address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound
from steelyard.ipam import history
from steelyard.ipam.history import Interval
from steelyard.ipam.model import (
    AddressState,
    AddressUse,
    NetworkPlan,
    Owners,
    SubnetPlan,
    addresses,
    by_network,
    order,
    owners,
    plan,
    utilisation,
    without_nodes,
)
from steelyard.ipam.ranges import free_ranges, parse
from steelyard.naming import pick
from steelyard.nouns import Actor, Network, NetworkPort, NodePort, Subnet
from steelyard.store import Store

KEPT: Final = 15.0
"""Seconds for which whoever turns the pages of a long list is shown the list of the first page."""
KEPT_LISTS: Final = 8


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The taken addresses of one subnet, and how much is left."""

    plan: SubnetPlan
    addresses: list[AddressUse]


@dataclass(frozen=True, slots=True)
class Place:
    """One subnet, with what is known of it at this moment."""

    cloud: Cloud
    subnet: Subnet
    network: Network
    ports: list[NetworkPort]
    """Of its network."""
    nics: list[NodePort]
    """Of the fleet."""
    uses: list[AddressUse]


class IpamService:
    """The address plan as tenants (of their own networks) and administrators (of all) see it."""

    def __init__(self, *, clouds: Clouds, store: Store, clock: Callable[[], float] = time.monotonic):
        self._clouds = clouds
        self._store = store
        self._clock = clock
        self._guard = threading.Lock()
        self._lists: dict[tuple[str | None, ...], tuple[float, AddressPlan]] = {}

    def subnets(self, actor: Actor, token: str) -> list[SubnetPlan]:
        """Every subnet that the caller may see, with its utilisation."""
        cloud, networks, subnets = self._seen(actor, token)
        ports = cloud.attachments.all(network_ids=sorted(networks) if not actor.is_admin else None)
        who, _ = self._owners(actor, cloud)
        return plan(subnets, networks.values(), ports, who, self._store.addresses.brownfield())

    def networks(self, actor: Actor, token: str) -> list[NetworkPlan]:
        """The same by network, each with the sum of its subnets of one IP version."""
        return by_network(self.subnets(actor, token))

    def addresses(
        self, actor: Actor, token: str, reference: str, *, state: AddressState | None = None, free: bool = False,
        going_on: bool = False,
    ) -> AddressPlan:  # fmt: skip
        """The taken addresses of one subnet: by its id, name or CIDR, or by its network's name if it has one subnet.

        The utilisation counts all of them, also with `state`, which narrows the list. `free`: with the ranges that
        nobody has. `going_on`: for a further page of a list that was shown a moment ago, which may be that old.
        """
        whole = self._kept(actor, reference) if going_on else None
        if whole is None:
            place = self.place(actor, token, reference)
            uses = place.uses if actor.is_admin else [without_nodes(use) for use in place.uses]
            whole = AddressPlan(
                plan=SubnetPlan(place.subnet, place.network.name, utilisation(place.subnet, uses)), addresses=uses
            )
            self._keep(actor, reference, whole)
        listed: Iterable[AddressUse] = whole.addresses
        if free or state is AddressState.FREE:
            listed = sorted(
                [*whole.addresses, *free_ranges(whole.plan.subnet, whole.addresses)], key=lambda use: order(use.address)
            )
        return AddressPlan(whole.plan, [use for use in listed if state is None or use.state is state])

    def history(
        self, actor: Actor, token: str, reference: str, address: str, *, at: datetime | None = None,
        to: datetime | None = None, limit: int = 100,
    ) -> list[Interval]:  # fmt: skip
        """Who had the address, the newest first; `at`: from that moment to `to`, or at it. Of a subnet that is gone,
        administrators ask by its id or CIDR.

        A tenant is told of the own project's only. Raises `NotFound` for a subnet, `Invalid` for no address.
        """
        wanted = str(parse(address).first)
        try:
            _, networks, subnets = self._seen(actor, token)
            subnet_ids = [_pick(reference, subnets, networks).id]
        except NotFound:
            subnet_ids = self._store.addresses.subnets_named(reference) if actor.is_admin else []
            if not subnet_ids:
                raise
        found = self._store.addresses.of(wanted, subnet_ids, at=at, to=to, limit=limit)
        shown = [history.visible(each, project_id=actor.project_id, is_admin=actor.is_admin) for each in found]
        return [each for each in shown if each is not None]

    def place(self, actor: Actor, token: str, reference: str) -> Place:
        """One subnet with all its addresses, asked for now. Raises `NotFound`, `Conflict` (`ambiguous`)."""
        cloud, networks, subnets = self._seen(actor, token)
        subnet = _pick(reference, subnets, networks)
        ports = cloud.attachments.all(network_ids=[subnet.network_id])
        who, nics = self._owners(actor, cloud)
        uses = addresses(subnet, ports, who, self._store.addresses.brownfield(subnet.id))
        return Place(cloud, subnet, networks[subnet.network_id], ports, nics, uses)

    def _seen(self, actor: Actor, token: str) -> tuple[Cloud, dict[str, Network], list[Subnet]]:
        """Administrators see all; tenants their own networks only: of a shared one they would see a part of the use."""
        cloud = self._clouds.own if actor.is_admin else self._clouds.on_behalf_of(token)
        networks = {
            network.id: network
            for network in cloud.networks.all()
            if actor.is_admin or network.project_id == actor.project_id
        }
        return cloud, networks, [subnet for subnet in cloud.networks.subnets() if subnet.network_id in networks]

    def _owners(self, actor: Actor, cloud: Cloud) -> tuple[Owners, list[NodePort]]:
        """Nodes are looked up with Steelyard's rights for tenants too: that it is bare metal is no secret, which is."""
        own = self._clouds.own
        nics = own.node_ports.all()
        return owners(cloud.compute.all(all_projects=actor.is_admin), own.nodes.all(), nics), nics

    # A list whose pages somebody turns: the next page need not ask the whole cloud again

    def _kept(self, actor: Actor, reference: str) -> AddressPlan | None:
        with self._guard:
            found = self._lists.get(_whose(actor, reference))
        return found[1] if found is not None and self._clock() - found[0] <= KEPT else None

    def _keep(self, actor: Actor, reference: str, whole: AddressPlan) -> None:
        now = self._clock()
        with self._guard:
            self._lists[_whose(actor, reference)] = (now, whole)
            while len(self._lists) > KEPT_LISTS or now - next(iter(self._lists.values()))[0] > KEPT:
                del self._lists[next(iter(self._lists))]


def _whose(actor: Actor, reference: str) -> tuple[str | None, ...]:
    return actor.user_id, actor.project_id, "admin" if actor.is_admin else None, reference


def _pick(reference: str, subnets: list[Subnet], networks: dict[str, Network]) -> Subnet:
    def names(subnet: Subnet) -> str:
        for name in (subnet.name, subnet.cidr, subnet.network_id, networks[subnet.network_id].name):
            if name == reference:
                return name
        return ""

    return pick("subnet", reference, subnets, id=lambda subnet: subnet.id, name=names, next="steelyard ipam subnets")

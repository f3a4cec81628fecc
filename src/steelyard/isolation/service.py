"""Use cases of isolation: the three views of a server's NICs, read at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.model import NicIsolation, Role, Seen, Unread, Verdict, compare
from steelyard.lifecycle.model import IN_TRANSITION, Phase, phase
from steelyard.nouns import Instance, Network, Node, NodePort, SwitchPort
from steelyard.settings import Settings


@dataclass(frozen=True, slots=True)
class NodeIsolation:
    """One server's NICs in their three views."""

    node_id: str
    node: str
    phase: Phase
    nics: tuple[NicIsolation, ...]

    @property
    def agrees(self) -> bool:
        """All NICs, in all three views, the switch's included."""
        return bool(self.nics) and all(nic.verdict is Verdict.AGREE for nic in self.nics)


class IsolationService:
    """Is every NIC where it must be, and only there?"""

    def __init__(self, *, clouds: Clouds, switches: SwitchReaders, settings: Settings):
        self._clouds = clouds
        self._switches = switches
        self._roles = {
            Role.PROVISIONING: settings.provisioning_network,
            Role.CLEANING: settings.cleaning_network,
            Role.INSPECTION: settings.inspection_network,
            Role.RESCUE: settings.rescue_network,
            Role.QUARANTINE: settings.quarantine_network,
        }

    def show(self, reference: str) -> NodeIsolation:
        """One server's, by id or name of its node. A switch that cannot be read leaves its NICs unverified.

        The node is read last: what changes meanwhile shows as `changing`, never as agreement.
        """
        own = self._clouds.own
        node = own.nodes.get(reference)
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="isolation") as readers:
            ports = readers.submit(own.node_ports.all)
            networks = readers.submit(own.networks.all)
            attachments = readers.submit(own.attachments.all)
            instance = readers.submit(self._instance, node)
            nics = [port for port in ports.result() if port.node_id == node.id]
            switch_ports = self._read({nic.link.switch_id.lower() for nic in nics if nic.link is not None})
            known = networks.result()
            seen = Seen(
                networks={network.id: network for network in known},
                role_networks=self._role_networks(known),
                attachments=attachments.result(),
                switch_ports=_with_reasons(switch_ports, nics),
            )
            on_it = instance.result()
        before = phase(node, on_it)
        node = own.nodes.get(node.id)
        now = phase(node, on_it)
        return NodeIsolation(
            node_id=node.id,
            node=node.name or node.id,
            phase=now,
            nics=tuple(
                compare(
                    nics,
                    phase=now.value,
                    instance_id=node.instance_id,
                    in_transition=now in IN_TRANSITION or now is not before,
                    seen=seen,
                )
            ),
        )

    def _instance(self, node: Node) -> Instance | None:
        if node.instance_id is None:
            return None
        try:
            return self._clouds.own.compute.get(node.instance_id)
        except NotFound:
            return None

    def _role_networks(self, networks: Sequence[Network]) -> dict[Role, str]:
        """The operator's networks, which the settings give by id or name.

        A tenant can give a network the same name with the stock client. Then none of them is taken, so that every
        NIC of that role shows as differing, until the settings give the id.
        """
        found: dict[Role, str] = {}
        for role, named in self._roles.items():
            exact = [network.id for network in networks if network.id == named]
            by_name = exact or [network.id for network in networks if network.name == named]
            if len(by_name) == 1:
                found[role] = by_name[0]
        return found

    def _read(self, switch_ids: Iterable[str]) -> dict[str, list[SwitchPort] | Unread]:
        """Every switch once, side by side; for one that cannot be read, why."""

        def read(switch_id: str) -> list[SwitchPort] | Unread:
            try:
                return self._switches.ports(switch_id)
            except SteelyardError as error:
                return error.detail

        wanted = sorted(switch_ids)
        if not wanted:
            return {}
        with ThreadPoolExecutor(max_workers=min(8, len(wanted)), thread_name_prefix="switches") as readers:
            return dict(zip(wanted, readers.map(read, wanted), strict=True))


def _with_reasons(
    switches: dict[str, list[SwitchPort] | Unread], nics: Iterable[NodePort]
) -> dict[tuple[str, str], SwitchPort | Unread]:
    """By place; a NIC's place on a switch that could not be read, or does not know the port, gets the reason."""
    places: dict[tuple[str, str], SwitchPort | Unread] = {}
    for nic in nics:
        if nic.link is None:
            continue
        switch_id, port_id = nic.link.switch_id.lower(), nic.link.port_id
        read = switches[switch_id]
        if isinstance(read, str):
            places[switch_id, port_id] = read
            continue
        mine = [port for port in read if port.port_id == port_id]
        name = nic.link.switch_name or switch_id
        places[switch_id, port_id] = mine[0] if mine else f"switch {name} reports no port {port_id}"
    return places

"""The fake cloud's whole state, its clock, and the controls that tests hold."""

from __future__ import annotations

import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from steelyard.clouds.fake import conductor, ironic, nova
from steelyard.clouds.fake.fabric import OWN_VLANS, SEGMENT_VLANS, FakeFabric
from steelyard.clouds.fake.hardware import FakeHardware, cabled
from steelyard.clouds.fake.history import History
from steelyard.clouds.fake.identities import FakeIdentities, lifetime
from steelyard.clouds.fake.machines import STARTS
from steelyard.clouds.fake.switches import SWITCHES
from steelyard.clouds.fake.truth import Nodes, Truth
from steelyard.clouds.names import placement_class
from steelyard.errors import NotFound
from steelyard.nouns import (
    Actor,
    AllocationRecord,
    Bond,
    Driver,
    Flavor,
    Image,
    Inspection,
    Instance,
    Leftover,
    Network,
    Node,
    NodePort,
    SecurityGroup,
    Subnet,
    SwitchLink,
    SwitchPort,
)

ROLES = ("provisioning", "cleaning", "inspection", "quarantine", "rescue")
"""Network roles in the order of the VLANs that they get."""


class FakeWorld:
    """One cloud. All ports of all credentials look at the same one; it is thread-safe.

    `lessees`: deploying makes the tenant the node's lessee, who sees it (Ironic's `automatic_lessee_source=instance`).
    `networks` names the network of each role where it differs from the role's own name (see `Settings`).
    """

    def __init__(self, *, auto: bool = False, lessees: bool = False, networks: Mapping[str, str] | None = None):
        self.lock = threading.RLock()
        self.auto = auto
        self.lessees = lessees
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.calls: Counter[str] = Counter()
        self.identities = FakeIdentities()
        self.fabric = FakeFabric(lambda: self.now)
        self.leftovers: list[Leftover] = []
        self.images: dict[str, Image] = {}
        self.image_data: dict[str, bytes] = {}
        self.flavors: dict[str, Flavor] = {}
        self.instances: dict[str, Instance] = {}
        self.wanted: dict[str, nova.Wanted] = {}
        self.truth = Truth(self)
        self.history = History(self)
        self.nodes: dict[str, Node] = Nodes(self.truth)
        self.driver_info: dict[str, dict[str, object]] = {}
        self.node_ports: dict[str, NodePort] = {}
        self.bonds: dict[str, Bond] = {}
        self.security_groups: dict[str, SecurityGroup] = {}
        self.inspections: dict[str, Inspection] = {}
        self.hardware: dict[str, FakeHardware] = {}
        """By BMC address or node id."""
        self.role_networks: dict[str, str] = {}
        """Network id of each role."""
        self._failures: dict[str, deque[Exception]] = {}
        self.allocations: dict[str, AllocationRecord] = {}
        """Placement's, by consumer."""
        self.provider_traits: dict[str, frozenset[str]] = {}
        """Placement's, of nodes where they are not the node's own: somebody changed them there."""
        self.provider_classes: dict[str, str] = {}
        """The same for the resource class."""
        self.held_back: set[str] = set()
        """Nodes whose inventory is reserved."""
        self.automated_clean = True
        """The conductor's setting, for nodes that have none of their own."""
        self.provisioning_in_maintenance = True
        """The conductor's `allow_provisioning_in_maintenance`: what an agent does then pauses, or is aborted."""
        self.broken: dict[tuple[str, str], str] = {}
        self.hung: set[str] = set()
        self.unreachable: set[str] = set()
        """Nodes whose BMC does not answer."""
        self.power_lost: dict[str, str | None] = {}
        """The power that a node had when Ironic could ask its BMC no more."""
        self.locked: set[str] = set()
        self.drivers: list[Driver] = [Driver("redfish", frozenset({"redfish"}), frozenset({"neutron", "noop"}))]
        """The hardware types that the conductor offers."""
        self.power_gate: Callable[[str], None] | None = None
        """Whom a conductor with Steelyard's interfaces asks before a parked node gets power; None: it is away."""
        self.segment_gate: Callable[[str, str], str | None] | None = None
        """Whom a conductor with Steelyard's network interface asks for the network that a node has to itself (node id
        and role; network id, or None for the role's); it raises while none is free. None: nobody is asked."""
        self.waiting: set[str] = set()
        """Nodes whose conductor waits for such a network."""
        self.segments: dict[str, tuple[str, str]] = {}
        """Role and network that a node joined last, where its changes of networks are verified."""
        self.flip_gate: conductor.FlipGate | None = None
        """Whom it asks after each change of networks of a node with Steelyard's network interface; None: such nodes
        change networks as with Ironic's own."""
        self.network_gate: conductor.NetworkGate | None = None
        """Whom it asks before it takes a parked node's NICs in hand; None: nobody."""
        self.moves: dict[str, conductor.Move] = {}
        """Changes of networks that it has in hand, by node; the node is locked meanwhile."""
        names = dict(networks or {})
        for number, role in enumerate(ROLES):
            network = self.fabric.add_network(names.get(role, role), self.service_project, vlans=OWN_VLANS)
            self.add_subnet(network, f"10.{90 + number}.0.0/24")
            self.role_networks[role] = network.id

    # Identities

    @property
    def service_project(self) -> str:
        return self.identities.project("service")

    @property
    def service_actor(self) -> Actor:
        """Steelyard's own user: admin and service roles in the project `service`."""
        return self.identities.actor(project="service", roles={"admin", "service"}, user="steelyard", system=False)

    def project(self, name: str) -> str:
        """The project's id; it is made when first named."""
        return self.identities.project(name)

    def token(
        self, *, project: str | None = "demo", roles: set[str] | None = None, user: str | None = None,
        system: bool = False, expires_in: float | None = None,
    ) -> str:  # fmt: skip
        """A token; the user is called like the project unless said. `expires_in` in seconds of the world's clock."""
        with self.lock:
            actor = self.identities.actor(
                project=project, roles=roles or {"member"}, user=user or project or "admin", system=system
            )
            return self.identities.issue(actor, lifetime(self.now, expires_in))

    def revoke(self, token: str) -> None:
        self.identities.revoke(token)

    # Things

    def add_node(
        self, name: str, *, resource_class: str = "bm.small", traits: frozenset[str] = frozenset(), nics: int = 2,
        state: str = "available", bmc_address: str | None = None, hardware: FakeHardware | None = None,
        lldp: bool = True,
    ) -> Node:  # fmt: skip
        """A node that is already in this state, with its NIC ports cabled to leaf1 and leaf2 (bound if `lldp`)."""
        with self.lock:
            number = len(self.nodes) + 1
            machine = hardware or FakeHardware(nics=cabled(number, nics, switches=SWITCHES), serial=f"F{number:04d}")
            node = Node(
                id=str(uuid.uuid4()), name=name, driver="redfish", provision_state=state, target_provision_state=None,
                power_state="off", maintenance=False, maintenance_reason=None, last_error=None,
                resource_class=resource_class, traits=traits, instance_id=None,
                bmc_address=bmc_address or f"https://192.0.2.{number}", owner=None, lessee=None, retired=False,
                protected=False, provision_updated_at=self.now, created_at=self.now,
                properties={"cpus": machine.cpus, "memory_mb": machine.memory_mib, "cpu_arch": "x86_64"},
            )  # fmt: skip
            self.nodes[node.id] = node
            self.hardware[node.id] = machine
            for nic in machine.nics:
                if nic.link is not None:
                    self.fabric.switches.know(nic.link)
                port = NodePort(
                    id=str(uuid.uuid4()), node_id=node.id, mac=nic.mac, pxe_enabled=nic.pxe,
                    physical_network="physnet1" if lldp else None, link=nic.link if lldp else None,
                )  # fmt: skip
                self.node_ports[port.id] = port
            ironic.arrange_networks(self, node)
            return node

    def add_hardware(self, bmc_address: str, hardware: FakeHardware | None = None, *, nics: int = 2) -> FakeHardware:
        """A machine that is not a node yet: what inspection of a node with this BMC address will find."""
        with self.lock:
            number = len(self.nodes) + len(self.hardware) + 1
            machine = hardware or FakeHardware(nics=cabled(number, nics, switches=SWITCHES), serial=f"F{number:04d}")
            self.hardware[bmc_address] = machine
            return machine

    def add_network(self, name: str, *, project: str, cidr: str | None = None) -> Network:
        """A tenant's network, with a subnet if a CIDR is given."""
        with self.lock:
            network = self.fabric.add_network(name, self.project(project))
            if cidr:
                self.add_subnet(network, cidr)
            return self.fabric.networks[network.id]

    def add_segments(self, number: int) -> list[Network]:
        """Networks of the operator's of which nodes may have one to themselves: segment-001 and so on."""
        with self.lock:
            made = []
            for _ in range(number):
                name = (
                    f"segment-{sum(each.name.startswith('segment-') for each in self.fabric.networks.values()) + 1:03}"
                )
                network = self.fabric.add_network(name, self.service_project, vlans=SEGMENT_VLANS)
                self.add_subnet(network, f"172.31.{(network.segmentation_id or 0) % 256}.0/24")
                made.append(self.fabric.networks[network.id])
            return made

    def add_bond(self, node: Node, *, name: str | None = None) -> Bond:
        """All NICs of a node as one, by LACP, whatever its state; its networks follow."""
        with self.lock:
            nics = sorted((p for p in self.node_ports.values() if p.node_id == node.id), key=lambda nic: nic.mac)
            bond = Bond(str(uuid.uuid4()), node.id, name or f"{node.label}-bond0", nics[0].mac, "802.3ad")
            self.bonds[bond.id] = bond
            for nic in nics:
                self.node_ports[nic.id] = replace(nic, bond_id=bond.id)
            return bond

    def default_group(self, project_id: str | None) -> SecurityGroup | None:
        """The project's, made when it is first looked for, as Neutron does."""
        if project_id is None:
            return None
        for group in self.security_groups.values():
            if group.project_id == project_id and group.is_default:
                return group
        return self.add_security_group("default", project_id)

    def group(self, reference: str, project_id: str) -> SecurityGroup:
        """A project's, by id or name. Raises `NotFound`."""
        for group in self.security_groups.values():
            if group.project_id == project_id and reference in (group.id, group.name):
                return group
        raise NotFound(f"security group {reference} could not be found")

    def add_security_group(self, name: str, project_id: str) -> SecurityGroup:
        group = SecurityGroup(str(uuid.uuid4()), name, project_id)
        self.security_groups[group.id] = group
        return group

    def add_subnet(self, network: Network, cidr: str) -> Subnet:
        with self.lock:
            subnet = Subnet(
                id=str(uuid.uuid4()), name=f"{network.name}-subnet", network_id=network.id,
                project_id=network.project_id, cidr=cidr, gateway=nova.gateway(cidr), pools=nova.pools(cidr), dhcp=True,
            )  # fmt: skip
            return self.fabric.add_subnet(subnet)

    def allocate(self, consumer_id: str, node_id: str) -> None:
        """Let a consumer hold a node in Placement, as Nova's scheduler does."""
        with self.lock:
            name = placement_class(self.nodes[node_id].resource_class or "none")
            self.allocations[consumer_id] = AllocationRecord(node_id, consumer_id, {name: 1})

    # What Ironic keeps on NICs and bonds

    def vif_holders(self, node_id: str | None = None) -> list[NodePort | Bond]:
        """Everything that can have a VIF: of one node, or of all."""
        every: list[NodePort | Bond] = [*self.node_ports.values(), *self.bonds.values()]
        return [unit for unit in every if node_id in (None, unit.node_id)]

    def put_vif(self, unit_id: str, port_id: str | None) -> None:
        """On a NIC or a bond, by its id."""
        if unit_id in self.bonds:
            self.bonds[unit_id] = replace(self.bonds[unit_id], vif_id=port_id)
        else:
            self.node_ports[unit_id] = replace(self.node_ports[unit_id], vif_id=port_id)

    def drop_vif(self, port_id: str) -> None:
        """Off whatever it is on."""
        for unit in self.vif_holders():
            if unit.vif_id == port_id:
                self.put_vif(unit.id, None)

    def drop_vifs(self, node_id: str) -> None:
        """All of a node's."""
        for unit in self.vif_holders(node_id):
            self.put_vif(unit.id, None)

    # Time

    def tick(self, steps: int = 1) -> bool:
        """Let every node and instance move one step (per step asked). False if nothing moved."""
        moved = False
        with self.lock:
            for _ in range(steps):
                self.now += timedelta(seconds=1)
                nova.update_inventories(self)
                instances = [nova.step(self, instance) for instance in list(self.instances.values())]
                nodes = [ironic.step(self, node) for node in list(self.nodes.values())]
                power = [ironic.watch_power(self, node) for node in list(self.nodes.values())]
                moved = any(instances) or any(nodes) or any(power) or moved
        return moved

    def settle(self, limit: int = 100) -> None:
        """Tick until nothing moves."""
        for _ in range(limit):
            if not self.tick():
                return
        raise AssertionError(f"the world still moves after {limit} ticks")

    # Failures

    def enter(self, name: str, *, reads: bool) -> None:
        """A port's method is called: count it, fail if told to, move on if automatic."""
        self.calls[name] += 1
        for key in (name, f"{name.split('.')[0]}.*"):
            if waiting := self._failures.get(key):
                raise waiting.popleft()
        if self.auto and reads:
            self.tick()

    def fail(self, name: str, error: Exception, *, times: int = 1) -> None:
        """The next calls of a port's method (`nodes.get`, or `nodes.*` for any) raise this."""
        self._failures.setdefault(name, deque()).extend([error] * times)

    def break_node(self, node_id: str, job: str, reason: str) -> None:
        """The node's next verify, inspect, clean, deploy, delete, adopt or rescue fails for this reason."""
        self.broken[node_id, job] = reason

    def hang_node(self, node_id: str) -> None:
        """The node stays in whatever working state it is in (its agent never calls back)."""
        self.hung.add(node_id)

    def lose_bmc(self, node_id: str) -> None:
        """The BMC does not answer until `find_bmc`: what Ironic does with it fails, it ends in maintenance."""
        self.unreachable.add(node_id)

    def find_bmc(self, node_id: str) -> None:
        self.unreachable.discard(node_id)

    def lock_node(self, node_id: str) -> None:
        """Every request for the node is answered with Ironic's NodeLocked, until `release_node`."""
        self.locked.add(node_id)

    def is_locked(self, node_id: str) -> bool:
        """Whether a request for the node is answered with NodeLocked: by `lock_node`, or since a conductor has it."""
        return node_id in self.locked or node_id in self.moves

    def release_node(self, node_id: str) -> None:
        self.hung.discard(node_id)
        self.locked.discard(node_id)

    def set_state(self, node_id: str, state: str, *, maintenance: bool = False, error: str | None = None) -> Node:
        """Put a node into a state by force; its networks follow."""
        if state not in {known for known, _ in STARTS} | {new for new, _ in STARTS.values()} | {"rescue", "active"}:
            raise ValueError(f"no such state: {state}")
        with self.lock:
            node = replace(self.nodes[node_id], provision_state=state, maintenance=maintenance, last_error=error)
            if maintenance and state == "clean failed" and not node.maintenance_reason:
                node = replace(node, fault="clean failure", maintenance_reason=error)  # cleaning_error_handler
            return ironic.put(self, node)

    # The switches

    def switch_ports(self) -> list[SwitchPort]:
        """Every cabled port of the fake switches, read back. Without the world's lock: a switch is not the cloud, and
        is read by other threads while a conductor waits for them."""
        return self.fabric.switches.ports()

    def vlan_of(self, node_id: str) -> set[int]:
        """VLANs that the node's NICs are on, as the switches have it."""
        with self.lock:
            links = [port.link for port in self.node_ports.values() if port.node_id == node_id and port.link]
            return {vlan for link in links if (vlan := self.fabric.switches.vlan(link)) is not None}

    def tamper_switch(self, link: SwitchLink, vlan: int | None) -> None:
        """Change a switch port behind the controller's back."""
        self.fabric.switches.tamper(link, vlan)

    def jam_switch_port(self, link: SwitchLink) -> None:
        """The switch accepts every later change of this port and applies none."""
        self.fabric.switches.jam(link)

    def free_switch_port(self, link: SwitchLink) -> None:
        self.fabric.switches.free(link)

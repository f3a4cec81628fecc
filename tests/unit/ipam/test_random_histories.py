"""Random histories of what people and servers, virtual and physical, do with the addresses of one small subnet.

At every step one address has one owner (I5), nobody loses what they have, and what Steelyard says of the subnet is what
the controller has.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from steelyard.errors import Conflict, Invalid, SteelyardError, Unavailable
from steelyard.ipam.keeping import is_releasable
from steelyard.ipam.model import AddressState, AddressUse, OwnerKind
from steelyard.ipam.reservations import Row

from .conftest import Place

OFFSETS = st.integers(0, 15)
"""Of an address in the /28; the first and the last are no addresses of hosts."""
BROWNFIELD = AddressState.BROWNFIELD


class Addresses(RuleBasedStateMachine):
    """What was promised is kept in `held`, beside the system: by address, who was told that it is theirs."""

    machines = Bundle("machines")
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.place = Place(Path(self.folder.name))
        self.held: dict[str, str] = {}
        self.number = 0

    @initialize()
    def small(self) -> None:
        """A /28 is full soon."""
        place = self.place
        place.world.add_network("small", project="demo", cidr="10.7.0.0/28")
        place.blue = next(n for n in place.world.fabric.networks.values() if n.name == "small")
        for name in ("bm-2", "bm-3"):
            place.world.add_node(name)
        self.running = place.world.add_node("old-1", nics=20, state="active")

    # People

    @rule(offset=OFFSETS, brownfield=st.booleans())
    def reserve(self, offset: int, brownfield: bool) -> None:
        address = f"10.7.0.{offset}"
        state = BROWNFIELD if brownfield else AddressState.RESERVED
        note = f"{state} {address}"
        before = self.owners()
        try:
            self.place.reservations.reserve(*self.place.demo, "small", [address], note=note, state=state)
        except (Conflict, Invalid):
            assert self.owners() == before, "what is refused changes nothing"
            assert offset in (0, 1, 15) or self.held.get(address) not in (None, note)
            return
        assert self.held.setdefault(address, note) == note, "reserved from under somebody"

    @rule(first=OFFSETS, length=st.integers(1, 5))
    def reserve_a_range(self, first: int, length: int) -> None:
        wanted = [f"10.7.0.{offset}" for offset in range(first, first + length)]
        before = self.owners()
        try:
            self.place.reservations.reserve(*self.place.demo, "small", [f"{wanted[0]}-{wanted[-1]}"], note="range")
        except (Conflict, Invalid):
            assert self.owners() == before, "all of it or nothing"
            return
        for address in wanted:
            assert self.held.setdefault(address, "range") == "range"

    @rule(target=keys, key=st.sampled_from("abc"), count=st.integers(1, 3), lost=st.booleans())
    def allocate(self, key: str, count: int, lost: bool) -> str:
        """Perhaps the first answer is lost on its way; the same is asked again."""
        self.number += 1
        key = f"{key}{self.number}"
        for attempt in (1, 2):
            try:
                kept = self.place.reservations.allocate(*self.place.demo, "small", note=key, count=count, key=key)
            except Conflict:
                free = sum(1 for n in range(2, 15) if f"10.7.0.{n}" not in self.held)
                assert free < count
                return key
            assert len({each.address for each in kept}) == count
            for each in kept:
                assert self.held.setdefault(each.address, key) == key, "handed out twice"
            if not lost:
                break
            assert attempt == 1 or not any(each.changed for each in kept)
        return key

    @rule(offset=OFFSETS)
    def release(self, offset: int) -> None:
        address = f"10.7.0.{offset}"
        uses = {use.address: use for use in self.uses()}
        try:
            self.place.reservations.release(*self.place.demo, "small", [address])
        except Conflict:
            assert address in uses
            assert not is_releasable(uses[address])
            return
        assert address not in uses or is_releasable(uses[address])
        self.held.pop(address, None)

    @rule(offsets=st.lists(OFFSETS, min_size=1, max_size=4), dry_run=st.booleans())
    def load(self, offsets: list[int], dry_run: bool) -> None:
        rows = [Row(number, f"10.7.0.{offset}", "file") for number, offset in enumerate(offsets, start=1)]
        before = self.owners()
        found = self.place.reservations.load(*self.place.demo, "small", rows, dry_run=dry_run)
        if dry_run or found.errors:
            assert not found.applied
            assert self.owners() == before
            return
        for row in rows:
            assert self.held.setdefault(row.address, "file") == "file"

    # Servers

    @rule(target=machines, physical=st.booleans())
    def create(self, physical: bool) -> str:
        self.number += 1
        machine = self.place.add_machine(f"m-{self.number}", physical=physical)
        self.place.world.settle()
        found = self.place.world.instances[machine.id]
        if found.status == "ACTIVE":
            for address in found.addresses:
                assert self.held.setdefault(address, machine.id) == machine.id, "a server got somebody's address"
        else:
            self.place.clouds.own.compute.delete(machine.id)
            self.place.world.settle()
        return machine.id

    @rule(machine=consumes(machines))
    def delete(self, machine: str) -> None:
        self.place.clouds.own.compute.delete(machine)
        self.place.world.settle()
        self.held = {address: who for address, who in self.held.items() if who != machine}

    @rule(offset=OFFSETS, machine=machines)
    def server_takes_a_kept_one(self, offset: int, machine: str) -> None:
        """`openstack server create --port`, or `server add port`: the port stays, and belongs to the server."""
        address = f"10.7.0.{offset}"
        port = self.place.addresses().get(address)
        if port is None or port.device_id or machine not in self.place.world.instances:
            return
        if port.mac in {nic.mac for nic in self.place.world.node_ports.values()}:
            return  # an adopted system's own: the check would tell of it
        self.place.store.addresses.forget(self.place.subnet.id, [address])
        self.place.world.fabric.ports[port.id] = replace(
            port, device_id=machine, device_owner="compute:nova", host_id="virtual-1", status="ACTIVE"
        )
        self.held[address] = machine

    @rule(offset=OFFSETS)
    def adopt(self, offset: int) -> None:
        """A running system is found on an address; it is taken over with it, where nobody else has it."""
        address = f"10.7.0.{offset}"
        nics = [nic.mac for nic in self.place.world.node_ports.values() if nic.node_id == self.running.id]
        used = {port.mac for port in self.place.world.fabric.ports.values()}
        mac = next((mac for mac in nics if mac not in used), None)
        try:
            self.place.reservations.reserve(
                *self.place.admin, "small", [address], note=f"adopted {address}", state=BROWNFIELD, mac=mac
            )
        except (Conflict, Invalid):
            return
        assert self.held.setdefault(address, f"adopted {address}") == f"adopted {address}"

    # What goes wrong

    @rule(offset=OFFSETS)
    def the_controller_fails(self, offset: int) -> None:
        before = self.owners()
        self.place.world.fail("addresses.hold", Unavailable("away"))
        try:
            self.place.reservations.reserve(*self.place.demo, "small", [f"10.7.0.{offset}"], note="failing")
        except SteelyardError:
            assert self.owners() == before
        else:
            assert self.owners() == before, "it was kept already, and nothing was asked for"
        self.place.world._failures.clear()

    @rule()
    def remember(self) -> None:
        self.place.world.tick()
        self.place.check.remember()
        lasting = {(each.address, each.port_id) for each in self.place.store.addresses.lasting()
                   if each.subnet_id == self.place.subnet.id}  # fmt: skip
        assert lasting == {(address, port.id) for address, port in self.place.addresses().items()}

    # What is always so

    @invariant()
    def one_address_has_one_owner(self) -> None:
        every = [
            fixed.address
            for port in self.place.world.fabric.ports.values()
            for fixed in port.addresses
            if fixed.subnet_id == self.place.subnet.id
        ]
        assert len(every) == len(set(every))

    @invariant()
    def nobody_loses_an_address(self) -> None:
        assert set(self.owners()) == set(self.held)

    @invariant()
    def the_list_is_what_the_controller_has(self) -> None:
        uses = self.uses()
        assert not any(use.collides for use in uses)
        assert {use.address for use in uses if use.port_id} == set(self.owners())
        assert {use.address for use in uses if not use.port_id} <= {"10.7.0.1"}
        found = self.place.service.addresses(*self.place.admin, "small").plan.utilisation
        assert found.free == 14 - len(uses)
        for use in uses:
            assert (use.owner is OwnerKind.BARE_METAL) == (use.node_name is not None)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert [each.kind for each in self.place.check.look("small").conflicts] == []

    def owners(self) -> dict[str, str]:
        return {address: port.id for address, port in self.place.addresses().items()}

    def uses(self) -> list[AddressUse]:
        return self.place.service.addresses(*self.place.admin, "small").addresses

    def teardown(self) -> None:
        self.place.store.close()
        self.folder.cleanup()


class TestAddresses(Addresses.TestCase):  # type: ignore[misc]
    settings = settings(
        max_examples=20, stateful_step_count=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip

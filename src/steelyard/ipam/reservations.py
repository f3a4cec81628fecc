"""Use cases of addresses that are kept by hand: reserve, take the next free one, release, and import.

The controller has the last word: what is kept is a port of its own, so that neither Nova nor Neutron hands it out. The
rules that no controller checks are in `ipam.keeping`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from steelyard.errors import Invalid, SteelyardError
from steelyard.ipam import keeping
from steelyard.ipam.keeping import KEEPABLE, Taken, Wish
from steelyard.ipam.model import AddressState, AddressUse, Brownfield, order
from steelyard.ipam.ranges import MOST, parse_all
from steelyard.ipam.service import IpamService, Place
from steelyard.nouns import Actor, NetworkPort
from steelyard.store import Store

AT_ONCE: Final = 256
"""Addresses that may be taken as the next free ones in one request."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One address of an answer."""

    address: str
    changed: bool
    """False: it was so already."""
    port_id: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file of reservations."""

    number: int
    """As people count, the header is line 1."""
    address: str
    """One, or a range."""
    note: str
    state: str = AddressState.RESERVED.value
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a row."""

    row: Row
    addresses: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    """Those of its addresses that are not kept already."""
    error: SteelyardError | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """What an import did, or would do."""

    rows: Sequence[Judged]
    applied: bool

    @property
    def errors(self) -> int:
        return sum(each.error is not None for each in self.rows)


class ReservationService:
    """What people keep by hand: tenants in their own networks, administrators everywhere."""

    def __init__(self, *, ipam: IpamService, store: Store, signal: Callable[[str], None] | None = None):
        self._ipam = ipam
        self._store = store
        self._signal = signal

    def reserve(
        self, actor: Actor, token: str, reference: str, addresses: Sequence[str], *, note: str,
        state: AddressState = AddressState.RESERVED, mac: str | None = None, request_id: str | None = None,
    ) -> list[Kept]:  # fmt: skip
        """Keep addresses (single ones and ranges), all of them or none. The same again changes nothing. Recorded.

        Raises `Invalid`, `Duplicate` (`address_in_use`, `mac_in_use`), `Refused` (`outside_pool`), what the controller
        refuses, and what `IpamService.place` raises.
        """
        wanted = parse_all(addresses)
        wishes = [_wish(address, state.value, note, mac or "") for address in wanted]
        if mac and len(wishes) > 1:
            raise Invalid("A MAC goes with one address, not with a range.", code="invalid_mac")
        place = self._ipam.place(actor, token, reference)
        seen = _taken(place)
        for wish in wishes:
            if not keeping.is_kept(wish, seen) and (why := keeping.refusal(place.subnet, wish, seen)) is not None:
                raise why
        return self._keep(actor, place, wishes, seen, request_id)

    def allocate(
        self, actor: Actor, token: str, reference: str, *, note: str, count: int = 1, key: str | None = None,
        request_id: str | None = None,
    ) -> list[Kept]:  # fmt: skip
        """Take the next free addresses of the pools. With the same `key` the same ones are answered. Recorded.

        Raises `Conflict` when not so many are left.
        """
        if not 1 <= count <= AT_ONCE:
            raise Invalid(f"It takes 1 to {AT_ONCE} addresses at a time.", code="too_many_addresses")
        keeping.check_note(note)
        place = self._ipam.place(actor, token, reference)
        project = _project(actor, place)
        mark = f"{actor.user_id}\0{key or secrets.token_hex(16)}"
        specs = [keeping.next_free_spec(place.subnet, note, f"{mark}\0{n}", project) for n in range(count)]
        known = {port.id for port in place.ports}
        ports = place.cloud.addresses.hold(specs)
        kept = [_kept(port, place, changed=port.id not in known) for port in ports]
        self._record(actor, place, "ipam.allocated", [each.address for each in kept if each.changed], note, request_id)
        return kept

    def release(
        self, actor: Actor, token: str, reference: str, addresses: Sequence[str], *, request_id: str | None = None
    ) -> list[Kept]:
        """Give addresses up that are kept by hand. What is free already is fine. Recorded.

        Nothing is given up when one of them is a server's or a service's: raises `Refused` (`address_in_use`). When a
        server gets one at this very moment, it keeps it and the others may be free: raises `Conflict`.
        """
        wanted = parse_all(addresses)
        place = self._ipam.place(actor, token, reference)
        uses: dict[str, list[AddressUse]] = {}
        for use in place.uses:
            uses.setdefault(use.address, []).append(use)
        for address in wanted:
            for found in uses.get(address, []):
                if (why := keeping.release_refusal(place.subnet, address, found)) is not None:
                    raise why
        there = [address for address in wanted if address in uses]
        released: list[str] = []
        try:
            for address in there:
                # The word that something uses it goes first: it must not outlive the port.
                self._store.addresses.forget(place.subnet.id, [address])
                for use in uses[address]:
                    if use.port_id is not None:
                        place.cloud.addresses.release(use.port_id)
                released.append(address)
        finally:
            self._record(actor, place, "ipam.released", released, None, request_id)
        return [Kept(address, address in released) for address in wanted]

    def load(
        self, actor: Actor, token: str, reference: str, rows: Sequence[Row], *, dry_run: bool,
        request_id: str | None = None,
    ) -> Import:  # fmt: skip
        """Reservations of a file: judge every row, and apply all of them, or none when one cannot be.

        Rows that are kept already as they stand change nothing, so the same file again does nothing. What the
        controller refuses at the end, when every row was good, is raised.
        """
        place = self._ipam.place(actor, token, reference)
        seen = _taken(place)
        judged: list[Judged] = []
        wishes: dict[str, Wish] = {}
        macs: dict[str, int] = {}
        for row in rows:
            try:
                mine = self._judge(place, row, seen, wishes, macs)
            except SteelyardError as error:
                judged.append(Judged(row, error=error))
                continue
            wishes.update(mine)
            macs.update({wish.mac: row.number for wish in mine.values() if wish.mac})
            new = tuple(address for address, wish in mine.items() if not keeping.is_kept(wish, seen))
            judged.append(Judged(row, tuple(mine), new))
        found = Import(judged, applied=False)
        if dry_run or found.errors:
            return found
        self._keep(actor, place, list(wishes.values()), seen, request_id)
        return replace(found, applied=True)

    def _judge(
        self, place: Place, row: Row, seen: Taken, earlier: Mapping[str, Wish], macs: Mapping[str, int]
    ) -> dict[str, Wish]:
        """What the row wants, by address. Raises why it cannot be."""
        addresses = parse_all([row.address])
        if row.mac and len(addresses) > 1:
            raise Invalid("A MAC goes with one address, not with a range.", code="invalid_mac")
        mine = {address: _wish(address, row.state, row.note, row.mac) for address in addresses}
        if len(earlier) + len(mine) > MOST:
            raise Invalid(f"One file holds {MOST} addresses at most.", code="too_many_addresses")
        for address, wish in mine.items():
            if address in earlier:
                raise Invalid(f"{address} stands in an earlier row too.", code="address_in_use")
            if wish.mac and wish.mac in macs:
                raise Invalid(f"The MAC {wish.mac} stands in row {macs[wish.mac]} too.", code="mac_in_use")
            if not keeping.is_kept(wish, seen) and (why := keeping.refusal(place.subnet, wish, seen)) is not None:
                raise why
        return mine

    def _keep(
        self, actor: Actor, place: Place, wishes: Sequence[Wish], seen: Taken, request_id: str | None
    ) -> list[Kept]:
        new = [wish for wish in wishes if not keeping.is_kept(wish, seen)]
        now = datetime.now(UTC)
        # First what is known, then the port: killed in between, the check tells of it, and the same again goes on.
        self._store.addresses.declare(
            Brownfield(place.subnet.id, wish.address, wish.note, actor.user_name, now, wish.mac)
            for wish in wishes
            if wish.state is AddressState.BROWNFIELD
        )
        made: dict[str, NetworkPort] = {}
        if new:
            specs = [keeping.hold_spec(place.subnet, wish, _project(actor, place)) for wish in new]
            try:
                ports = place.cloud.addresses.hold(specs)
            except SteelyardError:
                undeclared = [wish.address for wish in new if wish.address not in seen.uses]
                self._store.addresses.forget(place.subnet.id, undeclared)
                raise
            made = {wish.address: port for wish, port in zip(new, ports, strict=True)}
        for state in KEEPABLE:
            mine = [wish for wish in new if wish.state is state]
            for note in dict.fromkeys(wish.note for wish in mine):
                named = [wish.address for wish in mine if wish.note == note]
                self._record(actor, place, f"ipam.{state.value}", named, note, request_id)
        return [
            _kept(made[wish.address], place, changed=True, address=wish.address)
            if wish.address in made
            else Kept(wish.address, False, seen.uses[wish.address].port_id, seen.uses[wish.address].mac)
            for wish in wishes
        ]

    def _record(
        self, actor: Actor, place: Place, kind: str, addresses: Collection[str], note: str | None,
        request_id: str | None,
    ) -> None:  # fmt: skip
        if not addresses:
            return
        listed = sorted(addresses, key=order)
        shown = ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
        self._store.events.append(
            f"subnet:{place.subnet.id}", kind, actor=actor.user_name, reason=note, request_id=request_id,
            detail=f"{shown} of {place.subnet.cidr} ({place.network.name}) {kind.partition('.')[2]} by hand",
            data={"addresses": listed, "note": note, "network": place.network.id},
            project_id=place.network.project_id,
        )  # fmt: skip
        if self._signal is not None:
            self._signal("ipam.history")


def _wish(address: str, state: str, note: str, mac: str) -> Wish:
    """Raises `Invalid` for what no address can be kept as."""
    if state not in {each.value for each in KEEPABLE}:
        words = " or ".join(each.value for each in KEEPABLE)
        raise Invalid(f"An address is kept as {words}, not as {state[:40]!r}.", code="invalid_state")
    return Wish(address, AddressState(state), keeping.check_note(note), keeping.check_mac(mac) if mac.strip() else None)


def _taken(place: Place) -> Taken:
    return keeping.taken(place.uses, place.ports, place.nics)


def _project(actor: Actor, place: Place) -> str | None:
    """An administrator keeps it for the project whose network it is."""
    return place.network.project_id if actor.is_admin else None


def _kept(port: NetworkPort, place: Place, *, changed: bool, address: str | None = None) -> Kept:
    mine = [fixed.address for fixed in port.addresses if fixed.subnet_id == place.subnet.id]
    return Kept(address or mine[0], changed, port.id, port.mac)

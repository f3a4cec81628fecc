"""The fake top-of-rack switches: the VLAN of every port, as a read-back would show it, and a log of every change.

A switch may be disturbed: the next write to it, or to one of its ports, gets lost, comes late, or goes to another port.
The log tells of every change which write, or what else, made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from steelyard.nouns import SwitchLink, SwitchPort

SWITCHES = (("leaf1", "02:00:5e:00:00:01"), ("leaf2", "02:00:5e:00:00:02"))
"""Name and chassis MAC of the switches that `FakeWorld.add_node` cables to."""

Place = tuple[str, str]
"""A switch's chassis id, and the name of a port of its."""


class Disturbance(StrEnum):
    """What may become of a write. Whoever wrote is told that it was done."""

    LOST = "lost"
    LATE = "late"
    WRONG_PORT = "on the wrong port"


class Cause(StrEnum):
    """What made a port carry something else."""

    WRITE = "write"
    """What the controller asked for, where and when it asked for it."""
    LATE = "late write"
    STRAY = "write to another port"
    HAND = "by hand"


@dataclass(frozen=True, slots=True)
class PortChange:
    """One entry of the log: a port carries another VLAN, untagged, from now on."""

    at: datetime
    place: Place
    before: int | None
    after: int | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class _Planned:
    kind: Disturbance
    skip: int
    """How many writes go through before."""
    seconds: float
    """For a late one: how late it is."""
    to: SwitchLink | None
    """For one to the wrong port: which."""


@dataclass(frozen=True, slots=True)
class _Late:
    due: datetime
    place: Place
    vlan: int | None
    tagged: frozenset[int]
    filters: frozenset[str]


class FakeSwitches:
    """VLAN state per port. A jammed port accepts every write and applies none; a misdirected one is another."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._vlans: dict[Place, int | None] = {}
        self._tagged: dict[Place, frozenset[int]] = {}
        self._filters: dict[Place, frozenset[str]] = {}
        self.names: dict[str, str] = {mac: name for name, mac in SWITCHES}
        """By chassis id."""
        self._jammed: set[Place] = set()
        self._misdirected: dict[Place, SwitchLink] = {}
        self._planned: list[_Planned] = []
        self._late: list[_Late] = []
        self.log: list[PortChange] = []
        """Every change of what a port carries, the oldest first."""
        self.filters_nothing = False
        """It takes filters without a word and has none of them, as a model does that has no room for them."""
        self.disturbed: dict[Place, Disturbance] = {}
        """Ports at which a write was disturbed: those that it was meant for, and those that it hit."""
        self.went_wrong = 0
        """How many writes were disturbed."""

    def know(self, link: SwitchLink, vlan: int | None = None) -> None:
        """A cable exists: its port is listed from now on, idle, or with the VLAN that it was set up with for good."""
        if link.switch_name:
            self.names.setdefault(link.switch_id, link.switch_name)
        self._vlans.setdefault(_place(link), vlan)

    def write(
        self,
        link: SwitchLink,
        vlan: int | None,
        tagged: frozenset[int] = frozenset(),
        filters: frozenset[str] = frozenset(),
    ) -> None:
        """What networking-generic-switch does at binding and unbinding."""
        self._land()
        self.know(link)
        if (planned := self._strike()) is not None:
            self._disturb(planned, link, vlan, tagged, filters)
            return
        other = self._misdirected.get(_place(link))
        if _place(other or link) not in self._jammed:
            self._set(_place(other or link), vlan, Cause.STRAY if other else Cause.WRITE, tagged, filters)

    # Disturbances

    def disturb(self, kind: Disturbance, *, skip: int = 0, seconds: float = 30.0, to: SwitchLink | None = None) -> None:
        """The next write, after `skip` others, is lost, is `seconds` late, or goes `to` another port of the rack."""
        if (kind is Disturbance.WRONG_PORT) != (to is not None):
            raise ValueError("a write to the wrong port, and no other, needs that port")
        self._planned.append(_Planned(kind, skip, seconds, to))

    def calm(self) -> None:
        """No write that comes is disturbed; those that are late are applied when they are due."""
        self._planned.clear()

    def _strike(self) -> _Planned | None:
        """The disturbance that this write meets."""
        for index, planned in enumerate(self._planned):
            if planned.skip == 0:
                return self._planned.pop(index)
            self._planned[index] = _Planned(planned.kind, planned.skip - 1, planned.seconds, planned.to)
        return None

    def _disturb(
        self,
        planned: _Planned,
        link: SwitchLink,
        vlan: int | None,
        tagged: frozenset[int],
        filters: frozenset[str],
    ) -> None:
        self.went_wrong += 1
        self.disturbed[_place(link)] = planned.kind
        if planned.kind is Disturbance.LATE:
            due = self._clock() + timedelta(seconds=planned.seconds)
            self._late.append(_Late(due, _place(link), vlan, tagged, filters))
        elif planned.to is not None:
            self.know(planned.to)
            self.disturbed[_place(planned.to)] = planned.kind
            self._set(_place(planned.to), vlan, Cause.STRAY, tagged, filters)

    def _land(self) -> None:
        """Late writes that are due are applied, in the order in which they are due."""
        now = self._clock()
        for late in sorted((each for each in self._late if each.due <= now), key=lambda each: each.due):
            self._late.remove(late)
            self.disturbed[late.place] = Disturbance.LATE
            self._set(late.place, late.vlan, Cause.LATE, late.tagged, late.filters, at=late.due)

    @property
    def awaits(self) -> frozenset[Place]:
        """Ports for which a write is on its way."""
        self._land()
        return frozenset(late.place for late in self._late)

    def _set(
        self,
        place: Place,
        vlan: int | None,
        cause: Cause,
        tagged: frozenset[int],
        filters: frozenset[str],
        *,
        at: datetime | None = None,
    ) -> None:
        before = self._vlans.get(place)
        self._vlans[place], self._tagged[place] = vlan, tagged
        self._filters[place] = frozenset() if self.filters_nothing else filters
        if before != vlan:
            self.log.append(PortChange(at or self._clock(), place, before, vlan, cause))

    # By hand

    def tamper(
        self,
        link: SwitchLink,
        vlan: int | None,
        tagged: frozenset[int] = frozenset(),
        filters: frozenset[str] = frozenset(),
    ) -> None:
        """Somebody logged in to the switch and changed it by hand."""
        self._land()
        self.know(link)
        self._set(_place(link), vlan, Cause.HAND, tagged, filters)

    def jam(self, link: SwitchLink) -> None:
        self._jammed.add(_place(link))

    def misdirect(self, link: SwitchLink, to: SwitchLink) -> None:
        """Every later write to this port goes to another one."""
        self.know(to)
        self._misdirected[_place(link)] = to

    def free(self, link: SwitchLink) -> None:
        self._jammed.discard(_place(link))
        self._misdirected.pop(_place(link), None)

    # What is so

    def vlan(self, link: SwitchLink) -> int | None:
        self._land()
        return self._vlans.get(_place(link))

    def ports(self, *, as_of: datetime | None = None) -> list[SwitchPort]:
        """Every port as it is; `as_of`: as it was then, which is what a switch shows that answers from a cache."""
        self._land()
        vlans = dict(self._vlans)
        if as_of is not None:
            for change in reversed(self.log):
                if change.at <= as_of:
                    break
                vlans[change.place] = change.before
        return [
            SwitchPort(
                switch_id=switch,
                switch_name=self.names.get(switch, switch),
                port_id=port,
                untagged_vlan=vlan,
                tagged_vlans=self._tagged.get((switch, port), frozenset()),
                filters=self._filters.get((switch, port), frozenset()),
            )
            for (switch, port), vlan in sorted(vlans.items())
        ]


def _place(link: SwitchLink) -> Place:
    return link.switch_id, link.port_id

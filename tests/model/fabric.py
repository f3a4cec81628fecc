"""The network of a history: how Steelyard reads its switches, what goes wrong in them and in the controller, and what
the conductors ask.

Machines' BMCs are on the same leaves, in a segment of their own that the controller knows as the operator's network
`bmc`. Writes go to wrong ports of servers, never of BMCs: what a switch does by itself nobody can prevent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from steelyard.clouds.fake import FakeHardware
from steelyard.clouds.fake.conductor import Answer, Asked
from steelyard.clouds.fake.switches import SWITCHES, Cause, Place, PortChange
from steelyard.errors import Refused, SteelyardError, Unavailable
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.isolation.verifying import Flip, NicWanted
from steelyard.nouns import SwitchLink, SwitchPort

from .clockwork import Killed

if TYPE_CHECKING:
    from .game import Game

BMC_NETWORK = "bmc"
BMC_VLANS = range(4001, 4002)


class Reader(FakeSwitchReader):
    """The switches as Steelyard reads them: one may answer from a cache for a while, or not at all.

    A cache never goes back behind what was read before: then a switch that says what is wanted has carried it since the
    change that was asked for, as that is not what it carried before.
    """

    def __init__(self, game: Game) -> None:
        super().__init__(source=game.world.switch_ports)
        self._game = game
        self._stale: dict[str, tuple[datetime, float]] = {}
        self._silent: dict[str, datetime] = {}
        self.as_of: dict[str, datetime] = {}
        """Of what moment the last answer of each switch was."""
        self.cached: dict[str, deque[tuple[datetime, datetime]]] = {}
        """When each switch answered from a cache lately, and of what moment those answers were."""
        self.failed = 0
        """How many reads were stale, or not answered."""

    def stale(self, switch_id: str, *, until: datetime, seconds: float) -> None:
        """Until then it shows what was so `seconds` ago."""
        self._stale[switch_id] = (until, seconds)

    def silence(self, switch_id: str, *, until: datetime) -> None:
        self._silent[switch_id] = until

    def calm(self) -> None:
        self._stale.clear()
        self._silent.clear()

    def ports(self, switch_id: str) -> list[SwitchPort]:
        now = self._game.world.now
        if self._silent.get(switch_id, now) > now:
            self.failed += 1
            raise Unavailable(f"Switch {switch_id} cannot be read: no answer", code="switch_unreadable")
        until, seconds = self._stale.get(switch_id, (now, 0.0))
        if until <= now:
            self.as_of[switch_id] = now
            return super().ports(switch_id)
        self.failed += 1
        as_of = max(now - timedelta(seconds=seconds), self.as_of.get(switch_id, now - timedelta(seconds=seconds)))
        self.as_of[switch_id] = as_of
        self.cached.setdefault(switch_id, deque(maxlen=50)).append((now, as_of))
        return [port for port in self._game.world.fabric.switches.ports(as_of=as_of) if port.switch_id == switch_id]


def bmc_port(number: int) -> SwitchLink:
    """Where the BMC of the machine of this number is cabled."""
    name, chassis = SWITCHES[0]
    return SwitchLink(switch_id=chassis, port_id=f"Bmc{number}", switch_name=name)


def cable(game: Game, number: int, machine: FakeHardware) -> None:
    """The machine's NICs and its BMC are in the leaves, which have the BMC's port set up for good."""
    game.world.fabric.switches.know(bmc_port(number), BMC_VLANS[0])
    for nic in machine.nics:
        if nic.link is not None:
            game.world.fabric.switches.know(nic.link)


def server_ports(game: Game) -> list[SwitchLink]:
    """The switch ports of all servers' NICs."""
    found = {
        (nic.link.switch_id, nic.link.port_id): nic.link
        for machine in game.world.hardware.values()
        for nic in machine.nics
        if nic.link is not None
    }
    return [found[place] for place in sorted(found)]


def last_change(game: Game, place: Place) -> PortChange | None:
    """What made a switch port carry what it carries."""
    return next((each for each in reversed(game.world.fabric.switches.log) if each.place == place), None)


def excused(game: Game, link: SwitchLink) -> bool:
    """Whether what the port carries came there by something else than a write that was asked for, after the moment of
    which Steelyard last saw it: nobody can have known."""
    last = last_change(game, (link.switch_id, link.port_id))
    seen = game.reader.as_of.get(link.switch_id)
    return last is not None and last.cause is not Cause.WRITE and (seen is None or last.at >= seen)


def shown(game: Game, link: SwitchLink, vlan: int | None) -> bool:
    """Whether the switch answered from a cache since the port's last change, and showed just this VLAN there."""
    place = (link.switch_id, link.port_id)
    switches = game.world.fabric.switches
    last = last_change(game, place)
    if last is None:
        return False
    moments = {as_of for at, as_of in game.reader.cached.get(link.switch_id, ()) if as_of < last.at <= at}
    return any(
        (port.switch_id, port.port_id) == place and port.untagged_vlan == vlan
        for as_of in moments
        for port in switches.ports(as_of=as_of)
    )


class Gates:
    """What conductors ask of Steelyard over REST; the requests run as tasks of the server, which may be killed."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self.asked = 0
        self.refused = 0
        """How often somebody was answered no."""
        self.said_yes: list[Callable[[str, Asked], None]] = []
        """Called at the moment at which Steelyard says that a change is verified."""

    def flip(self, node_id: str, asked: Asked) -> Answer:
        nics = tuple(NicWanted(nic.mac, nic.port_id, nic.network_id) for nic in asked.nics)
        flip = Flip(asked.role, asked.joined, nics)  # type: ignore[arg-type]
        isolation = self._game.steelyard.isolation

        def call() -> None:
            try:
                isolation.flip_gate(node_id, flip)
            except Refused:
                self.refused += 1
                raise
            for watcher in self.said_yes:
                watcher(node_id, asked)

        self.asked += 1
        return self._request(f"flip gate of {self._game.name(node_id)}: {flip.words}", call)

    def network(self, node_id: str) -> Answer:
        isolation = self._game.steelyard.isolation
        name = f"network gate of {self._game.name(node_id)}"
        return self._request(name, lambda: isolation.network_gate(node_id))

    def _request(self, name: str, call: Callable[[], Any]) -> Answer:
        task, process = self._game.tasks.spawn(name, call), self._game.process

        def answer() -> bool:
            if isinstance(task.error, Killed) or not (task.ended or process.alive):
                raise Unavailable("Steelyard cannot be reached")
            if isinstance(task.error, SteelyardError):
                raise task.error
            return task.ended

        return answer

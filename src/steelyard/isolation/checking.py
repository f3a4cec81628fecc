"""The check of the whole fleet's NICs: on demand, and as the reconciler `isolation.compare`.

Runbook, by hand: `steelyard isolation check` says which NICs differ, `steelyard isolation show NODE` what each system
says of one server; `steelyard drift plan` puts right what can be put right. What the reconciler does about each kind of
trouble is set by STEELYARD_ISOLATION_FOREIGN_ATTACHMENT, …_CONTROLLER_DIFFERS, …_SWITCH_DIFFERS and …_UNVERIFIED.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import SteelyardError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.dealing import Dealer, Dealt
from steelyard.isolation.fleet import Attachment, Fleet, attachments, totals
from steelyard.isolation.mending import Mending
from steelyard.isolation.model import Seen, Verdict
from steelyard.isolation.policy import Dealing, Trouble
from steelyard.isolation.reading import filters_of, named_roles, ports_at, read_switches, role_networks
from steelyard.isolation.segments import Segments
from steelyard.naming import pick
from steelyard.nouns import Node, SwitchPort
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.policies import DEFAULT

COMPARE: Final = "isolation.compare"
AGAIN: Final = 2.0
"""Seconds between two looks: what differs only once was changing while the lists were read."""


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a check of the fleet found."""

    attachments: Sequence[Attachment]
    """Every NIC that was compared."""
    totals: Mapping[str, int]
    passing: Collection[Trouble]
    """Kinds of trouble that the settings let pass."""
    unread: Mapping[str, str]
    """Why, of each switch that could not be read, by its chassis id."""
    at: datetime
    nodes: int
    switches: Mapping[str, Sequence[SwitchPort]]
    """What each switch that could be read carries."""
    fleet: Fleet
    """What was compared."""

    @property
    def wrong(self) -> list[Attachment]:
        """Those that differ, those that are not verified, and those that are changing."""
        return [each for each in self.attachments if each.nic.verdict is not Verdict.AGREE]

    @property
    def agrees(self) -> bool:
        """Whether every NIC is where it must be in all views, but for those on their way and those that may pass."""
        return not any(
            (each.differs or each.unverified) and each.nic.trouble not in self.passing for each in self.attachments
        )


class FleetCheck:
    """Compares the whole fleet, by one list per service and one read per switch."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        switches: SwitchReaders,
        settings: Settings,
        store: Store,
        observer: Observer | None = None,
        mending: Mending | None = None,
        segments: Segments | None = None,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._switches = switches
        self._roles = named_roles(settings)
        self._store = store
        self._observer = observer or Observer(clouds)
        self._groups = clouds.own.security_groups
        self.segments = segments or Segments(clouds=clouds, store=store, settings=settings)
        self._sleep = sleep
        self._clock = clock
        self._bound = timedelta(seconds=settings.isolation_changing_seconds)
        self._first_seen: dict[str, datetime] = {}
        self._guard = threading.Lock()
        self.period = settings.isolation_seconds
        self.dealing: Mapping[Trouble, Dealing] = {
            Trouble.FOREIGN: Dealing(settings.isolation_foreign_attachment),
            Trouble.CONTROLLER: Dealing(settings.isolation_controller_differs),
            Trouble.SWITCH: Dealing(settings.isolation_switch_differs),
            Trouble.UNVERIFIED: Dealing(settings.isolation_unverified),
        }
        self.mending = mending or Mending(
            clouds=clouds, store=store, switches=switches, settings=settings, segments=self.segments
        )
        self._dealer = Dealer(clouds=clouds, store=store, mending=self.mending, dealing=self.dealing)

    def check(self, references: Sequence[str] = ()) -> FleetReport:
        """Every NIC of the fleet, or of these nodes (ids or names), in its three views; changes nothing.

        What differs must differ in two looks. Raises `NotFound` for an unknown node, and what the services raise:
        without all of them there is no comparison. A switch that cannot be read leaves its NICs unverified.
        """
        report = self.look(references)
        if not any(each.differs for each in report.attachments):
            return report
        self._sleep(AGAIN)
        self._observer.forget()
        before = {each.key for each in report.attachments if each.differs}
        report = self.look(references)
        found = [
            replace(each, nic=replace(each.nic, verdict=Verdict.CHANGING), overdue=False)
            if each.differs and each.key not in before
            else each
            for each in report.attachments
        ]
        return replace(report, attachments=found, totals=totals(found))

    def reconcile(self) -> Report:
        """One run of `isolation.compare`: findings, and what the settings say is done about them."""
        report = self.check()
        dealt = self._dealer.deal(report.attachments)
        if dealt.changed:
            self._observer.forget()
        self._store.findings.replace(COMPARE, dealt.findings)
        return Report(len(report.attachments), dealt.changed, _words(report, dealt), data={**report.totals})

    def look(self, references: Sequence[str] = ()) -> FleetReport:
        """One look, in which what is changing while the lists are read may seem to differ."""
        before = self.segments.leases()
        nodes = self._observer.nodes()
        only = {_node(reference, nodes).id for reference in references} if references else None
        nics = self._observer.node_ports()
        if only is not None:
            nics = [nic for nic in nics if nic.node_id in only]
        networks = self._observer.networks()
        ports = self._observer.attachments()
        instances = self._observer.instances()
        read = read_switches(self._switches, {nic.link.switch_id.lower() for nic in nics if nic.link is not None})
        leases = self.segments.leases()
        fleet = Fleet(
            nodes=nodes,
            nics=nics,
            instances=instances,
            seen=Seen(
                networks={network.id: network for network in networks},
                role_networks=role_networks(networks, self._roles),
                attachments=ports,
                switch_ports=ports_at(read, nics),
                leases=leases,
                filters=filters_of(self._groups, ports),
                held=leases.unchanged_since(before) if leases is not None else None,
            ),
            power_off=self._store.policies.power_offs(),
            default=DEFAULT,
        )
        now = self._clock()
        found = attachments(fleet, now=now, bound=self._bound, first_seen=self._first_seen, only=only)
        self._remember(found, now, only)
        return FleetReport(
            attachments=found,
            totals=totals(found),
            passing=frozenset(kind for kind, dealing in self.dealing.items() if dealing is Dealing.IGNORE),
            unread={id: found.detail for id, found in read.items() if isinstance(found, SteelyardError)},
            at=now,
            nodes=len(nodes) if only is None else len(only),
            switches={id: found for id, found in read.items() if not isinstance(found, SteelyardError)},
            fleet=fleet,
        )

    def _remember(self, found: Iterable[Attachment], now: datetime, only: Collection[str] | None) -> None:
        """Since when this server sees nodes changing."""
        changing = {each.node.id for each in found if each.nic.verdict is Verdict.CHANGING}
        with self._guard:
            kept = {id: at for id, at in self._first_seen.items() if only is not None and id not in only}
            self._first_seen = kept | {id: self._first_seen.get(id, now) for id in changing}


def reconcilers(check: FleetCheck) -> tuple[Reconciler, ...]:
    """The reconciler of the check."""
    about = "Compares what every NIC must be on with the controller and the switches, and finds what differs."
    return (Reconciler(COMPARE, about, check.reconcile, period=check.period),)


def _node(reference: str, nodes: Sequence[Node]) -> Node:
    return pick(
        "node", reference, list(nodes), id=lambda node: node.id, name=lambda node: node.name,
        next="steelyard node list",
    )  # fmt: skip


def _words(report: FleetReport, dealt: Dealt) -> str:
    said = [f"{report.totals[word]} {word}" for word in ("differ", "unverified", "changing") if report.totals[word]]
    said += [f"{number} {what}" for what, number in dealt.done.items() if number]
    return ", ".join(said)

"""The check of all addresses, virtual and physical: on demand, and as the reconciler `ipam.check`; and the memory of
who had which address, the reconciler `ipam.history`.

Runbook, by hand: `steelyard ipam check` says what is wrong and what to do; `steelyard ipam list SUBNET --all` shows
who has what; `steelyard ipam history SUBNET ADDRESS` who had it before. Nothing is mended by itself: which of two
owners keeps an address only a person can say.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.ipam.conflicts import OF_DRIFT, Conflict, Seen, conflicts
from steelyard.ipam.history import Interval, changes, interval
from steelyard.ipam.model import addresses, owners
from steelyard.naming import pick
from steelyard.nouns import NetworkPort, Subnet
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.settings import Settings
from steelyard.store import Store

CHECK: Final = "ipam.check"
HISTORY: Final = "ipam.history"
AGAIN: Final = 2.0
"""Seconds between two looks: what is seen only once was changing while the lists were read."""
_LOOK: Final = "ipam:history"
"""The subject under which the time of the last look is kept (`store.sightings`)."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found, and how much it looked at."""

    conflicts: Sequence[Conflict]
    totals: Mapping[str, int]
    at: datetime


class IpamCheck:
    """Looks at all addresses of the cloud by bulk lists, one per kind."""

    def __init__(
        self, *, clouds: Clouds, store: Store, settings: Settings, observer: Observer | None = None,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._store = store
        self._observer = observer or Observer(clouds)
        self._sleep = sleep
        self._clock = clock
        self.period = settings.ipam_seconds
        self.history_period = settings.ipam_history_seconds

    def check(self, reference: str | None = None) -> CheckReport:
        """Everything that is wrong, or what is wrong in one subnet (id, name or CIDR); changes nothing.

        What is wrong must be so in two looks. Raises `NotFound` for an unknown subnet, and what the services raise.
        """
        self._observer.forget()  # whoever asks has perhaps just changed something
        return self._twice(reference)

    def _twice(self, reference: str | None = None) -> CheckReport:
        report = self.look(reference)
        if not report.conflicts:
            return report
        self._sleep(AGAIN)
        self._observer.forget()
        before = {each.key for each in report.conflicts}
        report = self.look(reference)
        return CheckReport([each for each in report.conflicts if each.key in before], report.totals, report.at)

    def look(self, reference: str | None = None) -> CheckReport:
        """One look. What owns is asked for after what is owned, so that the owner of a new port is known."""
        observer = self._observer
        ports = observer.attachments()
        subnets = observer.subnets()
        networks = observer.networks()
        nodes, nics, instances = observer.nodes(), observer.node_ports(), observer.instances()
        seen = Seen(
            networks=networks, subnets=subnets, ports=ports, instances=instances, nodes=nodes, nics=nics,
            who=owners(instances, nodes, nics), brownfield=self._store.addresses.brownfield(),
        )  # fmt: skip
        only = _pick(reference, subnets, {network.id: network.name for network in networks}) if reference else None
        found = [each for each in conflicts(seen) if only is None or only.id in each.subnet_ids]
        totals = {
            "subnets": len(subnets) if only is None else 1,
            "addresses": sum(only is None or fixed.subnet_id == only.id for port in ports for fixed in port.addresses),
            "ports": len(ports),
            "servers": len(instances),
        }
        return CheckReport(found, totals, self._clock())

    def reconcile(self) -> Report:
        """One run of `ipam.check`: findings, but for what drift opens findings of."""
        report = self._twice()
        mine = [each.finding() for each in report.conflicts if each.kind not in OF_DRIFT]
        changed = self._store.findings.replace(CHECK, mine)
        kinds = Counter(each.kind for each in report.conflicts)
        words = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in sorted(kinds.items()))
        return Report(report.totals["addresses"], changed, words, data=dict(report.totals))

    def remember(self) -> Report:
        """One run of `ipam.history`: writes down who has which address now, and who has it no longer.

        What is over must be so in two looks: a controller that has just been started may show less than it has.
        """
        seen = self._holders()
        made = changes(self._store.addresses.lasting(), seen, now=self._clock())
        if made.ended:
            before = {each.id for each in made.ended}
            self._sleep(AGAIN)
            self._observer.forget()
            seen = self._holders()
            made = changes(self._store.addresses.lasting(), seen, now=self._clock())
            made = replace(made, ended=[each for each in made.ended if each.id in before])
        now = self._clock()
        with self._store.unit_of_work():
            self._store.addresses.keep(made, now=now, seen_at=self._last_look(now))
            self._store.sightings.keep({_LOOK: {"at": now.isoformat()}})
        words = f"{len(made.began)} begun, {len(made.ended)} over, {len(made.known)} better known" if made else ""
        return Report(len(seen), len(made), words)

    def _holders(self) -> list[Interval]:
        """Who has which address at this moment."""
        observer = self._observer
        ports = observer.attachments()
        subnets = observer.subnets()
        nodes, nics, instances = observer.nodes(), observer.node_ports(), observer.instances()
        who, now = owners(instances, nodes, nics), self._clock()
        by_subnet: dict[str, list[NetworkPort]] = {}
        for port in ports:
            for subnet_id in {fixed.subnet_id for fixed in port.addresses}:
                by_subnet.setdefault(subnet_id, []).append(port)
        return [
            found
            for subnet in subnets
            for use in addresses(subnet, by_subnet.get(subnet.id, []), who)
            if (found := interval(subnet, use, now=now)) is not None
        ]

    def _last_look(self, now: datetime) -> datetime:
        kept: Mapping[str, Any] = self._store.sightings.of(_LOOK).get(_LOOK, {})
        return datetime.fromisoformat(kept["at"]) if "at" in kept else now


def reconcilers(check: IpamCheck) -> tuple[Reconciler, ...]:
    """The reconcilers of this room."""
    return (
        Reconciler(
            CHECK, "Looks for addresses and MACs with two owners, outside of their pools, or in use by brownfield.",
            check.reconcile, period=check.period,
        ),
        Reconciler(
            HISTORY, "Writes down who has which address, and since when.", check.remember, period=check.history_period
        ),
    )  # fmt: skip


def _pick(reference: str, subnets: Sequence[Subnet], networks: Mapping[str, str]) -> Subnet:
    def name(subnet: Subnet) -> str | None:
        names = (subnet.name, subnet.cidr, subnet.network_id, networks.get(subnet.network_id))
        return reference if reference in names else None

    return pick("subnet", reference, subnets, id=lambda each: each.id, name=name, next="steelyard ipam subnets")

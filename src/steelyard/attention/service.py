"""Use cases: what needs a human now, and saying that one knows.

What reconcilers found is in the store; what the bulk lists, the operations and the reconcilers' own states tell is
looked at anew whenever somebody asks, so that the screen is never behind. The reconciler of this room (`work.py`) keeps
the same in the store, for since when it is so and for whoever watches events and metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from steelyard.attention import looking
from steelyard.attention.model import Acknowledgement, Finding, Line, OpenFinding, Seen, Severity, merge
from steelyard.attention.nodes import out_of_use
from steelyard.clouds.observing import Observer
from steelyard.errors import Invalid, NotFound, SteelyardError
from steelyard.nouns import Actor
from steelyard.operations.reconciling import Reconcilers
from steelyard.store import Store

WATCH: Final = "attention.watch"
"""The reconciler, and the source of what it keeps in the store."""
LONGEST = timedelta(days=30)
"""For how long something may be acknowledged at a time."""

Now = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen, and the kinds of what could not be looked at."""

    seen: list[Seen]
    blind: frozenset[str]
    home: dict[str, str]
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class Attention:
    """The whole screen."""

    lines: list[Line]
    at: datetime


class AttentionService:
    """The servers that need a human, why, since when, and the next safe command."""

    def __init__(
        self,
        *,
        observer: Observer,
        store: Store,
        reconcilers: Reconcilers,
        now: Now = _now,
    ) -> None:
        self._observer = observer
        self._store = store
        self._reconcilers = reconcilers
        self._now = now
        self._started_at = now()

    # Looking

    def screen(self, *, severity: Severity | None = None, everything: bool = False) -> Attention:
        """What needs a human, one line per subject, the worst first, then the oldest.

        `severity`: this bad, or worse. `everything`: also what somebody has acknowledged. A service that does not
        answer is a line of its own; what was known of its things before stays.
        """
        at = self._now()
        look = self._look(at)
        stored = self._store.findings.all()
        mine = {(each.finding.kind, each.finding.subject): each for each in stored if each.source == WATCH}
        found = [each for each in stored if each.source != WATCH]
        found += [each for each in mine.values() if each.finding.kind in look.blind]
        for seen in look.seen:
            known = mine.get((seen.finding.kind, seen.finding.subject))
            since = seen.since or (known.since if known else at)
            found.append(OpenFinding(seen.finding, since=since, seen_at=at, source=WATCH))
        lines = merge(
            found, home=look.home, names=look.names, acknowledged=self._store.acknowledgements.all(at), now=at
        )
        shown = [
            each
            for each in lines
            if (everything or each.acknowledged is None)
            and (severity is None or each.lead.finding.severity.at_least(severity))
        ]
        return Attention(shown, at)

    def watch(self) -> tuple[int, int]:
        """Keep in the store what is seen now; returns how many findings there are, and how many came or went.

        What could not be looked at stays as it was.
        """
        at = self._now()
        look = self._look(at)
        kept = [
            each.finding
            for each in self._store.findings.all()
            if each.source == WATCH and each.finding.kind in look.blind
        ]
        found = [*kept, *(seen.finding for seen in look.seen)]
        return len(found), self._store.findings.replace(WATCH, found)

    def _look(self, at: datetime) -> _Look:
        seen: list[Seen] = []
        blind: frozenset[str] = frozenset()
        store = self._store
        candidates = store.candidates.all()
        fleet = looking.Fleet((), (), candidates)
        work = store.workload.open()
        busy = frozenset(each.subject for each in work if each.subject is not None and each.paused_at is None)
        try:
            fleet = looking.Fleet(self._observer.nodes(), self._observer.instances(), candidates)
        except SteelyardError as error:
            blind = looking.FROM_THE_CLOUD
            seen.append(_unreadable("the cloud", error))
        else:
            seen += out_of_use(fleet.nodes, fleet.instances, at, busy)
            seen += looking.servers(fleet)
            seen += looking.failed(store.workload.failed(at - looking.FAILED_FOR), fleet, at)
        names = fleet.names()
        seen += [each for each in looking.candidates(fleet) if each.finding.subject not in busy]
        seen += looking.unfinished(work, names, at)
        seen += looking.reconcilers(self._reconcilers.all(), self._started_at, at)
        seen += looking.webhooks(store.webhooks.all(), at)
        return _Look(seen, blind, fleet.home(), names)

    # Saying that one knows

    def acknowledge(
        self,
        actor: Actor,
        subject: str,
        kind: str,
        *,
        until: datetime,
        reason: str,
        request_id: str | None = None,
    ) -> Acknowledgement:
        """Hide one finding from the screen until a time: somebody knows, and says why it may wait. It is recorded.

        It is shown again before that when it goes away and comes again. Raises `NotFound` when there is no such
        finding now, `Invalid` for a time that has passed or is more than 30 days away, or a reason that says nothing.
        """
        at = self._now()
        if not reason.strip():
            raise Invalid("Say why it may wait.", code="reason_missing")
        if not at < until <= at + LONGEST:
            raise Invalid(
                f"An acknowledgement lasts at most {LONGEST.days} days, and ends in the future.",
                code="invalid_until",
                next="steelyard attention acknowledge SUBJECT KIND --until 8h --reason WHY",
            )
        found = self._find(subject, kind)
        given = Acknowledgement(
            subject=found.finding.subject,
            kind=found.finding.kind,
            actor=actor.user_name,
            reason=reason.strip(),
            since=found.since,
            at=at,
            until=until,
        )
        self._store.acknowledgements.put(given, request_id=request_id)
        return given

    def withdraw(self, actor: Actor, subject: str, kind: str, *, request_id: str | None = None) -> None:
        """Show it again. Raises `NotFound` when nobody has acknowledged it."""
        if not self._store.acknowledgements.withdraw(subject, kind, actor=actor.user_name, request_id=request_id):
            raise NotFound("Nobody has acknowledged this.", code="finding_not_found", next="steelyard attention --all")

    def _find(self, subject: str, kind: str) -> OpenFinding:
        for line in self.screen(everything=True).lines:
            for each in (line.lead, *line.also):
                if each.finding.kind == kind and subject in (each.finding.subject, each.finding.name):
                    return each
        raise NotFound(
            "There is no such finding now; it may have gone away.", code="finding_not_found", next="steelyard attention"
        )


def _unreadable(what: str, error: SteelyardError) -> Seen:
    return Seen(
        Finding(
            kind=looking.UNREADABLE,
            subject=f"cloud:{error.code}",
            name=what,
            severity=Severity.MAJOR,
            reason=f"it cannot be looked at: {error.detail}",
            next="steelyard status",
            evidence={"code": error.code},
        )
    )

"""Findings that are open: what reconcilers saw that is not as it should be, and since when."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.attention.model import URGENCY, Finding, OpenFinding, Severity
from steelyard.store.database import Database
from steelyard.store.events import Events
from steelyard.store.finding_tables import findings as table

ACTOR = "steelyard"
"""Who finds: a reconciler, which nobody asked."""


_Key = tuple[str, str]


class Findings:
    """The repository of open findings. Each is kept once per source, under its kind and subject."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def replace(self, source: str, findings: Iterable[Finding]) -> int:
        """Make these the open findings of a source; returns how many were opened and closed by that.

        `findings` is everything that the source sees now. What it saw before keeps its `since`, with today's words;
        what it sees no longer is closed. Opening and closing is an event on the subject. All in one transaction. Of two
        findings of one kind and subject the more severe stays.
        """
        seen = _unique(findings)
        if not seen and not self._known(source):
            return 0  # the usual case takes no write lock
        now = datetime.now(UTC)
        with self._database.write():
            known = self._known(source)
            closed = [known[key] for key in sorted(known.keys() - seen.keys()) if self._close(source, key)]
            opened = [seen[key] for key in sorted(seen.keys() - known.keys()) if self._open(source, seen[key], now)]
            self._keep(source, [seen[key] for key in sorted(seen.keys() & known.keys())], known, now)
            for finding in opened:
                self._event(finding, "finding.opened", finding.reason, source)
            for gone in closed:
                self._event(gone, "finding.closed", f"No longer so: {gone.reason}", source)
        return len(opened) + len(closed)

    def put(self, source: str, finding: Finding) -> bool:
        """Open one more finding of a source, or give one that is open today's words; returns whether it is new.

        For a source whose findings come one at a time, and which remembers by them. Opening is an event on the subject.
        """
        now = datetime.now(UTC)
        with self._database.write():
            key = (finding.kind, finding.subject)
            known = self._known(source)
            if key in known:
                with self._database.write() as connection:
                    values = {**_values(finding), "seen_at": now}
                    connection.execute(table.update().where(_is(source, key)).values(**values))
                return False
            opened = self._open(source, finding, now)
            if opened:
                self._event(finding, "finding.opened", finding.reason, source)
        return opened

    def close(self, source: str, finding: Finding) -> None:
        """It is no longer so; nothing happens when it is closed already. Closing is an event on the subject."""
        with self._database.write():
            if self._close(source, (finding.kind, finding.subject)):
                self._event(finding, "finding.closed", f"No longer so: {finding.reason}", source)

    def by(self, source: str) -> list[OpenFinding]:
        """Those of one source, the oldest first."""
        return self._open_findings(sa.select(table).where(table.c.source == source))

    def all(self) -> list[OpenFinding]:
        """The oldest first."""
        return self._open_findings(sa.select(table))

    def of(self, subject: str) -> list[OpenFinding]:
        """Those about one subject, the oldest first."""
        return self._open_findings(sa.select(table).where(table.c.subject == subject))

    def counts(self) -> dict[tuple[str, Severity], int]:
        """How many are open, by kind and severity; nothing for what there is none of."""
        query = sa.select(table.c.kind, table.c.severity, sa.func.count()).group_by(table.c.kind, table.c.severity)
        with self._database.read() as connection:
            return {(kind, Severity(severity)): int(n) for kind, severity, n in connection.execute(query)}

    def _open_findings(self, query: sa.Select[Any]) -> list[OpenFinding]:
        ordered = query.order_by(table.c.since, table.c.kind, table.c.subject, table.c.source)
        with self._database.read() as connection:
            return [_open_finding(row) for row in connection.execute(ordered)]

    def _known(self, source: str) -> dict[_Key, Finding]:
        return {
            (each.finding.kind, each.finding.subject): each.finding
            for each in self._open_findings(sa.select(table).where(table.c.source == source))
        }

    def _open(self, source: str, finding: Finding, now: datetime) -> bool:
        """False when another server has opened it at the same moment: its event is there already."""
        values = {**_values(finding), "source": source, "since": now, "seen_at": now}
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as connection:
            opened = insert(table).values(**values).on_conflict_do_nothing().returning(table.c.subject)
            return connection.execute(opened).scalar() is not None

    def _close(self, source: str, key: _Key) -> bool:
        """False when another server has closed it at the same moment."""
        with self._database.write() as connection:
            return bool(connection.execute(table.delete().where(_is(source, key))).rowcount)

    def _keep(self, source: str, kept: list[Finding], known: dict[_Key, Finding], now: datetime) -> None:
        with self._database.write() as connection:
            if kept:
                connection.execute(table.update().where(table.c.source == source).values(seen_at=now))
            for finding in kept:
                key = (finding.kind, finding.subject)
                values = _values(finding)
                if values != _values(known[key]):
                    connection.execute(table.update().where(_is(source, key)).values(**values))

    def _event(self, finding: Finding, kind: str, detail: str, source: str) -> None:
        self._events.append(
            finding.subject,
            kind,
            actor=ACTOR,
            detail=detail,
            data={
                "kind": finding.kind,
                "name": finding.name,
                "severity": finding.severity.value,
                "next": finding.next,
                "source": source,
            },
        )


def _unique(findings: Iterable[Finding]) -> dict[_Key, Finding]:
    found: dict[_Key, Finding] = {}
    for finding in findings:
        key = (finding.kind, finding.subject)
        if key not in found or URGENCY[finding.severity] < URGENCY[found[key].severity]:
            found[key] = finding
    return found


def _is(source: str, key: _Key) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.source == source, table.c.kind == key[0], table.c.subject == key[1])


def _values(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "subject": finding.subject,
        "name": finding.name,
        "severity": finding.severity.value,
        "reason": finding.reason,
        "next": finding.next,
        # as it comes back from the database, so that the same evidence compares equal
        "evidence": json.loads(json.dumps(dict(finding.evidence), default=str)),
    }


def _open_finding(row: Any) -> OpenFinding:
    return OpenFinding(
        finding=Finding(
            kind=row.kind,
            subject=row.subject,
            name=row.name,
            severity=Severity(row.severity),
            reason=row.reason,
            next=row.next,
            evidence=row.evidence,
        ),
        since=row.since,
        seen_at=row.seen_at,
        source=row.source,
    )

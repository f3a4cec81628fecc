"""Use cases of the audit: is the chain of events whole?

Runbook of the reconciler events.chain: note the head in a file beside the server's other state (`ANCHORS`), so that a
database that is put back to an older state is noticed; check the next stretch of the chain, round after round. What is
found is a finding `events.chain_broken`. It cannot be mended: find out who writes to the database, and keep a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from steelyard.attention.model import Finding, Severity
from steelyard.errors import Invalid, NotFound, Unavailable
from steelyard.events.chain import Breach, Head, Key, Trouble, check_line, parse_head, same
from steelyard.events.model import Event
from steelyard.operations.reconciling import Report
from steelyard.store import Store
from steelyard.store.chain import SUBJECT, Stretch

log = structlog.get_logger("steelyard.audit")

ANCHORS = "audit-heads"
"""File under `<home>/steelyard`: a noted head a line, the newest last."""
MAX_ANCHORS = 1000
AT_ONCE = 5000
"""Lines that the reconciler checks in one run: about a tenth of a second."""
MAX_STRETCH = 50_000
MAX_HEADS = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a part of the chain told."""

    checked: int
    """Lines."""
    through: int
    """Id of the last line that was looked at; go on after it."""
    done: bool
    """Whether that was the newest line."""
    breaches: tuple[Breach, ...]


class AuditService:
    """Looks at the chain; changes nothing but the file of noted heads."""

    def __init__(self, *, store: Store, folder: Path) -> None:
        self._store = store
        self._anchors = folder / ANCHORS
        self._cursor = 0
        self._found: dict[tuple[int, Trouble], Breach] = {}
        self._rounds = 0

    def head(self) -> Head:
        """The newest line's seal, signed; to be noted elsewhere."""
        return self._store.events.chain.head()

    def verify(self, *, after: int = 0, limit: int = MAX_STRETCH, heads: Sequence[Head] = ()) -> Verdict:
        """Check a part of the chain: at most `limit` lines after the line `after`.

        With the part that ends at the newest line come the noted heads: those given, and those of this server's file.
        """
        stretch = self._store.events.chain.stretch(after, min(limit, MAX_STRETCH))
        done = len(stretch.events) < limit
        breaches = self._judge(stretch, after=after, done=done)
        if done:
            breaches += self.check_heads([*heads, *self._noted()])
        through = stretch.events[-1].id if stretch.events else after
        return Verdict(len(stretch.events), through, done, tuple(breaches))

    def check_heads(self, heads: Iterable[Head]) -> list[Breach]:
        """Which noted heads do not fit what is stored now."""
        found = []
        for head in heads:
            try:
                signed = self._store.events.chain.key(head.chain).signed(head)
            except NotFound:
                found.append(_noted(head, "belongs to a chain that is not there any more"))
                continue
            stored = self._store.events.chain.hash_of(head.id) if head.id else head.hash
            if not signed:
                found.append(_noted(head, "was not noted by this server, or the note was changed"))
            elif stored is None:
                found.append(_noted(head, "is gone"))
            elif not same(stored, head.hash):
                found.append(_noted(head, "is not the line of then"))
        return found

    def reconcile(self) -> Report:
        """Note the head, and check the next stretch."""
        noted = self._anchor(self.head())
        verdict = self.verify(after=self._cursor, limit=AT_ONCE)
        self._found = {
            key: breach
            for key, breach in self._found.items()
            if not (verdict.done or breach.line <= verdict.through) or breach.line <= self._cursor
        } | {(breach.line, breach.what): breach for breach in verdict.breaches}
        self._cursor = 0 if verdict.done else verdict.through
        self._rounds += verdict.done
        changed = int(noted)
        if self._found or self._rounds:  # before the first round is over, what was found before may still be so
            changed += self._store.findings.replace("events.chain", self._findings())
        return Report(verdict.checked, changed, f"{len(self._found)} lines are broken" if self._found else "")

    def _findings(self) -> list[Finding]:
        if not self._found:
            return []
        ordered = [self._found[key] for key in sorted(self._found)]
        more = f" And {len(ordered) - 1} more." if len(ordered) > 1 else ""
        return [
            Finding(
                kind="events.chain_broken",
                subject=SUBJECT,
                name="audit",
                severity=Severity.CRITICAL,
                reason=f"The record of events was tampered with: {ordered[0].detail}{more}",
                next="steelyard audit verify",
                evidence={"breaches": [{"line": b.line, "what": b.what.value} for b in ordered[:20]]},
            )
        ]

    def _judge(self, stretch: Stretch, *, after: int, done: bool) -> list[Breach]:
        head = stretch.head_before
        if head is None:
            return [Breach(after, Trouble.HEAD, "The chain has no head: it was removed.")]
        try:
            key = self._store.events.chain.key(head.key_id)
        except NotFound:
            return [Breach(after, Trouble.HEAD, "The key of the chain is gone: nothing can be verified.")]
        found: list[Breach] = []
        if not head.sound:
            found.append(Breach(head.last_id, Trouble.HEAD, "The head was changed: its seal does not fit."))
        if after == 0 and head.first_id > 1:
            lines = "Line 1 is" if head.first_id == 2 else f"Lines 1 to {head.first_id - 1} are"
            detail = f"{lines} of a former chain, whose head or key was removed: they cannot be verified."
            found.append(Breach(1, Trouble.FORMER, detail))
        found += _lines(key, stretch, first_id=head.first_id)
        last = stretch.events[-1] if stretch.events else stretch.before
        last_id = last.id if last is not None else 0
        if done and last_id < head.last_id:
            gone = (
                f"Line {head.last_id} is"
                if head.last_id == last_id + 1
                else f"Lines {last_id + 1} to {head.last_id} are"
            )
            found.append(Breach(last_id + 1, Trouble.TRUNCATED, f"{gone} gone: the end of the record was cut off."))
        return found

    def _noted(self) -> list[Head]:
        try:
            lines = self._anchors.read_text().splitlines()
        except FileNotFoundError:
            return []
        except OSError:
            log.exception("the noted heads cannot be read")
            return []
        heads = []
        for line in lines:
            try:
                heads.append(parse_head(json.loads(line)))
            except (ValueError, Invalid):
                log.warning("a line of the noted heads is none", file=str(self._anchors))
        return heads

    def _anchor(self, head: Head) -> bool:
        """Note a head, unless it is the one that was noted last. Old notes are thinned out, never all dropped."""
        noted = self._noted()
        if noted and (noted[-1].id, noted[-1].chain) == (head.id, head.chain):
            return False
        lines = [each.line() for each in noted]
        if len(lines) >= MAX_ANCHORS:
            older = lines[: MAX_ANCHORS // 2]
            lines = [*older[::2], *lines[MAX_ANCHORS // 2 :]]
        beside = self._anchors.with_suffix(".new")
        try:
            beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.touch(mode=0o600)
            beside.write_text("".join(f"{line}\n" for line in [*lines, head.line()]))
            beside.replace(self._anchors)
        except OSError as error:
            raise Unavailable(
                f"The head of the chain cannot be noted in {self._anchors}: {error.strerror}.", code="no_space"
            ) from None
        log.info("head of the chain of events", line=head.id, hash=head.hash)
        return True


def _lines(key: Key, stretch: Stretch, *, first_id: int) -> list[Breach]:
    """What is wrong with which line. The one before the stretch is looked at again: it is what the first stands on."""
    newest = stretch.head_after.last_id if stretch.head_after is not None else None
    found: list[Breach] = []
    before: Event | None = stretch.before
    for event in stretch.events:
        breach = check_line(key, event, before, first_id=first_id)
        if breach is None and newest is not None and event.id > newest:
            breach = Breach(event.id, Trouble.INSERTED, f"Line {event.id} lies beyond the newest line that was sealed.")
        if breach is not None:
            found.append(breach)
        before = event
    return found


def _noted(head: Head, what: str) -> Breach:
    return Breach(head.id, Trouble.NOTED, f"Line {head.id}, noted at {head.at}, {what}.")

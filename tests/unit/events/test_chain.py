"""The chain of events: whoever writes to the database behind Steelyard's back is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from steelyard.errors import Invalid, Unavailable
from steelyard.events.audit import AuditService
from steelyard.events.chain import Breach, Head, Trouble, parse_head
from steelyard.events.model import EventFilter
from steelyard.store import Store
from steelyard.store.database import Database
from steelyard.store.tables import event_chain, events, secrets


@pytest.fixture
def audit(store: Store, tmp_path: Path) -> AuditService:
    return AuditService(store=store, folder=tmp_path)


def fill(store: Store, count: int = 10) -> None:
    for number in range(1, count + 1):
        store.events.append(
            f"node:{number % 3}", "node.thing", actor="ada", detail=f"thing {number}", data={"b": [1, 2.5], "a": "ü"}
        )


def run(store: Store, statement: sa.sql.expression.Executable) -> None:
    with store.database.write() as connection:
        connection.execute(statement)


def found(audit: AuditService, **options: object) -> list[tuple[int, Trouble]]:
    return [(breach.line, breach.what) for breach in audit.verify(**options).breaches]  # type: ignore[arg-type]


class TestWhole:
    def test_an_empty_record(self, audit: AuditService) -> None:
        assert audit.verify().breaches == ()
        assert audit.head().id == 0

    def test_every_line(self, store: Store, audit: AuditService) -> None:
        fill(store)
        verdict = audit.verify()
        assert (verdict.checked, verdict.through, verdict.done, verdict.breaches) == (10, 10, True, ())
        (newest,) = store.events.page(EventFilter(), limit=1)
        assert newest.hash == audit.head().hash
        assert len({event.hash for event in store.events.page(EventFilter())}) == 10

    def test_in_parts(self, store: Store, audit: AuditService) -> None:
        fill(store)
        parts = [audit.verify(after=0, limit=4), audit.verify(after=4, limit=4), audit.verify(after=8, limit=4)]
        assert [(part.checked, part.through, part.done, part.breaches) for part in parts] == [
            (4, 4, False, ()), (4, 8, False, ()), (2, 10, True, ()),
        ]  # fmt: skip

    def test_what_comes_back_is_what_was_sealed(self, store: Store, audit: AuditService) -> None:
        odd = {"deep": {"z": None, "a": [True, -1e-7, 2**60]}, "text": "\u202e \U0001f600 'quoted' \\"}
        store.events.append("server:1", "odd", actor="ü" * 200, detail="", reason="", data=odd, project_id="p")
        assert audit.verify().breaches == ()
        assert store.events.of("server:1")[0].data == odd

    def test_after_a_restart(self, store: Store, audit: AuditService, url: str, key_file: Path) -> None:
        fill(store, 3)
        again = Store.open(url, key_file=key_file)
        fill(again, 3)
        assert audit.verify().breaches == ()
        again.close()

    def test_what_was_rolled_back_leaves_no_trace(self, store: Store, audit: AuditService) -> None:
        fill(store, 2)
        with pytest.raises(RuntimeError), store.unit_of_work():
            fill(store, 2)
            raise RuntimeError
        fill(store, 2)
        assert [event.id for event in store.events.after(0)] == [1, 2, 3, 4]
        assert audit.verify().breaches == ()

    def test_data_that_is_no_json_is_refused(self, store: Store) -> None:
        for data in ({"a": {1, 2}}, {"a": float("nan")}, {"a": datetime.now(UTC)}):
            with pytest.raises(Invalid):
                store.events.append("node:1", "a", actor="me", detail="x", data=data)


class TestTampering:
    def test_a_line_is_changed(self, store: Store, audit: AuditService) -> None:
        columns = {
            "at": datetime.now(UTC) + timedelta(hours=1), "subject": "node:9", "kind": "x", "actor": "eve",
            "reason": "none", "operation_id": "o", "request_id": "r", "detail": "never mind", "data": {"b": []},
            "project_id": "p",
        }  # fmt: skip
        fill(store, len(columns) + 1)
        for line, (column, value) in enumerate(columns.items(), start=1):
            run(store, events.update().where(events.c.id == line).values({column: value}))
        assert found(audit) == [(line, Trouble.CHANGED) for line in range(1, len(columns) + 1)]

    def test_a_line_is_removed(self, store: Store, audit: AuditService) -> None:
        fill(store)
        run(store, events.delete().where(events.c.id == 4))
        (breach,) = audit.verify().breaches
        assert breach == Breach(4, Trouble.REMOVED, "Line 4 is gone.")

    def test_the_first_lines_are_removed(self, store: Store, audit: AuditService) -> None:
        fill(store)
        run(store, events.delete().where(events.c.id < 4))
        (breach,) = audit.verify().breaches
        assert breach == Breach(1, Trouble.REMOVED, "Lines 1 to 3 are gone.")

    def test_two_lines_are_swapped(self, store: Store, audit: AuditService) -> None:
        fill(store)
        for old, new in ((4, 99), (5, 4), (99, 5)):
            run(store, events.update().where(events.c.id == old).values(id=new))
        assert {(4, Trouble.CHANGED), (5, Trouble.CHANGED)} <= set(found(audit))

    def test_what_two_lines_say_is_swapped_with_their_seals(self, store: Store, audit: AuditService) -> None:
        fill(store)
        four, five = store.events.after(3, limit=2)
        for line, other in ((4, five), (5, four)):
            values = {name: getattr(other, name) for name in events.c.keys() if name not in ("id",)}  # noqa: SIM118
            run(store, events.update().where(events.c.id == line).values(**values))
        assert {line for line, _ in found(audit)} >= {4, 5}

    def test_a_line_is_put_in_without_a_seal(self, store: Store, audit: AuditService) -> None:
        fill(store, 3)
        run(store, events.delete().where(events.c.id == 2))
        run(store, events.insert().values(_row(2)))
        assert (2, Trouble.INSERTED) in found(audit)

    def test_a_line_is_put_in_with_a_copied_seal(self, store: Store, audit: AuditService) -> None:
        fill(store, 3)
        other = store.events.after(2)[0]
        run(store, events.update().where(events.c.id == 2).values(detail="x", prev=other.prev, hash=other.hash))
        assert (2, Trouble.CHANGED) in found(audit)

    def test_a_line_is_put_in_at_the_end(self, store: Store, audit: AuditService) -> None:
        fill(store, 3)
        last = store.events.after(2)[0]
        run(store, events.insert().values({**_row(4), "prev": last.hash, "hash": "0" * 64}))
        assert found(audit)[0][0] == 4
        fill(store, 2)  # nobody can stop Steelyard from writing by taking the next line's place
        assert [event.id for event in store.events.after(4)] == [5, 6, 7]
        assert store.events.after(4)[0].kind == "audit.chain_restarted"
        assert found(audit) == [(1, Trouble.FORMER)]

    def test_the_end_is_cut_off(self, store: Store, audit: AuditService) -> None:
        fill(store)
        run(store, events.delete().where(events.c.id > 7))
        (breach,) = audit.verify().breaches
        assert breach.what is Trouble.TRUNCATED
        assert breach.detail == "Lines 8 to 10 are gone: the end of the record was cut off."
        fill(store, 1)
        (breach,) = audit.verify().breaches
        assert breach == Breach(8, Trouble.REMOVED, "Lines 8 to 10 are gone.")

    def test_the_end_is_cut_off_and_the_head_made_to_fit(self, store: Store, audit: AuditService) -> None:
        fill(store)
        run(store, events.delete().where(events.c.id > 7))
        seven = store.events.after(6)[0]
        run(store, event_chain.update().values(last_id=7, last_hash=seven.hash))
        assert found(audit) == [(7, Trouble.HEAD)]
        fill(store, 1)  # appending does not cover it up
        (event,) = store.events.of("audit:chain")
        assert event.kind == "audit.chain_restarted"
        assert found(audit) == [(1, Trouble.FORMER)]

    def test_the_head_is_removed(self, store: Store, audit: AuditService, url: str, key_file: Path) -> None:
        fill(store, 3)
        run(store, event_chain.delete())
        assert found(audit) == [(0, Trouble.HEAD)]
        Store.open(url, key_file=key_file).close()
        assert found(audit) == [(1, Trouble.FORMER)]
        assert "Lines 1 to 3 are of a former chain" in audit.verify().breaches[0].detail

    def test_an_old_state_of_everything_is_noticed_by_a_noted_head(self, store: Store, audit: AuditService) -> None:
        fill(store, 5)
        with store.database.read() as connection:
            old = connection.execute(sa.select(event_chain)).one()._asdict()
        fill(store, 5)
        noted = audit.head()
        run(store, events.delete().where(events.c.id > 5))
        run(store, event_chain.update().values(**old))
        assert found(audit) == [], "by itself it is whole"
        assert found(audit, heads=[noted]) == [(10, Trouble.NOTED)]
        fill(store, 7)
        (breach,) = audit.verify(heads=[noted]).breaches
        assert "is not the line of then" in breach.detail

    def test_a_head_that_somebody_made_up(self, store: Store, audit: AuditService) -> None:
        fill(store, 5)
        noted = audit.head()
        assert found(audit, heads=[noted]) == []
        assert found(audit, heads=[replace(noted, hash="f" * 64)]) == [(5, Trouble.NOTED)]
        assert found(audit, heads=[replace(noted, chain="secret-no")]) == [(5, Trouble.NOTED)]
        for value in ({}, [], None, {"id": "5"}, {**_asdict(noted), "id": True}):
            with pytest.raises(Invalid):
                parse_head(value)

    def test_the_key_is_removed(self, store: Store, audit: AuditService, url: str, key_file: Path) -> None:
        fill(store, 3)
        run(store, secrets.delete())
        fresh = Store.open(url, key_file=key_file)
        fill(fresh, 1)
        assert AuditService(store=fresh, folder=key_file.parent).verify().breaches[0].what is Trouble.FORMER
        fresh.close()

    def test_another_key_file_is_refused(self, store: Store, url: str, tmp_path: Path) -> None:
        with pytest.raises(Unavailable) as refused:
            Store.open(url, key_file=tmp_path / "other")
        assert refused.value.code == "secret_unreadable"


class TestReconciler:
    def test_it_notes_heads_and_finds_what_is_broken(self, store: Store, tmp_path: Path) -> None:
        audit = AuditService(store=store, folder=tmp_path)
        fill(store, 5)
        assert audit.reconcile().seen == 5
        noted = tmp_path / "audit-heads"
        assert noted.stat().st_mode & 0o777 == 0o600
        assert len(noted.read_text().splitlines()) == 1
        audit.reconcile()
        assert len(noted.read_text().splitlines()) == 1, "nothing has happened since"
        assert store.findings.all() == []
        run(store, events.update().where(events.c.id == 2).values(actor="eve"))
        audit.reconcile()
        (finding,) = store.findings.all()
        assert finding.finding.kind == "events.chain_broken"
        assert "Line 2 was changed" in finding.finding.reason
        run(store, events.update().where(events.c.id == 2).values(actor="ada"))
        audit.reconcile()
        assert store.findings.all() == []

    def test_a_database_put_back_is_noticed_by_the_file(self, store: Store, tmp_path: Path) -> None:
        audit = AuditService(store=store, folder=tmp_path)
        fill(store, 3)
        with store.database.read() as connection:
            old = connection.execute(sa.select(event_chain)).one()._asdict()
        fill(store, 3)
        audit.reconcile()
        run(store, events.delete().where(events.c.id > 3))
        run(store, event_chain.update().values(**old))
        assert found(audit) == [(6, Trouble.NOTED)]

    def test_notes_are_thinned_out(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("steelyard.events.audit.MAX_ANCHORS", 8)
        audit = AuditService(store=store, folder=tmp_path)
        for _ in range(20):
            fill(store, 1)
            audit.reconcile()
        lines = (tmp_path / "audit-heads").read_text().splitlines()
        assert 4 <= len(lines) <= 9
        assert audit.verify().breaches == ()


class TestAtOnce:
    def test_many_writers_make_one_chain(self, store: Store, audit: AuditService) -> None:
        failures: list[Exception] = []

        def write(number: int) -> None:
            try:
                for count in range(15):
                    with store.unit_of_work():
                        # each takes a lock of its own before and after the event: no order of locks may matter
                        key = f"k{(number + count) % 3}"
                        store.cables.learn({})
                        store.events.append("node:1", "a", actor=f"{number}", detail=f"{count}")
                        secret = store.secrets.put({"a": key})
                        store.events.append("node:1", "b", actor=f"{number}", detail=f"{count}")
                        store.secrets.delete(secret)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        verdict = audit.verify()
        assert (verdict.checked, verdict.breaches) == (180, ())
        assert [event.id for event in store.events.after(0)] == list(range(1, 181))

    def test_locks_in_opposite_orders_do_not_meet(self, store: Store) -> None:
        """One appends and then wants a row that the other one holds, who is about to append."""
        wanted = store.secrets.put({"a": "1"})
        appended, held = threading.Event(), threading.Event()
        failures: list[Exception] = []

        def one() -> None:
            with store.unit_of_work():
                store.events.append("node:1", "a", actor="a", detail="one")
                appended.set()
                if not store.database.is_sqlite:  # there the second unit begins when the first has ended
                    assert held.wait(10)
                store.secrets.delete(wanted)

        def two() -> None:
            assert appended.wait(10)
            with store.unit_of_work():
                store.secrets.delete(wanted)
                held.set()
                store.events.append("node:1", "b", actor="a", detail="two")

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failures == []
        assert len(store.events.of("node:1")) == 2

    def test_listeners_hear_of_what_is_committed(self, store: Store) -> None:
        heard: list[int] = []
        store.events.listen(heard.append)
        fill(store, 2)
        with pytest.raises(RuntimeError), store.unit_of_work():
            fill(store, 1)
            raise RuntimeError
        with store.unit_of_work():
            fill(store, 3)
        assert heard == [1, 2, 5]

    def test_a_listener_that_breaks_breaks_nothing(self, store: Store) -> None:
        store.events.listen(lambda _: 1 // 0)  # type: ignore[arg-type]
        fill(store, 1)
        assert store.events.newest() == 1


def test_events_that_were_there_are_sealed(
    url: str, key_file: Path, tmp_path: Path, database_of: Callable[[str], Database]
) -> None:
    """A database of the release before, with ids that have gaps."""
    database = database_of("0002")
    with database.write() as connection:
        for line in (1, 2, 5, 9):
            connection.execute(
                sa.text(
                    "INSERT INTO events (id, at, subject, kind, actor, detail, data) "
                    "VALUES (:id, '2026-01-01 10:00:00.123456', 'node:1', 'a', 'ada', 'old', '{\"b\": 1}')"
                ),
                {"id": line},
            )
    database.close()
    store = Store.open(url, key_file=key_file)
    audit = AuditService(store=store, folder=tmp_path)
    fill(store, 2)
    assert [event.id for event in store.events.after(0)] == [1, 2, 5, 9, 10, 11, 12]
    (begun,) = store.events.of("audit:chain")
    assert (begun.kind, begun.data) == ("audit.chain_started", {"lines": 9})
    assert audit.verify().breaches == ()
    run(store, events.update().where(events.c.id == 5).values(detail="other"))
    assert found(audit) == [(5, Trouble.CHANGED)]
    store.close()


def _row(line: int) -> dict[str, object]:
    return {
        "id": line, "at": datetime.now(UTC), "subject": "node:1", "kind": "a", "actor": "eve", "detail": "x", "data": {}
    }  # fmt: skip


def _asdict(head: Head) -> dict[str, object]:
    return {name: getattr(head, name) for name in Head.__slots__}

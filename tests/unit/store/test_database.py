from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from steelyard.errors import Invalid, Unavailable
from steelyard.store import Store
from steelyard.store.database import Database
from steelyard.store.tables import metadata


class TestMigrations:
    def test_the_migrated_schema_is_the_one_of_the_tables(self, store: Store) -> None:
        with store.database.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    def test_migrating_again_changes_nothing(self, store: Store) -> None:
        secret = store.secrets.put({"password": "x"})
        store.database.migrate()
        assert store.secrets.get(secret) == {"password": "x"}

    def test_connections_that_open_a_new_file_at_once_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """SQLite refuses one of two that switch a file to write-ahead logging, however long it may wait for locks."""
        failures: list[Exception] = []

        def open_it(database: Database, together: threading.Barrier) -> None:
            together.wait()
            try:
                database.ping()
            except Exception as error:
                failures.append(error)

        for number in range(60):
            databases = [Database(f"sqlite:///{tmp_path}/{number}.sqlite") for _ in range(6)]
            together = threading.Barrier(len(databases))
            threads = [threading.Thread(target=open_it, args=(database, together)) for database in databases]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for database in databases:
                database.close()
        assert failures == []

    def test_servers_that_start_at_once_do_not_disturb_each_other(self, url: str) -> None:
        failures: list[Exception] = []

        def start() -> None:
            try:
                database = Database(url)
                database.migrate()
                database.close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_a_database_of_a_newer_release_is_refused_and_left_alone(self, store: Store, url: str) -> None:
        with store.database.write() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Unavailable) as refused:
            Database(url).migrate()
        assert refused.value.code == "database_newer"
        assert refused.value.next
        with store.database.read() as connection:
            assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "9999"

    def test_the_sqlite_file_is_for_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "home" / "s.sqlite"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


class TestUnitOfWork:
    def test_all_or_nothing(self, store: Store) -> None:
        def fail() -> None:
            with store.unit_of_work():
                store.events.append("node:1", "a", actor="me", detail="one")
                store.events.append("node:1", "b", actor="me", detail="two")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert store.events.of("node:1") == []

    def test_what_is_written_inside_is_seen_inside_and_only_later_outside(self, store: Store) -> None:
        seen_outside: list[int] = []
        with store.unit_of_work():
            store.events.append("node:1", "a", actor="me", detail="one")
            assert len(store.events.of("node:1")) == 1
            reader = threading.Thread(target=lambda: seen_outside.append(len(store.events.of("node:1"))))
            reader.start()
            reader.join()
        assert seen_outside == [0]
        assert len(store.events.of("node:1")) == 1

    def test_a_write_inside_of_a_read_is_a_mistake_that_shows(self, store: Store) -> None:
        with store.database.read(), pytest.raises(RuntimeError):
            store.events.append("node:1", "a", actor="me", detail="one")

    def test_many_writers_at_once_lose_nothing(self, store: Store) -> None:
        def write(number: int) -> None:
            for count in range(20):
                store.events.append("node:1", "a", actor=f"{number}", detail=f"{count}")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.events.of("node:1", limit=1000)) == 160


class TestTrouble:
    def test_a_database_of_another_make_is_refused(self) -> None:
        with pytest.raises(Invalid):
            Database("mysql://host/db")

    def test_a_disk_that_is_full_is_unavailable_and_passes(self, tmp_path: Path) -> None:
        store = Store.open(f"sqlite:///{tmp_path / 's.sqlite'}", key_file=tmp_path / "keys")
        with store.database.read() as connection:
            pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()

        def limit(connection: object, _record: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

        sa.event.listen(store.database.engine, "connect", limit)
        store.database.engine.dispose()  # what SQLite says of a full disk, it says of a full file
        with pytest.raises(Unavailable) as refused:
            for _ in range(200):
                store.events.append("node:1", "a", actor="me", detail="x" * 4000)
        assert refused.value.code == "database_unavailable"
        assert "full" in (refused.value.internal or "")
        assert "xxx" not in str(refused.value) + (refused.value.internal or "")

        sa.event.remove(store.database.engine, "connect", limit)
        store.database.engine.dispose()
        before = len(store.events.of("node:1", limit=1000))
        store.events.append("node:1", "a", actor="me", detail="room again")
        assert len(store.events.of("node:1", limit=1000)) == before + 1
        store.close()

    def test_no_answer_is_unavailable(self, tmp_path: Path) -> None:
        database = Database(f"postgresql:///nothing?host={tmp_path}")
        with pytest.raises(Unavailable):
            database.ping()

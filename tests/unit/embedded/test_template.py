"""The template: what the next start from nothing begins with."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.embedded import home, template
from steelyard.embedded.home import Home, Wish
from steelyard.errors import Unavailable


@pytest.fixture
def made(tmp_path: Path) -> Home:
    """A home with one database that is in use, a marker and the networks' ids."""
    openstack = tmp_path / "openstack"
    for package in template.PACKAGES:
        (openstack / "lib" / "python3.11" / "site-packages" / f"{package}-1.0.dist-info").mkdir(parents=True)
    made = home.prepare(tmp_path / "home", openstack, Wish())
    fill(made)
    return made


def fill(of: Home) -> None:
    database = of.path("db", "nova.sqlite")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE flavors (name TEXT)")
        connection.execute("INSERT INTO flavors VALUES ('small')")
    connection.close()
    of.path("db", "steps").mkdir()
    of.path("db", "steps", "nova-database").write_text("inputs")
    of.path("db", "networks.conf").write_text("[neutron]")


def empty(of: Home) -> None:
    shutil.rmtree(of.path("db"))
    of.path("db").mkdir()


def flavors(of: Home) -> list[str]:
    connection = sqlite3.connect(of.path("db", "nova.sqlite"))
    try:
        return [name for (name,) in connection.execute("SELECT name FROM flavors")]
    finally:
        connection.close()


def test_what_was_kept_comes_back(made: Home) -> None:
    assert template.snapshot(made)
    empty(made)
    assert template.restore(made)
    assert flavors(made) == ["small"]
    assert made.path("db", "steps", "nova-database").read_text() == "inputs"
    assert sorted(path.name for path in made.path("db").iterdir()) == ["networks.conf", "nova.sqlite", "steps"]


def test_a_database_in_use_is_kept_whole(made: Home) -> None:
    """What another connection has committed is in the write-ahead log only; what it has not must not be there."""
    writer = sqlite3.connect(made.path("db", "nova.sqlite"), isolation_level=None)
    writer.execute("INSERT INTO flavors VALUES ('committed')")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO flavors VALUES ('not committed')")
    assert template.snapshot(made)
    writer.close()
    empty(made)
    assert template.restore(made)
    assert flavors(made) == ["small", "committed"]


def test_data_is_never_overwritten(made: Home) -> None:
    assert template.snapshot(made)
    connection = sqlite3.connect(made.path("db", "nova.sqlite"), isolation_level=None)
    connection.execute("INSERT INTO flavors VALUES ('of the user')")
    connection.close()
    assert not template.restore(made)
    assert flavors(made) == ["small", "of the user"]
    assert not template.snapshot(made)  # the first one stays


def test_without_a_template_nothing_happens(made: Home) -> None:
    empty(made)
    assert not template.restore(made)
    assert template.is_fresh(made)


def test_other_versions_of_the_services_make_their_own(made: Home) -> None:
    assert template.snapshot(made)
    packages = made.openstack / "lib" / "python3.11" / "site-packages"
    (packages / "nova-1.0.dist-info").rename(packages / "nova-2.0.dist-info")
    empty(made)
    assert not template.restore(made)
    fill(made)
    assert template.snapshot(made)
    assert len(list(made.path("template").iterdir())) == 1  # the old one is removed


def test_other_ports_or_passwords_make_their_own(made: Home) -> None:
    before = template.key(made)
    other = replace(made, record=replace(made.record, ports={**made.record.ports, "nova": 1}))
    assert template.key(other) != before
    made.credentials.store("admin_password", "another")
    assert template.key(made) != before


def test_a_half_made_template_is_not_used(made: Home) -> None:
    assert template.snapshot(made)
    (template.location(made) / "complete").unlink()
    empty(made)
    assert not template.restore(made)


def test_a_full_disk_leaves_the_databases_empty_and_says_so(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert template.snapshot(made)
    empty(made)

    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(Unavailable, match="no space left"):
        template.restore(made)
    assert template.is_fresh(made)


def test_postgresql_has_no_template(made: Home) -> None:
    other = replace(made, record=replace(made.record, database="postgresql"))
    assert not template.snapshot(other)
    empty(other)
    assert not template.restore(other)

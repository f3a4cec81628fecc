"""A copy of the databases as they were right after the first start: the next start from nothing begins with it.

Making the eight databases costs a minute of CPU, copying them a tenth of a second. The copy holds what the steps made
(schemas, identities, catalogue, networks) and nothing of the user's. It serves only the very home that it was made in,
as it holds hashes of its passwords and its ports, and only the same versions of the services.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from steelyard.embedded.files import make_directory, readable_errors
from steelyard.embedded.home import Home
from steelyard.embedded.services import fingerprint, identity_fingerprint

PACKAGES = ("keystone", "glance", "openstack_placement", "nova", "neutron", "ironic")


def key(home: Home) -> str:
    """What the template depends on, as a short name: versions of the services, what is seeded, ports, passwords."""
    installed = sorted(
        path.name
        for package in PACKAGES
        for path in home.openstack.glob(f"lib/python3*/site-packages/{package}-*.dist-info")
    )
    return fingerprint(installed, identity_fingerprint(home))


def location(home: Home) -> Path:
    """Directory of the template that fits this home now."""
    return home.path("template", key(home))


def is_fresh(home: Home) -> bool:
    """Whether no database has been made yet."""
    return not any(home.path("db").iterdir())


def restore(home: Home) -> bool:
    """Fill an empty db/ from the template; False when there is no fitting template or the home has data.

    Raises Unavailable when the disk is full; db/ is then left empty.
    """
    source, database = location(home), home.path("db")
    if home.record.database != "sqlite" or not (source / "complete").is_file() or not is_fresh(home):
        return False
    making = home.path("db.making")
    with readable_errors(database):
        shutil.rmtree(making, ignore_errors=True)
        shutil.copytree(source, making)
        (making / "complete").unlink()
        database.rmdir()
        making.replace(database)
    make_directory(database)
    return True


def snapshot(home: Home) -> bool:
    """Keep the databases for the next start from nothing; False when there is such a copy or none can be made.

    Call it when all services are up and nobody has used them. Each database is copied by SQLite's own backup, so
    running services do not disturb it.
    """
    target = location(home)
    if home.record.database != "sqlite" or (target / "complete").is_file():
        return False
    with readable_errors(target):
        for old in home.path("template").iterdir():
            shutil.rmtree(old, ignore_errors=True)
        making = make_directory(home.path("template", "making"))
        for path in home.path("db").iterdir():
            if path.suffix == ".sqlite":
                _copy_database(path, making / path.name)
            elif path.is_dir():
                shutil.copytree(path, making / path.name)
            elif path.suffix == ".conf":
                shutil.copy2(path, making / path.name)
        (making / "complete").touch(mode=0o600)
        making.replace(target)
    return True


def _copy_database(source: Path, target: Path) -> None:
    original, copy = sqlite3.connect(source, timeout=30), sqlite3.connect(target)
    try:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode=WAL")
    finally:
        copy.close()
        original.close()

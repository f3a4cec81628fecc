from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

import steelyard.store
from steelyard.store import Store
from steelyard.store.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'steelyard.sqlite'}"
    made: str = request.getfixturevalue("new_postgresql")()
    return made


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "keys"


@pytest.fixture
def store(url: str, key_file: Path) -> Iterator[Store]:
    opened = Store.open(url, key_file=key_file)
    yield opened
    opened.close()


@pytest.fixture
def database_of(url: str) -> Callable[[str], Database]:
    """Makes the database as a release with this schema (revision) left it."""

    def make(revision: str) -> Database:
        database = Database(url)
        config = Config()
        config.set_main_option("script_location", str(Path(steelyard.store.__file__).parent / "migrations"))
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        return database

    return make

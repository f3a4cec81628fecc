"""What several rooms' unit tests share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL server, started for this run and reached by a socket only this user can open."""
    try:
        import pgserver
    except ImportError:  # pragma: no cover
        pytest.skip("PostgreSQL is not tested: the wheel pgserver is not installed for this platform")
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    url = server.get_uri()
    yield url
    said = server.log.read_text(errors="replace")[-4000:]  # before it is told to stop, which it would say
    try:
        sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg")).connect().close()
    except sa.exc.OperationalError:
        pytest.fail(f"PostgreSQL ended before its time. Its last words:\n{said}")
    server.cleanup()


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Callable[[], str]:
    """Makes an empty database and gives its URL."""

    def make() -> str:
        name = f"steelyard_{next(_numbers)}"
        url = sa.make_url(postgresql_server).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    return make

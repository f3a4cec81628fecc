"""Fixtures of the end-to-end tests: the session's cloud, clouds of a test's own, and things that are removed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .cloud_at_hand import EmbeddedCloud
from .local_cloud import LocalCloud
from .rack_at_hand import Rack
from .things import Things


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start all their clouds themselves need not wait for the session's: scripts/test runs them beside."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "embedded_home" not in getattr(item, "fixturenames", ()):
            item.add_marker("own_cloud")


@pytest.fixture(scope="session")
def cloud(embedded_home: Path) -> LocalCloud:
    """The session's cloud (tests/conftest.py). Tests leave it as they found it, or clean up after themselves."""
    return LocalCloud(embedded_home)


@pytest.fixture
def new_cloud(tmp_path: Path) -> Iterator[Callable[..., LocalCloud]]:
    """Makes homes of a test's own, and ends whatever runs in them."""
    made: list[LocalCloud] = []

    def make(name: str = "home") -> LocalCloud:
        made.append(LocalCloud(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.command("down")


@pytest.fixture
def after() -> Iterator[ExitStack]:
    """What is to be done when the test is over, last things first, whatever happened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def rack(cloud: EmbeddedCloud) -> Rack:
    """The simulated hardware of the cloud."""
    return cloud.rack


@pytest.fixture
def things(cloud: EmbeddedCloud, after: ExitStack, tmp_path: Path) -> Things:
    """Images, flavors, networks and servers of the demo tenant, removed after the test."""
    return Things(cloud, tmp_path, after)

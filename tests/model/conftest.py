"""Options of the random histories, and the seed that all workers share."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from steelyard.store import Store

DEFAULT_STEPS = 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("random histories")
    group.addoption("--model-seed", type=int, default=None, help="repeat the histories of this seed")
    group.addoption("--model-shrink", action="store_true", help="make a history that fails short before it is told")
    group.addoption("--model-steps", type=int, default=DEFAULT_STEPS, help="how many moves to make in all")


def pytest_configure(config: pytest.Config) -> None:
    shared = getattr(config, "workerinput", {}).get("model_seed")
    given = config.getoption("--model-seed", None)
    config.model_seed = shared or (given if given is not None else secrets.randbelow(1 << 32))  # type: ignore[attr-defined]


def pytest_configure_node(node: Any) -> None:
    """xdist: every worker has the controller's seed."""
    node.workerinput["model_seed"] = node.config.model_seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"random histories: --model-seed {config.model_seed}"  # type: ignore[attr-defined]


TOLD = "played"
"""Property of a test's report: what it played, in words."""


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The seed is printed however quiet the run is and whoever played it: what failed can be played again."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome)]
    told = [text for report in reports for name, text in report.user_properties if name == TOLD]
    terminalreporter.section("random histories", sep="-")
    for line in (f"--model-seed {config.model_seed}", *sorted(told)):  # type: ignore[attr-defined]
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Histories tell what happened in their own words."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say something below the run, after its seed."""
    return lambda text: record_property(TOLD, text)


@pytest.fixture(scope="session")
def model_seed(request: pytest.FixtureRequest) -> int:
    seed: int = request.config.model_seed  # type: ignore[attr-defined]
    return seed


@pytest.fixture(scope="session")
def model_steps(request: pytest.FixtureRequest) -> int:
    steps: int = request.config.getoption("--model-steps", DEFAULT_STEPS)
    return steps


@pytest.fixture(scope="session")
def model_shrink(request: pytest.FixtureRequest) -> bool:
    shrink: bool = request.config.getoption("--model-shrink", False)
    return shrink


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of the present schema, to be copied."""
    home = tmp_path_factory.mktemp("model")
    path = home / "steelyard.sqlite"
    store = Store.open(f"sqlite:///{path}", key_file=home / "keys")
    with store.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path

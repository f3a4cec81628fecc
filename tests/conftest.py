"""The real services, for tests that are marked `embedded`: one home for the whole session."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

STEELYARD = Path(sys.executable).parent / "steelyard"
NODES = 6
"""Two of each size: enough for every test, and quick to onboard."""
START_WITHIN = 300.0
STOP_WITHIN = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rounds", type=int, default=4, help="deployments and releases of the kill test (scripts/test --long: 20)"
    )
    parser.addoption(
        "--contrail-url", help="config API of a Contrail controller for its contract suite (default: ours)"
    )
    parser.addoption("--contrail-cloud", help="entry of clouds.yaml with administrator's rights on that controller")
    parser.addoption("--contrail-tenant-cloud", help="entry of clouds.yaml of a tenant without such rights")
    parser.addoption("--seed", type=int, default=secrets.randbelow(1 << 32), help="of the kill test, to repeat it")


def _steelyard(home: Path, *words: str, within: float) -> subprocess.CompletedProcess[str]:
    foreign = ("OS_", "STEELYARD_", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        [STEELYARD, *words],
        env={**environment, "STEELYARD_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


@pytest.fixture(scope="session")
def embedded_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose cloud runs: that of STEELYARD_TEST_HOME (left running if it ran), else one made for the session."""
    named = os.environ.get("STEELYARD_TEST_HOME")
    home = Path(named).absolute() if named else tmp_path_factory.mktemp("steelyard")
    if named and _phase(home) == "up":
        yield home
        return
    size = () if named and (home / "home.json").exists() else ("--nodes", str(NODES))
    started = _steelyard(home, "up", *size, within=START_WITHIN)
    try:
        if started.returncode:
            pytest.fail(f"steelyard up ended with {started.returncode}:\n{started.stdout}\n{started.stderr}")
        yield home
    finally:
        stopped = _steelyard(home, "down", within=STOP_WITHIN)
        assert stopped.returncode == 0, stopped.stderr


def _phase(home: Path) -> str:
    if not (home / "home.json").is_file():
        return "down"
    shown = _steelyard(home, "status", "-f", "json", within=30.0)
    return str(json.loads(shown.stdout)["phase"]) if shown.stdout.startswith("{") else "down"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.store import Store


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

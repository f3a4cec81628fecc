from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import Steelyard, assemble, create_app


@dataclass
class Site:
    """The whole server over fakes, and tokens for everybody who may come."""

    world: FakeWorld
    built: Steelyard
    app: FastAPI
    client: TestClient

    def token(self, *roles: str, project: str = "demo") -> str:
        return self.world.token(project=project, roles=set(roles))

    def headers(self, *roles: str, project: str = "demo") -> dict[str, str]:
        return {"X-Auth-Token": self.token(*roles, project=project)}

    @property
    def admin(self) -> dict[str, str]:
        return self.headers("admin", project="admin")

    @property
    def member(self) -> dict[str, str]:
        return self.headers("member")

    @property
    def reader(self) -> dict[str, str]:
        return self.headers("reader")


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Unless a test says otherwise nothing is rendered: structlog's own default takes seconds for a traceback."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    world = FakeWorld()
    clouds = FakeClouds(world)
    settings = Settings(home=tmp_path)
    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    built = assemble(
        settings,
        clouds=clouds,
        store=store,
        operations=FakeOperations(),
        switches=SwitchReaders(),
        prober=FakeBmcProber(),
    )
    app = create_app(built)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Site(world, built, app, client)
    store.close()

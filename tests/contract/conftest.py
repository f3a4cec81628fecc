"""Fixtures of the contract suites: every suite runs on the fake, and on real services where a home is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .contrail_at_hand import Controller, Tokens
from .contrail_site import ControllerAtHand, contrail_stage, controller_at_hand
from .stages import Stage, Tenants, fake_stage, real_stage


@pytest.fixture(scope="session")
def real_cloud(request: pytest.FixtureRequest) -> Iterator[Tenants]:
    """Tenants in a running embedded cloud: that of STEELYARD_TEST_HOME, else the one that the session starts."""
    named = os.environ.get("STEELYARD_TEST_HOME")
    home = Path(named) if named else Path(request.getfixturevalue("embedded_home"))
    tenants = Tenants(home)
    try:
        yield tenants
    finally:
        tenants.remove()


@pytest.fixture(scope="session")
def contrail_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerAtHand]:
    """The shipped fake Contrail controller, on a free port, with tenants and the operator's networks."""
    with controller_at_hand(tmp_path_factory.mktemp("contrail-site")) as controller:
        yield controller


@pytest.fixture(params=["fake", pytest.param("embedded", marks=pytest.mark.embedded)])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "fake":
        with fake_stage() as stage:
            yield stage
    elif request.param == "contrail":
        with contrail_stage(request.getfixturevalue("contrail_site")) as stage:
            yield stage
    else:
        with real_stage(request.getfixturevalue("real_cloud")) as stage:
            yield stage


@pytest.fixture(scope="session")
def contrail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tokens]]:
    """The address of a Contrail controller's config API, and its tokens: that of --contrail-url, else ours."""
    if url := request.config.getoption("--contrail-url"):
        yield url.rstrip("/"), _tokens_of_clouds(request.config)
        return
    from steelyard.embedded.contrail.standalone import StandaloneController

    ours = {"admin": "admin", "tenant": "red"}
    with StandaloneController.make(tmp_path_factory.mktemp("contrail")).running() as controller:
        yield controller.url, lambda who: controller.tokens[ours[who]]


@pytest.fixture
def controller(contrail: tuple[str, Tokens]) -> Iterator[Controller]:
    """A controller with a project for one test."""
    with Controller(*contrail).test() as controller:
        yield controller


def _tokens_of_clouds(config: pytest.Config) -> Tokens:
    from openstack.config import OpenStackConfig

    entries = {"admin": config.getoption("--contrail-cloud"), "tenant": config.getoption("--contrail-tenant-cloud")}
    sessions = {
        who: OpenStackConfig().get_one(entry).get_session() for who, entry in entries.items() if entry is not None
    }
    return lambda who: sessions[who].get_token() if who in sessions else None

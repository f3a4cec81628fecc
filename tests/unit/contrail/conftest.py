"""Controllers of our own, by themselves or with a rack whose switches they configure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steelyard.embedded.contrail.standalone import StandaloneController
from steelyard.embedded.rack.standalone import StandaloneRack

from .requests import Requests


@dataclass
class Scene(Requests):
    """A controller and its rack."""

    rack: StandaloneRack

    def port(self, key: str) -> tuple[int | None, list[int]]:
        """What a switch port really carries: untagged and tagged."""
        port = self.rack.port(key)
        return port["untagged_vlan"], port["tagged_vlans"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Requests]:
    with StandaloneController.make(tmp_path / "contrail").running() as controller:
        yield Requests(controller)


@pytest.fixture(scope="module")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("rack")
    with StandaloneRack.make(home, nodes=16).running("switch") as rack:
        made = StandaloneController.make(tmp_path_factory.mktemp("contrail"), rack=home)
        with made.running() as controller:
            yield Scene(controller, rack)


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    """The shared scene, without faults before and after."""
    yield shared_scene
    shared_scene.controller.control("DELETE", "/faults")
    shared_scene.rack.call("switch", "DELETE", "/faults")

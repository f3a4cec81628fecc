"""A rack with its real processes, small and quick, for the tests of this directory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.rack.standalone import RAMDISK_VLANS, StandaloneRack

from .fake_ironic import FakeIronic, serving
from .redfish_client import QUICK, eventually
from .scene import Scene


@pytest.fixture(scope="module")
def shared_rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneRack]:
    """One running rack (bmc and switch) for the tests of a module; each uses servers of its own or cleans up."""
    home: Path = tmp_path_factory.mktemp("rack")
    with StandaloneRack.make(home, nodes=8, timing=QUICK).running("bmc", "switch") as rack:
        yield rack


@pytest.fixture
def rack(shared_rack: StandaloneRack) -> Iterator[StandaloneRack]:
    """The shared rack, without faults before and after."""
    shared_rack.call("bmc", "DELETE", "/faults")
    shared_rack.call("switch", "DELETE", "/faults")
    yield shared_rack
    shared_rack.call("bmc", "DELETE", "/faults")
    shared_rack.call("switch", "DELETE", "/faults")


@pytest.fixture(scope="module")
def iso() -> Iterator[str]:
    """The URL of an image that is there; anything else at its server is not."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/agent.iso"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"iso")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/agent.iso"
        server.shutdown()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneRack]:
    home = tmp_path_factory.mktemp("rack")
    with StandaloneRack.make(home, nodes=2, timing=QUICK).running("bmc", "switch", "agents") as rack:
        yield rack


@pytest.fixture
def scene(running: StandaloneRack) -> Iterator[Scene]:
    ironic = FakeIronic()
    with serving(ironic, running.ports["ironic"]) as url:
        scene = Scene(running, ironic, url)
        scene.plug(RAMDISK_VLANS["provisioning"])
        yield scene
        for process in ("bmc", "switch", "agents"):
            running.call(process, "DELETE", "/faults")
        if scene.machine["power"] != "Off":
            scene.power_off()
        eventually(lambda: scene.agents == {})


@pytest.fixture
def booted(scene: Scene) -> Scene:
    scene.boot_ramdisk()
    eventually(lambda: bool(scene.ironic.heartbeats))
    return scene

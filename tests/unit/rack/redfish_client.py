"""What the tests of the rack share beside fixtures: waiting, Redfish clients, and the verbs of a BMC."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import sushy
from sushy import auth as sushy_auth

from steelyard.embedded.rack.plan import Server
from steelyard.embedded.rack.standalone import StandaloneRack

BOTH_MAKES = pytest.mark.parametrize("index", [0, 1], ids=["Ferrum", "Nordmark"])
QUICK = {
    "power_seconds": 0.05,
    "shutdown_seconds": 0.05,
    "boot_seconds": 0.1,
    "step_seconds": 0.05,
    "heartbeat_seconds": 0.3,
}


def eventually(condition: Callable[[], bool], *, seconds: float = 10.0, what: str = "") -> None:
    """Wait until something is so. The time is a limit for a hung test, not a measurement."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def connect(rack: StandaloneRack, server: Server, *, password: str | None = None) -> sushy.Sushy:
    """sushy, Ironic's own Redfish client, as the oracle; it verifies the certificate against the rack's CA.

    Basic authentication: with a session, sushy logs out whenever it is garbage-collected, and waits for seconds for a
    BMC that has been stopped meanwhile.
    """
    return sushy.Sushy(
        f"https://{server.bmc_address}:{rack.rack.bmc_port}",
        auth=sushy_auth.BasicAuth(server.bmc_username, password or server.bmc_password),
        verify=str(rack.home / "rack" / "ca.pem"),
    )


def system_of(rack: StandaloneRack, server: Server) -> Any:
    return connect(rack, server).get_system_collection().get_members()[0]


def cd_of(system: Any) -> Any:
    try:
        collection = system.virtual_media
    except sushy.exceptions.MissingAttributeError:
        collection = system.managers[0].virtual_media
    return next(media for media in collection.get_members() if sushy.VIRTUAL_MEDIA_CD in media.media_types)


def off(rack: StandaloneRack, server: Server) -> None:
    if rack.machine(server.name)["power"] != "Off":
        system_of(rack, server).reset_system(sushy.RESET_FORCE_OFF)
    eventually(lambda: rack.machine(server.name)["power"] == "Off")


def raw(rack: StandaloneRack, server: Server, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    """Status, headers, body of one request without sushy's opinions."""
    context = ssl.create_default_context(cafile=str(rack.home / "rack" / "ca.pem"))
    connection = http.client.HTTPSConnection(server.bmc_address, rack.rack.bmc_port, context=context, timeout=20)
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, answer.headers, json.loads(content) if content else None
    finally:
        connection.close()


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}

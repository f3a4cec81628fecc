"""What the BMCs say and to whom, asked by sushy (Ironic's Redfish client) over TLS on a really started process."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import sushy
from sushy import auth as sushy_auth

from steelyard.embedded.rack.bmc.makes import MAKES
from steelyard.embedded.rack.standalone import StandaloneRack

from .redfish_client import BOTH_MAKES, basic, connect, raw, system_of

# Identity and inventory


@BOTH_MAKES
def test_the_system_is_the_planned_server(rack: StandaloneRack, index: int) -> None:
    server = rack.rack.servers[index]
    system = system_of(rack, server)
    assert (system.uuid, system.serial_number, system.manufacturer, system.model) == (
        server.uuid,
        server.serial,
        server.vendor,
        server.model,
    )
    assert [cpu.total_threads for cpu in system.processors.get_members()] == [server.cpus]
    interfaces = system.ethernet_interfaces.get_members()
    assert [interface.mac_address.lower() for interface in interfaces] == [nic.mac for nic in server.nics]
    assert system.managers[0].firmware_version == MAKES[server.vendor].bmc_version
    assert system.chassis[0].serial_number == server.serial


@BOTH_MAKES
def test_memory_and_disks_are_to_be_found_where_the_make_has_them(rack: StandaloneRack, index: int) -> None:
    server = rack.rack.servers[index]
    system = system_of(rack, server)
    modules = raw(rack, server, "GET", f"{system.path}/Memory", headers=basic(server.bmc_username, server.bmc_password))
    sizes = [
        raw(rack, server, "GET", member["@odata.id"], headers=basic(server.bmc_username, server.bmc_password))[2][
            "CapacityMiB"
        ]
        for member in modules[2]["Members"]
    ]
    assert sum(sizes) == server.memory_mib
    if server.vendor == "Ferrum":
        assert system.memory_summary.size_gib * 1024 == server.memory_mib
        drives = [drive for storage in system.storage.get_members() for drive in storage.drives]
        assert {drive.serial_number for drive in drives} == {disk.serial for disk in server.disks}
    else:
        assert system.memory_summary is None
        devices = [device for storage in system.simple_storage.get_members() for device in storage.devices]
        assert [device.capacity_bytes for device in devices] == [disk.size_bytes for disk in server.disks]


@BOTH_MAKES
def test_every_link_of_the_service_leads_somewhere(rack: StandaloneRack, index: int) -> None:
    server = rack.rack.servers[index]
    headers = basic(server.bmc_username, server.bmc_password)
    seen: set[str] = set()
    todo = ["/redfish/v1"]

    def links(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "@odata.id":
                    yield inner.split("#")[0]
                else:
                    yield from links(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from links(inner)

    while todo:
        path = todo.pop()
        status, _, document = raw(rack, server, "GET", path, headers=headers)
        assert status == 200, path
        assert document["@odata.id"] == path
        seen.add(path)
        todo.extend({link for link in links(document) if link not in seen and link not in todo})
    assert len(seen) > 20


# Who may


def test_the_service_root_is_open_and_nothing_else_is(rack: StandaloneRack) -> None:
    server = rack.rack.servers[0]
    assert raw(rack, server, "GET", "/redfish")[0] == 200
    assert raw(rack, server, "GET", "/redfish/v1/")[2]["UUID"] == server.uuid
    for method, path in (
        ("GET", "/redfish/v1/Systems"),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"),
        ("GET", "/redfish/v1/AccountService/Accounts/1"),
        ("DELETE", "/redfish/v1/SessionService/Sessions/x"),
    ):
        status, headers, _ = raw(rack, server, method, path)
        assert status == 401, path
        assert headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "headers",
    [
        basic("admin", "wrong"),
        basic("nobody", "wrong"),
        basic("admin", ""),
        {"Authorization": "Basic ###"},
        {"Authorization": "Bearer x"},
        {"X-Auth-Token": ""},
        {"X-Auth-Token": "guess"},
    ],
)
def test_wrong_credentials_are_refused(rack: StandaloneRack, headers: dict[str, str]) -> None:
    assert raw(rack, rack.rack.servers[0], "GET", "/redfish/v1/Systems", headers=headers)[0] == 401


def test_one_bmc_does_not_take_another_ones_password(rack: StandaloneRack) -> None:
    first, other = rack.rack.servers[0], rack.rack.servers[2]
    headers = basic(first.bmc_username, other.bmc_password)
    assert raw(rack, first, "GET", "/redfish/v1/Systems", headers=headers)[0] == 401


def test_a_session_can_be_opened_used_and_closed(rack: StandaloneRack) -> None:
    server = rack.rack.servers[0]
    sessions = "/redfish/v1/SessionService/Sessions"
    wrong = json.dumps({"UserName": server.bmc_username, "Password": "wrong"})
    assert raw(rack, server, "POST", sessions, body=wrong)[0] == 401
    right = json.dumps({"UserName": server.bmc_username, "Password": server.bmc_password})
    status, headers, _ = raw(rack, server, "POST", sessions, body=right)
    assert status == 201
    token = {"X-Auth-Token": headers["X-Auth-Token"]}
    assert raw(rack, server, "GET", "/redfish/v1/Systems", headers=token)[0] == 200
    assert raw(rack, rack.rack.servers[2], "GET", "/redfish/v1/Systems", headers=token)[0] == 401
    assert raw(rack, server, "DELETE", headers["Location"], headers=token)[0] == 204
    assert raw(rack, server, "GET", "/redfish/v1/Systems", headers=token)[0] == 401


def test_sushy_logs_in_and_out(rack: StandaloneRack) -> None:
    server = rack.rack.servers[0]
    login = sushy_auth.SessionAuth(server.bmc_username, server.bmc_password)
    ca = str(rack.home / "rack" / "ca.pem")
    root = sushy.Sushy(f"https://{server.bmc_address}:{rack.rack.bmc_port}", auth=login, verify=ca)
    assert root.get_system_collection().get_members()[0].uuid == server.uuid
    assert len(root.get_session_service().sessions.get_members()) == 1
    login.close()
    assert not connect(rack, server).get_session_service().sessions.get_members()


def test_a_bmc_has_a_certificate_of_its_own(rack: StandaloneRack) -> None:
    ca = str(rack.home / "rack" / "ca.pem")
    certificates = {
        ssl.get_server_certificate((server.bmc_address, rack.rack.bmc_port), ca_certs=ca)
        for server in rack.rack.servers[:3]
    }
    assert len(certificates) == 3
    with pytest.raises(ssl.SSLCertVerificationError):
        context = ssl.create_default_context()
        http.client.HTTPSConnection(
            rack.rack.servers[0].bmc_address, rack.rack.bmc_port, context=context, timeout=5
        ).connect()


def test_a_client_without_tls_is_turned_away_and_harms_nobody(rack: StandaloneRack) -> None:
    server = rack.rack.servers[0]
    connection = http.client.HTTPConnection(server.bmc_address, rack.rack.bmc_port, timeout=5)
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.request("GET", "/redfish/v1")
        connection.getresponse()
    assert raw(rack, server, "GET", "/redfish/v1")[0] == 200


# Bad requests


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "{", 400),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "[]", 400),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "{}", 400),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", '{"ResetType": "Explode"}', 400),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", '{"ResetType": ["On"]}', 400),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", '{"Type": "On"}', 400),
        ("PATCH", "/redfish/v1/Systems/1", '{"Boot": {"BootSourceOverrideTarget": "Floppy"}}', 400),
        ("PATCH", "/redfish/v1/Systems/1", '{"Boot": {"Colour": "red"}}', 400),
        ("PATCH", "/redfish/v1/Systems/1", '{"PowerState": "On"}', 400),
        ("PATCH", "/redfish/v1/Chassis/1", "{}", 405),
        ("PUT", "/redfish/v1/Systems/1", "{}", 405),
        ("POST", "/redfish/v1/Nothing", "{}", 404),
        ("GET", "/redfish/v1/Systems/2", None, 404),
        ("GET", "/elsewhere", None, 404),
        (
            "POST",
            "/redfish/v1/Managers/1/VirtualMedia/2/Actions/VirtualMedia.InsertMedia",
            '{"Image": "file:///x"}',
            400,
        ),
        ("PATCH", "/redfish/v1/AccountService/Accounts/1", '{"Password": "short"}', 400),
    ],
)
def test_a_bad_request_is_answered_in_the_extended_form(
    rack: StandaloneRack, method: str, path: str, body: str | None, status: int
) -> None:
    server = rack.rack.servers[0]
    before = rack.machine(server.name)
    given, _, document = raw(
        rack, server, method, path, body=body, headers=basic(server.bmc_username, server.bmc_password)
    )
    assert given == status
    assert document["error"]["@Message.ExtendedInfo"][0]["MessageId"].startswith("Base.1.")
    assert "short" not in json.dumps(document) or "Password" not in json.dumps(document)
    assert rack.machine(server.name) == before


def test_a_huge_body_is_refused(rack: StandaloneRack) -> None:
    server = rack.rack.servers[0]
    body = json.dumps({"ResetType": "x" * 200_000})
    headers = basic(server.bmc_username, server.bmc_password)
    path = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
    assert raw(rack, server, "POST", path, body=body, headers=headers)[0] == 413


def test_an_outdated_etag_is_refused_by_the_make_that_has_them(rack: StandaloneRack) -> None:
    server = rack.rack.servers[1]
    headers = {**basic(server.bmc_username, server.bmc_password), "If-Match": 'W/"0000000000000000"'}
    body = json.dumps({"Boot": {"BootSourceOverrideTarget": "Pxe"}})
    assert raw(rack, server, "PATCH", "/redfish/v1/Systems/System.Embedded.1", body=body, headers=headers)[0] == 412


def test_the_control_endpoint_wants_its_token(rack: StandaloneRack) -> None:
    for path in ("/state", "/health", "/faults", "/log", "/feed"):
        connection = http.client.HTTPConnection("127.0.0.1", rack.ports["rack_bmc"], timeout=5)
        connection.request("GET", path, headers={"Authorization": "Bearer guess"})
        assert connection.getresponse().status == 401
        connection.close()

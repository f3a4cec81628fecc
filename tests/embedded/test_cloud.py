"""The embedded cloud as a whole: the stock client works on it, it keeps its secrets, and it starts and ends cleanly."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard.embedded import processes

from .local_cloud import LocalCloud, wait_until

pytestmark = pytest.mark.embedded

SERVICES = {
    "keystone", "nova", "ironic", "neutron", "placement", "glance", "http",
    "rack-bmc", "rack-agents", "rack-switch", "steelyard",
}  # fmt: skip
SEEDED = {"provisioning", "cleaning", "inspection", "rescue", "quarantine", "segment-001"}


def check_with_the_stock_client(cloud: LocalCloud) -> None:
    """One authenticated request to every API."""
    cloud.listed("demo", "image", "list")
    cloud.listed("demo", "server", "list")
    cloud.listed("system", "baremetal", "node", "list")
    cloud.listed("admin", "resource", "provider", "list")
    assert {network["Name"] for network in cloud.listed("admin", "network", "list")} >= SEEDED
    compute = cloud.listed("admin", "compute", "service", "list")
    assert {service["State"] for service in compute} == {"up"}


# -- using it ----------------------------------------------------------------------------------------------------------


def test_all_services_are_up(cloud: LocalCloud) -> None:
    wait_until(lambda: cloud.status()["phase"] == "up")
    services = cloud.services()
    assert services.keys() == SERVICES
    assert cloud.command("status").ok().out.count(" up ") >= len(SERVICES)


def test_the_stock_client_works(cloud: LocalCloud) -> None:
    check_with_the_stock_client(cloud)


def test_the_seeded_networks_are_the_administrators_and_invisible_to_tenants(cloud: LocalCloud) -> None:
    assert not SEEDED & {network["Name"] for network in cloud.listed("demo", "network", "list")}
    vlans = {
        name: cloud.openstack("admin", "network", "show", name, "-f", "json").json["provider:segmentation_id"]
        for name in sorted(SEEDED)
    }
    assert vlans == {
        "provisioning": 2001, "cleaning": 2002, "inspection": 2003, "quarantine": 2004, "rescue": 2005,
        "segment-001": 2101,
    }  # fmt: skip


def test_the_catalogue_leads_to_steelyard(cloud: LocalCloud) -> None:
    shown = cloud.openstack("admin", "catalog", "show", "baremetal-management", "-f", "json").json
    assert shown["name"] == "steelyard"
    assert {endpoint["url"] for endpoint in shown["endpoints"]} == {cloud.api}


def test_an_image_passes_through_whole(cloud: LocalCloud, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    (tmp_path / "image").write_bytes(content)
    made = cloud.openstack(
        "demo", "image", "create", "embedded-test", "--disk-format", "raw", "--container-format", "bare",
        "--file", str(tmp_path / "image"), "-f", "json",
    ).json  # fmt: skip
    cloud.openstack("demo", "image", "save", made["id"], "--file", str(tmp_path / "back")).ok()
    assert (tmp_path / "back").read_bytes() == content
    cloud.openstack("demo", "image", "delete", made["id"]).ok()


def test_up_again_says_that_it_is_up(cloud: LocalCloud) -> None:
    before = {name: unit["pid"] for name, unit in cloud.services().items()}
    assert "The cloud is up" in cloud.up().out
    assert {name: unit["pid"] for name, unit in cloud.services().items()} == before


def test_up_refuses_while_another_cloud_is_named(cloud: LocalCloud) -> None:
    refused = cloud.command("up", STEELYARD_CLOUD="production")
    assert refused.code == 5
    assert "production" in refused.err
    assert "steelyard serve" in refused.err


def test_logs_are_shown_and_unknown_ones_named(cloud: LocalCloud) -> None:
    assert cloud.command("logs", "ironic", "-n", "3").ok().out.count("\n") <= 4
    unknown = cloud.command("logs", "cinder")
    assert unknown.code == 4
    assert "keystone" in unknown.err


# -- keeping to itself -------------------------------------------------------------------------------------------------


def test_nothing_is_readable_by_others(cloud: LocalCloud) -> None:
    opened = [
        str(path.relative_to(cloud.home))
        for path in [cloud.home, *cloud.home.rglob("*")]
        if not path.is_symlink() and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    # Ironic opens its boot script for a file server of another user. It holds no secret, and the home is closed anyway.
    assert set(opened) <= {"http/boot.ipxe"}


def test_no_secret_is_in_a_process_list_or_an_environment(cloud: LocalCloud) -> None:
    values = {value for value in cloud.secrets().values() if len(value) >= 8}
    supervisor = processes.Identity(**cloud.status()["supervisor"])
    running = [*cloud.processes(), supervisor]
    assert len(running) >= len(SERVICES)
    for process in running:
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{process.pid}/{file}").read_bytes().decode(errors="replace")
            assert not any(value in text for value in values), (process.pid, file)


def test_no_secret_is_in_a_log_or_a_status(cloud: LocalCloud) -> None:
    values = {value for value in cloud.secrets().values() if len(value) >= 8}
    shown = {path.name: path.read_text(errors="replace") for path in (cloud.home / "log").iterdir()}
    shown["status.json"] = (cloud.home / "run" / "status.json").read_text()
    shown["home.json"] = (cloud.home / "home.json").read_text()
    for name, text in shown.items():
        assert not any(value in text for value in values), name


def test_everything_listens_on_loopback_alone(cloud: LocalCloud) -> None:
    found = {pid.pid: listening_addresses(pid.pid) for pid in cloud.processes()}
    assert sum(len(addresses) for addresses in found.values()) >= len(SERVICES)
    for pid, addresses in found.items():
        assert all(address.startswith("127.") for address in addresses), (pid, addresses)


def listening_addresses(pid: int) -> list[str]:
    """The addresses on which a process listens, of either family, by the sockets that it holds."""
    held = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(str(handle.readlink()))
        except OSError:
            continue
    addresses = []
    for file, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                words = bytes.fromhex(fields[1].split(":")[0])
                ordered = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                addresses.append(socket.inet_ntop(family, ordered))
    return addresses


@pytest.mark.parametrize(
    "path", ["/", "/agent_images/", "/../secrets/admin_password", "/%2e%2e/secrets/admin_password", "//etc/passwd"]
)
def test_the_file_server_serves_its_directory_and_lists_nothing(cloud: LocalCloud, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.record["ports"]["http"], timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 404
    assert cloud.secret("admin_password").encode() not in answer.read()
    connection.close()


def test_the_file_server_follows_no_link_out_of_its_directory(cloud: LocalCloud) -> None:
    link = cloud.home / "http" / "way-out"
    link.symlink_to(cloud.home / "secrets" / "admin_password")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", cloud.record["ports"]["http"], timeout=10)
        connection.request("GET", "/way-out")
        assert connection.getresponse().status == 404
        connection.close()
    finally:
        link.unlink()


# -- starting and ending -----------------------------------------------------------------------------------------------


def test_a_homes_whole_life(new_cloud: Callable[[str], LocalCloud]) -> None:
    """A second home beside the first: made, every service killed, stopped, started, its supervisor killed, reset."""
    cloud, second = new_cloud("first"), new_cloud("second")
    cloud.up("--nodes", "1")
    first_output = second.up("--nodes", "4").out
    for step in ("Keystone", "Nova: databases and cells", "Networks", "steelyard is up", "OS_CLIENT_CONFIG_FILE"):
        assert step in first_output
    assert not set(second.record["ports"].values()) & set(cloud.record["ports"].values())
    assert second.record["rack_network"] != cloud.record["rack_network"]
    check_with_the_stock_client(second)
    check_with_the_stock_client(cloud)

    # Every service is killed at once, and comes back.
    for service in second.services().values():
        os.kill(service["pid"], signal.SIGKILL)
    wait_until(lambda: all(one["restarts"] >= 1 and one["state"] == "up" for one in second.services().values()))
    check_with_the_stock_client(second)
    grown = second.command("up", "--nodes", "5")
    assert grown.code == 5
    assert "steelyard down" in grown.err

    # Down leaves no process and no listening port; what was made is there after the next start, also the grown rack.
    made = second.openstack("demo", "network", "create", "mine", "-f", "json").json["id"]
    servers_before = [server["uuid"] for server in rack_of(second)]
    second.down()
    assert_nothing_is_left(second)
    assert second.command("status").code == 1
    assert "The cloud is up" in second.up("--nodes", "5").out
    assert made in {network["ID"] for network in second.listed("demo", "network", "list")}
    assert [server["uuid"] for server in rack_of(second)][:4] == servers_before
    assert len(rack_of(second)) == 5

    # Nothing outlives a killed supervisor, and the next start finds everything.
    os.kill(second.status()["supervisor"]["pid"], signal.SIGKILL)
    wait_until(lambda: second.processes() == [], seconds=20)
    second.up()
    assert made in {network["ID"] for network in second.listed("demo", "network", "list")}

    # Reset keeps who we are, and the next start takes the databases from the template.
    second.down()
    second.command("reset", "--yes").ok()
    again = second.up().out
    assert "from the template" in again
    assert "Nova: databases and cells" not in again.split("The cloud is up")[0].replace("(took 0.0 s)", "")
    assert second.listed("demo", "network", "list") == []
    check_with_the_stock_client(second)
    second.down()
    assert_nothing_is_left(second)
    check_with_the_stock_client(cloud)  # the first one was not touched


def rack_of(cloud: LocalCloud) -> list[dict[str, str]]:
    """The servers in the rack's plan."""
    import json

    servers: list[dict[str, str]] = json.loads((cloud.home / "rack" / "rack.json").read_text())["servers"]
    return servers


def assert_nothing_is_left(cloud: LocalCloud) -> None:
    """No process of the home and nobody on its ports."""
    assert cloud.processes() == []
    assert {name: addresses for name, addresses in cloud.listening().items() if addresses} == {}


def test_an_interrupted_first_start_is_continued(new_cloud: Callable[[], LocalCloud]) -> None:
    """Killed in the middle of making the databases; the next start makes what is half made again and ends well."""
    cloud = new_cloud()
    assert cloud.command("up", "--nodes", "2", "--no-wait").code == 0
    wait_until(lambda: bool(list((cloud.home / "db").glob("*.sqlite"))))
    os.kill(cloud.status()["supervisor"]["pid"], signal.SIGKILL)
    wait_until(lambda: cloud.processes() == [], seconds=20)
    assert "The cloud is up" in cloud.up().out
    check_with_the_stock_client(cloud)


def test_a_taken_port_is_refused_with_the_way_out(new_cloud: Callable[[], LocalCloud]) -> None:
    cloud = new_cloud()
    assert cloud.command("up", "--nodes", "2", "--no-wait").code == 0
    cloud.down()
    with socket.socket() as other:
        other.bind(("127.0.0.1", cloud.record["ports"]["keystone"]))
        other.listen()
        refused = cloud.command("up")
    assert refused.code == 6
    assert f"port {cloud.record['ports']['keystone']}" in refused.err
    assert f"process {os.getpid()}" in refused.err
    assert "--new-ports" in refused.err
    assert cloud.processes() == []

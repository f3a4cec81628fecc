"""The story on a cloud whose network authority is a Contrail controller: Neutron asks it before it says yes.

What Steelyard and Neutron say is compared with the controller's own objects and with the switches themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from openstack.exceptions import ConflictException, HttpException

from .cloud_at_hand import until
from .leftovers import leftovers
from .local_cloud import LocalCloud, wait_until
from .things import Things, unique
from .wiring import a_wired_life, agrees

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
KINDS = ("instance-ip", "virtual-machine-interface", "network-ipam", "security-group", "virtual-network")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud with a controller, its servers onboarded."""
    home = tmp_path_factory.mktemp("contrail")
    with LocalCloud(home).running("--nodes", "3", "--network", "contrail", "--nics", "4") as made:
        made.onboard_everything()
        yield made


@contextlib.contextmanager
def controller(cloud: LocalCloud) -> Iterator[httpx.Client]:
    base = f"http://127.0.0.1:{cloud.record['ports']['contrail']}"
    with httpx.Client(base_url=base, headers={"X-Auth-Token": cloud.token("admin")}, timeout=30.0) as client:
        yield client


def of_neutron(cloud: LocalCloud, kind: str) -> dict[str, Json]:
    """The objects at the controller that Neutron's drivers have made, by id."""
    with controller(cloud) as api:
        answer = api.get(f"/{kind}s", params={"detail": "true"})
    assert answer.status_code == 200, answer.text
    found = [one[kind] for one in answer.json()[f"{kind}s"]]
    return {one["uuid"]: one for one in found if one["fq_name"][-1].startswith("neutron-")}


def differences(cloud: LocalCloud) -> list[str]:
    """What Neutron and the controller do not have alike."""
    neutron = cloud.connect("admin").network
    ports = {port.id: port for port in neutron.ports()}
    wanted = {
        "virtual-network": {network.id for network in neutron.networks()},
        "network-ipam": {subnet.id for subnet in neutron.subnets()},
        "security-group": {group.id for group in neutron.security_groups()},
        "virtual-machine-interface": set(ports),
    }
    there = {kind: of_neutron(cloud, kind) for kind in KINDS}
    found = [f"{kind} {uuid}" for kind, ids in wanted.items() for uuid in ids ^ set(there[kind])]
    for uuid, interface in there["virtual-machine-interface"].items():
        port = ports.get(uuid)
        groups = port.security_group_ids if port and port.device_owner.startswith("compute:") else []
        if sorted(groups) != sorted(ref["uuid"] for ref in interface.get("security_group_refs", [])):
            found.append(f"security groups of port {uuid}")
    addresses = {(one["subnet_uuid"], one["instance_ip_address"]) for one in there["instance-ip"].values()}
    fixed = {(one["subnet_id"], one["ip_address"]) for port in ports.values() for one in port.fixed_ips}
    return found + [f"address {address}" for address in addresses ^ fixed]


def test_a_server_s_life_with_the_controller_as_authority(cloud: LocalCloud, things: Things, after: ExitStack) -> None:
    image, network, flavor = things.image(), things.network("10.93.0.0/24"), things.flavor()
    admin = cloud.connect("admin")
    vm_flavor = admin.compute.create_flavor(name=unique("vm"), vcpus=1, ram=64, disk=1)
    after.callback(admin.compute.delete_flavor, vm_flavor.id)
    demo = cloud.connect("demo").compute
    machine = demo.create_server(
        name=unique("vm"), flavor_id=vm_flavor.id, image_id=image["id"], networks=[{"uuid": network["id"]}]
    )
    after.callback(demo.wait_for_delete, machine, wait=120)
    after.callback(demo.delete_server, machine.id)
    server = things.server(flavor, image, network)
    assert server["phase"] == "active"
    node = things.node_of(server)
    vlan = admin.network.get_network(network["id"]).provider_segmentation_id
    on_tenant = [nic for nic in agrees(cloud, node) if nic["role"] == "tenant"]
    assert [nic["switch_view"]["vlan"] for nic in on_tenant] == [vlan]

    until("the virtual machine is built", lambda: demo.get_server(machine.id).status == "ACTIVE", seconds=120)
    rows = cloud.steelyard("demo", "ipam", "list", network["id"], "-f", "json").json
    owners = {row["owner"]: row["address"] for row in rows if row["state"] == "allocated"}
    assert set(owners) == {"bare metal", "virtual machine"}
    given = {one["instance_ip_address"]: one for one in of_neutron(cloud, "instance-ip").values()}
    for address in owners.values():
        assert network["id"] in [ref["uuid"] for ref in given[address]["virtual_network_refs"]]
        assert len(given[address]["virtual_machine_interface_refs"]) == 1
    assert differences(cloud) == []

    cloud.steelyard("demo", "server", "power", server["id"], "off", "--wait").ok()
    parked = agrees(cloud, node)
    assert {nic["role"] for nic in parked if nic["switch_view"]["vlan"]} == {"quarantine"}
    cloud.steelyard("demo", "server", "power", server["id"], "on", "--wait").ok()
    assert [nic["switch_view"]["vlan"] for nic in agrees(cloud, node) if nic["role"] == "tenant"] == [vlan]

    cloud.steelyard("demo", "server", "delete", server["id"], "--wait", within=300).ok()
    until(f"{node} is available", lambda: cloud.nodes()[node]["phase"] == "available", seconds=240)
    agrees(cloud, node)
    assert cloud.rack.vlan_of(node) is None
    assert cloud.steelyard("admin", "isolation", "check").code == 0
    until("the controller has what Neutron has", lambda: not differences(cloud), seconds=30)


def test_a_bond_a_second_nic_and_a_tag_with_the_controller_as_authority(cloud: LocalCloud, things: Things) -> None:
    a_wired_life(
        cloud, things,
        lambda server: cloud.steelyard("demo", "server", "delete", server["id"], "--wait", within=300.0).ok(),
    )  # fmt: skip
    until("the controller has what Neutron has", lambda: not differences(cloud), seconds=30)


def test_an_address_that_somebody_has_at_the_controller_is_refused(
    cloud: LocalCloud, things: Things, after: ExitStack
) -> None:
    network = things.network("10.94.0.0/24")
    [name] = [one["fq_name"] for one in of_neutron(cloud, "virtual-network").values() if one["uuid"] == network["id"]]
    content = {
        "fq_name": [unique("pod")], "instance_ip_address": "10.94.0.50",
        "virtual_network_refs": [{"to": name, "uuid": network["id"]}],
    }  # fmt: skip
    with controller(cloud) as api:
        taken = api.post("/instance-ips", json={"instance-ip": content})
    assert taken.status_code == 200, taken.text

    def give_back() -> None:
        with controller(cloud) as api:
            api.delete(f"/instance-ip/{taken.json()['instance-ip']['uuid']}")

    after.callback(give_back)
    neutron = cloud.connect("demo").network
    with pytest.raises(ConflictException):
        neutron.create_port(network_id=network["id"], fixed_ips=[{"ip_address": "10.94.0.50"}])
    with pytest.raises(ConflictException):
        neutron.create_port(network_id=network["id"], fixed_ips=[{"ip_address": "10.94.0.1"}])
    port = neutron.create_port(network_id=network["id"])
    after.callback(neutron.delete_port, port.id)
    assert port.fixed_ips[0]["ip_address"] not in ("10.94.0.1", "10.94.0.50")
    kept = cloud.steelyard("demo", "ipam", "reserve", network["id"], "10.94.0.50", "--note", "mine")
    assert kept.code != 0, "what the controller has given away cannot be kept"


def test_the_controller_away_and_killed_in_the_middle_of_a_deployment(
    cloud: LocalCloud, things: Things, after: ExitStack
) -> None:
    image, network, flavor = things.image(), things.network("10.95.0.0/24"), things.flavor()
    neutron = cloud.connect("demo").network

    pid = cloud.services()["contrail"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(HttpException) as caught:
            neutron.create_port(network_id=network["id"])
        assert caught.value.status_code == 503, "it fails closed"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert list(neutron.ports(network_id=network["id"])) == []

    name = unique("server")
    things.start(name, flavor, image, network, wait=False).ok()
    started = cloud.services()["contrail"]["restarts"]
    until("it is on a network", partial(_deploying, cloud), seconds=120, every=0.2)
    os.kill(cloud.services()["contrail"]["pid"], signal.SIGKILL)
    wait_until(lambda: cloud.services()["contrail"]["restarts"] > started)
    wait_until(lambda: cloud.services()["contrail"]["state"] == "up")

    def ended() -> str | None:
        status = cloud.steelyard("demo", "server", "show", name, "-f", "json").json["status"]
        return str(status) if status in ("ACTIVE", "ERROR") else None

    if until("the deployment has ended", ended, seconds=300, every=1.0) == "ACTIVE":
        agrees(cloud, things.node_of(cloud.steelyard("demo", "server", "show", name, "-f", "json").json))
    things.release(name)
    cloud.follow_the_advice()
    wait_until(lambda: not leftovers(cloud))
    wait_until(lambda: not differences(cloud))  # what the kill left at the controller is removed after a minute
    assert cloud.steelyard("admin", "isolation", "check").code == 0


def _deploying(cloud: LocalCloud) -> bool:
    """Whether a node is on a network of the operator's, on its way to a tenant."""
    moving = [node["name"] for node in cloud.nodes().values() if node["phase"] == "deploying"]
    return any(cloud.rack.vlan_of(name) is not None for name in moving)

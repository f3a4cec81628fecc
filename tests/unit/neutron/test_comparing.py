"""Neutron and the controller compared: whatever was interrupted or changed by hand is repaired, and nothing else."""

from __future__ import annotations

import subprocess

import pytest

from .conftest import PYTHON, Json, Scene

HERE = ("leaf1", "Ethernet3")


@pytest.fixture
def bound(scene: Scene) -> Json:
    """A server's port on its switch port; its network is under `network`."""
    network = scene.neutron.network()
    port = scene.neutron("port", network_id=network["id"])
    bound = scene.neutron.bind(port["id"], HERE)
    # The controller answers before it has written to the switch.
    scene.soon(lambda: scene.vlan("leaf1/Ethernet3") == network["provider:segmentation_id"])
    return {**bound, "network": network}


def test_what_agrees_is_left_alone(scene: Scene, bound: Json) -> None:
    before = scene.read("virtual-machine-interface", bound["id"])
    assert scene.neutron("compare") == {"repaired": [], "failed": [], "suspected": []}
    assert scene.read("virtual-machine-interface", bound["id"]) == before


def test_a_controller_that_has_lost_everything_has_it_again(scene: Scene, bound: Json) -> None:
    """As after a restore of its database from before all this."""
    for kind in ("instance-ip", "virtual-machine-interface", "virtual-network", "network-ipam"):
        for one in scene.ours(kind):
            status, text, _ = scene.controller.call("DELETE", f"/{kind}/{one['uuid']}")
            assert status == 200, text
    scene.soon(lambda: scene.vlan("leaf1/Ethernet3") is None)
    outcome = scene.compared()
    assert outcome["failed"] == []
    assert outcome["repaired"]
    scene.settled()
    scene.soon(lambda: scene.vlan("leaf1/Ethernet3") == bound["network"]["provider:segmentation_id"])
    [address] = scene.ours("instance-ip")
    assert address["instance_ip_address"] == bound["fixed_ips"][0]["ip_address"]
    assert scene.neutron("get_port", id=bound["id"])["status"] == "ACTIVE"


def test_a_port_that_was_unbound_by_hand_is_bound_again_as_neutron_says(scene: Scene, bound: Json) -> None:
    pairs = [{"key": "vnic_type", "value": "baremetal"}, {"key": "profile", "value": "{}"}]
    change = {"virtual-machine-interface": {"virtual_machine_interface_bindings": {"key_value_pair": pairs}}}
    status, text, _ = scene.controller.call("PUT", f"/virtual-machine-interface/{bound['id']}", change)
    assert status == 200, text
    scene.soon(lambda: scene.vlan("leaf1/Ethernet3") is None)
    [repaired] = scene.compared()["repaired"]
    assert bound["id"] in repaired
    scene.soon(lambda: scene.vlan("leaf1/Ethernet3") == bound["network"]["provider:segmentation_id"])


def test_what_cannot_be_repaired_is_down_in_neutron(scene: Scene, bound: Json) -> None:
    """Its switch port has gone from the controller's inventory: Neutron may not say ACTIVE."""
    name = ["default-global-system-config", "leaf1", "Ethernet3"]
    interface = scene.controller.call("POST", "/fqname-to-id", {"type": "physical-interface", "fq_name": name})[2][
        "uuid"
    ]
    parent = scene.read("physical-interface", interface)
    assert parent is not None
    [group] = [one["uuid"] for one in parent["virtual_port_group_back_refs"]]
    drop = {"type": "virtual-port-group", "uuid": group, "ref-type": "physical-interface", "ref-uuid": interface}
    assert scene.controller.call("POST", "/ref-update", {**drop, "operation": "DELETE"})[0] == 200
    assert scene.controller.call("DELETE", f"/physical-interface/{interface}")[0] == 200
    try:
        outcome = scene.compared()
        assert any(bound["id"] in each for each in outcome["failed"])
        assert scene.neutron("get_port", id=bound["id"])["status"] == "DOWN"
    finally:
        content = {"fq_name": name, "parent_type": "physical-router", "physical_interface_port_id": "Ethernet3"}
        assert scene.controller.call("POST", "/physical-interfaces", {"physical-interface": content})[0] == 200
    assert any(bound["id"] in each for each in scene.neutron("compare")["repaired"])
    assert scene.neutron("get_port", id=bound["id"])["status"] == "ACTIVE"


def test_what_only_the_controller_has_is_removed_when_it_is_seen_twice(scene: Scene) -> None:
    network = scene.neutron.network()
    scene.neutron("port", network_id=network["id"])
    name = scene.ours("virtual-network")[0]["fq_name"]
    stray = "11111111-2222-4333-8444-555555555555"
    content = {
        "uuid": stray, "fq_name": [f"neutron-{stray}"], "virtual_network_refs": [{"uuid": network["id"], "to": name}]
    }  # fmt: skip
    assert scene.controller.call("POST", "/instance-ips", {"instance-ip": content})[0] == 200
    first = scene.neutron("compare")
    assert (len(first["suspected"]), first["repaired"]) == (1, [])
    assert scene.read("instance-ip", stray) is not None, "it might be in the middle of being made"
    second = scene.neutron("compare")
    assert (second["suspected"], len(second["repaired"])) == ([], 1)
    assert scene.read("instance-ip", stray) is None


def test_a_mac_address_that_somebody_else_has_too_is_said(scene: Scene, bound: Json) -> None:
    """The controller takes it twice; Neutron looks at its own ports only."""
    ours = scene.read("virtual-machine-interface", bound["id"])
    assert ours is not None
    content = {
        "fq_name": [*ours["fq_name"][:-1], "a-twin"], "parent_type": "project",
        "virtual_network_refs": [{"uuid": bound["network_id"], "to": ours["virtual_network_refs"][0]["to"]}],
        "virtual_machine_interface_mac_addresses": {"mac_address": [bound["mac_address"].upper()]},
    }  # fmt: skip
    status, text, made = scene.controller.call(
        "POST", "/virtual-machine-interfaces", {"virtual-machine-interface": content}
    )
    assert status == 200, text
    twin = made["virtual-machine-interface"]["uuid"]
    try:
        [said] = scene.compared()["failed"]
        assert twin in said
        assert bound["mac_address"] in said
    finally:
        scene.controller.call("DELETE", f"/virtual-machine-interface/{twin}")


def test_neutron_killed_between_the_allocation_and_its_commit_leaves_nothing(scene: Scene) -> None:
    network = scene.neutron.network()
    port = scene.neutron("port", network_id=network["id"])
    scene.neutron.send("die_in_allocation", network_id=network["id"])
    assert scene.neutron.process is not None
    assert scene.neutron.process.wait(30) == -9
    assert len(scene.ours("instance-ip")) == 2
    scene.neutron.start()
    scene.settled()
    assert [one["instance_ip_address"] for one in scene.ours("instance-ip")] == [port["fixed_ips"][0]["ip_address"]]


def test_the_controller_killed_in_the_middle_fails_closed_and_goes_on(scene: Scene, bound: Json) -> None:
    tenant = scene.neutron("port", network_id=bound["network"]["id"])
    scene.controller.kill()
    refused = scene.neutron.bind(tenant["id"], ("leaf1", "Ethernet4"))
    assert (refused["status"], refused["binding:vif_type"]) == ("DOWN", "binding_failed")
    assert scene.vlan("leaf1/Ethernet3") == bound["network"]["provider:segmentation_id"], "who is on stays on"
    scene.controller.start()
    scene.mend()
    scene.neutron.bind(tenant["id"])
    assert scene.neutron.bind(tenant["id"], ("leaf1", "Ethernet4"))["status"] == "ACTIVE"
    scene.soon(lambda: scene.vlan("leaf1/Ethernet4") == bound["network"]["provider:segmentation_id"])
    scene.settled()


def test_subnets_and_names_follow(scene: Scene) -> None:
    network = scene.neutron.network("10.9.0.0/24", dns_nameservers=["9.9.9.9"])
    change = {
        "allocation_pools": [{"start": "10.9.0.100", "end": "10.9.0.101"}],
        "host_routes": [{"destination": "10.8.0.0/16", "nexthop": "10.9.0.5"}], "dns_nameservers": ["1.1.1.1"],
    }  # fmt: skip
    scene.neutron("update_subnet", id=network["subnet"]["id"], subnet={"subnet": change})
    scene.neutron("update_network", id=network["id"], network={"network": {"name": "renamed", "shared": True}})
    found = scene.read("virtual-network", network["id"])
    assert found is not None
    assert (found["display_name"], found["is_shared"]) == ("renamed", True)
    [subnet] = found["network_ipam_refs"][0]["attr"]["ipam_subnets"]
    assert subnet["allocation_pools"] == change["allocation_pools"]
    assert subnet["host_routes"] == {"route": [{"prefix": "10.8.0.0/16", "next_hop": "10.9.0.5"}]}
    ipam = scene.read("network-ipam", network["subnet"]["id"])
    assert ipam is not None
    assert "1.1.1.1" in str(ipam["network_ipam_mgmt"])
    assert scene.neutron("compare") == {"repaired": [], "failed": [], "suspected": []}
    assert scene.neutron("port", network_id=network["id"])["fixed_ips"][0]["ip_address"] == "10.9.0.100"


def test_a_private_network_is_private_at_the_controller(scene: Scene) -> None:
    network = scene.neutron.network()
    for tenant in ("red", "blue"):
        assert scene.controller.call("GET", f"/virtual-network/{network['id']}", token=tenant)[0] == 403


def test_the_command_repairs_and_says_so(scene: Scene, bound: Json) -> None:
    sync = PYTHON.with_name("steelyard-contrail-sync")
    conf = str(scene.neutron.directory / "neutron.conf")
    [address] = scene.ours("instance-ip")
    assert scene.controller.call("DELETE", f"/instance-ip/{address['uuid']}")[0] == 200

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [str(sync), "--config-file", conf, "--pause", "0", "--removed-after", "0", *more]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    told = run("--dry-run")
    assert (told.returncode, told.stdout.count("differs: ")) == (1, 1), told.stderr[-2000:]
    assert scene.ours("instance-ip") == []
    mended = run()
    assert (mended.returncode, mended.stdout.count("repaired: ")) == (0, 1), mended.stderr[-2000:]
    assert [one["instance_ip_address"] for one in scene.ours("instance-ip")] == [address["instance_ip_address"]]

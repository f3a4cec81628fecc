"""Binding through the controller: what Neutron, the controller and the switch say of a server's port."""

from __future__ import annotations

import pytest

from .conftest import NeutronError, Scene

HERE = ("leaf1", "Ethernet1")
OTHER_LEAF = ("leaf2", "Ethernet1")


def groups_of(scene: Scene, switch: str, port: str) -> list[dict[str, object]]:
    """The port groups with a switch port in them."""
    _, _, found = scene.controller.call("GET", "/virtual-port-groups?detail=true")
    groups = [one["virtual-port-group"] for one in found["virtual-port-groups"]]
    name = ["default-global-system-config", switch, port]
    return [group for group in groups if name in [ref["to"] for ref in group.get("physical_interface_refs", [])]]


def test_a_server_s_port_is_bound_by_the_controller_and_taken_off_again(scene: Scene) -> None:
    network = scene.neutron.network()
    port = scene.neutron("port", network_id=network["id"])
    assert (port["status"], port["binding:vif_type"]) == ("DOWN", "unbound")
    assert scene.read("virtual-machine-interface", port["id"]) is not None
    assert groups_of(scene, *HERE) == []

    bound = scene.neutron.bind(port["id"], HERE, mac_address="52:54:00:aa:00:01")
    assert (bound["status"], bound["binding:vif_type"]) == ("ACTIVE", "other")
    vlan = network["provider:segmentation_id"]
    scene.soon(lambda: scene.vlan("leaf1/Ethernet1") == vlan)
    [group] = groups_of(scene, *HERE)
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [port["id"]]  # type: ignore[attr-defined]
    interface = scene.read("virtual-machine-interface", port["id"])
    assert interface is not None
    assert interface["virtual_machine_interface_mac_addresses"] == {"mac_address": ["52:54:00:aa:00:01"]}
    pairs = {one["key"]: one["value"] for one in interface["virtual_machine_interface_bindings"]["key_value_pair"]}
    assert (pairs["tor_port_vlan_id"], pairs["host_id"]) == (str(vlan), "node-1")

    left = scene.neutron.bind(port["id"])
    assert (left["status"], left["binding:vif_type"]) == ("DOWN", "unbound")
    assert left["fixed_ips"] == port["fixed_ips"], "the address stays reserved"
    scene.soon(lambda: scene.vlan("leaf1/Ethernet1") is None)
    assert groups_of(scene, *HERE) == []

    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.vlan("leaf1/Ethernet1") == vlan)
    scene.neutron("delete_port", id=port["id"])
    scene.soon(lambda: scene.vlan("leaf1/Ethernet1") is None)
    assert scene.read("virtual-machine-interface", port["id"]) is None


def test_a_flip_from_one_network_to_another_never_has_both(scene: Scene) -> None:
    first, second = scene.neutron.network(), scene.neutron.network("10.1.0.0/24")
    ramdisk = scene.neutron("port", network_id=first["id"])
    tenant = scene.neutron("port", network_id=second["id"])
    scene.neutron.bind(ramdisk["id"], HERE)
    refused = scene.neutron.bind(tenant["id"], HERE)
    assert (refused["status"], refused["binding:vif_type"]) == ("DOWN", "binding_failed")
    [group] = groups_of(scene, *HERE)
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [ramdisk["id"]]  # type: ignore[attr-defined]
    scene.neutron("delete_port", id=ramdisk["id"])
    scene.neutron.bind(tenant["id"])
    bound = scene.neutron.bind(tenant["id"], HERE)
    assert bound["status"] == "ACTIVE"
    scene.soon(lambda: scene.vlan("leaf1/Ethernet1") == second["provider:segmentation_id"])


@pytest.mark.parametrize("second", [("leaf1", "Ethernet2"), OTHER_LEAF], ids=["LAG", "multihomed"])
def test_a_bond_is_one_port_group_with_both_switch_ports(scene: Scene, second: tuple[str, str]) -> None:
    network = scene.neutron.network()
    port = scene.neutron("port", network_id=network["id"])
    bound = scene.neutron.bind(port["id"], HERE, second)
    assert bound["status"] == "ACTIVE"
    [group] = groups_of(scene, *HERE)
    assert groups_of(scene, *second) == [group]
    assert group["virtual_port_group_lacp_enabled"] is True
    for switch, name in (HERE, second):
        scene.soon(
            lambda switch=switch, name=name: scene.vlan(f"{switch}/{name}") == network["provider:segmentation_id"]
        )
    scene.neutron("delete_port", id=port["id"])
    for switch, name in (HERE, second):
        scene.soon(lambda switch=switch, name=name: scene.vlan(f"{switch}/{name}") is None)


@pytest.mark.parametrize("link", [("leaf1", "Ethernet99"), ("leaf9", "Ethernet1")])
def test_a_switch_port_that_the_controller_does_not_know_fails_the_binding(scene: Scene, link: tuple[str, str]) -> None:
    port = scene.neutron("port", network_id=scene.neutron.network()["id"])
    assert scene.neutron.bind(port["id"], link)["binding:vif_type"] == "binding_failed"
    assert scene.neutron.bind(port["id"])["binding:vif_type"] == "unbound", "and can be taken back"


def test_a_port_on_a_network_without_vlan_is_never_bound(scene: Scene) -> None:
    """Without a VLAN the controller would let one switch port into two networks."""
    port = scene.neutron("port", network_id=scene.neutron.network()["id"])
    bound = scene.neutron("bind_without_segment", id=port["id"], link=HERE)
    assert bound is False
    assert groups_of(scene, *HERE) == []


def test_an_answer_of_200_that_was_not_so_fails_the_binding(scene: Scene) -> None:
    """The controller says yes, and what is read back has no port group."""
    port = scene.neutron("port", network_id=scene.neutron.network()["id"])
    scene.fault("virtual-machine-interface", "wrong_answer", match="read")
    assert scene.neutron.bind(port["id"], HERE)["binding:vif_type"] == "binding_failed"
    scene.mend()
    scene.settled()
    assert groups_of(scene, *HERE) == []


@pytest.mark.parametrize("kind", ["refuse", "drop", "garbage"])
def test_a_controller_that_does_not_answer_fails_the_binding_and_the_next_one_is_good(scene: Scene, kind: str) -> None:
    port = scene.neutron("port", network_id=scene.neutron.network()["id"])
    scene.fault("virtual-machine-interface", kind, match="update")
    assert scene.neutron.bind(port["id"], HERE)["binding:vif_type"] == "binding_failed"
    scene.mend()
    scene.neutron.bind(port["id"])
    assert scene.neutron.bind(port["id"], HERE)["status"] == "ACTIVE"


@pytest.mark.parametrize("how", ["unbind", "delete"])
def test_what_cannot_be_taken_off_its_switch_port_fails_the_request(scene: Scene, how: str) -> None:
    port = scene.neutron("port", network_id=scene.neutron.network()["id"])
    scene.neutron.bind(port["id"], HERE)
    scene.fault("virtual-machine-interface", "drop", match="update")
    with pytest.raises(NeutronError) as caught:
        if how == "unbind":
            scene.neutron.bind(port["id"])
        else:
            scene.neutron("delete_port", id=port["id"])
    assert caught.value.kind == "MechanismDriverError"
    [still] = scene.neutron("get_ports")
    assert still["binding:vif_type"] == "other", "Neutron has not forgotten it"
    scene.mend()
    scene.neutron("delete_port", id=port["id"])
    assert groups_of(scene, *HERE) == []


def test_what_an_interrupted_unbind_left_on_the_switch_port_makes_way(scene: Scene) -> None:
    first, second = scene.neutron.network(), scene.neutron.network("10.1.0.0/24")
    old = scene.neutron("port", network_id=first["id"])
    scene.neutron.bind(old["id"], HERE)
    scene.neutron("forget_binding", id=old["id"])
    new = scene.neutron("port", network_id=second["id"])
    assert scene.neutron.bind(new["id"], HERE)["status"] == "ACTIVE"
    [group] = groups_of(scene, *HERE)
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [new["id"]]  # type: ignore[attr-defined]


def test_an_interface_of_somebody_else_s_on_the_switch_port_is_left_alone(scene: Scene) -> None:
    network = scene.neutron.network()
    port = scene.neutron("port", network_id=network["id"])
    interface = scene.read("virtual-machine-interface", port["id"])
    assert interface is not None
    link = {"switch_info": "leaf1", "port_id": "Ethernet1", "switch_id": "", "fabric": "default-fabric"}
    pairs = {
        "vnic_type": "baremetal",
        "tor_port_vlan_id": "77",
        "profile": f'{{"local_link_information": [{_json(link)}]}}',
    }
    content = {
        "fq_name": [*interface["fq_name"][:-1], "by-hand"], "parent_type": "project",
        "virtual_network_refs": [{"uuid": network["id"], "to": interface["virtual_network_refs"][0]["to"]}],
        "virtual_machine_interface_bindings": {
            "key_value_pair": [{"key": key, "value": value} for key, value in pairs.items()]
        },
    }  # fmt: skip
    status, text, made = scene.controller.call(
        "POST", "/virtual-machine-interfaces", {"virtual-machine-interface": content}
    )
    assert status == 200, text
    try:
        assert scene.neutron.bind(port["id"], HERE)["binding:vif_type"] == "binding_failed"
        assert len(groups_of(scene, *HERE)) == 1
        scene.settled()
        assert scene.read("virtual-machine-interface", made["virtual-machine-interface"]["uuid"]) is not None
    finally:
        scene.controller.call("DELETE", f"/virtual-machine-interface/{made['virtual-machine-interface']['uuid']}")


def test_a_virtual_machine_s_port_has_its_interface_and_address_and_is_left_to_its_own_driver(scene: Scene) -> None:
    network = scene.neutron.network()
    port = scene.neutron(
        "port", network_id=network["id"], **{"binding:vnic_type": "normal", "device_owner": "compute:nova"}
    )
    interface = scene.read("virtual-machine-interface", port["id"])
    assert interface is not None
    assert interface["virtual_machine_interface_device_owner"] == "compute:nova"
    [address] = scene.ours("instance-ip")
    assert address["instance_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert [ref["uuid"] for ref in address["virtual_machine_interface_refs"]] == [port["id"]]
    hosted = scene.neutron("update_port", id=port["id"], port={"port": {"binding:host_id": "compute-1"}})
    assert hosted["binding:vif_type"] == "binding_failed", "no driver for its host is there"


def _json(value: object) -> str:
    import json

    return json.dumps(value)

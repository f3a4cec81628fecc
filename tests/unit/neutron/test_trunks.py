"""Tagged sub-interfaces: subports of trunks on the switch ports of their parent."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .conftest import Json, NeutronError, Scene

HERE = ("leaf1", "Ethernet5")
PLACE = "leaf1/Ethernet5"


@dataclass
class Networks:
    """A port for each of two networks, and their VLANs."""

    parent: Json
    parent_vlan: int
    child: Json
    vlan: int


@pytest.fixture
def two(scene: Scene) -> Networks:
    first, second = scene.neutron.network(), scene.neutron.network("10.1.0.0/24")
    parent, child = (scene.neutron("port", network_id=one["id"]) for one in (first, second))
    return Networks(parent, first["provider:segmentation_id"], child, second["provider:segmentation_id"])


def carries(scene: Scene, untagged: int | None, *tagged: int) -> bool:
    port = scene.rack.port(PLACE)
    return (port["untagged_vlan"], port["tagged_vlans"]) == (untagged, sorted(tagged))


def status(scene: Scene, port: Json) -> str:
    return str(scene.neutron("get_port", id=port["id"])["status"])


@pytest.mark.parametrize("bound_first", [True, False])
def test_a_subport_is_tagged_where_its_parent_is(scene: Scene, two: Networks, bound_first: bool) -> None:
    if bound_first:
        scene.neutron.bind(two.parent["id"], HERE)
        scene.soon(lambda: carries(scene, two.parent_vlan))
    trunk = scene.neutron("trunk", port_id=two.parent["id"], subports=[[two.child["id"], two.vlan]])
    if not bound_first:
        assert carries(scene, None)
        assert scene.neutron.bind(two.parent["id"], HERE)["status"] == "ACTIVE"
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))
    assert status(scene, two.child) == "ACTIVE"
    assert scene.neutron("compare") == {"repaired": [], "failed": [], "suspected": []}

    scene.neutron.bind(two.parent["id"])
    scene.soon(lambda: carries(scene, None))
    assert status(scene, two.child) == "DOWN"
    scene.neutron.bind(two.parent["id"], HERE)
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))

    scene.neutron("remove_subport", trunk_id=trunk["id"], port_id=two.child["id"])
    scene.soon(lambda: carries(scene, two.parent_vlan))
    assert status(scene, two.child) == "DOWN"
    scene.neutron("add_subport", trunk_id=trunk["id"], port_id=two.child["id"], tag=two.vlan)
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))
    scene.neutron("delete_trunk", trunk_id=trunk["id"])
    scene.soon(lambda: carries(scene, two.parent_vlan))
    addresses = {
        ref["uuid"]: one["instance_ip_address"]
        for one in scene.ours("instance-ip")
        for ref in one["virtual_machine_interface_refs"]
    }
    assert addresses == {port["id"]: port["fixed_ips"][0]["ip_address"] for port in (two.parent, two.child)}


def test_a_subport_that_left_while_its_parent_was_off_does_not_come_back(scene: Scene, two: Networks) -> None:
    trunk = scene.neutron("trunk", port_id=two.parent["id"], subports=[[two.child["id"], two.vlan]])
    scene.neutron.bind(two.parent["id"], HERE)
    scene.neutron.bind(two.parent["id"])
    scene.neutron("remove_subport", trunk_id=trunk["id"], port_id=two.child["id"])
    scene.neutron.bind(two.parent["id"], HERE)
    scene.soon(lambda: carries(scene, two.parent_vlan))
    scene.settled()
    assert carries(scene, two.parent_vlan)


def test_a_tag_that_is_not_its_network_s_vlan_is_refused(scene: Scene, two: Networks) -> None:
    """On the switch it could be another network's."""
    scene.neutron.bind(two.parent["id"], HERE)
    wrong = two.vlan + 1 if two.vlan + 1 != two.parent_vlan else two.vlan + 2
    with pytest.raises(NeutronError):
        scene.neutron("trunk", port_id=two.parent["id"], subports=[[two.child["id"], wrong]])
    assert scene.neutron("trunks") == []
    scene.soon(lambda: carries(scene, two.parent_vlan))


def test_without_an_answer_no_subport_comes_or_goes(scene: Scene, two: Networks) -> None:
    scene.neutron.bind(two.parent["id"], HERE)
    trunk = scene.neutron("trunk", port_id=two.parent["id"])
    scene.fault("virtual-machine-interface", "drop", match="update")
    with pytest.raises(NeutronError):
        scene.neutron("add_subport", trunk_id=trunk["id"], port_id=two.child["id"], tag=two.vlan)
    scene.mend()
    assert [each["sub_ports"] for each in scene.neutron("trunks")] == [[]]
    scene.settled()
    scene.neutron("add_subport", trunk_id=trunk["id"], port_id=two.child["id"], tag=two.vlan)
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))
    scene.fault("virtual-machine-interface", "drop", match="delete")
    with pytest.raises(NeutronError):
        scene.neutron("remove_subport", trunk_id=trunk["id"], port_id=two.child["id"])
    scene.mend()
    assert len(scene.neutron("trunks")[0]["sub_ports"]) == 1
    scene.settled()
    assert carries(scene, two.parent_vlan, two.vlan)


def test_a_subport_that_was_taken_off_by_hand_is_tagged_again(scene: Scene, two: Networks) -> None:
    scene.neutron.bind(two.parent["id"], HERE)
    scene.neutron("trunk", port_id=two.parent["id"], subports=[[two.child["id"], two.vlan]])
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))
    for one in scene.ours("instance-ip"):
        if [ref["uuid"] for ref in one["virtual_machine_interface_refs"]] == [two.child["id"]]:
            assert scene.controller.call("DELETE", f"/instance-ip/{one['uuid']}")[0] == 200
    assert scene.controller.call("DELETE", f"/virtual-machine-interface/{two.child['id']}")[0] == 200
    scene.soon(lambda: carries(scene, two.parent_vlan))
    scene.settled()
    scene.soon(lambda: carries(scene, two.parent_vlan, two.vlan))

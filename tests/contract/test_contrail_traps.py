"""The traps of a Contrail/OpenSDN controller, each reproduced with bare requests; docs/contrail-controller.md numbers
them.

A test passes when the controller does the harm that the page describes. Should one fail on a real controller, that
release has mended it: good news, and a reason to look at the rule that guards against it.
"""

from __future__ import annotations

from typing import Any

import pytest

from .contrail_at_hand import BINDINGS, FABRIC, ROOT, Controller, binding, pair, subnet

GROUP = "virtual-port-group"
VMI = "virtual-machine-interface"


def _networks_on(controller: Controller, group: dict[str, Any]) -> set[str]:
    """The networks of the interfaces on a port group."""
    return {
        ref["uuid"]
        for interface in group["virtual_machine_interface_refs"]
        for ref in controller.show(VMI, interface["uuid"])["virtual_network_refs"]
    }


# -- 1: one physical port in two networks ------------------------------------------------------------------------------


def test_1_a_bind_without_a_vlan_puts_one_port_into_two_networks(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    provisioning, tenant = controller.network(), controller.network()
    first, second = controller.interface(provisioning), controller.interface(tenant)
    controller.bind(first, (leaf, ports[0]))
    controller.bind(second, (leaf, ports[0]))  # 200
    group = controller.group_of(second)
    assert group is not None
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [first, second]
    assert _networks_on(controller, group) == {provisioning, tenant}
    assert [ref["to"][-1] for ref in group["physical_interface_refs"]] == ports


def test_1_with_a_vlan_the_second_bind_is_refused(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    provisioning = controller.network()
    first, second = controller.interface(provisioning), controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]), vlan=4)
    assert "already exists for virtual port group" in controller.bind(second, (leaf, ports[0]), vlan=4, expect=400)
    group = controller.group_of(first)
    assert group is not None
    assert _networks_on(controller, group) == {provisioning}
    assert controller.group_of(second) is None


def test_1_another_vlan_does_not_help_either(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    first, second = controller.interface(controller.network()), controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.bind(second, (leaf, ports[0]), vlan=5, expect=400)


def test_1_a_vlan_is_no_guard_when_the_first_bind_had_none(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    first, second = controller.interface(controller.network()), controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]))
    controller.bind(second, (leaf, ports[0]), vlan=4)  # 200
    group = controller.group_of(second)
    assert group is not None
    assert len(_networks_on(controller, group)) == 2


def test_1_a_vlan_is_no_guard_when_it_was_there_before_the_bind(controller: Controller) -> None:
    """An interface that holds its VLAN already, unbound, is not looked at again."""
    leaf, ports = controller.leaf(1)
    vlan = pair("tor_port_vlan_id", "4")
    first = controller.interface(controller.network())
    second = controller.interface(controller.network(), [pair("vnic_type", "baremetal"), vlan])
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.bind(second, (leaf, ports[0]), vlan=4)  # 200
    group = controller.group_of(second)
    assert group is not None
    assert len(_networks_on(controller, group)) == 2


def test_1_a_create_with_a_profile_is_refused_where_an_update_is_not(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    first = controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]))
    body = controller.interface_body(controller.network(), binding((leaf, ports[0])))
    text = controller.refused(400, "POST", f"/{VMI}s", {VMI: {"fq_name": controller.in_project("second"), **body}})
    assert "already belong to the vpg" in text


def test_1_unbound_first_the_flip_leaves_one_network(controller: Controller) -> None:
    """The rule: always with the VLAN, unbound before bound."""
    leaf, ports = controller.leaf(1)
    tenant = controller.network()
    first, second = controller.interface(controller.network()), controller.interface(tenant)
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.delete(VMI, first)
    controller.bind(second, (leaf, ports[0]), vlan=4)
    group = controller.group_of(second)
    assert group is not None
    assert _networks_on(controller, group) == {tenant}


# -- 2: another network, the old routing instance ----------------------------------------------------------------------


def test_2_an_interface_that_changes_its_network_keeps_the_old_routing_instance(controller: Controller) -> None:
    old, new = controller.network(), controller.network()
    interface = controller.interface(old)
    controller.update(VMI, interface, virtual_network_refs=[controller.to("virtual-network", new)])
    shown = controller.show(VMI, interface)
    assert [ref["uuid"] for ref in shown["virtual_network_refs"]] == [new]
    old_name = controller.show("virtual-network", old)["fq_name"]
    assert [ref["to"] for ref in shown["routing_instance_refs"]] == [[*old_name, old_name[-1]]]


def test_2_deleted_and_created_it_has_the_right_one(controller: Controller) -> None:
    old, new = controller.network(), controller.network()
    controller.delete(VMI, controller.interface(old))
    shown = controller.show(VMI, controller.interface(new))
    name = controller.show("virtual-network", new)["fq_name"]
    assert [ref["to"] for ref in shown["routing_instance_refs"]] == [[*name, name[-1]]]


# -- 3: after a refused bind, nothing to unbind ------------------------------------------------------------------------


def test_3_after_a_refused_bind_an_unbind_is_refused_too(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    first, second = controller.interface(controller.network()), controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.bind(second, (leaf, ports[0]), vlan=4, expect=400)
    assert "Unable to retrieve fabric name" in controller.unbind(second, expect=400)
    shown = controller.show(VMI, second)
    assert "virtual_port_group_back_refs" not in shown  # it is as unbound as it was
    assert "profile" not in {each["key"] for each in shown[BINDINGS]["key_value_pair"]}


# -- 4: nothing ties a switch port to a project ------------------------------------------------------------------------


def test_4_interfaces_of_two_projects_may_take_one_port_after_another(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    other = controller.name("project")
    controller.create("project", ["default-domain", other], parent_type="domain")
    first = controller.interface(controller.network())
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.unbind(first)
    second = controller.create(VMI, ["default-domain", other, controller.name("vmi")],
                               **controller.interface_body(controller.network()))  # fmt: skip
    controller.bind(second, (leaf, ports[0]), vlan=4)
    group = controller.group_of(second)
    assert group is not None
    assert group["parent_type"] == "fabric"  # neither the group
    physical = controller.show("physical-interface", group["physical_interface_refs"][0]["uuid"])
    assert physical["parent_type"] == "physical-router"  # nor the port is of any project


def test_4_a_tenant_may_bind_to_any_switch_port(controller: Controller) -> None:
    """Whoever may make an interface with a binding profile reaches every port of the fabric."""
    if controller.tokens("tenant") is None:
        pytest.skip("--contrail-tenant-cloud was not given")
    leaf, ports = controller.leaf(1)
    project = controller.ok("GET", "/projects", who="tenant")["projects"][0]["fq_name"]
    network = [*project, controller.name("network")]
    controller.create("virtual-network", network, who="tenant", parent_type="project")
    interface = controller.create(
        VMI, [*project, controller.name("vmi")], who="tenant", parent_type="project",
        virtual_network_refs=[{"to": network}], **{BINDINGS: {"key_value_pair": binding((leaf, ports[0]), vlan=4)}},
    )  # fmt: skip
    group = controller.group_of(interface)
    assert group is not None
    assert [ref["to"] for ref in group["physical_interface_refs"]] == [[ROOT, leaf, ports[0]]]


# -- 5: addresses ------------------------------------------------------------------------------------------------------


def test_5_addresses_come_from_the_top_of_the_pool(controller: Controller) -> None:
    network = controller.network(subnet("10.31.0.0/24", ("10.31.0.10", "10.31.0.20")))
    assert [controller.address(network)["instance_ip_address"] for _ in range(3)] == [
        "10.31.0.20", "10.31.0.19", "10.31.0.18",
    ]  # fmt: skip


def test_5_unless_the_subnet_says_from_the_start(controller: Controller) -> None:
    network = controller.network(subnet("10.31.1.0/24", addr_from_start=True))
    entry = controller.show("virtual-network", network)["network_ipam_refs"][0]["attr"]["ipam_subnets"][0]
    assert (entry["default_gateway"], entry["dns_server_address"]) == ("10.31.1.1", "10.31.1.2")
    assert controller.address(network)["instance_ip_address"] == "10.31.1.3"


def test_5_a_version_6_address_comes_back_when_version_4_has_run_out(controller: Controller) -> None:
    network = controller.network(subnet("10.32.0.0/24", ("10.32.0.10", "10.32.0.10")), subnet("2001:db8:32::/64"))
    assert controller.address(network)["instance_ip_address"] == "10.32.0.10"
    assert controller.address(network)["instance_ip_address"].startswith("2001:db8:32:")  # 200, and nobody asked for it
    refs = [controller.to("virtual-network", network)]
    body = controller.body("instance-ip", [controller.name("ip")], virtual_network_refs=refs, instance_ip_family="v4")
    assert "exhausted" in controller.refused(400, "POST", "/instance-ips", body)


@pytest.mark.parametrize(
    ("address", "what"),
    [("10.33.0.99", "outside the pool"), ("10.33.0.254", "the gateway"), ("10.33.0.253", "the DNS server")],
)
def test_5_a_fixed_address_is_given_that_should_not_be(controller: Controller, address: str, what: str) -> None:
    network = controller.network(subnet("10.33.0.0/24", ("10.33.0.10", "10.33.0.20")))
    given = controller.address(network, instance_ip_address=address)
    assert given["instance_ip_address"] == address, what


def test_5_a_fixed_address_outside_of_the_subnet_is_refused(controller: Controller) -> None:
    refs = [controller.to("virtual-network", controller.network(subnet("10.34.0.0/24")))]
    body = controller.body(
        "instance-ip", [controller.name("ip")], virtual_network_refs=refs, instance_ip_address="10.35.0.1"
    )
    controller.refused(400, "POST", "/instance-ips", body)


def test_5_a_used_address_is_refused(controller: Controller) -> None:
    network = controller.network()
    taken = controller.address(network)["instance_ip_address"]
    refs = [controller.to("virtual-network", network)]
    body = controller.body("instance-ip", [controller.name("ip")], virtual_network_refs=refs, instance_ip_address=taken)
    assert "already in use" in controller.refused(409, "POST", "/instance-ips", body)


def test_5_an_address_cannot_be_changed(controller: Controller) -> None:
    address = controller.address(controller.network(subnet("10.36.0.0/24")))
    body = {"instance-ip": {"instance_ip_address": "10.36.0.7"}}
    assert "can not be changed" in controller.refused(400, "PUT", f"/instance-ip/{address['uuid']}", body)


def test_5_a_freed_address_is_the_next_one_again(controller: Controller) -> None:
    network = controller.network()
    first = controller.address(network)
    controller.delete("instance-ip", first["uuid"])
    assert controller.address(network)["instance_ip_address"] == first["instance_ip_address"]


def test_5_networks_may_overlap_but_not_the_subnets_of_one(controller: Controller) -> None:
    one, two = controller.network(subnet("10.37.0.0/24")), controller.network(subnet("10.37.0.0/24"))
    assert controller.address(one)["instance_ip_address"] == controller.address(two)["instance_ip_address"]
    refs = [{"to": controller.ipam(), "attr": {"ipam_subnets": [subnet("10.38.0.0/16"), subnet("10.38.1.0/24")]}}]
    body = controller.body("virtual-network", controller.in_project("x"), parent_type="project", network_ipam_refs=refs)
    controller.refused(400, "POST", "/virtual-networks", body)


def test_5_one_mac_may_be_on_two_interfaces_of_one_network(controller: Controller) -> None:
    network = controller.network()
    macs = {"virtual_machine_interface_mac_addresses": {"mac_address": ["02:00:00:00:00:05"]}}
    one, two = controller.interface(network, **macs), controller.interface(network, **macs)
    shown = [controller.show(VMI, each)["virtual_machine_interface_mac_addresses"] for each in (one, two)]
    assert shown == [{"mac_address": ["02:00:00:00:00:05"]}] * 2


# -- 6: the order of deletion ------------------------------------------------------------------------------------------


def test_6_what_is_referred_to_stays_until_the_referrer_is_gone(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    network = controller.network()
    ipam = controller.show("virtual-network", network)["network_ipam_refs"][0]["uuid"]
    name = controller.show("virtual-network", network)["fq_name"]
    interface = controller.interface(network)
    controller.bind(interface, (leaf, ports[0]), vlan=4)
    refs = [controller.to(VMI, interface)]
    address = controller.address(network, virtual_machine_interface_refs=refs)
    pool = [*name, controller.name("pool")]
    pool_uuid = controller.create("floating-ip-pool", pool, parent_type="virtual-network")
    floating = controller.create(
        "floating-ip", [*pool, controller.name("fip")], parent_type="floating-ip-pool",
        virtual_machine_interface_refs=refs,
    )  # fmt: skip
    group = controller.group_of(interface)
    assert group is not None

    assert "still referred" in _conflict(controller, VMI, interface)
    assert "children" in _conflict(controller, "virtual-network", network)
    assert "still referred" in _conflict(controller, "network-ipam", ipam)
    assert "children" in _conflict(controller, "floating-ip-pool", pool_uuid)
    controller.refused(400, "DELETE", f"/{GROUP}/{group['uuid']}")

    controller.delete("floating-ip", floating)
    assert "still referred" in _conflict(controller, VMI, interface)
    controller.delete("instance-ip", address["uuid"])
    controller.delete(VMI, interface)
    controller.refused(404, "GET", f"/{GROUP}/{group['uuid']}")  # one of the controller's own goes with it
    assert "children" in _conflict(controller, "virtual-network", network)
    controller.delete("floating-ip-pool", pool_uuid)
    assert "still referred" in _conflict(controller, "network-ipam", ipam)
    controller.delete("virtual-network", network)
    controller.delete("network-ipam", ipam)


def _conflict(controller: Controller, type: str, uuid: str) -> str:
    return controller.refused(409, "DELETE", f"/{type}/{uuid}")


def test_6_children_before_their_parents(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    router = controller.ok("POST", "/fqname-to-id", {"type": "physical-router", "fq_name": [ROOT, leaf]})["uuid"]
    assert "children" in _conflict(controller, "physical-router", router)
    physical = controller.ok(
        "POST", "/fqname-to-id", {"type": "physical-interface", "fq_name": [ROOT, leaf, ports[0]]}
    )["uuid"]
    controller.delete("physical-interface", physical)
    controller.delete("physical-router", router)

    server = controller.name("server")
    node = controller.create("node", [ROOT, server], parent_type="global-system-config", hostname=server)
    port = controller.create("port", [ROOT, server, "eth0"], parent_type="node")
    assert "children" in _conflict(controller, "node", node)
    controller.delete("port", port)
    controller.delete("node", node)


def test_6_a_group_of_ones_own_outlives_its_interfaces(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    name = controller.name("group")
    group = controller.create(GROUP, [ROOT, FABRIC, name], parent_type="fabric")
    interface = controller.interface(controller.network(), [*binding((leaf, ports[0]), vlan=4), pair("vpg", name)])
    controller.refused(400, "DELETE", f"/{GROUP}/{group}")
    controller.delete(VMI, interface)
    assert controller.show(GROUP, group)["physical_interface_refs"]
    controller.delete(GROUP, group)


# -- 7: DHCP without a service node ------------------------------------------------------------------------------------


def test_7_a_leaf_without_a_service_node_gives_no_error(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    router = controller.ok("POST", "/fqname-to-id", {"type": "physical-router", "fq_name": [ROOT, leaf]})["uuid"]
    assert "virtual_router_refs" not in controller.show("physical-router", router)
    interface = controller.interface(controller.network(subnet("10.39.0.0/24", enable_dhcp=True)))
    controller.bind(interface, (leaf, ports[0]), vlan=4)  # 200: nobody will answer its DHCP, and nobody says so
    assert controller.group_of(interface) is not None


def test_7_the_association_can_be_read(controller: Controller) -> None:
    leaf, _ = controller.leaf(0)
    service_node = controller.create(
        "virtual-router", [ROOT, controller.name("tsn")], parent_type="global-system-config",
        virtual_router_type="tor-service-node", virtual_router_ip_address="192.0.2.7",
    )  # fmt: skip
    router = controller.ok("POST", "/fqname-to-id", {"type": "physical-router", "fq_name": [ROOT, leaf]})["uuid"]
    add = controller.ref("ADD", "physical-router", router, "virtual-router", service_node, attr=None)
    controller.ok("POST", "/ref-update", add)
    refs = controller.show("physical-router", router)["virtual_router_refs"]
    assert [ref["uuid"] for ref in refs] == [service_node]
    assert controller.show("virtual-router", service_node)["virtual_router_type"] == "tor-service-node"
    controller.ok("POST", "/ref-update", {**add, "operation": "DELETE"})


# -- 8: jobs -----------------------------------------------------------------------------------------------------------


def test_8_a_job_that_makes_no_sense_is_refused(controller: Controller) -> None:
    controller.refused(400, "POST", "/execute-job", {"input": {}})
    named = {"job_template_fq_name": [ROOT, controller.name("no-template")], "input": {}}
    controller.refused(404, "POST", "/execute-job", named)


def test_8_a_job_answers_an_id_and_its_result_is_nowhere(controller: Controller, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--contrail-url"):
        pytest.skip("would start a job on a real fabric")
    named = {"job_template_fq_name": [ROOT, "discover_device_template"], "input": {}}
    answer = controller.ok("POST", "/execute-job", named)
    assert set(answer) == {"job_execution_id"}
    for path in ("/execute-job", f"/job/{answer['job_execution_id']}", f"/jobs/{answer['job_execution_id']}"):
        assert controller.request("GET", path).status in (404, 405)

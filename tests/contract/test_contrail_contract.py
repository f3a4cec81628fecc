"""What Steelyard relies on in a Contrail/OpenSDN config API: its conventions and its objects.

Runs on the controller that we ship, and unchanged on a real one: `pytest tests/contract/test_contrail_contract.py
--contrail-url http://controller:8082 --contrail-cloud admin [--contrail-tenant-cloud demo]`. The traps are in
test_contrail_traps.py.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from .contrail_at_hand import BINDINGS, FABRIC, ROOT, Controller, binding, pair, subnet

GROUP = "virtual-port-group"
VMI = "virtual-machine-interface"
NOWHERE = "00000000-0000-4000-8000-000000000000"


# -- the four verbs ----------------------------------------------------------------------------------------------------


def test_a_create_answers_200_with_the_uuid_name_and_parent(controller: Controller) -> None:
    fq_name = controller.in_project(controller.name("ipam"))
    body = controller.body("network-ipam", fq_name, parent_type="project")
    made = controller.ok("POST", "/network-ipams", body)["network-ipam"]
    try:
        assert made["fq_name"] == fq_name
        assert made["name"] == fq_name[-1]
        assert str(uuid.UUID(made["uuid"])) == made["uuid"]
        assert made["parent_type"] == "project"
        assert made["href"].endswith(f"/network-ipam/{made['uuid']}")
    finally:
        controller.delete("network-ipam", made["uuid"])


def test_a_client_may_choose_the_uuid(controller: Controller) -> None:
    chosen = str(uuid.uuid4())
    fq_name = controller.in_project(controller.name("ipam"))
    assert controller.create("network-ipam", fq_name, parent_type="project", uuid=chosen) == chosen
    other = controller.body("network-ipam", controller.in_project("other"), parent_type="project", uuid=chosen)
    text = controller.refused(409, "POST", "/network-ipams", other)
    assert f"{chosen} already exists with fq_name" in text


def test_a_name_that_is_taken_answers_409_with_the_uuid_of_its_holder(controller: Controller) -> None:
    """Which makes a create idempotent."""
    fq_name = controller.in_project(controller.name("ipam"))
    first = controller.create("network-ipam", fq_name, parent_type="project")
    again = controller.body("network-ipam", fq_name, parent_type="project")
    text = controller.refused(409, "POST", "/network-ipams", again)
    assert f"already exists with uuid: {first}" in text


def test_the_name_of_an_instance_ip_is_global(controller: Controller) -> None:
    name = [controller.name("ip")]
    refs = [controller.to("virtual-network", controller.network())]
    first = controller.create("instance-ip", name, virtual_network_refs=refs)
    elsewhere = [controller.to("virtual-network", controller.network())]
    text = controller.refused(
        409, "POST", "/instance-ips", controller.body("instance-ip", name, virtual_network_refs=elsewhere)
    )
    assert f"already exists with uuid: {first}" in text


def test_an_update_is_partial_and_ignores_what_it_does_not_know(controller: Controller) -> None:
    network = controller.network(display_name="first", no_such_property={"a": 1})
    assert "no_such_property" not in controller.show("virtual-network", network)
    controller.update("virtual-network", network, display_name="second", neither_this=1)
    shown = controller.show("virtual-network", network)
    assert shown["display_name"] == "second"
    assert "neither_this" not in shown
    assert len(shown["network_ipam_refs"]) == 1  # was not named, stays


def test_an_update_replaces_the_references_of_a_field(controller: Controller) -> None:
    first, second = (
        controller.create("security-group", controller.in_project(controller.name("sg")), parent_type="project")
        for _ in range(2)
    )
    interface = controller.interface(controller.network(), security_group_refs=[controller.to("security-group", first)])
    controller.update(VMI, interface, security_group_refs=[controller.to("security-group", second)])
    refs = controller.show(VMI, interface)["security_group_refs"]
    assert [ref["uuid"] for ref in refs] == [second]
    controller.update(VMI, interface, security_group_refs=[])
    assert "security_group_refs" not in controller.show(VMI, interface)


def test_what_is_not_there_answers_404(controller: Controller) -> None:
    for method in ("GET", "DELETE"):
        controller.refused(404, method, f"/virtual-network/{NOWHERE}")
    controller.refused(404, "PUT", f"/virtual-network/{NOWHERE}", {"virtual-network": {"display_name": "x"}})
    network = controller.network()
    controller.refused(404, "GET", f"/network-ipam/{network}")  # there, but of another type
    controller.refused(404, "GET", "/no-such-things")


def test_errors_are_plain_text(controller: Controller) -> None:
    answers = [
        controller.request("GET", f"/virtual-network/{NOWHERE}"),
        controller.request("POST", "/virtual-networks", {"virtual-network": {"parent_type": "project"}}),
        controller.request("POST", "/fqname-to-id", {"type": "virtual-network", "fq_name": ["a", "b", "c"]}),
    ]
    assert [answer.status for answer in answers] == [404, 400, 404]
    for answer in answers:
        assert answer.text
        assert not answer.is_json


def test_without_a_token_the_answer_is_401_in_json(controller: Controller) -> None:
    answer = controller.request("GET", "/virtual-networks", who=None)
    assert answer.status == 401
    assert answer.is_json


@pytest.mark.parametrize(
    ("type", "properties"),
    [
        ("virtual-network", {"fq_name": None}),
        ("virtual-network", {"parent_type": "fabric"}),
        ("virtual-network", {"router_external": "perhaps"}),
        ("virtual-network", {"provider_properties": {"physical_network": "physnet1"}}),
        ("virtual-network", {"network_ipam_refs": [{"to": ["no", "such", "ipam"], "attr": {"ipam_subnets": []}}]}),
        ("virtual-network", {"uuid": "not-a-uuid-at-all"}),
        (VMI, {"virtual_network_refs": [{"to": ["no", "such", "network"]}]}),
    ],
)
def test_what_makes_no_sense_is_refused(controller: Controller, type: str, properties: dict[str, Any]) -> None:
    body = {"fq_name": controller.in_project("bad"), "parent_type": "project", **properties}
    answer = controller.request("POST", f"/{type}s", {type: body})
    # Where a reference or a uuid is looked at late, the real server fails instead of refusing.
    assert answer.status in (400, 404, 500), answer.text
    assert controller.request("GET", f"/{type}s?parent_id={NOWHERE}").status == 200


def test_a_parent_that_is_not_there_is_refused(controller: Controller) -> None:
    body = controller.body("network-ipam", ["default-domain", "no-such-project", "x"], parent_type="project")
    assert "does not exist" in controller.refused(400, "POST", "/network-ipams", body)


def test_a_reference_whose_schema_has_an_attribute_must_carry_one(controller: Controller) -> None:
    ipam = controller.ipam()
    body = controller.body(
        "virtual-network", controller.in_project("x"), parent_type="project", network_ipam_refs=[{"to": ipam}]
    )
    assert "attr" in controller.refused(400, "POST", "/virtual-networks", body)


def test_a_read_can_be_limited(controller: Controller) -> None:
    network = controller.network()
    controller.address(network)
    whole = controller.show("virtual-network", network)
    assert whole["instance_ip_back_refs"]
    assert [child["to"][-1] for child in whole["routing_instances"]] == [whole["name"]]
    without = controller.show("virtual-network", network, "?exclude_back_refs=true&exclude_children=true")
    assert not {name for name in without if name.endswith("_back_refs") or name == "routing_instances"}
    some = controller.show("virtual-network", network, "?fields=is_shared,instance_ip_back_refs")
    assert "network_ipam_refs" not in some
    assert len(some["instance_ip_back_refs"]) == 1


@pytest.mark.parametrize(
    ("type", "parent"),
    [
        ("network-policy", "project"),
        ("port-group", "node"),
        ("node-profile", "global-system-config"),
        ("hardware", None),
        ("card", None),
    ],
)
def test_the_other_types_exist(controller: Controller, type: str, parent: str | None) -> None:
    """Their plural is the type and an s, also where English has it otherwise."""
    name = controller.name("thing")
    above = {"project": controller.in_project(name), "global-system-config": [ROOT, name], None: [name]}
    if parent == "node":
        server = controller.name("server")
        controller.create("node", [ROOT, server], parent_type="global-system-config", hostname=server)
        above["node"] = [ROOT, server, name]
    uuid = controller.create(type, above[parent], **({"parent_type": parent} if parent is not None else {}))
    assert [each["uuid"] for each in controller.list(type, f"obj_uuids={uuid}")] == [uuid]


# -- names and lists ---------------------------------------------------------------------------------------------------


def test_names_and_ids(controller: Controller) -> None:
    network = controller.network()
    shown = controller.ok("POST", "/id-to-fqname", {"uuid": network})
    assert shown["type"] == "virtual-network"
    named = {"type": "virtual-network", "fq_name": shown["fq_name"]}
    assert controller.ok("POST", "/fqname-to-id", named) == {"uuid": network}
    controller.refused(404, "POST", "/id-to-fqname", {"uuid": NOWHERE})
    controller.refused(404, "POST", "/fqname-to-id", {"type": "virtual-network", "fq_name": ["a", "b", "c"]})


def test_a_list_by_parent_by_uuid_and_by_name(controller: Controller) -> None:
    one, two = controller.network(), controller.network()
    project = controller.ok(
        "POST", "/fqname-to-id", {"type": "project", "fq_name": ["default-domain", controller.project]}
    )["uuid"]
    assert {found["uuid"] for found in controller.list("virtual-network", f"parent_id={project}")} == {one, two}
    found = controller.list("virtual-network", f"obj_uuids={one},{NOWHERE}")
    assert [each["uuid"] for each in found] == [one]
    assert set(found[0]) == {"uuid", "fq_name", "href"}
    name = ":".join(found[0]["fq_name"])
    assert [each["uuid"] for each in controller.list("virtual-network", f"fq_names={name},a:b:c")] == [one]
    assert controller.list("virtual-network", "fq_names=a:b:c") == []


def test_a_list_in_detail_with_fields_and_as_a_count(controller: Controller) -> None:
    one, two = controller.network(), controller.network()
    which = f"obj_uuids={one},{two}"
    detailed = controller.list("virtual-network", f"{which}&detail=true")
    assert {each["virtual-network"]["uuid"] for each in detailed} == {one, two}
    for each in detailed:
        assert each["virtual-network"]["network_ipam_refs"]
        assert "routing_instances" not in each["virtual-network"]  # no children and no back-references unless asked for
    controller.address(one)
    asked = controller.list("virtual-network", f"obj_uuids={one}&detail=true&fields=instance_ip_back_refs")
    assert len(asked[0]["virtual-network"]["instance_ip_back_refs"]) == 1
    with_field = controller.list("virtual-network", f"{which}&fields=is_shared")
    assert [each["is_shared"] for each in with_field] == [False, False]
    assert controller.ok("GET", f"/virtual-networks?{which}&count=true") == {"virtual-networks": {"count": 2}}


def test_a_list_by_back_reference_and_by_filter(controller: Controller) -> None:
    network, other = controller.network(), controller.network()
    address = controller.address(network)
    controller.address(other)
    found = controller.list("instance-ip", f"back_ref_id={network}")
    assert [each["uuid"] for each in found] == [address["uuid"]]
    which = f"back_ref_id={network},{other}"
    wanted = f'filters=instance_ip_address=="{address["instance_ip_address"]}"'.replace('"', "%22")
    assert address["uuid"] in {each["uuid"] for each in controller.list("instance-ip", f"{which}&{wanted}")}
    assert controller.list("instance-ip", f"{which}&filters=instance_ip_address==%22192.0.2.1%22") == []


def test_pages_follow_each_other_by_marker(controller: Controller) -> None:
    network = controller.network()
    made = {controller.address(network)["uuid"] for _ in range(5)}
    which, marker, seen, pages = f"back_ref_id={network}", "None", [], 0
    while pages < 10:
        page = controller.ok("GET", f"/instance-ips?{which}&page_limit=2&page_marker={marker}")
        seen += [each["uuid"] for each in page["instance-ips"]]
        pages += 1
        if page["marker"] is None:
            break
        assert len(page["instance-ips"]) <= 2
        marker = page["marker"]
    assert sorted(seen) == sorted(made)


def test_a_page_limit_without_a_marker_does_nothing(controller: Controller) -> None:
    network = controller.network()
    for _ in range(3):
        controller.address(network)
    answer = controller.ok("GET", f"/instance-ips?back_ref_id={network}&page_limit=2")
    assert len(answer["instance-ips"]) == 3
    assert "marker" not in answer


@pytest.mark.parametrize("query", ["page_limit=0&page_marker=None", "page_limit=x", "page_marker=x"])
def test_a_page_that_makes_no_sense_is_refused(controller: Controller, query: str) -> None:
    controller.refused(400, "GET", f"/instance-ips?{query}")


def test_a_long_list_goes_by_post(controller: Controller) -> None:
    network = controller.network()
    made = {controller.address(network)["uuid"] for _ in range(3)}
    body = {
        "type": "instance-ip",
        "obj_uuids": ",".join([*made, *(str(uuid.uuid4()) for _ in range(500))]),
        "detail": True,
        "fields": "instance_ip_address",
    }
    found = controller.ok("POST", "/list-bulk-collection", body)["instance-ips"]
    assert {each["instance-ip"]["uuid"] for each in found} == made
    assert all(each["instance-ip"]["instance_ip_address"] for each in found)


# -- single references and single keys ---------------------------------------------------------------------------------


def test_references_are_added_and_removed_one_by_one(controller: Controller) -> None:
    group = controller.create("security-group", controller.in_project(controller.name("sg")), parent_type="project")
    interface = controller.interface(controller.network())
    add = controller.ref("ADD", VMI, interface, "security-group", group, attr=None)
    for _ in range(2):  # twice is once
        assert controller.ok("POST", "/ref-update", add) == {"uuid": interface}
    assert [ref["uuid"] for ref in controller.show(VMI, interface)["security_group_refs"]] == [group]
    assert [ref["uuid"] for ref in controller.show("security-group", group)[f"{VMI.replace('-', '_')}_back_refs"]] == [
        interface
    ]
    for _ in range(2):
        controller.ok("POST", "/ref-update", {**add, "operation": "DELETE"})
    assert "security_group_refs" not in controller.show(VMI, interface)
    controller.refused(404, "POST", "/ref-update", {**add, "ref-uuid": NOWHERE})
    controller.refused(400, "POST", "/ref-update", {**add, "operation": "REPLACE"})


def test_references_added_at_once_are_all_there(controller: Controller) -> None:
    interface = controller.interface(controller.network())
    groups = [
        controller.create("security-group", controller.in_project(controller.name("sg")), parent_type="project")
        for _ in range(8)
    ]
    errors: list[str] = []

    def add(group: str) -> None:
        answer = controller.request(
            "POST", "/ref-update", controller.ref("ADD", VMI, interface, "security-group", group, attr=None)
        )
        if answer.status != 200:
            errors.append(answer.text)

    threads = [threading.Thread(target=add, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert {ref["uuid"] for ref in controller.show(VMI, interface)["security_group_refs"]} == set(groups)


def test_a_binding_is_changed_key_by_key(controller: Controller) -> None:
    interface = controller.interface(controller.network())

    def keys() -> dict[str, str]:
        shown = controller.show(VMI, interface)[BINDINGS]["key_value_pair"]
        return {each["key"]: each["value"] for each in shown}

    change = {"field": BINDINGS, "operation": "set", "value": pair("host_id", "one"), "position": "host_id"}
    controller.ok("POST", "/prop-collection-update", {"uuid": interface, "updates": [change]})
    assert keys()["host_id"] == "one"
    assert keys()["vnic_type"] == "baremetal"
    got = controller.ok("GET", f"/prop-collection-get?uuid={interface}&fields={BINDINGS}&position=host_id")
    assert [entry[0] for entry in got[BINDINGS]] == [pair("host_id", "one")]
    delete = {"field": BINDINGS, "operation": "delete", "position": "host_id"}
    controller.ok("POST", "/prop-collection-update", {"uuid": interface, "updates": [delete]})
    assert "host_id" not in keys()
    wrong = {**change, "field": "display_name"}
    controller.refused(400, "POST", "/prop-collection-update", {"uuid": interface, "updates": [wrong]})


# -- who sees what -----------------------------------------------------------------------------------------------------


def _as_tenant(controller: Controller) -> None:
    if controller.tokens("tenant") is None:
        pytest.skip("--contrail-tenant-cloud was not given")


def test_a_private_network_is_not_seen_by_a_tenant(controller: Controller) -> None:
    _as_tenant(controller)
    network = controller.network()
    controller.refused(403, "GET", f"/virtual-network/{network}", who="tenant")
    listed = controller.ok("GET", f"/virtual-networks?obj_uuids={network}", who="tenant")
    assert listed == {"virtual-networks": []}
    controller.refused(403, "PUT", f"/virtual-network/{network}", {"virtual-network": {"display_name": "mine"}},
                       who="tenant")  # fmt: skip
    controller.refused(403, "DELETE", f"/virtual-network/{network}", who="tenant")


def test_a_shared_network_is_seen_by_everybody(controller: Controller) -> None:
    _as_tenant(controller)
    network = controller.network(is_shared=True)
    shown = controller.ok("GET", f"/virtual-network/{network}", who="tenant")["virtual-network"]
    assert shown["is_shared"] is True
    assert shown["perms2"]["global_access"] == 7
    controller.update("virtual-network", network, is_shared=False)
    controller.refused(403, "GET", f"/virtual-network/{network}", who="tenant")


def test_the_owner_and_the_accesses_are_shown(controller: Controller) -> None:
    perms = controller.show("virtual-network", controller.network())["perms2"]
    assert perms["owner"]
    assert (perms["owner_access"], perms["global_access"], perms["share"]) == (7, 0, [])


# -- networks, addresses, security groups ------------------------------------------------------------------------------


def test_a_network_gets_a_number_gateways_and_a_routing_instance(controller: Controller) -> None:
    network = controller.show("virtual-network", controller.network(subnet("10.20.0.0/24")))
    entry = network["network_ipam_refs"][0]["attr"]["ipam_subnets"][0]
    assert entry["default_gateway"] == "10.20.0.254"
    assert entry["dns_server_address"] == "10.20.0.253"
    assert str(uuid.UUID(entry["subnet_uuid"])) == entry["subnet_uuid"]
    assert network["virtual_network_network_id"] > 0
    assert network["routing_instances"][0]["to"] == [*network["fq_name"], network["name"]]


def test_provider_properties_are_kept(controller: Controller) -> None:
    properties = {"segmentation_id": 2345, "physical_network": "physnet1"}
    network = controller.network(provider_properties=properties)
    shown = controller.show("virtual-network", network)["provider_properties"]
    assert {name: shown[name] for name in properties} == properties


def test_dhcp_options_of_an_ipam_are_kept(controller: Controller) -> None:
    """Option 66 names the boot server: the controller serves no TFTP itself."""
    options = {"dhcp_option": [{"dhcp_option_name": "66", "dhcp_option_value": "192.0.2.66"}]}
    management = {"ipam_method": "dhcp", "dhcp_option_list": options}
    ipam = controller.ok("POST", "/fqname-to-id", {
        "type": "network-ipam", "fq_name": controller.ipam(network_ipam_mgmt=management)})["uuid"]  # fmt: skip
    shown = controller.show("network-ipam", ipam)["network_ipam_mgmt"]["dhcp_option_list"]["dhcp_option"][0]
    assert (shown["dhcp_option_name"], shown["dhcp_option_value"]) == ("66", "192.0.2.66")


def test_an_address_of_a_subnet_or_of_a_family_is_given_when_it_is_asked_for(controller: Controller) -> None:
    network = controller.network(subnet("10.24.0.0/24"), subnet("10.25.0.0/24"), subnet("2001:db8:24::/64"))
    entries = controller.show("virtual-network", network)["network_ipam_refs"][0]["attr"]["ipam_subnets"]
    by_prefix = {entry["subnet"]["ip_prefix"]: entry["subnet_uuid"] for entry in entries}
    second = controller.address(network, subnet_uuid=by_prefix["10.25.0.0"])
    assert second["instance_ip_address"].startswith("10.25.0.")
    assert second["subnet_uuid"] == by_prefix["10.25.0.0"]
    assert controller.address(network)["subnet_uuid"] == by_prefix["10.24.0.0"]  # else the first that has one
    assert controller.address(network, instance_ip_family="v6")["subnet_uuid"] == by_prefix["2001:db8:24::"]
    refs = [controller.to("virtual-network", network)]
    nowhere = controller.body("instance-ip", [controller.name("ip")], virtual_network_refs=refs, subnet_uuid=NOWHERE)
    controller.refused(400, "POST", "/instance-ips", nowhere)


def test_blocks_of_addresses_are_taken_counted_and_freed(controller: Controller) -> None:
    network = controller.network(subnet("10.21.0.0/29"))
    path = f"/virtual-network/{network}"
    taken = controller.ok("POST", f"{path}/ip-alloc", {"subnet": None, "count": 2})["ip_addr"]
    assert taken == ["10.21.0.4", "10.21.0.3"]
    entry = controller.show("virtual-network", network)["network_ipam_refs"][0]["attr"]["ipam_subnets"][0]
    counted = controller.ok("POST", f"{path}/subnet-ip-count", {"subnet_list": [entry["subnet_uuid"]]})
    assert counted["ip_count_list"] == [2]
    assert controller.address(network)["instance_ip_address"] == "10.21.0.2"
    controller.ok("POST", f"{path}/ip-free", {"subnet": None, "ip_addr": taken})
    assert controller.address(network)["instance_ip_address"] == "10.21.0.4"
    controller.refused(409, "POST", f"{path}/ip-alloc", {"subnet": None, "count": 5})


def test_a_subnet_with_an_address_in_use_stays(controller: Controller) -> None:
    network = controller.network(subnet("10.22.0.0/24"))
    controller.address(network)
    refs = controller.show("virtual-network", network)["network_ipam_refs"]
    empty = [{"to": refs[0]["to"], "attr": {"ipam_subnets": []}}]
    text = controller.refused(
        409, "PUT", f"/virtual-network/{network}", {"virtual-network": {"network_ipam_refs": empty}}
    )
    assert "is in use" in text


def test_floating_ips_come_from_the_network_of_their_pool(controller: Controller) -> None:
    network = controller.network(subnet("10.23.0.0/24"))
    name = controller.show("virtual-network", network)["fq_name"]
    pool = [*name, controller.name("pool")]
    controller.create("floating-ip-pool", pool, parent_type="virtual-network")
    project = {"to": ["default-domain", controller.project], "attr": None}
    floating = controller.create(
        "floating-ip", [*pool, controller.name("fip")], parent_type="floating-ip-pool", project_refs=[project]
    )
    address = controller.show("floating-ip", floating)["floating_ip_address"]
    assert address.startswith("10.23.0.")
    assert controller.address(network)["instance_ip_address"] != address


def test_the_rules_of_a_security_group_are_kept(controller: Controller) -> None:
    any_port, local = [{"start_port": 0, "end_port": 65535}], {"security_group": "local"}
    rule = {
        "direction": ">", "protocol": "tcp", "ethertype": "IPv4",
        "src_addresses": [{"subnet": {"ip_prefix": "192.0.2.0", "ip_prefix_len": 24}}], "src_ports": any_port,
        "dst_addresses": [local], "dst_ports": [{"start_port": 22, "end_port": 22}],
    }  # fmt: skip
    group = controller.create(
        "security-group", controller.in_project(controller.name("sg")), parent_type="project",
        security_group_entries={"policy_rule": [rule]},
    )  # fmt: skip
    kept = controller.show("security-group", group)["security_group_entries"]["policy_rule"]
    assert len(kept) == 1
    assert (kept[0]["direction"], kept[0]["protocol"], kept[0]["dst_ports"]) == (">", "tcp", rule["dst_ports"])
    wrong = {"security_group_entries": {"policy_rule": [{**rule, "direction": "sideways"}]}}
    controller.refused(400, "PUT", f"/security-group/{group}", {"security-group": wrong})


# -- servers and their ports -------------------------------------------------------------------------------------------


def _server_port(controller: Controller, switch: str, port: str) -> str:
    server = controller.name("server")
    controller.create(
        "node", [ROOT, server], parent_type="global-system-config", node_type="baremetal", hostname=server
    )
    link = {"switch_info": switch, "port_id": port, "switch_id": "02:00:00:00:00:01"}
    info = {"address": "02:00:00:00:00:10", "pxe_enabled": True, "local_link_connection": link}
    return controller.create("port", [ROOT, server, "eth0"], parent_type="node", bms_port_info=info)


def test_a_server_port_is_linked_to_its_physical_interface_silently_or_not_at_all(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    linked = _server_port(controller, leaf, ports[0])
    back = controller.show("port", linked)["physical_interface_back_refs"]
    assert [ref["to"] for ref in back] == [[ROOT, leaf, ports[0]]]
    nowhere = _server_port(controller, leaf, "xe-9/9/9")  # 200, and not a word
    assert "physical_interface_back_refs" not in controller.show("port", nowhere)
    controller.ok(
        "POST", "/ref-update", controller.ref("DELETE", "physical-interface", back[0]["uuid"], "port", linked)
    )


def test_a_colon_in_a_port_id_is_looked_up_as_an_underscore(controller: Controller) -> None:
    leaf, _ = controller.leaf(0)
    channel = controller.create("physical-interface", [ROOT, leaf, "et-0/0/1_2"], parent_type="physical-router")
    port = _server_port(controller, leaf, "et-0/0/1:2")
    back = controller.show("port", port)["physical_interface_back_refs"]
    assert [ref["uuid"] for ref in back] == [channel]
    controller.ok("POST", "/ref-update", controller.ref("DELETE", "physical-interface", channel, "port", port))


def test_a_bmc_password_is_shown_in_clear_to_whoever_reads_the_node(controller: Controller) -> None:
    """Therefore none is ever put there."""
    server = controller.name("server")
    info = {"name": server, "driver": "ipmi", "driver_info": {"ipmi_password": "contract-suite", "ipmi_username": "a"}}
    node = controller.create("node", [ROOT, server], parent_type="global-system-config", node_type="baremetal",
                             hostname=server, bms_info=info)  # fmt: skip
    assert controller.show("node", node)["bms_info"]["driver_info"]["ipmi_password"] == "contract-suite"


# -- port groups -------------------------------------------------------------------------------------------------------


def _group(controller: Controller) -> tuple[str, str]:
    name = controller.name("group")
    return controller.create(GROUP, [ROOT, FABRIC, name], parent_type="fabric"), name


def _physical(controller: Controller, leaf: str, port: str) -> str:
    found = controller.ok("POST", "/fqname-to-id", {"type": "physical-interface", "fq_name": [ROOT, leaf, port]})
    return str(found["uuid"])


def _add(controller: Controller, group: str, leaf: str, port: str) -> dict[str, Any]:
    return controller.ref("ADD", GROUP, group, "physical-interface", _physical(controller, leaf, port), attr=None)


def test_a_group_cannot_be_created_with_physical_interfaces(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    refs = [{"to": [ROOT, leaf, ports[0]], "attr": None}]
    body = controller.body(
        GROUP, [ROOT, FABRIC, controller.name("group")], parent_type="fabric", physical_interface_refs=refs
    )
    assert "Create VPG first" in controller.refused(400, "POST", f"/{GROUP}s", body)


def test_a_group_may_belong_to_a_project(controller: Controller) -> None:
    group = controller.create(GROUP, controller.in_project(controller.name("group")), parent_type="project")
    assert controller.show(GROUP, group)["parent_type"] == "project"


def test_names_of_internal_groups_are_reserved(controller: Controller) -> None:
    body = controller.body(GROUP, [ROOT, FABRIC, "vpg-internal-4711"], parent_type="fabric")
    assert "internally" in controller.refused(400, "POST", f"/{GROUP}s", body)


def test_one_interface_is_access_and_two_are_aggregated(controller: Controller) -> None:
    leaf, ports = controller.leaf(2)
    group, _ = _group(controller)
    controller.ok("POST", "/ref-update", _add(controller, group, leaf, ports[0]))
    shown = controller.show(GROUP, group)
    assert shown["virtual_port_group_lacp_enabled"] is True
    assert [ref["attr"] for ref in shown["physical_interface_refs"]] == [None]
    controller.ok("POST", "/ref-update", _add(controller, group, leaf, ports[1]))
    numbers = [ref["attr"]["ae_num"] for ref in controller.show(GROUP, group)["physical_interface_refs"]]
    assert len(numbers) == 2
    assert len(set(numbers)) == 1  # one aggregated interface on the leaf
    gone = {**_add(controller, group, leaf, ports[1]), "operation": "DELETE"}
    controller.ok("POST", "/ref-update", gone)
    assert [ref["attr"] for ref in controller.show(GROUP, group)["physical_interface_refs"]] == [None]


def test_interfaces_of_two_leaves_are_multihomed(controller: Controller) -> None:
    (one, ports), (two, _) = controller.leaf(1), controller.leaf(1)
    group, _ = _group(controller)
    for leaf in (one, two):
        controller.ok("POST", "/ref-update", _add(controller, group, leaf, ports[0]))
    refs = controller.show(GROUP, group)["physical_interface_refs"]
    assert {ref["to"][1] for ref in refs} == {one, two}
    assert all(ref["attr"]["ae_num"] is not None for ref in refs)


def test_an_interface_in_another_group_is_refused(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    first, _ = _group(controller)
    second, _ = _group(controller)
    controller.ok("POST", "/ref-update", _add(controller, first, leaf, ports[0]))
    controller.refused(400, "POST", "/ref-update", _add(controller, second, leaf, ports[0]))
    assert "physical_interface_refs" not in controller.show(GROUP, second)


def test_a_server_in_a_group_of_ones_own(controller: Controller) -> None:
    leaf, ports = controller.leaf(2)
    group, name = _group(controller)
    links = [(leaf, port) for port in ports]
    interface = controller.interface(controller.network(), [*binding(*links, vlan=4), pair("vpg", name)])
    shown = controller.show(GROUP, group)
    assert [ref["uuid"] for ref in shown["virtual_machine_interface_refs"]] == [interface]
    assert {ref["to"][-1] for ref in shown["physical_interface_refs"]} == set(ports)
    controller.delete(VMI, interface)
    assert "virtual_machine_interface_refs" not in controller.show(GROUP, group)  # the group stays: somebody made it


def test_a_group_that_is_not_there_answers_404(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    wanted = [*binding((leaf, ports[0]), vlan=4), pair("vpg", controller.name("no-group"))]
    body = controller.interface_body(controller.network(), wanted)
    controller.refused(404, "POST", f"/{VMI}s", {VMI: {"fq_name": controller.in_project("x"), **body}})


def test_untagged_and_tagged_interfaces_share_a_group(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    group, name = _group(controller)
    untagged = controller.interface(controller.network(), [*binding((leaf, ports[0]), vlan=4), pair("vpg", name)])
    network = controller.network()
    tagged = controller.interface(
        network, [*binding((leaf, ports[0])), pair("vpg", name)],
        virtual_machine_interface_properties={"sub_interface_vlan_tag": 100},
    )  # fmt: skip
    refs = controller.show(GROUP, group)["virtual_machine_interface_refs"]
    assert [ref["uuid"] for ref in refs] == [untagged, tagged]
    again = controller.interface_body(
        network, [*binding((leaf, ports[0])), pair("vpg", name)],
        virtual_machine_interface_properties={"sub_interface_vlan_tag": 100},
    )  # fmt: skip
    body = {VMI: {"fq_name": controller.in_project("again"), **again}}
    assert "already exists" in controller.refused(400, "POST", f"/{VMI}s", body)  # the same network and tag twice


# -- a port of Neutron's, through the controller's plugin --------------------------------------------------------------


def test_a_port_without_a_profile_has_no_mac_and_no_group(controller: Controller) -> None:
    network = controller.network()
    interface = controller.interface(network)
    shown = controller.show(VMI, interface)
    assert shown["virtual_machine_interface_mac_addresses"] == {"mac_address": ["00:00:00:00:00:00"]}
    assert "virtual_port_group_back_refs" not in shown
    reserved = controller.address(network, virtual_machine_interface_refs=[controller.to(VMI, interface)])
    assert reserved["instance_ip_address"]


def test_the_life_of_a_port(controller: Controller) -> None:
    leaf, ports = controller.leaf(1)
    interface = controller.interface(controller.network())
    controller.update(VMI, interface, virtual_machine_interface_mac_addresses={"mac_address": ["02:00:00:00:00:77"]})
    controller.bind(interface, (leaf, ports[0]))
    group = controller.group_of(interface)
    assert group is not None
    assert group["name"].startswith("vpg-internal-")
    assert group["virtual_port_group_user_created"] is False
    assert group["fq_name"][:2] == [ROOT, FABRIC]
    assert [ref["to"] for ref in group["physical_interface_refs"]] == [[ROOT, leaf, ports[0]]]
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [interface]
    shown = controller.show(VMI, interface)
    assert shown["virtual_machine_interface_mac_addresses"] == {"mac_address": ["02:00:00:00:00:77"]}

    controller.unbind(interface)
    left = controller.group_of(interface)
    assert left is not None  # the group stays,
    assert left["uuid"] == group["uuid"]
    assert "physical_interface_refs" not in left  # without its interfaces

    controller.bind(interface, (leaf, ports[0]))
    again = controller.group_of(interface)
    assert again is not None
    assert again["uuid"] == group["uuid"]

    controller.delete(VMI, interface)
    controller.refused(404, "GET", f"/{GROUP}/{group['uuid']}")


def test_a_port_on_two_interfaces_is_aggregated(controller: Controller) -> None:
    leaf, ports = controller.leaf(2)
    interface = controller.interface(controller.network())
    controller.bind(interface, *((leaf, port) for port in ports), vlan=4)
    group = controller.group_of(interface)
    assert group is not None
    assert group["virtual_port_group_lacp_enabled"] is True
    assert {ref["to"][-1] for ref in group["physical_interface_refs"]} == set(ports)
    assert len({ref["attr"]["ae_num"] for ref in group["physical_interface_refs"]}) == 1


def test_a_port_moves_to_another_interface(controller: Controller) -> None:
    leaf, ports = controller.leaf(2)
    interface = controller.interface(controller.network())
    controller.bind(interface, (leaf, ports[0]), vlan=4)
    controller.bind(interface, (leaf, ports[1]), vlan=4)
    group = controller.group_of(interface)
    assert group is not None
    assert [ref["to"][-1] for ref in group["physical_interface_refs"]] == [ports[1]]


def test_an_interface_that_is_not_there_answers_404(controller: Controller) -> None:
    leaf, _ = controller.leaf(0)
    interface = controller.interface(controller.network())
    controller.bind(interface, (leaf, "xe-9/9/9"), expect=404)
    assert controller.group_of(interface) is None


def test_an_interface_in_another_group_answers_400(controller: Controller) -> None:
    leaf, ports = controller.leaf(2)
    network = controller.network()
    first, second = controller.interface(network), controller.interface(network)
    controller.bind(first, (leaf, ports[0]), vlan=4)
    controller.bind(second, (leaf, ports[1]), vlan=4)
    assert "already belong to the vpg" in controller.bind(second, (leaf, ports[0]), vlan=4, expect=400)
    group = controller.group_of(second)
    assert group is not None
    assert [ref["to"][-1] for ref in group["physical_interface_refs"]] == [ports[1]]

"""What the Contrail adapter makes of answers: of good ones, of odd ones, and of those that are no answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.clouds.contrail import ContrailClouds
from steelyard.clouds.contrail.addresses import unusable
from steelyard.clouds.contrail.groups import Groups, group_of
from steelyard.clouds.contrail.reading import (
    addresses_by_port,
    as_subnet,
    default_pools,
    hex_of,
    links_in,
    network_of,
    port_of,
    readable_by,
    subnets_of,
)
from steelyard.clouds.contrail.rest import place_is_taken, taken_by, uuid_of
from steelyard.clouds.openstack.clouds import OpenstackClouds
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Duplicate, Invalid, NotFound, SteelyardError
from steelyard.nouns import HostRoute, Subnet, SwitchLink
from steelyard.settings import Settings
from steelyard.wiring import open_clouds

ID, PROJECT = "0b7e1c1e-0000-4000-8000-000000000001", "0b7e1c1e000040008000000000000002"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
NETWORK = (
    "perms2", "id_perms", "provider_properties", "network_ipam_refs", "is_shared", "display_name", "parent_uuid"
)  # fmt: skip
PORT = (
    "virtual_network_refs", "virtual_machine_refs", "security_group_refs", "virtual_machine_interface_mac_addresses",
    "virtual_machine_interface_bindings", "virtual_machine_interface_device_owner", "id_perms", "parent_uuid",
    "virtual_machine_interface_properties", "virtual_port_group_back_refs",
)  # fmt: skip


def document(**data: Any) -> Document:
    return Document({"uuid": ID, "fq_name": ["default-domain", "p", "n"], **data}, service="Contrail", what="a thing")


def network(**data: Any) -> Document:
    return document(parent_uuid="0b7e1c1e-0000-4000-8000-000000000002", **data)


def read(reader: Callable[[], Any]) -> Any:
    """What a reader makes of it; None where it raises an error of ours that says who answered."""
    with suppress(_SaidByContrail):
        try:
            return reader()
        except SteelyardError as error:
            raise (_SaidByContrail() if "Contrail" in error.detail else AssertionError(error.detail)) from error
    return None


class _SaidByContrail(Exception):
    pass


@PATIENT
@given(st.dictionaries(st.sampled_from(NETWORK), JSON))
def test_odd_networks_are_networks_or_errors_of_ours(data: dict[str, Any]) -> None:
    found = read(lambda: network_of(document(**data), whole=True))
    assert found is None or found.id == ID
    assert read(lambda: readable_by(document(**data), PROJECT)) in (None, True, False)


@PATIENT
@given(st.dictionaries(st.sampled_from(PORT), JSON))
def test_odd_ports_are_ports_or_errors_of_ours(data: dict[str, Any]) -> None:
    found = read(lambda: port_of(document(**data), (), links=(), wired=False, whole=True))
    assert found is None or (found.id, found.status in ("ACTIVE", "DOWN")) == (ID, True)


@PATIENT
@given(JSON)
def test_odd_groups_and_addresses_are_errors_of_ours(data: Any) -> None:
    group = read(lambda: group_of(document(physical_interface_refs=data, virtual_machine_interface_refs=data)))
    assert group is None or group.id == ID
    odd = document(virtual_machine_interface_refs=data, instance_ip_address="10.0.0.1")
    assert isinstance(read(lambda: addresses_by_port([odd])), dict | None)


@PATIENT
@given(st.text() | JSON.map(json.dumps))
def test_a_binding_profile_that_cannot_be_read_names_no_cable(profile: str) -> None:
    assert isinstance(links_in({"profile": profile}), tuple)


def test_a_network_is_read_whole_or_as_tenants_may() -> None:
    found = network(
        display_name="blue", provider_properties={"segmentation_id": 77, "physical_network": "physnet1"},
        perms2={"owner": PROJECT, "owner_access": 7, "global_access": 0, "share": []}, id_perms={"enable": False},
    )  # fmt: skip
    whole = network_of(found, whole=True)
    assert (whole.name, whole.project_id, whole.segmentation_id, whole.network_type, whole.status) == (
        "blue", PROJECT, 77, "vlan", "DOWN"
    )  # fmt: skip
    shown = network_of(found, whole=False)
    assert (shown.segmentation_id, shown.network_type, shown.physical_network) == (None, None, None)


@pytest.mark.parametrize(
    ("permissions", "seen"),
    [
        ({}, False), ({"global_access": 7}, True), ({"owner": "another"}, False),
        ({"share": [{"tenant": f"tenant:{PROJECT}", "tenant_access": 4}]}, True),
        ({"share": [{"tenant": f"tenant:{PROJECT}", "tenant_access": 2}]}, False),
        ({"share": [{"tenant": "tenant:0b7e1c1e-0000-4000-8000-000000000009", "tenant_access": 7}]}, False),
    ],
)  # fmt: skip
def test_who_may_know_of_anothers_network(permissions: dict[str, Any], seen: bool) -> None:
    found = document(parent_uuid="0b7e1c1e-0000-4000-8000-00000000000f", perms2=permissions)
    assert readable_by(found, PROJECT) is seen
    assert not readable_by(found, None)


def test_subnets_of_the_neutron_plugin_and_of_ours_are_read_alike() -> None:
    plugins = {
        "subnet": {"ip_prefix": "10.1.0.0", "ip_prefix_len": 24}, "default_gateway": "10.1.0.1", "subnet_uuid": "s1",
        "enable_dhcp": True, "dns_nameservers": ["192.0.2.53"],
        "dhcp_option_list": {"dhcp_option": [{"dhcp_option_name": "6", "dhcp_option_value": "192.0.2.53 192.0.2.54"}]},
        "host_routes": {"route": [{"prefix": "10.9.0.0/16", "next_hop": "10.1.0.9", "next_hop_type": None}]},
    }  # fmt: skip
    flat = {"subnet_uuid": "flat", "subnet": None}
    ours = Subnet("s2", "six", ID, PROJECT, "fd00::/64", None, (("fd00::10", "fd00::20"),), False)
    refs = [{"to": ["d", "p", "default"], "uuid": "i1", "attr": {"ipam_subnets": [plugins, flat]}},
            {"to": ["d", "p", "ours"], "uuid": "i2", "attr": {"ipam_subnets": [as_subnet(ours)]}},
            {"to": ["d", "p", "bare"], "uuid": "i3", "attr": None}]  # fmt: skip
    first, second = subnets_of(network(network_ipam_refs=refs))
    assert (first.dns_servers, first.pools) == (("192.0.2.53", "192.0.2.54"), (("10.1.0.2", "10.1.0.254"),))
    assert first.host_routes == (HostRoute("10.9.0.0/16", "10.1.0.9"),)
    assert second == ours


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("10.0.0.0/29", "10.0.0.1", (("10.0.0.2", "10.0.0.6"),)),
        ("10.0.0.0/29", "10.0.0.3", (("10.0.0.1", "10.0.0.2"), ("10.0.0.4", "10.0.0.6"))),
        ("10.0.0.0/29", None, (("10.0.0.1", "10.0.0.6"),)), ("10.0.0.0/29", "x", (("10.0.0.1", "10.0.0.6"),)),
        ("nonsense", None, ()),
    ],
)  # fmt: skip
def test_the_pool_of_a_subnet_that_names_none(cidr: str, gateway: str | None, pools: object) -> None:
    assert default_pools(cidr, gateway) == pools


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.5", None), ("10.0.0.1", "gateway"), ("10.0.0.6", "DNS"), ("10.0.0.200", "outside the pools"),
        ("10.0.1.5", "outside"), ("fd00::5", "family"), ("none", "no address"),
    ],
)  # fmt: skip
def test_which_address_may_be_used(address: str, why: str | None) -> None:
    pools = (("10.0.0.5", "10.0.0.9"),)
    subnet = Subnet("s", "s", ID, PROJECT, "10.0.0.0/24", "10.0.0.1", pools, True, ("10.0.0.6",))
    found = unusable(address, subnet)
    assert (found is None) == (why is None)
    assert why is None or why in (found or "")


def test_plain_text_refusals_are_understood() -> None:
    assert taken_by(Duplicate(f"Contrail: ['n'] already exists with uuid: {ID.upper()}")) == ID
    assert taken_by(Duplicate("Contrail: IP address already in use")) is None
    assert place_is_taken(Invalid("There can be only one Native/Untagged VLAN ID per VPG"))
    assert place_is_taken(Invalid("Physical interface xe-1 already belong to the vpg vpg-internal-3"))
    assert not place_is_taken(Invalid("['n'] already exists with uuid: x"))
    assert uuid_of(hex_of(ID)) == ID
    with pytest.raises(NotFound):
        uuid_of("../../x")


def test_switch_ports_are_what_the_group_carries() -> None:
    class Rest:
        asked = 0

        def objects(self, kind: str, **_: Any) -> list[Document]:
            Rest.asked += 1
            assert kind == "physical-router"
            return [document(fq_name=["gsc", "leaf1"], physical_router_management_mac="02:AA:00:00:00:01")]

    groups = Groups(Rest())  # type: ignore[arg-type]
    link = {"switch_info": "leaf1", "port_id": "xe-1", "switch_id": "02:BB:00:00:00:01"}
    pair = {"key": "profile", "value": json.dumps({"local_link_information": [link]})}
    port = document(virtual_machine_interface_bindings={"key_value_pair": [pair]})
    said = SwitchLink("02:bb:00:00:00:01", "xe-1", "leaf1")

    def group(*names: str) -> Any:
        refs = [{"to": ["gsc", *name.split("/")], "uuid": name, "attr": None} for name in names]
        return group_of(document(physical_interface_refs=refs, virtual_machine_interface_refs=[{"to": [], "uuid": ID}]))

    assert groups.links([port], [])[ID] == (said,)
    assert groups.links([port], [group("leaf1/xe-1")])[ID] == (said,)
    assert Rest.asked == 0
    for _ in range(2):
        found = groups.links([port], [group("leaf1/xe-1", "leaf1/xe-2", "leaf9/xe-3")])[ID]
        assert found == (said, SwitchLink("02:aa:00:00:00:01", "xe-2", "leaf1"), SwitchLink("", "xe-3", "leaf9"))
    assert Rest.asked == 1, "the MACs of switches are asked for once a minute at most"


def test_the_settings_choose_the_controller(tmp_path: Path) -> None:
    clouds_file = tmp_path / "clouds.yaml"
    auth = {"auth_url": "http://127.0.0.1:9/v3", "username": "u", "password": "p", "project_name": "p",
            "user_domain_id": "default", "project_domain_id": "default"}  # fmt: skip
    clouds_file.write_text(json.dumps({"clouds": {"steelyard": {"auth": auth}}}))
    assert isinstance(open_clouds(Settings(home=tmp_path, clouds_file=clouds_file)), OpenstackClouds)
    chosen = Settings(
        home=tmp_path, clouds_file=clouds_file, network_controller="contrail", contrail_url="http://127.0.0.1:9",
        contrail_vlans="100:999",
    )  # fmt: skip
    assert isinstance(open_clouds(chosen), ContrailClouds)
    with pytest.raises(SteelyardError) as refusal:
        open_clouds(Settings(home=tmp_path, clouds_file=clouds_file, network_controller="contrail", contrail_vlans="x"))
    assert "STEELYARD_CONTRAIL_VLANS" in (refusal.value.next or "")

"""Addresses allocated by the controller: what is refused, what is given back, and that nothing is lost or doubled."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from .conftest import NeutronError, Scene

SMALL = "10.9.0.0/29"


def address_of(port: dict[str, Any]) -> str:
    [fixed] = port["fixed_ips"]
    return str(fixed["ip_address"])


def at_controller(scene: Scene) -> set[str]:
    return {one["instance_ip_address"] for one in scene.ours("instance-ip")}


def test_the_controller_gives_the_addresses_of_the_pool_and_no_others(scene: Scene) -> None:
    pools = [{"start": "10.9.0.10", "end": "10.9.0.12"}, {"start": "10.9.0.20", "end": "10.9.0.20"}]
    network = scene.neutron.network("10.9.0.0/24", allocation_pools=pools)
    given = [address_of(scene.neutron("port", network_id=network["id"])) for _ in range(4)]
    assert set(given) == {"10.9.0.10", "10.9.0.11", "10.9.0.12", "10.9.0.20"}
    assert at_controller(scene) == set(given)
    with pytest.raises(NeutronError) as caught:
        scene.neutron("port", network_id=network["id"])
    assert caught.value.kind == "IpAddressGenerationFailure"


def test_an_ipv6_address_never_comes_in_the_place_of_an_ipv4_one(scene: Scene) -> None:
    """Asked without a family, the controller would answer with IPv6 once IPv4 has run out."""
    network = scene.neutron.network(SMALL)
    scene.neutron("subnet", network_id=network["id"], cidr="fd00:9::/64", ip_version=6)
    four = {"fixed_ips": [{"subnet_id": network["subnet"]["id"]}]}
    got = []
    with pytest.raises(NeutronError) as caught:
        for _ in range(8):
            got.append(address_of(scene.neutron("port", network_id=network["id"], **four)))
    assert caught.value.kind == "IpAddressGenerationFailure"
    assert got
    assert {ipaddress.ip_address(one).version for one in got} == {4}
    six = scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "fd00:9::77"}])
    assert address_of(six) == "fd00:9::77"


@pytest.mark.parametrize("ra", [("slaac", "slaac")])
def test_addresses_made_from_the_mac_address_are_the_controller_s_too(scene: Scene, ra: tuple[str, str]) -> None:
    network = scene.neutron.network(SMALL)
    early = scene.neutron("port", network_id=network["id"])
    scene.neutron(
        "subnet",
        network_id=network["id"],
        cidr="fd00:a::/64",
        ip_version=6,
        ipv6_ra_mode=ra[0],
        ipv6_address_mode=ra[1],
    )
    late = scene.neutron("port", network_id=network["id"], mac_address="52:54:00:00:00:99")
    for port in (scene.neutron("get_port", id=early["id"]), late):
        assert len(port["fixed_ips"]) == 2
        assert {fixed["ip_address"] for fixed in port["fixed_ips"]} <= at_controller(scene)
    scene.settled()


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("10.9.0.1", "IpAddressAlreadyAllocated"),  # the gateway: the controller gives it to two at once
        ("10.9.0.0", "InvalidIpForNetwork"),
        ("10.9.0.7", "InvalidIpForNetwork"),
        ("10.10.0.3", "InvalidIpForNetwork"),
    ],
)
def test_addresses_that_nobody_may_have(scene: Scene, wanted: str, kind: str) -> None:
    network = scene.neutron.network(SMALL)
    with pytest.raises(NeutronError) as caught:
        scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": wanted}])
    assert caught.value.kind == kind
    assert at_controller(scene) == set()


def test_every_address_of_the_pool_is_given(scene: Scene) -> None:
    """Also the one that the controller would take for its own name server."""
    network = scene.neutron.network(SMALL)
    given = {address_of(scene.neutron("port", network_id=network["id"])) for _ in range(5)}
    assert given == {f"10.9.0.{last}" for last in range(2, 7)}


def test_the_controller_s_own_name_server_keeps_its_address_where_there_is_no_gateway(scene: Scene) -> None:
    network = scene.neutron.network(SMALL, gateway_ip=None)
    found = scene.read("virtual-network", network["id"])
    assert found is not None
    [subnet] = found["network_ipam_refs"][0]["attr"]["ipam_subnets"]
    with pytest.raises(NeutronError) as caught:
        scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": subnet["dns_server_address"]}])
    assert caught.value.kind == "IpAddressAlreadyAllocated"


def test_an_address_by_number_outside_of_the_pool_is_given_as_neutron_s_api_says(scene: Scene) -> None:
    network = scene.neutron.network("10.9.0.0/24", allocation_pools=[{"start": "10.9.0.10", "end": "10.9.0.12"}])
    port = scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.99"}])
    assert address_of(port) == "10.9.0.99"
    assert at_controller(scene) == {"10.9.0.99"}


@pytest.mark.parametrize("by", ["neutron", "somebody else at the controller"])
def test_an_address_that_is_used_is_refused(scene: Scene, by: str) -> None:
    network = scene.neutron.network(SMALL)
    foreign = None
    if by == "neutron":
        scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.4"}])
    else:
        content = {
            "fq_name": ["a-pod-of-somebody"], "instance_ip_address": "10.9.0.4",
            "virtual_network_refs": [{"uuid": network["id"], "to": _network_name(scene, network["id"])}],
        }  # fmt: skip
        status, text, foreign = scene.controller.call("POST", "/instance-ips", {"instance-ip": content})
        assert status == 200, text
    try:
        with pytest.raises(NeutronError) as caught:
            scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.4"}])
        assert caught.value.kind == "IpAddressAlreadyAllocated"
        others = {address_of(scene.neutron("port", network_id=network["id"])) for _ in range(2)}
        assert "10.9.0.4" not in others
        scene.settled()
    finally:
        if foreign is not None:
            scene.controller.call("DELETE", f"/instance-ip/{foreign['instance-ip']['uuid']}")


def test_changing_a_port_s_addresses_takes_and_frees_at_the_controller(scene: Scene) -> None:
    network = scene.neutron.network("10.9.0.0/24")
    port = scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.30"}])
    wanted = [{"ip_address": "10.9.0.31"}, {"ip_address": "10.9.0.32"}]
    scene.neutron("update_port", id=port["id"], port={"port": {"fixed_ips": wanted}})
    assert at_controller(scene) == {"10.9.0.31", "10.9.0.32"}
    for address in scene.ours("instance-ip"):
        assert [ref["uuid"] for ref in address["virtual_machine_interface_refs"]] == [port["id"]]
    scene.neutron("delete_port", id=port["id"])
    assert at_controller(scene) == set()
    assert address_of(scene.neutron("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.31"}]))


def test_a_transaction_that_is_rolled_back_holds_no_address_and_frees_none(scene: Scene) -> None:
    network = scene.neutron.network(SMALL)
    with pytest.raises(NeutronError, match="the transaction fails"):
        scene.neutron("port_that_fails", network_id=network["id"])
    assert at_controller(scene) == set()
    port = scene.neutron("port", network_id=network["id"])
    with pytest.raises(NeutronError, match="the transaction fails"):
        scene.neutron("delete_that_fails", id=port["id"])
    assert at_controller(scene) == {address_of(port)}


def test_a_subnet_that_is_rolled_back_is_not_at_the_controller(scene: Scene) -> None:
    network = scene.neutron.network(SMALL)
    before = {one["uuid"] for one in scene.ours("network-ipam")}
    with pytest.raises(NeutronError, match="the transaction fails"):
        scene.neutron("subnet_that_fails", network_id=network["id"], cidr="10.11.0.0/24")
    assert {one["uuid"] for one in scene.ours("network-ipam")} == before


def test_ports_made_in_bulk_have_addresses_all_or_none(scene: Scene) -> None:
    network = scene.neutron.network(SMALL)
    made = scene.neutron("ports", amount=4, network_id=network["id"])
    assert at_controller(scene) == {address_of(port) for port in made}
    with pytest.raises(NeutronError):
        scene.neutron("ports", amount=3, network_id=network["id"])
    assert at_controller(scene) == {address_of(port) for port in made}


def test_a_lost_answer_gives_one_address_not_two(scene: Scene) -> None:
    network = scene.neutron.network(SMALL)
    scene.fault("instance-ip", "answer_lost", match="create", times=1)
    port = scene.neutron("port", network_id=network["id"])
    assert at_controller(scene) == {address_of(port)}
    scene.fault("virtual-machine-interface", "answer_lost", match="create", times=1)
    other = scene.neutron("port", network_id=network["id"])
    assert at_controller(scene) == {address_of(port), address_of(other)}
    scene.settled()


def test_without_an_answer_no_port_is_made_and_nothing_stays(scene: Scene) -> None:
    network = scene.neutron.network(SMALL)
    scene.fault("instance-ip", "drop", match="create")
    with pytest.raises(NeutronError) as caught:
        scene.neutron("port", network_id=network["id"])
    assert caught.value.kind == "Unreachable"
    scene.mend()
    scene.fault("virtual-machine-interface", "drop", match="create")
    with pytest.raises(NeutronError) as caught:
        scene.neutron("port", network_id=network["id"])
    assert caught.value.kind == "MechanismDriverError"
    assert scene.neutron("get_ports") == []
    scene.mend()
    scene.settled()
    assert at_controller(scene) == set()


def test_many_at_once_get_different_addresses(scene: Scene) -> None:
    network = scene.neutron.network("10.9.0.0/24")
    given = [one for [one] in scene.neutron("many", amount=60, threads=8, network_id=network["id"])]
    assert len(set(given)) == 60
    assert at_controller(scene) == set(given)


def _network_name(scene: Scene, network_id: str) -> list[str]:
    found = scene.read("virtual-network", network_id)
    assert found is not None
    name: list[str] = found["fq_name"]
    return name

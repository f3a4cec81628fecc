"""The contract of `Addresses`: addresses that are kept by hand."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.contrail.clouds import ContrailCloud
from steelyard.clouds.ports import Addresses
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, SteelyardError
from steelyard.nouns import Subnet, SubnetSpec

from .stages import Stage

pytestmark = pytest.mark.parametrize(
    "stage", ["fake", "contrail", pytest.param("embedded", marks=pytest.mark.embedded)], indirect=True
)
KEPT = "steelyard:reserved"


def add(stage: Stage, *, pools: tuple[tuple[str, str], ...] = ()) -> Subnet:
    network = stage.tenant.networks.create(stage.name("network"))

    def remove() -> None:
        for port in stage.own.attachments.all(network_ids=[network.id]):
            stage.own.attachments.delete(port.id)
        stage.own.networks.delete(network.id)

    stage.after.callback(remove)
    return stage.tenant.networks.create_subnet(SubnetSpec("blue", network.id, "10.79.0.0/24", dhcp=False, pools=pools))


def wish(subnet: Subnet, number: int, address: str | None = None, **changes: str) -> HoldSpec:
    spec = HoldSpec(subnet.network_id, subnet.id, KEPT, "for the printer", f"02:00:00:00:00:{number:02x}", address)
    return replace(spec, **changes)


def held(stage: Stage, subnet: Subnet) -> list[str]:
    ports = stage.tenant.attachments.all(network_ids=[subnet.network_id])
    return sorted(fixed.address for port in ports for fixed in port.addresses)


def test_an_address_is_kept_for_nobody(stage: Stage) -> None:
    assert isinstance(stage.tenant.addresses, Addresses)
    subnet = add(stage)
    (port,) = stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.50")])
    assert [(fixed.subnet_id, fixed.address) for fixed in port.addresses] == [(subnet.id, "10.79.0.50")]
    assert (port.name, port.device_owner, port.mac) == ("for the printer", KEPT, "02:00:00:00:00:01")
    assert (port.device_id, port.link, port.project_id) == (None, None, stage.project_id)
    assert stage.own.attachments.get(port.id).host_id is None
    assert port.created_at is not None


def test_the_controller_picks_of_the_pool(stage: Stage) -> None:
    subnet = add(stage, pools=(("10.79.0.20", "10.79.0.21"),))
    ports = stage.tenant.addresses.hold([wish(subnet, 1), wish(subnet, 2)])
    assert sorted(port.addresses[0].address for port in ports) == ["10.79.0.20", "10.79.0.21"]
    with pytest.raises(Conflict):
        stage.tenant.addresses.hold([wish(subnet, 3)])


def test_the_same_again_is_the_same_port(stage: Stage) -> None:
    subnet = add(stage)
    picked, asked = wish(subnet, 1), wish(subnet, 2, "10.79.0.50")
    first = stage.tenant.addresses.hold([picked, asked])
    again = stage.tenant.addresses.hold([picked, asked])
    alone = stage.tenant.addresses.hold([asked])
    assert [port.id for port in again] == [port.id for port in first]
    assert [port.id for port in alone] == [first[1].id]
    more = stage.tenant.addresses.hold([picked, asked, wish(subnet, 3)])
    assert [port.id for port in more[:2]] == [port.id for port in first]
    assert len(held(stage, subnet)) == 3


def test_what_is_taken_is_refused(stage: Stage) -> None:
    subnet = add(stage)
    stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.50")])
    with pytest.raises(Duplicate):
        stage.tenant.addresses.hold([wish(subnet, 2, "10.79.0.50")])
    with pytest.raises(Duplicate):
        stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.51")])
    with pytest.raises(Duplicate):
        stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.50", device_owner="steelyard:allocated")])
    assert held(stage, subnet) == ["10.79.0.50"]


def test_all_or_none(stage: Stage) -> None:
    subnet = add(stage)
    stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.200")])
    many = [wish(subnet, 2 + number, f"10.79.0.{50 + number}") for number in range(150)]
    taken = [*many, wish(subnet, 254, "10.79.0.200")]
    with pytest.raises(Duplicate):
        stage.tenant.addresses.hold(taken)
    assert held(stage, subnet) == ["10.79.0.200"]


def test_what_the_subnet_cannot_have_is_refused(stage: Stage) -> None:
    subnet = add(stage)
    for address in ("10.80.0.5", "10.79.0.255"):
        with pytest.raises(Invalid):
            stage.tenant.addresses.hold([wish(subnet, 1, address)])


def test_only_in_ones_own_networks(stage: Stage) -> None:
    subnet = add(stage)
    with pytest.raises((Forbidden, NotFound)):
        stage.other.addresses.hold([wish(subnet, 1)])
    with pytest.raises(Forbidden):
        stage.reader.addresses.hold([wish(subnet, 1)])
    (port,) = stage.own.addresses.hold([wish(subnet, 1, project_id=stage.project_id)])
    assert port.project_id == stage.project_id
    stage.other.addresses.release(port.id)
    assert len(held(stage, subnet)) == 1, "what one does not see is gone already"


def test_a_released_one_is_free_again(stage: Stage) -> None:
    subnet = add(stage)
    (port,) = stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.50")])
    stage.tenant.addresses.release(port.id)
    stage.tenant.addresses.release(port.id)
    assert held(stage, subnet) == []
    (again,) = stage.tenant.addresses.hold([wish(subnet, 1, "10.79.0.50")])
    assert again.id != port.id


def test_what_a_server_has_is_not_released(stage: Stage) -> None:
    subnet = add(stage)
    (port,) = stage.tenant.addresses.hold([wish(subnet, 1)])
    device = "6f0b5b5e-0000-4000-8000-000000000001"
    if isinstance(stage.own, ContrailCloud):
        rest = stage.own.attachments._rest
        rest.make("virtual-machine", {"fq_name": [device]}, identifier=device)
        rest.refer("virtual-machine-interface", port.id, "virtual-machine", device)
    elif stage.real:
        body = {"port": {"device_id": device, "device_owner": "compute:nova"}}
        stage.own.attachments._rest.call("PUT", f"ports/{port.id}", body=body)  # type: ignore[attr-defined]
    else:
        ports = stage.clouds.world.fabric.ports  # type: ignore[attr-defined]
        ports[port.id] = replace(ports[port.id], device_id=device, device_owner="compute:nova")
    with pytest.raises(Conflict):
        stage.tenant.addresses.release(port.id)
    assert len(held(stage, subnet)) == 1


def test_many_at_once_get_an_address_each(stage: Stage) -> None:
    subnet = add(stage)
    tenant = stage.tenant
    lost: list[str] = []

    def take(number: int) -> None:
        try:
            tenant.addresses.hold([wish(subnet, number)])
        except SteelyardError as error:
            lost.append(error.detail)

    threads = [threading.Thread(target=take, args=(number % 12 + 1,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert len(set(held(stage, subnet))) == len(held(stage, subnet)) == 12, "each of twelve wishes came twice"

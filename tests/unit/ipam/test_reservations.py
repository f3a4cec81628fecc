"""Addresses that people keep by hand."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from steelyard.errors import Conflict, Duplicate, Invalid, NotFound, Refused, SteelyardError, Unavailable
from steelyard.ipam.model import AddressState, OwnerKind
from steelyard.ipam.reservations import Kept, Row

from .conftest import Place


def state_of(place: Place, address: str) -> tuple[str, str, str | None] | None:
    for use in place.service.addresses(*place.demo, "blue").addresses:
        if use.address == address:
            return use.state.value, use.owner.value, use.port_name
    return None


def events(place: Place, *, limit: int = 20) -> list[tuple[str, str, str | None]]:
    found = place.store.events.of(f"subnet:{place.subnet.id}", limit=limit)
    return [(event.kind, event.actor, event.reason) for event in found]


def test_a_reserved_address_is_in_the_list_and_nobody_gets_it(place: Place) -> None:
    (kept,) = place.reservations.reserve(*place.demo, "blue", ["10.1.0.4"], note="the printer")
    assert (kept.address, kept.changed) == ("10.1.0.4", True)
    assert state_of(place, "10.1.0.4") == ("reserved", "by hand", "the printer")
    port = place.addresses()["10.1.0.4"]
    assert (port.device_owner, port.device_id, port.host_id, port.project_id) == (
        "steelyard:reserved", None, None, place.demo[0].project_id,
    )  # fmt: skip
    place.add_machine("vm-1")
    place.world.settle()
    assert place.addresses()["10.1.0.5"].device_owner == "compute:nova", "the next free one after it"
    assert events(place) == [("ipam.reserved", "demo", "the printer")]


def test_twice_is_once(place: Place) -> None:
    first = place.reservations.reserve(*place.demo, "blue", ["10.1.0.10-10.1.0.12"], note="lb")
    again = place.reservations.reserve(*place.demo, "blue", ["10.1.0.10-10.1.0.12"], note="lb")
    assert [each.changed for each in first] == [True] * 3
    assert [(each.address, each.port_id) for each in again] == [(each.address, each.port_id) for each in first]
    assert [each.changed for each in again] == [False] * 3
    wider = place.reservations.reserve(*place.demo, "blue", ["10.1.0.10-10.1.0.13"], note="lb")
    assert [each.changed for each in wider] == [False, False, False, True]
    assert len(events(place)) == 2


def test_a_range_is_kept_whole_or_not_at_all(place: Place) -> None:
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.12"], note="other")
    with pytest.raises(Duplicate) as refusal:
        place.reservations.reserve(*place.demo, "blue", ["10.1.0.10-10.1.0.14"], note="lb")
    assert "reserved by hand (other)" in refusal.value.detail
    assert set(place.addresses()) == {"10.1.0.2", "10.1.0.3", "10.1.0.12"}


@pytest.mark.parametrize(
    ("address", "error", "code"),
    [
        ("10.1.0.1", Duplicate, "address_in_use"),  # the gateway
        ("10.1.0.2", Duplicate, "address_in_use"),  # the server's
        ("10.1.0.3", Duplicate, "address_in_use"),  # somebody's port
        ("10.1.0.0", Invalid, "outside_subnet"),
        ("10.1.0.255", Invalid, "outside_subnet"),
        ("10.2.0.5", Invalid, "outside_subnet"),
        ("fd00::5", Invalid, "wrong_family"),
        ("10.1.0.x", Invalid, "invalid_address"),
        ("10.1.0.250-10.1.1.4", Invalid, "outside_subnet"),
    ],
)
def test_what_cannot_be_kept(place: Place, address: str, error: type[SteelyardError], code: str) -> None:
    with pytest.raises(error) as refusal:
        place.reservations.reserve(*place.demo, "blue", [address], note="x")
    assert refusal.value.code == code
    assert len(place.addresses()) == 2
    assert events(place) == []


def test_outside_of_the_pools_only_brownfield_makes_sense(place: Place) -> None:
    subnet = place.subnet
    place.world.fabric.subnets[subnet.id] = replace(subnet, pools=(("10.1.0.2", "10.1.0.99"),))
    with pytest.raises(Refused) as refusal:
        place.reservations.reserve(*place.demo, "blue", ["10.1.0.200"], note="x")
    assert refusal.value.code == "outside_pool"
    kept = place.reservations.reserve(
        *place.demo, "blue", ["10.1.0.200"], note="old database", state=AddressState.BROWNFIELD
    )
    assert kept[0].changed
    assert state_of(place, "10.1.0.200") == ("brownfield", "by hand", "old database")


def test_a_mac_is_nobodys_else(place: Place) -> None:
    nic = next(iter(place.world.node_ports.values())).mac
    other = next(nic.mac for nic in place.world.node_ports.values() if nic.mac not in
                 {port.mac for port in place.world.fabric.ports.values()})  # fmt: skip
    refused = {nic: "mac_in_use", other: "mac_in_use", "01:00:5e:00:00:01": "invalid_mac", "x": "invalid_mac"}
    for mac, code in refused.items():
        with pytest.raises((Duplicate, Invalid)) as refusal:
            place.reservations.reserve(*place.demo, "blue", ["10.1.0.9"], note="x", mac=mac)
        assert refusal.value.code == code, mac
    with pytest.raises(Invalid):
        place.reservations.reserve(*place.demo, "blue", ["10.1.0.8-10.1.0.9"], note="x", mac="52:54:00:00:99:01")
    (kept,) = place.reservations.reserve(*place.demo, "blue", ["10.1.0.9"], note="x", mac="52-54-00-00-99-0A")
    assert kept.mac == "52:54:00:00:99:0a"
    with pytest.raises(Duplicate):
        place.reservations.reserve(*place.demo, "blue", ["10.1.0.10"], note="x", mac="52:54:00:00:99:0a")
    (brownfield,) = place.reservations.reserve(
        *place.admin, "blue", ["10.1.0.11"], note="adopted", mac=other, state=AddressState.BROWNFIELD
    )
    assert brownfield.mac == other, "an adopted server's own NIC"


@pytest.mark.parametrize("note", ["", " ", "x" * 256, "a\nb", "a\u202eb"])
def test_a_note_is_something_to_read(place: Place, note: str) -> None:
    for act in (
        lambda: place.reservations.reserve(*place.demo, "blue", ["10.1.0.9"], note=note),
        lambda: place.reservations.allocate(*place.demo, "blue", note=note),
    ):
        with pytest.raises(Invalid):
            act()


def test_tenants_only_in_their_own_networks(place: Place) -> None:
    intruder = place.who("other", "member")
    for act in (
        lambda: place.reservations.reserve(*intruder, place.subnet.id, ["10.1.0.9"], note="x"),
        lambda: place.reservations.allocate(*intruder, place.subnet.id, note="x"),
        lambda: place.reservations.release(*intruder, place.subnet.id, ["10.1.0.3"]),
        lambda: place.reservations.load(*intruder, place.subnet.id, [Row(1, "10.1.0.9", "x")], dry_run=False),
        lambda: place.reservations.reserve(*place.demo, "cleaning", ["10.91.0.9"], note="x"),
    ):
        with pytest.raises(NotFound):
            act()
    assert len(place.addresses()) == 2


def test_an_administrator_keeps_for_the_networks_project(place: Place) -> None:
    place.reservations.reserve(*place.admin, "blue", ["10.1.0.9"], note="x")
    (allocated,) = place.reservations.allocate(*place.admin, "blue", note="y")
    assert place.addresses()["10.1.0.9"].project_id == place.demo[0].project_id
    assert place.addresses()[allocated.address].project_id == place.demo[0].project_id
    assert place.reservations.release(*place.demo, "blue", ["10.1.0.9"])[0].changed
    assert [event.project_id for event in place.store.events.of(f"subnet:{place.subnet.id}")] == [
        place.demo[0].project_id
    ] * 3
    assert place.reservations.reserve(*place.admin, "cleaning", ["10.91.0.9"], note="x")[0].changed


def test_the_next_free_one_is_taken(place: Place) -> None:
    (one,) = place.reservations.allocate(*place.demo, "blue", note="the cluster")
    assert one.address == "10.1.0.4"
    assert state_of(place, "10.1.0.4") == ("allocated", "by hand", "the cluster")
    more = place.reservations.allocate(*place.demo, "blue", note="the cluster", count=3)
    assert [each.address for each in more] == ["10.1.0.5", "10.1.0.6", "10.1.0.7"]
    assert {kind for kind, _, _ in events(place)} == {"ipam.allocated"}


def test_the_same_key_is_the_same_address(place: Place) -> None:
    first = place.reservations.allocate(*place.demo, "blue", note="x", count=2, key="k")
    again = place.reservations.allocate(*place.demo, "blue", note="x", count=2, key="k")
    assert [(each.address, each.port_id) for each in first] == [(each.address, each.port_id) for each in again]
    assert [each.changed for each in again] == [False, False]
    other = place.reservations.allocate(*place.admin, "blue", note="x", key="k")
    assert other[0].address not in {each.address for each in first}, "a key is its user's own"
    assert len(events(place)) == 2


def test_a_lost_answer_loses_no_address(place: Place) -> None:
    hold = place.world.fabric.ports
    place.world.fail("addresses.hold", Unavailable("the answer was lost"))
    with pytest.raises(Unavailable):
        place.reservations.allocate(*place.demo, "blue", note="x", key="k")
    before = len(hold)
    place.reservations.allocate(*place.demo, "blue", note="x", key="k")
    place.reservations.allocate(*place.demo, "blue", note="x", key="k")
    assert len(hold) == before + 1


def test_when_none_is_left_nobody_gets_half(place: Place) -> None:
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.4-10.1.0.253"], note="most of it")
    with pytest.raises(Conflict):
        place.reservations.allocate(*place.demo, "blue", note="x", count=2)
    assert len(place.addresses()) == 252
    place.reservations.allocate(*place.demo, "blue", note="x")
    for count in (0, 257, -1):
        with pytest.raises(Invalid):
            place.reservations.allocate(*place.demo, "blue", note="x", count=count)


def test_what_is_released_is_free(place: Place) -> None:
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.10-10.1.0.12"], note="lb")
    given = place.reservations.release(*place.demo, "blue", ["10.1.0.11-10.1.0.14"])
    assert [(each.address, each.changed) for each in given] == [
        ("10.1.0.11", True), ("10.1.0.12", True), ("10.1.0.13", False), ("10.1.0.14", False),
    ]  # fmt: skip
    assert set(place.addresses()) == {"10.1.0.2", "10.1.0.3", "10.1.0.10"}
    assert place.reservations.release(*place.demo, "blue", ["10.1.0.11"]) == [Kept("10.1.0.11", False)]
    assert [kind for kind, _, _ in events(place)] == ["ipam.released", "ipam.reserved"]
    assert place.reservations.release(*place.demo, "blue", ["10.1.0.3"])[0].changed, "a port that waits for nobody"


@pytest.mark.parametrize("address", ["10.1.0.1", "10.1.0.2"])
def test_what_a_server_or_the_subnet_has_is_not_released(place: Place, address: str) -> None:
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.4"], note="lb")
    with pytest.raises(Refused) as refusal:
        place.reservations.release(*place.demo, "blue", ["10.1.0.4", address])
    assert refusal.value.code == "address_in_use"
    assert {"10.1.0.2", "10.1.0.4"} <= set(place.addresses()), "nothing is released when one cannot be"


def test_a_server_that_gets_it_at_that_moment_keeps_it(place: Place) -> None:
    (kept,) = place.reservations.allocate(*place.demo, "blue", note="for web-2")
    seen = place.service.place(*place.demo, "blue")
    port = place.world.fabric.ports[kept.port_id or ""]
    place.world.fabric.ports[port.id] = replace(port, device_id="some-server", device_owner="compute:nova")
    place.service.place = lambda *_: seen  # type: ignore[method-assign]  # looked before the server got it
    with pytest.raises(Conflict):
        place.reservations.release(*place.demo, "blue", [kept.address])
    assert kept.address in place.addresses()


def test_many_at_once_get_one_each(place: Place) -> None:
    taken: list[str] = []
    errors: list[SteelyardError] = []

    def take(number: int) -> None:
        try:
            if number % 2:
                taken.append(place.reservations.allocate(*place.demo, "blue", note=f"n {number}")[0].address)
            else:
                place.add_machine(f"vm-{number}")
                place.world.tick()
        except SteelyardError as error:
            errors.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    place.world.settle()
    assert errors == []
    assert len(taken) == len(set(taken)) == 100
    machines = [use for use in place.service.addresses(*place.demo, "blue").addresses
                if use.owner is OwnerKind.VIRTUAL_MACHINE]  # fmt: skip
    assert len(machines) == 100
    assert not any(use.collides for use in place.service.addresses(*place.demo, "blue").addresses)
    assert len(place.addresses()) == 202


# Files


ROWS = [
    Row(1, "10.1.0.20-10.1.0.22", "lb"),
    Row(2, "10.1.0.30", "old database", "brownfield", "52:54:00:00:99:01"),
]


def test_a_file_is_judged_and_then_applied(place: Place) -> None:
    dry = place.reservations.load(*place.demo, "blue", ROWS, dry_run=True)
    assert (dry.applied, dry.errors, [len(each.new) for each in dry.rows]) == (False, 0, [3, 1])
    assert len(place.addresses()) == 2
    assert place.store.addresses.brownfield() == []
    done = place.reservations.load(*place.demo, "blue", ROWS, dry_run=False)
    assert (done.applied, [len(each.new) for each in done.rows]) == (True, [3, 1])
    assert state_of(place, "10.1.0.30") == ("brownfield", "by hand", "old database")
    again = place.reservations.load(*place.demo, "blue", ROWS, dry_run=False)
    assert (again.applied, [len(each.new) for each in again.rows]) == (True, [0, 0])
    assert len(place.addresses()) == 6
    assert [kind for kind, _, _ in events(place)] == ["ipam.brownfield", "ipam.reserved"]


def test_one_bad_row_and_nothing_is_applied(place: Place) -> None:
    rows = [
        *ROWS,
        Row(3, "10.1.0.2", "the server's"),
        Row(4, "10.1.0.21", "twice in the file"),
        Row(5, "10.1.0.40", "mac twice", "reserved", "52:54:00:00:99:01"),
        Row(6, "10.1.0.41", "what", "allocated"),
        Row(7, "nonsense", "x"),
        Row(8, "10.1.0.42", ""),
        Row(9, "10.1.0.43", "good"),
    ]
    found = place.reservations.load(*place.demo, "blue", rows, dry_run=False)
    assert not found.applied
    assert {each.row.number: each.error.code for each in found.rows if each.error} == {
        3: "address_in_use", 4: "address_in_use", 5: "mac_in_use", 6: "invalid_state", 7: "invalid_address",
        8: "invalid_name",
    }  # fmt: skip
    assert found.errors == 6
    assert len(place.addresses()) == 2
    assert events(place) == []


def test_what_the_controller_refuses_at_the_end_leaves_nothing(place: Place) -> None:
    place.world.fail("addresses.hold", Conflict("quota exceeded", code="quota_exceeded"))
    with pytest.raises(Conflict):
        place.reservations.load(*place.demo, "blue", ROWS, dry_run=False)
    assert len(place.addresses()) == 2
    assert place.store.addresses.brownfield() == []


def test_brownfield_is_written_down_until_it_is_released(place: Place) -> None:
    brownfield = AddressState.BROWNFIELD
    place.reservations.reserve(*place.admin, "blue", ["10.1.0.30"], note="old database", state=brownfield)
    (known,) = place.store.addresses.brownfield()
    assert (known.address, known.note, known.actor) == ("10.1.0.30", "old database", "admin")
    place.world.fabric.remove_port(place.addresses()["10.1.0.30"].id)  # with the stock client
    assert state_of(place, "10.1.0.30") == ("brownfield", "by hand", "old database"), "still known"
    with pytest.raises(Duplicate):
        place.reservations.reserve(*place.admin, "blue", ["10.1.0.30"], note="something else")
    (again,) = place.reservations.reserve(
        *place.admin, "blue", ["10.1.0.30"], note="old database", state=brownfield
    )  # fmt: skip
    assert again.changed
    assert "10.1.0.30" in place.addresses()
    place.reservations.release(*place.admin, "blue", ["10.1.0.30"])
    assert state_of(place, "10.1.0.30") is None
    assert place.store.addresses.brownfield() == []

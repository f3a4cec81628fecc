"""The checker of switches' logs finds what it is for: strangers in one segment, at whichever instant."""

from __future__ import annotations

from typing import Any

from ..switch_history import Change, SwitchHistory, Tenancy

CABLES = {"leaf1/1": "a", "leaf2/1": "a", "leaf1/2": "b", "leaf1/3": "c"}
RED, BLUE, CLEANING = 100, 101, 2002
OWNERS = {RED: "red", BLUE: "blue"}


def history(*moves: tuple[str, int | None], tenancies: tuple[Tenancy, ...] = ()) -> SwitchHistory:
    now: dict[str, frozenset[int]] = {}
    changes = []
    for number, (port, vlan) in enumerate(moves):
        after = frozenset() if vlan is None else frozenset({vlan})
        changes.append(Change(str(number), port, now.get(port, frozenset()), after))
        now[port] = after
    return SwitchHistory(changes, CABLES, tenancies=tenancies)


def both(owner: str | None = "red", *, since: int = 0) -> tuple[Tenancy, ...]:
    return Tenancy(0, "a", "red"), Tenancy(since, "b", owner)


def test_a_tenants_servers_meet_in_its_own_network_only() -> None:
    assert history(("leaf1/1", RED), ("leaf1/2", RED), tenancies=both()).meetings(owner_of=OWNERS) == []
    assert history(("leaf1/1", BLUE), ("leaf1/2", BLUE), tenancies=both()).meetings(owner_of=OWNERS)
    assert history(("leaf1/1", RED), ("leaf1/2", RED), tenancies=both("blue")).meetings(owner_of=OWNERS)
    assert history(("leaf1/1", RED), ("leaf1/2", RED)).meetings(owner_of=OWNERS), "nobody has them"


def test_it_tells_the_instant_and_the_segment() -> None:
    [said] = history(("leaf1/1", RED), ("leaf1/2", RED), ("leaf1/2", None), tenancies=both("blue")).meetings(
        owner_of=OWNERS
    )
    assert said == "1 leaf1/2: [] -> [100]: a, b are in VLAN 100"


def test_one_who_has_left_and_one_who_is_the_tenants_no_more() -> None:
    apart = history(("leaf1/1", RED), ("leaf1/1", None), ("leaf1/2", RED), tenancies=both("blue"))
    assert apart.meetings(owner_of=OWNERS) == []
    moves = ("leaf1/1", RED), ("leaf1/2", RED)
    assert history(*moves, tenancies=(*both(), Tenancy(2, "b", None))).meetings(owner_of=OWNERS), (
        "released, still there"
    )
    assert history(*moves, tenancies=both(since=1)).meetings(owner_of=OWNERS) == [], "claimed before it came"


def test_the_strict_form_and_the_one_for_shared_ramdisk_networks() -> None:
    cleaned = history(("leaf1/1", CLEANING), ("leaf1/2", CLEANING))
    assert cleaned.meetings(owner_of=OWNERS, shared={CLEANING}) == []
    assert len(cleaned.meetings(owner_of=OWNERS)) == 1
    assert history(("leaf1/1", CLEANING), ("leaf2/1", CLEANING)).meetings(owner_of=OWNERS) == [], (
        "one server's two NICs"
    )


def test_a_port_of_nobodys_is_a_stranger() -> None:
    assert history(("leaf1/1", RED), ("leaf1/99", RED), tenancies=both()).meetings(owner_of=OWNERS)


def test_what_was_there_before_the_first_change_counts() -> None:
    change = Change("0", "leaf1/2", frozenset({RED}), frozenset())
    there = SwitchHistory(
        [Change("-", "leaf1/1", frozenset(), frozenset({RED})), change], CABLES, tenancies=both("blue")
    )
    assert len(there.meetings(owner_of=OWNERS)) == 1


def test_a_server_on_a_tenants_and_a_ramdisk_network_and_a_port_on_two() -> None:
    assert history(("leaf1/1", RED), ("leaf2/1", CLEANING)).mixed({CLEANING}) == ["1 leaf2/1: [] -> [2002]"]
    assert history(("leaf1/1", RED), ("leaf1/2", CLEANING)).mixed({CLEANING}) == []
    two = SwitchHistory([Change("0", "leaf1/1", frozenset(), frozenset({RED, BLUE}))], CABLES)
    assert two.doubled() == ["0 leaf1/1: [] -> [100, 101]"]


def test_the_racks_own_log() -> None:
    def entry(port: str, before: int | None, after: int | None) -> dict[str, Any]:
        return {
            "time": "12:00", "switch": "leaf1", "port": port, "before": {"untagged_vlan": before, "tagged_vlans": []},
            "after": {"untagged_vlan": after, "tagged_vlans": []},
        }  # fmt: skip

    servers = {"a": {"nics": [{"switch": "leaf1", "port": "1"}]}, "b": {"nics": [{"switch": "leaf1", "port": "2"}]}}
    found = SwitchHistory.of_rack([entry("1", None, RED), entry("2", None, CLEANING)], servers)
    assert found.tenant_vlans_of(["a", "b"]) == {RED}
    assert (found.visited("b", [CLEANING]), found.visited("a", [CLEANING])) == ({CLEANING}, set())
    assert len(found) == 2

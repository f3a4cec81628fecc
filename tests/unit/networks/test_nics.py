"""Attach, detach, move and tag on the fake cloud: succeeds, repeats, and fails clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steelyard.errors import Conflict, Forbidden, NotFound, Refused
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.service import IsolationService
from steelyard.lifecycle.model import Power
from steelyard.networks import attach_work
from steelyard.networks.attaching import NicService
from steelyard.networks.nics import find_nic
from steelyard.operations.model import Operation, Phase

if TYPE_CHECKING:
    from .conftest import Bench


def ended(done: tuple[object, Operation]) -> Operation:
    operation = done[1]
    assert operation.phase is Phase.SUCCEEDED, operation.error
    return operation


class Do:
    """The use cases as the tenant demo asks for them."""

    def __init__(self, bench: Bench, service: NicService) -> None:
        self.bench, self.service = bench, service

    def attach(self, network: str, **more: object) -> tuple[object, Operation]:
        return self.service.attach(self.bench.actor, self.bench.token, "web", network, **more)  # type: ignore[arg-type]

    def detach(self, nic: str) -> tuple[object, Operation]:
        return self.service.detach(self.bench.actor, self.bench.token, "web", nic)

    def move(self, nic: str, network: str) -> tuple[object, Operation]:
        return self.service.move(self.bench.actor, self.bench.token, "web", nic, network)

    def tag(self, nic: str, network: str) -> tuple[object, Operation]:
        return self.service.tag(self.bench.actor, self.bench.token, "web", nic, network)

    def untag(self, nic: str, network: str) -> tuple[object, Operation]:
        return self.service.untag(self.bench.actor, self.bench.token, "web", nic, network)


def do(bench: Bench, **how: object) -> Do:
    return Do(bench, bench.build(**how))  # type: ignore[arg-type]


def test_a_nic_is_attached_moved_and_detached(bench: Bench) -> None:
    ask = do(bench)
    assert bench.on() == ["blue"]
    assert ended(ask.attach("red")).result["verified"] is True
    assert bench.on() == ["blue", "red"]
    assert bench.vlans() == [bench.network("blue").segmentation_id, bench.network("red").segmentation_id]
    ended(ask.move("red", "green"))
    assert bench.on() == ["blue", "green"]
    assert bench.vlans()[1] == bench.network("green").segmentation_id
    ended(ask.detach("green"))
    assert (bench.on(), bench.vlans()[1]) == (["blue"], None)
    assert bench.agrees()
    kinds = ["network.attached", "network.moved", "network.detached"]
    assert bench.told(f"server:{bench.instance.id}") == kinds
    assert [kind for kind in bench.told(f"node:{bench.node_id}") if kind in kinds] == kinds


def test_the_record_tells_the_tenant_no_switch(bench: Bench) -> None:
    ended(do(bench).attach("red"))
    event = bench.store.events.of(f"server:{bench.instance.id}")[0]
    assert (event.data, event.project_id) == ({"verified": True}, bench.instance.project_id)
    assert "leaf" not in event.detail
    on_node = next(e for e in bench.store.events.of(f"node:{bench.node_id}") if e.kind == "network.attached")
    assert on_node.data["nics"][0]["switch"] == "leaf2"
    assert on_node.data["nics"][0]["network"] == "red"


def test_what_is_attached_already_is_looked_at_and_not_made_again(bench: Bench) -> None:
    ask = do(bench)
    ended(ask.attach("blue"))
    assert bench.on() == ["blue"]
    bench.world.tamper_switch(bench.links[0], 99)
    assert ask.attach("blue")[1].phase is Phase.FAILED
    assert bench.on() == ["blue"], "what it did not bring it does not take away"


@pytest.mark.parametrize("repeat", [False, True])
def test_repeating_each_step_changes_nothing(bench: Bench, repeat: bool) -> None:
    ask = do(bench, repeat_steps=repeat)
    ended(ask.attach("red"))
    ended(ask.move("red", "green"))
    ended(ask.tag("green", "red"))
    ended(ask.untag("green", "red"))
    ended(ask.detach("green"))
    assert (bench.on(), bench.vlans()[1]) == (["blue"], None)
    assert len(bench.told(f"server:{bench.instance.id}")) == 5


def test_an_attachment_that_the_switch_does_not_carry_is_undone(bench: Bench) -> None:
    ask = do(bench)
    bench.world.jam_switch_port(bench.links[1])
    _, operation = ask.attach("red")
    assert operation.error is not None
    assert operation.error.code == "not_proven"
    assert "leaf" not in operation.error.detail
    assert bench.on() == ["blue"]
    assert bench.told(f"server:{bench.instance.id}") == ["network.flip_failed"]
    [event] = [e for e in bench.store.events.of(f"node:{bench.node_id}") if e.kind == "network.flip_failed"]
    assert "the switch carries" in event.detail


def test_a_failure_at_any_step_of_an_attachment_takes_it_off(bench: Bench) -> None:
    ask = do(bench, fail_step="prove")
    assert ask.attach("red")[1].phase is Phase.FAILED
    assert (bench.on(), bench.vlans()[1]) == (["blue"], None)
    assert bench.agrees()


@pytest.mark.parametrize("step", ["let go", "prove that it is off", "attach", "prove"])
def test_a_failure_at_any_step_of_a_move_puts_it_back(bench: Bench, step: str) -> None:
    ask = do(bench, fail_step=step)
    address = bench.ports[0].addresses[0].address
    assert ask.move("blue", "green")[1].phase is Phase.FAILED
    assert bench.on() == ["blue"]
    assert bench.ports[0].addresses[0].address == address
    assert bench.agrees()


def test_a_move_that_the_switch_does_not_carry_is_put_back(bench: Bench) -> None:
    ask = do(bench)
    bench.world.jam_switch_port(bench.links[0])
    assert ask.move("blue", "green")[1].phase is Phase.FAILED
    assert bench.on() == ["blue"]


@pytest.mark.parametrize("step", ["let go", "prove"])
def test_a_failure_at_any_step_of_a_detachment_leaves_it_off(bench: Bench, step: str) -> None:
    ask = do(bench, fail_step=step)
    assert ask.detach("blue")[1].phase is Phase.FAILED
    assert (bench.on(), bench.vlans()) == ([], [None, None])


def test_a_tag_that_the_switch_does_not_carry_is_removed(bench: Bench) -> None:
    ask = do(bench)
    bench.world.jam_switch_port(bench.links[0])
    assert ask.tag("blue", "red")[1].phase is Phase.FAILED
    assert bench.ports[0].subports == ()
    assert [p for p in bench.world.fabric.ports.values() if p.device_owner == "trunk:subport"] == []
    assert bench.agrees()


def test_a_tag_is_shown_with_its_vlan_and_address(bench: Bench) -> None:
    ask = do(bench)
    ended(ask.tag("blue", "red"))
    _, [nic] = ask.service.nics(bench.actor, bench.token, "web")
    [sub] = nic.sub_interfaces
    assert (sub.network, sub.vlan) == ("red", bench.network("red").segmentation_id)
    assert sub.addresses == ("10.2.0.2",)
    with pytest.raises(Refused, match="sub-interfaces"):
        ask.move("blue", "green")
    ended(ask.detach("blue"))
    assert [p for p in bench.world.fabric.ports.values() if p.device_owner == "trunk:subport"] == []
    assert bench.agrees()


def test_a_bond_is_one_attachment(bench: Bench) -> None:
    ask = do(bench, bond=True)
    assert len(bench.ports[0].links) == 2
    with pytest.raises(Refused) as refusal:
        ask.attach("red")
    assert refusal.value.code == "no_free_nic"
    ended(ask.tag("blue", "red"))
    ended(ask.untag("blue", "red"))
    ended(ask.move("blue", "green"))
    assert bench.vlans() == [bench.network("green").segmentation_id] * 2
    assert bench.agrees()
    ended(ask.detach("green"))
    assert bench.vlans() == [None, None]


@pytest.mark.parametrize(
    ("network", "error", "code"),
    [
        ("theirs", NotFound, None), ("provisioning", NotFound, None), ("bare", Refused, "network_without_subnet"),
        ("nothing", NotFound, None),
    ],
)  # fmt: skip
def test_networks_that_are_not_the_tenants_or_of_no_use(
    bench: Bench, network: str, error: type[Exception], code: str | None
) -> None:
    ask = do(bench)
    for what in (lambda: ask.attach(network), lambda: ask.move("blue", network), lambda: ask.tag("blue", network)):
        with pytest.raises(error) as caught:
            what()
        assert code is None or getattr(caught.value, "code", None) == code
    assert bench.on() == ["blue"]


def test_other_tenants_and_readers_change_nothing(bench: Bench) -> None:
    ask = do(bench)
    other = bench.clouds.identity.validate(bench.other_token)
    with pytest.raises(NotFound):
        ask.service.attach(other, bench.other_token, "web", "red")
    with pytest.raises(NotFound):
        ask.service.nics(other, bench.other_token, bench.instance.id)
    token = bench.world.token(project="demo", roles={"reader"})
    reader = bench.clouds.identity.validate(token)
    with pytest.raises(Forbidden):
        ask.service.attach(reader, token, "web", "red")
    assert bench.on() == ["blue"]


def test_a_nic_is_named_in_many_ways_and_never_guessed(bench: Bench) -> None:
    ask = do(bench)
    ended(ask.attach("red"))
    port = next(port for port in bench.ports if port.network_id == bench.network("red").id)
    for name in (port.id, port.mac, port.mac.upper(), "red", bench.network("red").id, port.addresses[0].address):
        _, nics = ask.service.nics(bench.actor, bench.token, "web")
        assert find_nic(name, nics, "web").port.id == port.id
    with pytest.raises(NotFound):
        ask.detach("green")


def test_only_a_server_that_runs(bench: Bench) -> None:
    ask = do(bench)
    bench.lifecycle.power(bench.actor, bench.token, "web", Power.OFF)
    for what in (lambda: ask.attach("red"), lambda: ask.detach("blue"), lambda: ask.tag("blue", "red")):
        with pytest.raises(Refused) as refusal:
            what()
        assert refusal.value.next == f"steelyard server power {bench.instance.id} on --wait"


def test_a_group_that_nothing_enforces_is_refused_before_anything_is_made(bench: Bench) -> None:
    ask = do(bench)
    bench.world.add_security_group("web-only", bench.instance.project_id)
    with pytest.raises(Refused) as refusal:
        ask.attach("red", security_groups=["web-only"])
    assert refusal.value.code == "security_group_not_enforced"
    assert bench.on() == ["blue"]
    with pytest.raises(NotFound):
        ask.attach("red", security_groups=["nothing"])
    bench.world.default_group(bench.instance.project_id)
    ended(ask.attach("red", security_groups=["default"]))


def test_a_controller_that_enforces_groups_gets_them(bench: Bench) -> None:
    ask = do(bench)
    group = bench.world.add_security_group("web-only", bench.instance.project_id)
    bench.world.fabric.enforces_groups = True
    ended(ask.attach("red", security_groups=["web-only"]))
    port = next(port for port in bench.ports if port.network_id == bench.network("red").id)
    assert port.security_groups == (group.id,)
    _, nics = ask.service.nics(bench.actor, bench.token, "web")
    assert nics[1].security_groups == ("web-only",)


def test_the_same_key_again_attaches_once(bench: Bench) -> None:
    ask = do(bench)
    first = ask.attach("red", key="k")[1]
    assert ask.attach("red", key="k")[1].id == first.id
    with pytest.raises(Conflict):
        ask.attach("green", key="k")


def test_a_switch_without_reader_is_said(bench: Bench) -> None:
    ask = do(bench)
    readers = SwitchReaders({})
    isolation = IsolationService(clouds=bench.clouds, switches=readers, settings=bench.settings, store=bench.store)
    bench.operations.kinds.clear()
    bench.operations.register(*attach_work.kinds(bench.clouds, bench.store, bench.settings, readers, isolation.show))
    assert ended(ask.attach("red")).result["verified"] is False

"""Flips: to quarantine and back, repeated, interrupted, failing, and against those who have right of way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.errors import Conflict, Forbidden, Refused, SteelyardError, Unavailable, UpstreamError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import By
from steelyard.isolation.proof import Wanted
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node

if TYPE_CHECKING:
    from .conftest import Bench

BY = By("test", "because")


@pytest.fixture
def off(deployed: Bench) -> Bench:
    deployed.power("off")
    return deployed


@pytest.fixture
def parked(off: Bench) -> Bench:
    off.flips.to_quarantine(off.node_id, BY)
    assert off.quarantined()
    return off


class TestToQuarantine:
    def test_the_nics_move_and_the_tenants_port_stays_as_it_was(self, off: Bench) -> None:
        before = off.port
        off.flips.to_quarantine(off.node_id, BY)
        assert off.quarantined()
        after = off.port
        assert (after.id, after.mac, after.addresses, after.network_id) == (
            before.id, before.mac, before.addresses, before.network_id,
        )  # fmt: skip
        assert off.node.extra["steelyard_parked"]["nics"] == [{"port": before.id, "mac": before.mac}]
        assert off.events() == ["network.flipped"]
        assert off.service.show("bm-1").agrees

    def test_twice_is_once(self, parked: Bench) -> None:
        parked.flips.to_quarantine(parked.node_id, BY)
        assert parked.quarantined()
        assert parked.events() == ["network.flipped"]

    @pytest.mark.parametrize(
        "call", ["nodes.update", "attachments.unbind", "attachments.create", "attachments.get", "networks.all"]
    )
    def test_interrupted_anywhere_it_is_taken_up_again_and_never_on_the_tenants_network_unmarked(
        self, off: Bench, call: str
    ) -> None:
        off.world.fail(call, Unavailable("away"))
        with pytest.raises(Unavailable):
            off.flips.to_quarantine(off.node_id, BY)
        assert off.marked or off.on_tenant()
        off.flips.to_quarantine(off.node_id, BY)
        assert off.quarantined()

    def test_not_while_ironic_has_the_node_in_hand(self, off: Bench) -> None:
        off.world.lock_node(off.node_id)
        with pytest.raises(Conflict):
            off.flips.to_quarantine(off.node_id, BY)
        assert off.on_tenant()

    def test_not_when_it_came_on_meanwhile(self, off: Bench) -> None:
        off.power("on")
        with pytest.raises(Conflict) as caught:
            off.flips.to_quarantine(off.node_id, BY)
        assert caught.value.code == "node_not_off"
        assert off.on_tenant()
        off.run()
        assert not off.marked

    def test_not_when_a_power_on_came_between_the_mark_and_the_lease(
        self, off: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mark = off.flips._mark

        def then_the_conductor_asks(*given: object) -> object:
            node = mark(*given)  # type: ignore[arg-type]
            off.flips.gate(off.node_id, BY)
            return node

        monkeypatch.setattr(off.flips, "_mark", then_the_conductor_asks)
        with pytest.raises(Conflict) as caught:
            off.flips.to_quarantine(off.node_id, BY)
        assert caught.value.code == "flip_running"
        assert off.on_tenant()

    def test_not_while_it_is_held_open_for_a_power_on(self, parked: Bench) -> None:
        assert parked.flips.before_power_on(parked.node_id, BY)
        with pytest.raises(Conflict):
            parked.flips.to_quarantine(parked.node_id, BY)
        assert parked.on_tenant()
        parked.flips.after_power(parked.node_id)
        parked.flips.to_quarantine(parked.node_id, BY)
        assert parked.quarantined()

    def test_without_a_quarantine_network_the_nics_are_on_none(self, off: Bench) -> None:
        off.world.add_network("quarantine", project="demo")  # now the name means nothing any more
        with pytest.raises(Refused) as caught:
            off.flips.to_quarantine(off.node_id, BY)
        assert caught.value.code == "flip_failed"
        assert "STEELYARD_QUARANTINE_NETWORK" in (caught.value.next or "")
        assert off.vlan is None
        assert off.port.host_id is None

    def test_a_switch_that_does_not_obey_fails_the_flip_and_is_written_to_once_more(self, off: Bench) -> None:
        assert off.nic.link is not None
        off.world.jam_switch_port(off.nic.link)
        with pytest.raises(Refused) as caught:
            off.flips.to_quarantine(off.node_id, BY)
        assert f"the switch carries VLAN {off.segment('blue')}" in caught.value.detail
        assert off.events() == ["network.flip_failed"]
        off.world.free_switch_port(off.nic.link)
        off.flips.to_quarantine(off.node_id, BY)
        assert off.quarantined(), "the second attempt has to make the controller write again"
        assert off.store.flips.failures() == []

    def test_a_switch_that_cannot_be_read_is_no_proof(self, off: Bench) -> None:
        off.reader.fail("no answer")
        with pytest.raises(Refused):
            off.flips.to_quarantine(off.node_id, BY)
        off.reader.recover()
        off.flips.to_quarantine(off.node_id, BY)
        assert off.quarantined()

    def test_a_switch_that_nobody_configured_a_reader_for_is_said_to_be_unverified(self, off: Bench) -> None:
        flips = off.new_flips(SwitchReaders())
        flips.to_quarantine(off.node_id, BY)
        assert off.quarantined()
        [event] = [e for e in off.store.events.of(f"node:{off.node_id}") if e.kind == "network.flipped"]
        assert event.data["verified"] is False
        assert event.data["unread"]


class TestToTenant:
    def test_everything_is_as_before(self, parked: Bench) -> None:
        before = parked.port
        parked.flips.to_tenant(parked.node_id, BY)
        assert parked.on_tenant()
        assert (parked.port.id, parked.port.addresses) == (before.id, before.addresses)
        assert parked.events() == ["network.flipped", "network.flipped"]

    def test_twice_is_once(self, parked: Bench) -> None:
        parked.flips.to_tenant(parked.node_id, BY)
        parked.flips.to_tenant(parked.node_id, BY)
        assert parked.on_tenant()
        assert len(parked.events()) == 2

    def test_it_needs_no_lock_of_the_nodes(self, parked: Bench) -> None:
        parked.world.lock_node(parked.node_id)
        parked.flips.to_tenant(parked.node_id, BY)
        assert parked.on_tenant()

    @pytest.mark.parametrize("call", ["attachments.delete", "attachments.bind", "attachments.get"])
    def test_interrupted_it_is_taken_up_again(self, parked: Bench, call: str) -> None:
        parked.world.fail(call, Unavailable("away"))
        with pytest.raises(Unavailable):
            parked.flips.to_tenant(parked.node_id, BY)
        parked.flips.to_tenant(parked.node_id, BY)
        assert parked.on_tenant()

    def test_a_port_whose_mac_its_tenant_changed_goes_back_to_its_nic(self, parked: Bench) -> None:
        nic = parked.nic
        parked.world.fabric.ports[parked.port.id] = replace(parked.port, mac="52:54:00:00:00:99")
        parked.flips.to_tenant(parked.node_id, BY)
        assert parked.port.mac == nic.mac
        assert parked.on_tenant()

    def test_a_port_that_was_deleted_meanwhile_is_left_out(self, parked: Bench) -> None:
        nic = parked.nic
        parked.world.fabric.remove_port(parked.port.id)
        parked.flips.to_tenant(parked.node_id, BY)
        assert nic.link is not None
        assert parked.world.fabric.switches.vlan(nic.link) is None
        assert parked.own == []

    def test_a_nic_that_is_gone_is_refused(self, parked: Bench) -> None:
        del parked.world.node_ports[parked.nic.id]
        with pytest.raises(Refused) as caught:
            parked.flips.to_tenant(parked.node_id, BY)
        assert caught.value.code == "nic_unknown"

    def test_what_cannot_be_proven_is_refused(self, parked: Bench) -> None:
        assert parked.nic.link is not None
        parked.world.jam_switch_port(parked.nic.link)
        with pytest.raises(Refused) as caught:
            parked.flips.to_tenant(parked.node_id, BY)
        assert caught.value.code == "flip_failed"
        assert caught.value.next == "steelyard isolation show bm-1"
        [failure] = parked.store.flips.failures()
        assert (failure.node_id, failure.to) == (parked.node_id, "tenant")

    def test_a_list_that_lacks_the_port_in_quarantine_leaves_no_two_networks_on_a_nic(
        self, parked: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Controllers list by pages: who is listed while others change ports may be left out."""
        attachments = type(parked.clouds.own.attachments)
        every, [ours] = attachments.all, parked.own
        both: list[bool] = []
        bind = parked.flips._proof.bind

        def watched(node: Node, wanted: Wanted) -> None:
            both.append(ours.id in parked.world.fabric.ports)
            bind(node, wanted)

        monkeypatch.setattr(parked.flips._proof, "bind", watched)
        monkeypatch.setattr(
            attachments, "all", lambda self, **more: [port for port in every(self, **more) if port.id != ours.id]
        )
        parked.flips.to_tenant(parked.node_id, BY)
        assert both == [False]
        assert parked.on_tenant()

    def test_a_network_that_the_controller_does_not_list_is_asked_for_again(
        self, parked: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody knows which VLAN it has; with the next list it goes on."""
        networks = type(parked.clouds.own.networks)
        with monkeypatch.context() as old:
            old.setattr(networks, "all", lambda self: [])
            with pytest.raises(UpstreamError, match="does not list it"):
                parked.flips.before_power_on(parked.node_id, BY)
        assert parked.flips.before_power_on(parked.node_id, BY)
        assert parked.on_tenant()

    def test_a_node_in_quarantine_for_another_reason_stays_where_it_is(self, parked: Bench) -> None:
        Quarantine(parked.clouds, parked.store).put(parked.node, "seen doing something", by="test")
        for attempt in (parked.flips.to_tenant, parked.flips.gate, parked.flips.before_power_on):
            with pytest.raises(Refused) as caught:
                attempt(parked.node_id, BY)
            assert caught.value.code == "node_quarantined"
        assert parked.quarantined()


class TestGates:
    def test_stock_power_on_waits_for_the_networks(self, parked: Bench) -> None:
        parked.clouds.own.provisioning.power(parked.node_id, "on")
        assert parked.node.power_state == "on"
        assert parked.on_tenant()

    def test_a_conductor_that_reaches_nobody_gives_no_power(self, parked: Bench) -> None:
        parked.world.power_gate = None
        parked.clouds.own.provisioning.power(parked.node_id, "on")
        assert parked.node.power_state == "off"
        assert "cannot be reached" in (parked.node.last_error or "")
        assert parked.quarantined()

    def test_a_node_that_is_not_parked_passes_at_once(self, deployed: Bench) -> None:
        writes = deployed.world.calls["attachments.bind"]
        deployed.service.power_gate("bm-1")
        assert deployed.world.calls["attachments.bind"] == writes

    def test_a_power_on_waits_for_a_flip_under_way_and_undoes_it(self, off: Bench) -> None:
        flips = off.new_flips(off.readers)
        began, may_go_on = threading.Event(), threading.Event()
        hold = flips._hold

        def slowly(*given: object) -> object:
            began.set()
            assert may_go_on.wait(10)
            return hold(*given)  # type: ignore[arg-type]

        flips._hold = slowly  # type: ignore[method-assign, assignment]
        thread = threading.Thread(target=flips.to_quarantine, args=(off.node_id, BY))
        thread.start()
        assert began.wait(10)
        off.flips._nics._sleep = lambda seconds: may_go_on.set() or thread.join(10)  # type: ignore[func-returns-value]
        off.flips.gate(off.node_id, BY)
        assert off.on_tenant()

    def test_a_flip_that_does_not_end_keeps_the_power_off(self, parked: Bench) -> None:
        assert parked.store.flips.take(parked.node_id, "somebody", seconds=600)
        with pytest.raises(Conflict) as caught:
            parked.flips.gate(parked.node_id, BY)
        assert caught.value.code == "flip_running"
        assert parked.quarantined()

    def test_hands_off_ends_what_was_prepared(self, off: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        mark = off.flips._mark

        def then_the_conductor_begins(*given: object) -> object:
            node = mark(*given)  # type: ignore[arg-type]
            off.service.network_gate(off.node_id)
            return node

        monkeypatch.setattr(off.flips, "_mark", then_the_conductor_begins)
        with pytest.raises(Conflict):
            off.flips.to_quarantine(off.node_id, BY)
        assert off.own == []

    def test_a_flip_that_does_not_end_makes_no_port_after_the_conductor_has_gone_on(
        self, off: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The conductor has removed our ports without us by then; one more would be a second network on the NIC."""
        unbind = off.flips._proof.unbind

        def slowly(port_id: str) -> None:
            unbind(port_id)
            with pytest.raises(Conflict) as caught:
                off.service.network_gate(off.node_id)
            assert caught.value.code == "flip_running"

        monkeypatch.setattr(off.flips._proof, "unbind", slowly)
        with pytest.raises(Conflict) as caught:
            off.flips.to_quarantine(off.node_id, BY)
        assert caught.value.code == "flip_overtaken"
        assert off.own == []
        assert off.store.flips.failures() == [], "nothing went wrong"

    def test_holding_open_is_for_those_that_are_parked(self, deployed: Bench) -> None:
        assert deployed.flips.before_power_on(deployed.node_id, BY) is False
        assert deployed.store.flips.open_nodes() == set()

    def test_a_power_on_that_fails_is_not_held_open(self, parked: Bench) -> None:
        assert parked.nic.link is not None
        parked.world.jam_switch_port(parked.nic.link)
        with pytest.raises(Refused):
            parked.flips.before_power_on(parked.node_id, BY)
        assert parked.store.flips.open_nodes() == set()


class TestClear:
    """While a port of ours is left, the mark is what tells a conductor to remove it."""

    def test_ports_and_mark_go(self, parked: Bench) -> None:
        parked.flips.clear(parked.node)
        assert parked.own == []
        assert not parked.marked
        parked.flips.clear(parked.node)

    def test_a_list_that_lacks_the_port_leaves_none(self, parked: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        attachments = type(parked.clouds.own.attachments)
        every, [ours] = attachments.all, parked.own
        monkeypatch.setattr(
            attachments, "all", lambda self, **more: [port for port in every(self, **more) if port.id != ours.id]
        )
        parked.flips.clear(parked.node)
        assert parked.own == []
        assert not parked.marked

    def test_the_mark_goes_last(self, parked: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: object, port_id: str) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(type(parked.clouds.own.attachments), "delete", fail)
        with pytest.raises(Unavailable):
            parked.flips.clear(parked.node)
        assert parked.marked

    @pytest.mark.parametrize(
        "change", [{"provision_state": "deleting"}, {"extra": {"steelyard_parked": {"at": "now"}}}]
    )
    def test_not_when_the_node_is_another_than_was_seen(self, parked: Bench, change: dict[str, Any]) -> None:
        seen = parked.node
        parked.world.nodes[parked.node_id] = replace(seen, **change)
        with pytest.raises(Conflict) as caught:
            parked.flips.clear(seen)
        assert caught.value.code == "flip_overtaken"
        assert parked.marked
        assert len(parked.own) == 1

    def test_a_flip_into_quarantine_meanwhile_keeps_its_mark(self, off: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is prepared before and begins after: its ports must not be there without the mark."""
        mark, seen = off.flips._mark, off.node

        def then_the_other_clears(*given: object) -> object:
            node = mark(*given)  # type: ignore[arg-type]
            off.flips.clear(replace(seen, extra=node.extra))
            return node

        monkeypatch.setattr(off.flips, "_mark", then_the_other_clears)
        with pytest.raises(Conflict):
            off.flips.to_quarantine(off.node_id, BY)
        assert not off.marked
        assert off.own == []


def test_a_nic_whose_tenants_port_was_deleted_meanwhile_does_not_stay_in_quarantine(parked: Bench) -> None:
    """It gets power then, with that NIC on no network; the switch has to say so."""
    link = parked.nic.link
    assert link is not None
    parked.world.fabric.remove_port(parked.port.id)
    parked.world.jam_switch_port(link)
    for _ in range(2):
        with pytest.raises(Refused, match=r"the switch carries VLAN 2004 on leaf1 .*, wanted nothing"):
            parked.flips.to_tenant(parked.node_id, BY)
    parked.world.free_switch_port(link)
    parked.world.tamper_switch(link, None)
    parked.flips.to_tenant(parked.node_id, BY)


@pytest.mark.parametrize("error", [Forbidden("no"), Unavailable("away"), Conflict("later")])
def test_the_lease_is_given_back_whatever_happens(
    parked: Bench, error: SteelyardError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    acts: list[Callable[..., None]] = [parked.flips.to_tenant, parked.flips.to_quarantine]
    monkeypatch.setattr(parked.flips._proof, "prove", fail)
    for act in acts:
        with pytest.raises(type(error)):
            act(parked.node_id, BY)
        assert parked.store.flips.take(parked.node_id, "next", seconds=1)
        parked.store.flips.give_back(parked.node_id, "next")

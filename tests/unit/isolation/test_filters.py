"""Where security groups are enforced, a switch that does not filter by them is found like one on the wrong VLAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.observing import Observer
from steelyard.errors import Refused
from steelyard.isolation.checking import FleetCheck
from steelyard.isolation.filters import unlike
from steelyard.isolation.flips import By
from steelyard.isolation.model import Verdict
from steelyard.isolation.verifying import Flip, NicWanted, Verifier
from steelyard.nouns import SwitchPort

if TYPE_CHECKING:
    from .conftest import Bench

BY = By("test", "because")


@pytest.fixture
def filtered(deployed: Bench) -> Bench:
    """A deployed server whose port has a group, and whose switch filters by it."""
    deployed.world.fabric.enforces_groups = True
    group = deployed.world.add_security_group("web-only", deployed.instance.project_id)
    deployed.clouds.own.security_groups.put(deployed.port.id, [group.id])
    return deployed


def tampered(bench: Bench, *filters: str) -> None:
    """Somebody changed the filters on the switch, and nothing else there."""
    link = bench.nic.link
    assert link is not None
    bench.world.fabric.switches.tamper(link, bench.vlan, filters=frozenset(filters))


def on_it(bench: Bench) -> frozenset[str] | None:
    link = bench.nic.link
    assert link is not None
    return next(port.filters for port in bench.world.switch_ports() if port.port_id == link.port_id)


def verifier(bench: Bench) -> Verifier:
    return Verifier(
        clouds=bench.clouds, store=bench.store, switches=bench.readers, settings=bench.settings,
        clock=lambda: bench.seconds, sleep=bench.sleep,
    )  # fmt: skip


def joined(bench: Bench) -> Flip:
    return Flip("tenant", True, (NicWanted(bench.nic.mac, bench.port.id),))


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        ({"a"}, {"a"}, None), (set(), set(), None), ({"a"}, None, None), (None, {"a"}, None),
        (set(), {"b", "a"}, "without the filter of security group a, b"),
        ({"a", "x"}, {"a"}, "also filtered by security group x"),
        ({"x"}, {"a"}, "without the filter of security group a"),
    ],
)  # fmt: skip
def test_what_is_compared(there: set[str] | None, wanted: set[str] | None, said: str | None) -> None:
    port = SwitchPort("02:00:5e:00:00:01", "leaf1", "Ethernet1", 7, filters=None if there is None else frozenset(there))
    assert unlike(port, None if wanted is None else frozenset(wanted)) == said


def test_a_switch_without_the_filter_does_not_agree(filtered: Bench) -> None:
    [group] = filtered.port.security_groups
    assert on_it(filtered) == {group}
    assert filtered.service.show("bm-1").nics[0].verdict is Verdict.AGREE
    tampered(filtered)
    nic = filtered.service.show("bm-1").nics[0]
    assert nic.verdict is Verdict.DIFFER
    assert nic.why == f"the switch carries less than intended: without the filter of security group {group}"
    tampered(filtered, group, "another")
    nic = filtered.service.show("bm-1").nics[0]
    assert nic.why == "the switch carries more than intended: also filtered by security group another"
    filtered.world.fabric.enforces_groups = False
    assert filtered.service.show("bm-1").nics[0].verdict is Verdict.AGREE, "nobody is to enforce anything"


def test_the_fleets_check_finds_it_too(filtered: Bench) -> None:
    check = FleetCheck(
        clouds=filtered.clouds, switches=filtered.readers, settings=filtered.settings, store=filtered.store,
        observer=Observer(filtered.clouds, fresh=0.0), sleep=lambda _: None,
    )  # fmt: skip
    assert check.check().agrees
    tampered(filtered)
    [found] = check.check().wrong
    assert "without the filter of security group" in (found.nic.why or "")


def test_a_server_is_not_given_to_its_tenant_unfiltered(filtered: Bench) -> None:
    assert verifier(filtered).verify(filtered.node_id, joined(filtered), BY).verified
    tampered(filtered)
    with pytest.raises(Refused, match=r"leaf1 .* without the filter of security group") as caught:
        verifier(filtered).verify(filtered.node_id, joined(filtered), BY)
    assert caught.value.code == "flip_refused"


def test_a_filter_that_comes_a_moment_later_is_waited_for(filtered: Bench) -> None:
    [group] = filtered.port.security_groups
    tampered(filtered)
    filtered.after(0.5, lambda: tampered(filtered, group))
    assert verifier(filtered).verify(filtered.node_id, joined(filtered), BY).seconds >= 0.5


def test_off_and_on_again_takes_it_along(filtered: Bench) -> None:
    [group] = filtered.port.security_groups
    filtered.power("off")
    filtered.run()
    assert filtered.quarantined()
    assert on_it(filtered) == frozenset(), "the quarantine network has its own walls"
    filtered.flips.to_tenant(filtered.node_id, BY)
    assert filtered.on_tenant()
    assert on_it(filtered) == {group}


def test_no_power_while_the_filter_is_missing(filtered: Bench) -> None:
    filtered.power("off")
    filtered.run()
    filtered.world.fabric.switches.filters_nothing = True
    with pytest.raises(Refused, match="without the filter of security group"):
        filtered.flips.to_tenant(filtered.node_id, BY)
    filtered.world.fabric.switches.filters_nothing = False
    filtered.clouds.own.attachments.unbind(filtered.port.id)
    filtered.flips.to_tenant(filtered.node_id, BY)
    assert filtered.on_tenant()

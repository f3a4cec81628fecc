"""The checks before the first deployment: each finds exactly its own trouble, and what was not read is never ok."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Forbidden, Unavailable
from steelyard.networks.model import NetworkRole, OperatorNetworks
from steelyard.networks.preflight import Check, Seen, Status, checks, passed
from steelyard.networks.preflight_routes import router
from steelyard.networks.set_up import PreflightService
from steelyard.nouns import FabricFacts, FabricPort, FabricSwitch, Network, NetworkFacts, NodePort, SwitchLink
from steelyard.settings import Settings
from steelyard.web.app import build_app

NAMES = ("provisioning", "cleaning", "inspection", "rescue", "quarantine")
OPERATORS = OperatorNetworks({NetworkRole(name): name for name in NAMES})
LEAF = "02:00:00:00:00:01"


def network(name: str, vlan: int | None, *, id: str | None = None) -> Network:
    return Network(id or f"id-{name}", name, "admin", False, "ACTIVE", vlan, "vlan", "physnet1")


def nic(number: int, port: str | None, *, leaf: str = "leaf1", pxe: bool = True) -> NodePort:
    link = SwitchLink(LEAF, port, leaf) if port else None
    return NodePort(f"nic-{number}", f"node-{number}", f"52:54:00:00:00:0{number}", pxe, "physnet1", link)


def healthy(controller: str = "contrail") -> Seen:
    networks = [network(name, 2001 + number) for number, name in enumerate(NAMES)] + [network("blue", 100)]
    facts = {
        each.id: NetworkFacts(each.id, (), True, 1500, boot_servers=("192.0.2.66",))
        for each in networks
        if each.name in NAMES
    }
    of_contrail: dict[str, Any] = {
        "switches": (FabricSwitch("leaf1", LEAF, ("tsn1",)), FabricSwitch("spine1", None, ())),
        "access_rules": "rbac",
        "ports": (FabricPort("leaf1", "xe-0/0/1", 9000), FabricPort("leaf1", "xe-0/0/2_0", None)),
    }
    return Seen(
        controller=controller, operators=OPERATORS, networks=networks,
        facts=FabricFacts(controller, facts, **(of_contrail if controller == "contrail" else {})),
        nics=[nic(1, "xe-0/0/1"), nic(2, "xe-0/0/2:0"), nic(3, None, pxe=False)],
        nodes={"node-1": "bm-1", "node-2": "bm-2"}, virtual_media=False,
    )  # fmt: skip


def with_facts(seen: Seen, name: str, **changes: Any) -> Seen:
    assert seen.facts is not None
    known = {**seen.facts.networks, f"id-{name}": replace(seen.facts.networks[f"id-{name}"], **changes)}
    return replace(seen, facts=replace(seen.facts, networks=known))


def with_network(seen: Seen, name: str, **changes: Any) -> Seen:
    return replace(
        seen, networks=[replace(each, **changes) if each.name == name else each for each in seen.networks or ()]
    )


def without_network(seen: Seen, name: str) -> Seen:
    return replace(seen, networks=[each for each in seen.networks or () if each.name != name])


def plus_network(seen: Seen, more: Network) -> Seen:
    assert seen.facts is not None
    facts = {**seen.facts.networks, more.id: NetworkFacts(more.id, (), True, 1500, boot_servers=("192.0.2.66",))}
    return with_fabric(replace(seen, networks=[*(seen.networks or ()), more]), networks=facts)


def with_leaf(seen: Seen, mac: str, *service_nodes: str) -> Seen:
    return with_fabric(seen, switches=(FabricSwitch("leaf1", mac, service_nodes),))


def with_fabric(seen: Seen, **changes: Any) -> Seen:
    assert seen.facts is not None
    return replace(seen, facts=replace(seen.facts, **changes))


@pytest.mark.parametrize("controller", ["neutron", "contrail"])
def test_a_set_up_that_is_right_passes(controller: str) -> None:
    found = checks(healthy(controller))
    assert [each for each in found if each.status is not Status.OK] == []
    assert passed(found, strict=True)
    of_contrail = {"access_rules", "switch_ports", "service_nodes", "boot_server"}
    assert of_contrail & {each.name for each in found} == (of_contrail if controller == "contrail" else set())


def with_segments(seen: Seen, *more: Network) -> Seen:
    for segment in more:
        seen = plus_network(seen, segment)
    operators = OperatorNetworks(seen.operators.by_role, ("segment-*",))
    return replace(seen, operators=operators, segment_projects=("admin",))


def test_segments_are_looked_at_like_the_operators_other_networks() -> None:
    one, two = network("segment-001", 2101), network("segment-002", 2102)
    found = {each.name: each for each in checks(with_segments(healthy(), one, two))}
    assert passed(found.values(), strict=True)
    assert found["operator_networks"].reason == "5 networks and 2 segments"
    shared = with_facts(with_segments(healthy(), one, two), "segment-002", users=("everybody",))
    assert [each.name for each in checks(shared) if each.status is not Status.OK] == ["private_networks"]
    tenants = replace(network("segment-666", 100), project_id="p1")
    assert passed(checks(with_segments(healthy(), one, replace(tenants, segmentation_id=101))), strict=True)
    [wrong] = [each for each in checks(with_segments(healthy())) if each.status is not Status.OK]
    assert (wrong.name, wrong.subjects) == ("operator_networks", ("segment-*",))
    assert "STEELYARD_SEGMENTS_PROJECT" in str(wrong.next)


BREAK: dict[str, tuple[str, Callable[[Seen], Seen], str]] = {
    "lost network": ("operator_networks", lambda s: without_network(s, "rescue"), "rescue"),
    "a name twice": ("operator_networks", lambda s: plus_network(s, network("cleaning", 9, id="x")), "cleaning"),
    "shared": ("private_networks", lambda s: with_facts(s, "cleaning", users=("everybody",)), "cleaning"),
    "shared with one": ("private_networks", lambda s: with_facts(s, "provisioning", users=("p1",)), "provisioning"),
    "no VLAN": ("vlans", lambda s: with_network(s, "quarantine", segmentation_id=None), "quarantine"),
    "a tenant's VLAN": ("vlans", lambda s: with_network(s, "blue", segmentation_id=2002), "cleaning"),
    "no DHCP": ("dhcp", lambda s: with_facts(s, "inspection", dhcp=False), "inspection"),
    "small MTU": ("mtu", lambda s: with_facts(s, "provisioning", mtu=1400), "provisioning"),
    "narrow switch port": ("mtu", lambda s: with_facts(s, "provisioning", mtu=9100), "leaf1 xe-0/0/1"),
    "unknown cable": ("cables", lambda s: replace(s, nics=[*(s.nics or ()), nic(4, None)]), "52:54:00:00:00:04"),
    "two on one port": ("one_nic_each", lambda s: replace(s, nics=[*(s.nics or ()), nic(4, "xe-0/0/1")]), "xe-0/0/1"),
    "unknown interface": ("switch_ports", lambda s: with_fabric(s, ports=()), "no such interface"),
    "unknown switch": ("switch_ports", lambda s: replace(s, nics=[nic(1, "xe-0/0/1", leaf="leaf9")]), "no such switch"),
    "another switch": ("switch_ports", lambda s: with_leaf(s, "02:00:00:00:00:09", "tsn1"), "another switch"),
    "open to anybody": ("access_rules", lambda s: with_fabric(s, access_rules="no-auth"), "anybody"),
    "closed to tenants": ("access_rules", lambda s: with_fabric(s, access_rules="cloud-admin"), "tenants"),
    "no service node": ("service_nodes", lambda s: with_leaf(s, LEAF), "leaf1"),
    "no boot server": ("boot_server", lambda s: with_facts(s, "cleaning", boot_servers=()), "cleaning"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAK)
def test_each_trouble_fails_its_own_check(what: str) -> None:
    name, harm, subject = BREAK[what]
    found = checks(harm(healthy()))
    also = {"service_nodes"} if what == "unknown switch" else set()  # nobody is known to be behind leaf1 then
    wrong = {each.name: each for each in found if each.status is not Status.OK and each.name not in also}
    assert set(wrong) == {name}
    assert wrong[name].status is Status.FAILED
    assert wrong[name].next
    assert subject in f"{wrong[name].reason} {wrong[name].subjects}"
    assert not passed(found)


def test_a_leaf_that_no_server_is_behind_needs_no_service_node() -> None:
    found = {each.name: each for each in checks(healthy())}
    assert found["service_nodes"].status is Status.OK, "spine1 has none"
    without_nics = {each.name: each for each in checks(replace(healthy(), nics=[]))}
    assert without_nics["service_nodes"].subjects == ("spine1",), "before the first server all are looked at"


def test_virtual_media_needs_no_boot_server() -> None:
    seen = replace(with_facts(healthy(), "cleaning", boot_servers=()), virtual_media=True)
    assert passed(checks(seen), strict=True)


@pytest.mark.parametrize("lost", ["networks", "facts", "nics"])
def test_what_could_not_be_read_is_not_ok(lost: str) -> None:
    changes: dict[str, Any] = {lost: None, "errors": {lost: "no answer"}}
    found = {each.name: each for each in checks(replace(healthy(), **changes))}
    depends = {
        "networks": {"reachable", "rights", "operator_networks", "private_networks", "vlans", "dhcp", "boot_server"},
        "facts": {
            "reachable",
            "rights",
            "private_networks",
            "dhcp",
            "mtu",
            "switch_ports",
            "service_nodes",
            "boot_server",
        },
        "nics": {"cables", "one_nic_each", "switch_ports", "service_nodes"},
    }[lost]
    assert depends <= {name for name, each in found.items() if each.status is not Status.OK}
    assert (found["reachable"].status is Status.FAILED) == (lost != "nics")
    assert not passed(found.values(), strict=True)
    assert passed(found.values()) == (lost == "nics")


def test_missing_rights_are_told_apart_from_silence() -> None:
    seen = replace(healthy(), facts=None, errors={"facts": "reading the fabric is for administrators"}, forbidden=True)
    found = {each.name: each for each in checks(seen)}
    assert (found["reachable"].status, found["rights"].status) == (Status.OK, Status.FAILED)
    blind = replace(
        healthy("neutron"), networks=[replace(each, segmentation_id=None) for each in healthy().networks or ()]
    )
    assert {each.name for each in checks(blind) if each.status is Status.FAILED} == {"rights", "vlans"}


def test_access_rules_that_nobody_tells_are_unknown() -> None:
    found = {each.name: each for each in checks(with_fabric(healthy(), access_rules=None))}
    assert found["access_rules"].status is Status.UNKNOWN


def test_an_mtu_that_nobody_tells_is_unknown() -> None:
    seen = healthy()
    for name in NAMES:
        seen = with_facts(seen, name, mtu=None)
    seen = with_fabric(seen, ports=tuple(replace(each, mtu=None) for each in (seen.facts and seen.facts.ports) or ()))
    found = {each.name: each for each in checks(seen)}
    assert found["mtu"].status is Status.UNKNOWN
    assert passed(found.values())
    assert not passed(found.values(), strict=True)


# The use case, and its way out


class Place:
    def __init__(self) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        settings = Settings()
        self.service = PreflightService(clouds=self.clouds, settings=settings)
        app = build_app([router(self.service)], validate=self.clouds.identity.validate, checks={}, settings=settings)
        self.client = TestClient(app)

    def ask(self, role: str) -> Any:
        headers = {"x-auth-token": self.world.token(project="p", roles={role})}
        return self.client.get("/v1/network-controller/preflight", headers=headers)


@pytest.fixture
def place() -> Place:
    return Place()


def by_name(found: list[Check]) -> dict[str, Check]:
    return {each.name: each for each in found}


def test_strangers_and_tenants_are_not_told(place: Place) -> None:
    assert place.client.get("/v1/network-controller/preflight").status_code == 401
    for role in ("member", "reader"):
        assert place.ask(role).status_code == 403


def test_an_administrator_is_told(place: Place) -> None:
    place.world.add_node("bm-1")
    answer = place.ask("admin").json()
    assert (answer["controller"], answer["passed"]) == ("neutron", True), json.dumps(answer, indent=1)
    assert {each["status"] for each in answer["checks"]} <= {"ok", "unknown"}
    shared = replace(next(iter(place.world.fabric.networks.values())), shared=True)
    place.world.fabric.networks[shared.id] = shared
    answer = place.ask("admin").json()
    assert answer["passed"] is False
    [failed] = [each for each in answer["checks"] if each["status"] == "failed"]
    assert (failed["name"], failed["subjects"]) == ("private_networks", [shared.name])
    assert shared.name in failed["next"]


@pytest.mark.parametrize(
    ("error", "name"), [(Unavailable("Neutron does not answer"), "reachable"), (Forbidden("no"), "rights")]
)
def test_a_controller_that_does_not_answer_is_an_answer(place: Place, error: Exception, name: str) -> None:
    place.world.fail("networks.all", error)
    found = by_name(list(place.service.run().checks))
    assert found[name].status is Status.FAILED
    assert str(error) in found[name].reason

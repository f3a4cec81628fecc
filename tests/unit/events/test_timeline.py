"""One timeline out of what several tell."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Forbidden, NotFound, Unavailable
from steelyard.events.service import EventService
from steelyard.events.timeline import Line, line_of_history, merged
from steelyard.lifecycle.records import Tenancy
from steelyard.nouns import FlavorSpec, HistoryEntry, ImageSpec, Instance, Node, ServerSpec
from steelyard.operations.fake import FakeOperations
from steelyard.operations.model import Done, OperationKind, Step
from steelyard.store import Store

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(source: str, kind: str, after: float = 0.0, **values: Any) -> Line:
    given: dict[str, Any] = {
        "id": f"{source}:{kind}:{after}", "at": NOW + timedelta(seconds=after), "source": source, "kind": kind,
        "subject": "server:s1", "actor": "ada", "detail": kind, "told_by": (source,),
    }  # fmt: skip
    return Line(**{**given, **values})


class TestMerging:
    def test_the_newest_first_and_each_once(self) -> None:
        lines = [line("steelyard", "a", 1), line("ironic", "b", 3), line("nova", "c", 2)]
        assert [each.kind for each in merged([*lines, *lines])] == ["b", "c", "a"]
        assert merged(reversed(lines)) == merged(lines)

    def test_an_operation_and_novas_action_are_one_thing(self) -> None:
        asked = line("steelyard", "operation.started", 0.4, about="servers.create", reason="demo", operation_id="o1")
        nova = line("nova", "create", 0.0, actor="user-id", request_id="req-nova")
        (one,) = merged([nova, asked])
        assert (one.actor, one.reason, one.operation_id, one.request_id) == ("ada", "demo", "o1", "req-nova")
        assert one.told_by == ("steelyard", "nova")

    @pytest.mark.parametrize(
        "changes",
        [
            {"about": "servers.delete"}, {"subject": "server:other"}, {"at": NOW + timedelta(minutes=2)},
            {"kind": "operation.succeeded"},
        ],
    )  # fmt: skip
    def test_what_is_another_thing_stays_another(self, changes: dict[str, Any]) -> None:
        asked = line("steelyard", "operation.started", about="servers.create")
        assert len(merged([line("nova", "create"), replace(asked, **changes)])) == 2

    def test_two_actions_are_two(self) -> None:
        asked = [line("steelyard", "operation.started", t, about="servers.power", id=f"event:{t}") for t in (0, 20)]
        did = [line("nova", "stop", 1), line("nova", "start", 21)]
        both = merged([*asked, *did])
        assert len(both) == 2
        assert all(each.told_by == ("steelyard", "nova") for each in both)

    def test_a_deletion_is_about_the_same_server(self) -> None:
        asked = line("steelyard", "operation.started", about="servers.delete", subject="release:s1")
        assert len(merged([asked, line("nova", "delete", 1)])) == 1

    def test_what_was_seen_outside_gets_a_name(self) -> None:
        seen = line("steelyard", "server.status", 25, actor="outside", about="SHUTOFF", detail="active → shutoff")
        nova = line("nova", "stop", 0, actor="user-id", request_id="req-nova")
        (one,) = merged([seen, nova])
        assert (one.actor, one.request_id, one.at) == ("user-id", "req-nova", NOW)
        assert one.detail == "active → shutoff"
        before = line("steelyard", "server.status", -25, actor="outside", about="SHUTOFF")
        assert len(merged([before, nova])) == 2, "nothing is seen before it happens"

    def test_an_error_that_is_quoted_is_told_once(self) -> None:
        words = "Failed to erase disk /dev/sda: it does not answer"
        ironic = line("ironic", "cleaning", 0, actor=None, detail=words, severity="ERROR", subject="node:n1")
        ours = line("steelyard", "operation.failed", 30, detail=f"nodes.onboard has failed: {words}", subject="node:n1")
        (one,) = merged([ironic, ours])
        assert one.told_by == ("steelyard", "ironic")
        assert one.severity == "ERROR"
        later = replace(ours, at=NOW + timedelta(hours=1))
        assert len(merged([ironic, later])) == 2
        twice = replace(ironic, id="ironic:2", at=NOW + timedelta(seconds=1))
        assert len(merged([ironic, twice])) == 1, "Ironic itself notes some errors twice"

    def test_short_words_prove_nothing(self) -> None:
        one = line("ironic", "x", 0, detail="timeout", subject="node:n1")
        two = line("steelyard", "y", 0, detail="a timeout somewhere", subject="node:n1")
        assert len(merged([one, two])) == 2

    def test_ids_hold_between_two_looks(self) -> None:
        entry = HistoryEntry(NOW, "ironic", "cleaning", "x")
        assert line_of_history(entry, "node:1").id == line_of_history(entry, "node:1").id
        assert line_of_history(entry, "node:1").id != line_of_history(entry, "node:2").id


@dataclass
class Site:
    world: FakeWorld
    clouds: FakeClouds
    store: Store
    operations: FakeOperations
    service: EventService
    token: str
    other_token: str
    admin_token: str

    def deployed(self) -> tuple[Node, Instance]:
        """A node with a tenant's server on it, as Steelyard would have recorded it."""
        world, tenant = self.world, self.clouds.on_behalf_of(self.token)
        world.add_node("bm-001")
        network = world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        flavor = self.clouds.own.flavors.create(FlavorSpec("small", "bm.small"))
        image = tenant.images.create(
            ImageSpec("debian", "raw", f"sha256:{hashlib.sha256(b'data').hexdigest()}", 4), io.BytesIO(b"data")
        )
        instance = tenant.compute.create(ServerSpec("web", flavor.id, image.id, (network.id,)))
        actor = self.clouds.identity.validate(self.token)
        operation = self.operations.start(
            "servers.create", {"server_id": instance.id}, actor, reason="a demo", subject=f"server:{instance.id}"
        )
        self.store.events.append(
            f"server:{instance.id}", "operation.started", actor=actor.user_name, reason="a demo",
            operation_id=operation.id, request_id="req-1", detail="servers.create was asked for",
            data={"kind": "servers.create", "node": "bm-001"}, project_id=actor.project_id,
        )  # fmt: skip
        world.settle()
        node = next(node for node in world.nodes.values() if node.instance_id == instance.id)
        self.store.events.append(
            f"node:{node.id}", "network.flipped", actor="steelyard", detail="node bm-001 left cleaning for tenant"
        )
        return node, self.clouds.own.compute.get(instance.id)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'steelyard.sqlite'}"


@pytest.fixture
def site(store: Store) -> Site:
    world = FakeWorld()
    world.now = datetime.now(UTC)
    clouds = FakeClouds(world)
    operations = FakeOperations()
    operations.register(OperationKind("servers.create", [Step("deploy", lambda _: Done())]))
    return Site(
        world, clouds, store, operations, EventService(clouds=clouds, store=store, operations=operations),
        token=world.token(project="demo"), other_token=world.token(project="other"),
        admin_token=world.token(project="admin", roles={"admin"}),
    )  # fmt: skip


class TestOfANode:
    def test_everybody_tells(self, site: Site) -> None:
        node, _ = site.deployed()
        found = site.service.node_timeline("bm-001")
        assert found.missing == ()
        told = {(each.source, each.kind): each for each in found.lines}
        made = told["steelyard", "operation.started"]
        assert made.told_by == ("steelyard", "nova")
        assert (made.reason, made.actor) == ("a demo", "demo")
        assert made.request_id == "req-1"
        assert ("steelyard", "operation.step") in told
        assert ("network", "network.flipped") in told
        assert {kind for source, kind in told if source == "ironic"} == {"deployment_start", "deployment_end"}
        assert [each.at for each in found.lines] == sorted((each.at for each in found.lines), reverse=True)
        assert site.service.node_timeline(node.id).lines == found.lines

    def test_servers_of_before(self, site: Site) -> None:
        node, instance = site.deployed()
        site.store.tenancies.begin(
            Tenancy(
                node_id=node.id, instance_id=instance.id, name="web", project_id=instance.project_id, user_id=None,
                since=NOW, seen_at=NOW,
            )
        )  # fmt: skip
        site.clouds.on_behalf_of(site.token).compute.delete(instance.id)
        site.world.settle()
        assert site.world.nodes[node.id].instance_id is None
        kinds = {each.kind for each in site.service.node_timeline(node.id).lines}
        assert {"operation.started", "delete", "automated_cleaning_end"} <= kinds

    @pytest.mark.parametrize(("call", "source"), [("provisioning.history", "ironic"), ("compute.history", "nova")])
    def test_who_is_away_is_named_and_the_others_tell(self, site: Site, call: str, source: str) -> None:
        node, _ = site.deployed()
        whole = site.service.node_timeline(node.id)
        site.world.fail(call, Unavailable(f"{source} does not answer"))
        found = site.service.node_timeline(node.id)
        assert [(each.source, each.reason) for each in found.missing] == [(source, f"{source} does not answer")]
        assert not any(each.source == source for each in found.lines)
        assert 0 < len(found.lines) < len(whole.lines) + 1
        assert any(each.source == "steelyard" for each in found.lines)

    def test_ironic_is_away_altogether(self, site: Site) -> None:
        node, _ = site.deployed()
        site.world.fail("nodes.get", Unavailable("Ironic does not answer"), times=3)
        found = site.service.node_timeline(node.id)
        assert [each.source for each in found.missing] == ["ironic"]
        assert [each.kind for each in found.lines] == ["network.flipped"]
        with pytest.raises(Unavailable):
            site.service.node_timeline("bm-001")  # who it is, only Ironic knows

    def test_a_node_that_is_gone(self, site: Site) -> None:
        site.store.events.append("node:gone", "node.deleted", actor="ada", detail="node bm-9 was deleted")
        assert [each.kind for each in site.service.node_timeline("gone").lines] == ["node.deleted"]
        with pytest.raises(NotFound):
            site.service.node_timeline("never-was")

    def test_what_happened_to_its_candidate(self, site: Site) -> None:
        node = site.world.add_node("bm-002")
        site.clouds.own.nodes.update(node.id, {"/extra/steelyard": {"candidate_id": "c1"}})
        site.store.events.append("candidate:c1", "candidate.found", actor="ada", detail="found by a sweep")
        assert "candidate.found" in {each.kind for each in site.service.node_timeline(node.id).lines}


class TestOfAServer:
    def test_a_tenant_reads_of_no_node(self, site: Site) -> None:
        node, instance = site.deployed()
        actor = site.clouds.identity.validate(site.token)
        site.store.events.append(
            f"server:{instance.id}", "server.status", actor="outside", detail="active → shutoff",
            reason="operator's words", data={"node": "bm-001"}, project_id=actor.project_id,
        )  # fmt: skip
        site.store.events.append(f"server:{instance.id}", "finding.opened", actor="steelyard", detail="bm-001 is ill")
        for reference in ("web", instance.id):
            found = site.service.server_timeline(actor, site.token, reference)
            kinds = {each.kind for each in found.lines}
            assert kinds == {"operation.started", "operation.step", "server.status"}
            text = json.dumps([repr(each) for each in found.lines])
            assert "bm-001" not in text
            assert node.id not in text
            assert "operator's words" not in text
            assert "a demo" in text

    def test_others_learn_nothing(self, site: Site) -> None:
        _, instance = site.deployed()
        other = site.clouds.identity.validate(site.other_token)
        for reference in ("web", instance.id):
            with pytest.raises(NotFound):
                site.service.server_timeline(other, site.other_token, reference)

    def test_an_administrator_sees_all_of_it(self, site: Site) -> None:
        _, instance = site.deployed()
        site.store.events.append(f"server:{instance.id}", "finding.opened", actor="steelyard", detail="ill")
        admin = site.clouds.identity.validate(site.admin_token)
        found = site.service.server_timeline(admin, site.admin_token, instance.id)
        assert "finding.opened" in {each.kind for each in found.lines}

    def test_one_that_is_deleted(self, site: Site) -> None:
        _, instance = site.deployed()
        actor = site.clouds.identity.validate(site.token)
        site.clouds.on_behalf_of(site.token).compute.delete(instance.id)
        site.world.settle()
        found = site.service.server_timeline(actor, site.token, instance.id)
        assert {"operation.started", "delete"} <= {each.kind for each in found.lines}
        with pytest.raises(NotFound):
            site.service.server_timeline(actor, site.token, "web")

    def test_nova_is_away(self, site: Site) -> None:
        _, instance = site.deployed()
        actor = site.clouds.identity.validate(site.token)
        site.world.fail("compute.history", Unavailable("Nova does not answer"))
        found = site.service.server_timeline(actor, site.token, instance.id)
        assert [each.source for each in found.missing] == ["nova"]
        site.world.fail("compute.all", Unavailable("Nova does not answer"))
        found = site.service.server_timeline(actor, site.token, instance.id)
        assert [each.source for each in found.missing] == ["nova"]
        assert found.lines
        site.world.fail("compute.history", Forbidden("no"))
        assert site.service.server_timeline(actor, site.token, instance.id).missing[0].reason == "no"

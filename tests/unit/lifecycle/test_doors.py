"""The doors of this room: REST and bulk. Who may, what is refused, and that no secret comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.lifecycle.quarantine import Quarantine

from .test_story import Site

SECRET = "canary-rescue-password"
NODE_POSTS = ["release", "clean", "inspect", "maintenance", "retire", "unretire"]
SERVER_POSTS = ["rebuild", "rescue", "unrescue"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.onboarded()
    yield site
    site.store.close()


def node_of(site: Site) -> Any:
    (node,) = site.world.nodes.values()
    return node


class TestWho:
    @pytest.mark.parametrize("verb", NODE_POSTS)
    def test_nodes_are_for_administrators(self, site: Site, verb: str) -> None:
        path = f"/nodes/bm-001/{verb}"
        site.ask("POST", path, {}, 401, {"reason": "why"})
        for who in (site.tenant, site.reader_only, site.stranger):
            site.ask("POST", path, who, 403, {"reason": "why"})
        assert node_of(site).provision_state == "available"

    @pytest.mark.parametrize("path", ["/nodes/bm-001?force=true&reason=burnt", "/nodes/bm-001/maintenance"])
    def test_so_are_their_ends(self, site: Site, path: str) -> None:
        site.ask("DELETE", path, {}, 401)
        for who in (site.tenant, site.reader_only, site.stranger):
            site.ask("DELETE", path, who, 403)
        assert node_of(site).provision_state == "available"

    @pytest.mark.parametrize("verb", SERVER_POSTS)
    def test_servers_are_their_projects(self, site: Site, verb: str) -> None:
        site.deployed()
        site.ask("POST", f"/servers/web/{verb}", {}, 401, {})
        site.ask("POST", f"/servers/web/{verb}", site.reader_only, 403, {})
        site.ask("POST", f"/servers/web/{verb}", site.stranger, 404, {})
        assert node_of(site).provision_state == "active"


class TestNodes:
    def test_quarantine_and_out_again(self, site: Site) -> None:
        Quarantine(site.clouds, site.store).put(node_of(site), "a stranger's frame", by="steelyard")
        shown = site.ask("GET", "/nodes/bm-001", site.admin, 200)["node"]
        assert shown["phase"] == "quarantined"
        refused = site.ask("DELETE", "/nodes/bm-001", site.admin, 409)
        assert refused["code"] == "node_quarantined"
        assert refused["next"] == "steelyard node release bm-001 --wait"
        refused = site.ask("POST", "/nodes/onboard", site.admin, 409, {"candidates": ["bm-001"]})
        assert refused["code"] in ("already_onboarded", "node_quarantined")
        operation = site.ask("POST", "/nodes/bm-001/release", site.admin, 202, {"reason": "looked"})["operation"]
        assert (operation["kind"], operation["phase"]) == ("nodes.release", "succeeded"), operation["error"]
        assert site.ask("GET", "/nodes/bm-001", site.admin, 200)["node"]["phase"] == "available"

    def test_a_round_of_everything(self, site: Site) -> None:
        for method, path, body, kind in (
            ("POST", "maintenance", {"reason": "fan swap", "until": "2030-01-01T00:00:00Z"}, "nodes.maintenance"),
            ("DELETE", "maintenance", None, "nodes.maintenance"),
            ("POST", "clean", {}, "nodes.clean"),
            ("POST", "inspect", {"reason": "new memory"}, "nodes.inspect"),
            ("POST", "retire", {"reason": "end of lease"}, "nodes.retire"),
            ("POST", "unretire", {}, "nodes.unretire"),
        ):
            operation = site.ask(method, f"/nodes/bm-001/{path}", site.admin, 202, body)["operation"]
            assert (operation["kind"], operation["phase"]) == (kind, "succeeded"), operation["error"]
        assert node_of(site).provision_state == "available"

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("maintenance", {}), ("maintenance", {"reason": ""}), ("maintenance", {"reason": "fan", "until": "soon"}),
            ("release", {"reason": 7}), ("clean", {"force": True}), ("retire", {"reason": "x" * 1001}),
        ],
    )  # fmt: skip
    def test_bad_input_changes_nothing(self, site: Site, path: str, body: dict[str, Any]) -> None:
        answer = site.client.post(f"/v1/nodes/bm-001/{path}", headers=site.admin, json=body)
        assert answer.status_code in (400, 422), answer.text
        assert (node_of(site).provision_state, node_of(site).maintenance) == ("available", False)

    def test_force_needs_a_reason_and_takes_a_deployed_one(self, site: Site) -> None:
        site.deployed()
        assert site.ask("DELETE", "/nodes/bm-001?force=true", site.admin, 400)["code"] == "reason_needed"
        assert site.ask("DELETE", "/nodes/bm-001?reason=burnt", site.admin, 409)["code"] == "node_deployed"
        ended = site.ask("DELETE", "/nodes/bm-001?force=true&reason=burnt", site.admin, 202)["operation"]
        assert (ended["kind"], ended["phase"], ended["reason"]) == ("nodes.remove", "succeeded", "burnt")
        assert "NOT erased" in ended["result"]["summary"]
        site.ask("GET", "/nodes/bm-001", site.admin, 404)
        assert site.ask("GET", "/candidates/bm-001", site.admin, 200)["candidate"]["state"] == "found"


class TestServers:
    def test_rebuild_rescue_unrescue(self, site: Site) -> None:
        site.deployed()
        for verb, body, phase in (
            ("rebuild", {"image": "debian", "reason": "anew"}, "active"),
            ("rescue", {"password": SECRET}, "rescue"),
            ("unrescue", {}, "active"),
        ):
            operation = site.ask("POST", f"/servers/web/{verb}", site.tenant, 202, body)["operation"]
            assert (operation["kind"], operation["phase"]) == (f"servers.{verb}", "succeeded"), operation["error"]
            assert site.ask("GET", "/servers/web", site.tenant, 200)["server"]["phase"] == phase
        assert not any(SECRET in text for text in site.seen)

    @pytest.mark.parametrize(
        "body", [{"password": [SECRET]}, {"password": SECRET, "more": 1}, {"password": SECRET * 9}]
    )
    def test_a_bad_request_does_not_tell_the_password(self, site: Site, body: dict[str, Any]) -> None:
        site.deployed()
        answer = site.client.post("/v1/servers/web/rescue", headers=site.tenant, json=body)
        assert answer.status_code in (400, 422)
        assert SECRET not in answer.text

    def test_a_tenants_release_is_followed_to_the_end_for_administrators(self, site: Site) -> None:
        site.deployed()
        operation = site.ask("DELETE", "/servers/web?reason=done", site.tenant, 202)["operation"]
        assert operation["kind"] == "servers.delete"
        seen = site.ask("GET", "/operations?kind=servers.reclaim", site.tenant, 200)["operations"]
        assert seen == []
        (reclaim,) = site.ask("GET", "/operations?kind=servers.reclaim", site.admin, 200)["operations"]
        assert (reclaim["phase"], reclaim["reason"]) == ("succeeded", "done")
        assert site.store.tenancies.newest_clean(node_of(site).id) is not None


def bulk(site: Site, who: dict[str, str], status: int, action: str, items: list[Any], **more: Any) -> Any:
    answer = site.ask("POST", "/bulk", who, status, {"action": action, "items": items, **more})
    if status != 202:
        return answer
    return site.ask("GET", f"/operations/{answer['operation']['id']}", who, 200)["operation"]


class TestBulk:
    def test_every_action_can_be_asked_for_in_bulk(self, site: Site) -> None:
        actions = {each["name"]: each for each in site.ask("GET", "/bulk/actions", site.admin, 200)["actions"]}
        assert set(actions) >= {
            "nodes.onboard", "servers.create", "servers.power", "servers.rebuild", "servers.rescue", "servers.unrescue",
            "servers.delete", "nodes.release", "nodes.clean", "nodes.inspect", "nodes.maintenance", "nodes.retire",
            "nodes.unretire", "nodes.delete", "nodes.remove",
        }  # fmt: skip
        mine = {each["name"] for each in site.ask("GET", "/bulk/actions", site.tenant, 200)["actions"]}
        assert {name for name in mine if name.startswith("nodes.")} == set()

    def test_a_tenants_life_in_bulk(self, site: Site) -> None:
        order = {"name": "web-1", "flavor": "metal", "image": "debian", "networks": ["blue"]}
        for action, item in (
            ("servers.create", order),
            ("servers.power", {"server": "web-1", "action": "off"}),
            ("servers.power", {"server": "web-1", "action": "on"}),
            ("servers.rebuild", {"server": "web-1"}),
            ("servers.rescue", {"server": "web-1"}),
            ("servers.unrescue", {"server": "web-1"}),
            ("servers.delete", {"server": "web-1"}),
        ):
            ended = bulk(site, site.tenant, 202, action, [item])
            assert ended["phase"] == "succeeded", (action, ended["error"])
            site.world.settle()
        assert node_of(site).provision_state == "available"

    def test_an_administrators_in_bulk(self, site: Site) -> None:
        Quarantine(site.clouds, site.store).put(node_of(site), "why", by="steelyard")
        item = {"node": "bm-001"}
        for action, more in (
            ("nodes.release", {}), ("nodes.clean", {}), ("nodes.inspect", {}), ("nodes.maintenance", {"on": True}),
            ("nodes.maintenance", {"on": False}), ("nodes.retire", {}), ("nodes.unretire", {}), ("nodes.delete", {}),
            ("nodes.onboard", {"candidate": "bm-001"}), ("nodes.remove", {}),
        ):  # fmt: skip
            ended = bulk(
                site, site.admin, 202, action, [more if "candidate" in more else item | more], reason="a round"
            )
            assert ended["phase"] == "succeeded", (action, ended["error"])
        assert site.world.nodes == {}

    @pytest.mark.parametrize(
        ("action", "item"),
        [
            ("servers.create", {"name": "x"}), ("servers.create", {"name": "x", "flavor": "f", "image": "i"}),
            ("servers.power", {"server": "x", "action": "explode"}), ("servers.rebuild", {}),
            ("servers.delete", {"server": 7}), ("servers.rescue", {"name": "web"}),
        ],
    )  # fmt: skip
    def test_an_item_that_makes_no_sense(self, site: Site, action: str, item: dict[str, Any]) -> None:
        assert bulk(site, site.tenant, 400, action, [item])["code"] == "invalid_item"

    @pytest.mark.parametrize(
        ("action", "item"),
        [
            ("nodes.maintenance", {"node": "bm-001"}), ("nodes.maintenance", {"node": "bm-001", "on": 1}),
            ("nodes.maintenance", {"node": "bm-001", "on": True, "until": "soon"}), ("nodes.retire", {"node": ""}),
            ("nodes.onboard", {"candidate": None}), ("nodes.onboard", {"candidate": "c", "recabled": "yes"}),
        ],
    )  # fmt: skip
    def test_one_on_nodes(self, site: Site, action: str, item: dict[str, Any]) -> None:
        assert bulk(site, site.admin, 400, action, [item])["code"] == "invalid_item"
        bulk(site, site.tenant, 403, action, [item])

    def test_the_delete_rule_holds_in_bulk(self, site: Site) -> None:
        site.deployed()
        ended = bulk(site, site.admin, 202, "nodes.delete", [{"node": "bm-001"}])
        assert ended["phase"] == "failed"
        (item,) = site.ask("GET", f"/operations/{ended['id']}/items", site.admin, 200)["items"]
        assert item["error"]["code"] == "node_deployed"
        assert node_of(site).provision_state == "active"

    def test_a_forced_removal_in_bulk_needs_a_reason_too(self, site: Site) -> None:
        ended = bulk(site, site.admin, 202, "nodes.remove", [{"node": "bm-001"}])
        (item,) = site.ask("GET", f"/operations/{ended['id']}/items", site.admin, 200)["items"]
        assert item["error"]["code"] == "reason_needed"
        assert node_of(site).provision_state == "available"

    def test_anothers_server_is_not_found_in_bulk(self, site: Site) -> None:
        site.deployed()
        ended = bulk(site, site.stranger, 202, "servers.delete", [{"server": "web"}])
        (item,) = site.ask("GET", f"/operations/{ended['id']}/items", site.stranger, 200)["items"]
        assert (ended["phase"], item["error"]["code"]) == ("failed", "server_not_found")
        assert node_of(site).provision_state == "active"

"""A Contrail controller for the suites: the shipped fake one on a free port, with tenants, switches and networks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keystoneauth1.access import AccessInfoV3
from keystoneauth1.identity.access import AccessInfoPlugin

from steelyard.clouds.contrail import ContrailClouds, Controller
from steelyard.clouds.openstack.clouds import OpenstackCloud, OpenstackClouds
from steelyard.clouds.openstack.session import Access, new_session
from steelyard.embedded.contrail.standalone import StandaloneController

from .stages import Stage

ROOT = "default-global-system-config"
VLANS = range(2200, 2400)
OPERATORS = ("provisioning", "cleaning", "inspection", "rescue", "quarantine")


@dataclass
class ControllerAtHand:
    """A controller, and a plugin of keystoneauth for each token that it knows."""

    standalone: StandaloneController
    people: dict[str, dict[str, Any]] = field(repr=False)
    """What the token file says, by token."""

    @property
    def url(self) -> str:
        return self.standalone.url

    def token(self, name: str) -> str:
        return self.standalone.tokens[name]

    def project_id(self, name: str) -> str:
        return str(self.people[self.token(name)]["project_id"])

    def access(self, token: str, *, own: bool) -> Access:
        """As keystoneauth would have it from Keystone's word for a token."""
        known = self.people[token]
        body = {
            "token": {
                "user": {"id": known["user"], "name": known["user"], "domain": {"id": "default", "name": "Default"}},
                "project": {
                    "id": known["project_id"], "name": known["project_name"],
                    "domain": {"id": "default", "name": "Default"},
                },
                "roles": [{"id": name, "name": name} for name in known["roles"]], "methods": ["token"],
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
                "catalog": [],
            }
        }  # fmt: skip
        plugin = AccessInfoPlugin(AccessInfoV3(body, auth_token=token))
        session = new_session(plugin, verify=True, cert=None, timeout=20.0)
        return Access(session, plugin, own, None, "public", 20.0)

    def clouds(self, *, vlans: range | None = VLANS) -> ContrailClouds:
        return ContrailClouds(_Clouds(self), Controller(url=self.url, vlans=vlans))

    # Raw requests, to set the scene and to look at what the adapter made

    def make(self, kind: str, fq_name: list[str], *, token: str = "admin", **body: Any) -> str:
        status, text, answer = self.standalone.call(
            "POST", f"/{kind}s", {kind: {"fq_name": fq_name, **body}}, token=token
        )
        assert status == 200, text
        return str(answer[kind]["uuid"])

    def read(self, kind: str, uuid: str) -> dict[str, Any]:
        status, text, answer = self.standalone.call("GET", f"/{kind}/{uuid}")
        assert status == 200, text
        found: dict[str, Any] = answer[kind]
        return found

    def change(self, kind: str, uuid: str, **changes: Any) -> tuple[int, str]:
        status, text, _ = self.standalone.call("PUT", f"/{kind}/{uuid}", {kind: changes})
        return status, text

    def all(self, kind: str) -> list[dict[str, Any]]:
        _, _, answer = self.standalone.call("GET", f"/{kind}s?detail=true")
        return [each[kind] for each in answer[f"{kind}s"]]

    def refer(self, kind: str, uuid: str, to: str, target: str, *, operation: str = "ADD", attr: Any = None) -> None:
        body = {"type": kind, "uuid": uuid, "ref-type": to, "ref-uuid": target, "ref-fq-name": None,
                "operation": operation, "attr": attr}  # fmt: skip
        status, text, _ = self.standalone.call("POST", "/ref-update", body)
        assert status == 200, text

    def remove(self, kind: str, uuid: str) -> None:
        self.standalone.call("DELETE", f"/{kind}/{uuid}")

    def add_switch(self, name: str, *ports: str, mac: str | None = None) -> str:
        more = {"physical_router_management_mac": mac} if mac else {}
        fabric = [{"to": [ROOT, "default-fabric"], "attr": None}]
        router = self.make(
            "physical-router", [ROOT, name], parent_type="global-system-config", fabric_refs=fabric, **more
        )
        for port in ports:
            self.make("physical-interface", [ROOT, name, port], parent_type="physical-router")
        return router


class _Clouds(OpenstackClouds):
    """The rest of the cloud, which these suites do not use: tokens are known without a Keystone."""

    def __init__(self, controller: ControllerAtHand):
        super().__init__(controller.access(controller.token("admin"), own=True))
        self._controller = controller

    def on_behalf_of(self, token: str) -> OpenstackCloud:
        return OpenstackCloud(self._controller.access(token, own=False), self._agreement)


@contextmanager
def controller_at_hand(directory: Path) -> Iterator[ControllerAtHand]:
    """The fake controller, running, with two tenants, a reader, the operator's networks and two switches."""
    standalone = StandaloneController.make(directory)
    tokens_file = directory / "tokens.json"
    people = json.loads(tokens_file.read_text())["tokens"]
    red = people[standalone.tokens["red"]]
    reader = secrets.token_hex(16)
    people[reader] = {**red, "user": "red-reader", "roles": ["reader"]}
    tokens_file.write_text(json.dumps({"tokens": people}))
    standalone.tokens = {**standalone.tokens, "reader": reader}
    with standalone.running():
        controller = ControllerAtHand(standalone, people)
        for name in ("admin", "red", "blue"):
            standalone.call("GET", "/virtual-networks", token=name)  # a project is known once somebody of it has come
        for name in ("red", "blue"):
            project = ["default-domain", name]
            controller.make("security-group", [*project, "default"], parent_type="project", token=name)
        for number, name in enumerate(OPERATORS):
            provider = {"segmentation_id": 2101 + number, "physical_network": "physnet1"}
            controller.make(
                "virtual-network",
                ["default-domain", "admin", name],
                parent_type="project",
                provider_properties=provider,
            )
        controller.add_switch("no-such-switch", "Ethernet99")
        controller.add_switch("no-such-other", "Ethernet99")
        yield controller


@contextmanager
def contrail_stage(controller: ControllerAtHand) -> Iterator[Stage]:
    stage = Stage(
        clouds=controller.clouds(), real=True, project_id=controller.project_id("red"),
        other_project_id=controller.project_id("blue"), token=controller.token("red"),
        reader_token=controller.token("reader"), other_token=controller.token("blue"),
        admin_token=controller.token("admin"), move=lambda: None,
    )  # fmt: skip
    with stage.after:
        yield stage

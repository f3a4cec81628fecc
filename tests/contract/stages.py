"""Where a contract suite plays: the fake cloud, or the real services of an embedded one, behind one face."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.names import placement_class
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.nouns import Image, ImageSpec, Node, NodeSpec

DATA = b"\x00" * 4096 + b"an image of the contract suite" + b"\x00" * 4066


@dataclass
class Stage:
    """Two tenants, a reader and the cloud's own rights; everything that is made here is removed at the end."""

    clouds: Clouds
    real: bool
    project_id: str
    other_project_id: str
    token: str = field(repr=False)
    reader_token: str = field(repr=False)
    other_token: str = field(repr=False)
    admin_token: str = field(repr=False)
    move: Callable[[], None]
    """Lets time pass: one step of the fake, a second of the real one."""
    after: ExitStack = field(default_factory=ExitStack)

    @property
    def own(self) -> Cloud:
        return self.clouds.own

    @property
    def tenant(self) -> Cloud:
        return self.clouds.on_behalf_of(self.token)

    @property
    def reader(self) -> Cloud:
        return self.clouds.on_behalf_of(self.reader_token)

    @property
    def other(self) -> Cloud:
        return self.clouds.on_behalf_of(self.other_token)

    def name(self, kind: str) -> str:
        return f"contract-{kind}-{secrets.token_hex(4)}"

    def until(self, condition: Callable[[], bool], *, steps: int = 90) -> None:
        """Wait for a condition; fails after so many steps (seconds, on the real services)."""
        for _ in range(steps):
            if condition():
                return
            self.move()
        raise AssertionError("the wanted state was not reached")

    # Things that several suites need

    def image(self, *, size: int = len(DATA), **changes: Any) -> tuple[ImageSpec, bytes]:
        import hashlib

        data = DATA[:size]
        spec = {
            "name": self.name("image"), "disk_format": "raw", "size_bytes": len(data),
            "checksum": "sha256:" + hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
        return ImageSpec(**{**spec, **changes}), data

    def add_image(self) -> Image:
        import io

        spec, data = self.image()
        image = self.tenant.images.create(spec, io.BytesIO(data))
        self.after.callback(self.own.images.delete, image.id)
        return image

    def add_node(
        self, *, resource_class: str = "contract.none", name: str | None = None, network: str = "noop"
    ) -> Node:
        """A node in `enroll` that needs no BMC: Ironic's manual-management with fake power."""
        spec = NodeSpec(
            name=name or self.name("node"), driver="manual-management", resource_class=resource_class,
            driver_info={"redfish_address": "https://192.0.2.77", "redfish_password": "canary-in-driver-info"},
            properties={"cpu_arch": "x86_64"}, extra={"steelyard": {"made": "here"}},
            interfaces={"network": network, "power": "fake", "deploy": "noop", "inspect": "no-inspect",
                        "boot": "ipxe", "management": "noop"},
        )  # fmt: skip
        node = self.own.nodes.create(spec)
        self.after.callback(self._remove_node, node.id)
        return node

    def allocate(self, consumer_id: str, node: Node) -> None:
        """Let a consumer that is no instance hold the node, as a leak would."""
        if self.real:
            body = {
                "allocations": {node.id: {"resources": {placement_class(node.resource_class or ""): 1}}},
                "project_id": self.project_id, "user_id": self.project_id, "consumer_generation": None,
            }  # fmt: skip
            self.own.placement._rest.call("PUT", f"allocations/{consumer_id}", body=body)  # type: ignore[attr-defined]
        else:
            self.clouds.world.allocate(consumer_id, node.id)  # type: ignore[attr-defined]
        self.after.callback(self.own.placement.delete_allocation, consumer_id)

    def put_vif(self, node: Node, port_id: str) -> None:
        """Have Ironic keep a port on the node's NIC, as Nova does before a deployment."""
        if self.real:
            self.own.nodes._ironic.rest.call("POST", f"nodes/{node.id}/vifs", body={"id": port_id})  # type: ignore[attr-defined]
        else:
            [nic] = self.own.node_ports.all(node_id=node.id)
            self.clouds.world.put_vif(nic.id, port_id)  # type: ignore[attr-defined]

    def make_available(self, node: Node) -> None:
        self.own.provisioning.request(node.id, "manage")
        self.until(lambda: self.own.nodes.get(node.id).provision_state == "manageable")
        self.own.provisioning.power(node.id, "on")
        self.until(lambda: self.own.nodes.get(node.id).power_state == "on")
        self.own.provisioning.request(node.id, "provide")
        self.until(lambda: self.own.nodes.get(node.id).provision_state == "available")

    def _remove_node(self, node_id: str) -> None:
        from steelyard.errors import Conflict, NotFound

        for _ in range(30):
            try:
                self.own.nodes.set_maintenance(node_id, "the contract suite is over")
                self.own.nodes.delete(node_id)
            except NotFound:
                return
            except Conflict:
                self.move()
            else:
                return
        raise AssertionError(f"node {node_id} could not be removed")


@contextmanager
def fake_stage() -> Iterator[Stage]:
    world = FakeWorld()
    stage = Stage(
        clouds=FakeClouds(world), real=False, project_id=world.project("red"),
        other_project_id=world.project("blue"), token=world.token(project="red"),
        reader_token=world.token(project="red", roles={"reader"}, user="red-reader"),
        other_token=world.token(project="blue"), admin_token=world.token(project="admin", roles={"admin"}),
        move=world.tick,  # type: ignore[arg-type]
    )  # fmt: skip
    with stage.after:
        yield stage


class Tenants:
    """Two projects with a member each, and a reader, in a real Keystone; gone at the end."""

    def __init__(self, home: Path):
        from steelyard.clouds.openstack import connect
        from steelyard.clouds.openstack.session import IDENTITY, Rest

        clouds_file = home / "clouds.yaml"
        names = yaml.safe_load(clouds_file.read_text())["clouds"]
        system = next(name for name in ("steelyard-system", "system") if name in names)
        self.clouds = connect("steelyard", cloud_system=system, clouds_file=clouds_file)
        admin = connect("admin", clouds_file=clouds_file)
        self._keystone = Rest(admin._access, IDENTITY)
        self.admin_token: str = admin._access.session.get_token()
        self._made: list[str] = []
        roles = self._keystone.get("roles").documents("roles", "a role")
        self._roles = {role.text("name"): role.text("id") for role in roles}
        mark = secrets.token_hex(3)
        self.project_id = self._project(f"contract-red-{mark}")
        self.other_project_id = self._project(f"contract-blue-{mark}")
        self.token = self._token(f"contract-red-{mark}", self.project_id, "member")
        self.reader_token = self._token(f"contract-reader-{mark}", self.project_id, "reader")
        self.other_token = self._token(f"contract-blue-{mark}", self.other_project_id, "member")

    def _project(self, name: str) -> str:
        body = {"project": {"name": name, "domain_id": "default"}}
        project_id = self._keystone.post("projects", body).document("project", "a project").text("id")
        self._made.append(f"projects/{project_id}")
        return project_id

    def _token(self, name: str, project_id: str, role: str) -> str:
        password = secrets.token_urlsafe(16)
        body = {"user": {"name": name, "domain_id": "default", "password": password}}
        user_id = self._keystone.post("users", body).document("user", "a user").text("id")
        self._made.append(f"users/{user_id}")
        self._keystone.call("PUT", f"projects/{project_id}/users/{user_id}/roles/{self._roles[role]}")
        method = {"methods": ["password"], "password": {"user": {"id": user_id, "password": password}}}
        request = {"auth": {"identity": method, "scope": {"project": {"id": project_id}}}}
        return self._keystone.call("POST", "auth/tokens", body=request).headers["x-subject-token"]

    def remove(self) -> None:
        for path in reversed(self._made):
            self._keystone.delete(path)


@contextmanager
def real_stage(tenants: Tenants) -> Iterator[Stage]:
    stage = Stage(
        clouds=tenants.clouds, real=True, project_id=tenants.project_id, other_project_id=tenants.other_project_id,
        token=tenants.token, reader_token=tenants.reader_token, other_token=tenants.other_token,
        admin_token=tenants.admin_token, move=lambda: time.sleep(1),
    )  # fmt: skip
    with stage.after:
        yield stage

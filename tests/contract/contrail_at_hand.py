"""A Contrail controller for its contract suite: ours, started here, or a real one at `--contrail-url`.

What a test makes has names of its own and is removed when it ends, in the controller's order.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

ROOT = "default-global-system-config"
FABRIC = "default-fabric"
BINDINGS = "virtual_machine_interface_bindings"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_MOST_ANSWER = 64 << 20
_DELETE_ORDER = (
    "floating-ip", "instance-ip", "virtual-machine-interface", "virtual-port-group", "floating-ip-pool",
    "virtual-network", "security-group", "network-ipam", "network-policy", "port-group",
    "node-profile", "hardware", "card", "port", "node", "physical-interface", "physical-router",
    "virtual-router", "project",
)  # fmt: skip
"""What refers to something goes before it, children before their parents."""

Tokens = Callable[[str], str | None]
"""A token of "admin" or "tenant"; None when there is nobody of that kind."""


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def is_json(self) -> bool:
        try:
            json.loads(self.text)
        except ValueError:
            return False
        return True


@dataclass
class Controller:
    """One controller, and a project in it for one test."""

    url: str
    tokens: Tokens = field(repr=False)
    project: str = ""
    _made: list[tuple[str, str]] = field(default_factory=list)

    def request(
        self, method: str, path: str, body: Any = None, *, who: str | None = "admin", raw: bytes | None = None
    ) -> Answer:
        """One request; any answer is given back."""
        headers = {"Content-Type": "application/json"}
        if who is not None:
            headers["X-Auth-Token"] = self.tokens(who) or ""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers.get("Content-Type", ""), answer.read(_MOST_ANSWER).decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers.get("Content-Type", ""), error.read(_MOST_ANSWER).decode())

    def ok(self, method: str, path: str, body: Any = None, *, who: str | None = "admin") -> Any:
        """The JSON of a request that must succeed (None when the answer has no body)."""
        answer = self.request(method, path, body, who=who)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json if answer.text else None

    def refused(self, status: int, method: str, path: str, body: Any = None, *, who: str | None = "admin") -> str:
        """The text of a request that must be refused with that status."""
        answer = self.request(method, path, body, who=who)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.text}"
        return answer.text

    # -- objects -------------------------------------------------------------------------------------------------------

    def name(self, kind: str) -> str:
        return f"contract-{kind}-{secrets.token_hex(4)}"

    def body(self, type: str, fq_name: list[str], **properties: Any) -> dict[str, Any]:
        return {type: {"fq_name": fq_name, **properties}}

    def create(self, type: str, fq_name: list[str], *, who: str = "admin", **properties: Any) -> str:
        """Make an object that is removed at the end; its uuid."""
        uuid = str(self.ok("POST", f"/{type}s", self.body(type, fq_name, **properties), who=who)[type]["uuid"])
        self._made.append((type, uuid))
        return uuid

    def show(self, type: str, uuid: str, query: str = "") -> dict[str, Any]:
        shown: dict[str, Any] = self.ok("GET", f"/{type}/{uuid}{query}")[type]
        return shown

    def update(self, type: str, uuid: str, **properties: Any) -> None:
        self.ok("PUT", f"/{type}/{uuid}", {type: properties})

    def delete(self, type: str, uuid: str) -> None:
        self.ok("DELETE", f"/{type}/{uuid}")

    def list(self, type: str, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ok("GET", f"/{type}s?{query}")[f"{type}s"]
        return found

    def ref(self, operation: str, type: str, uuid: str, ref_type: str, ref_uuid: str, **more: Any) -> dict[str, Any]:
        """The body of a ref-update."""
        return {
            "type": type, "uuid": uuid, "ref-type": ref_type, "ref-uuid": ref_uuid, "operation": operation, **more,
        }  # fmt: skip

    # -- what most tests need ------------------------------------------------------------------------------------------

    def in_project(self, name: str) -> list[str]:
        return ["default-domain", self.project, name]

    def ipam(self, **properties: Any) -> list[str]:
        """The name of a new IPAM of the project."""
        fq_name = self.in_project(self.name("ipam"))
        self.create("network-ipam", fq_name, parent_type="project", **properties)
        return fq_name

    def network(self, *subnets: dict[str, Any], **properties: Any) -> str:
        """A network with these subnets (by default one of version 4); its uuid."""
        fq_name = self.in_project(self.name("network"))
        wanted = list(subnets) if subnets else [subnet("10.11.12.0/24")]
        refs = [{"to": self.ipam(), "attr": {"ipam_subnets": wanted}}]
        return self.create("virtual-network", fq_name, parent_type="project", network_ipam_refs=refs, **properties)

    def address(self, network: str, **properties: Any) -> dict[str, Any]:
        """A new instance-ip as it is shown."""
        uuid = self.create("instance-ip", [self.name("ip")], virtual_network_refs=[self.to("virtual-network", network)],
                           **properties)  # fmt: skip
        return self.show("instance-ip", uuid)

    def to(self, type: str, uuid: str) -> dict[str, Any]:
        """A reference as it stands in a body: by name, as on the real controller either will do."""
        return {"to": self.ok("POST", "/id-to-fqname", {"uuid": uuid})["fq_name"], "attr": None}

    def leaf(self, ports: int = 2) -> tuple[str, list[str]]:
        """A physical router with so many interfaces; its name and theirs."""
        name = self.name("leaf")
        self.create("physical-router", [ROOT, name], parent_type="global-system-config",
                    physical_router_vendor_name="contract", physical_router_product_name="leaf")  # fmt: skip
        names = [f"xe-0/0/{number}" for number in range(ports)]
        for each in names:
            self.create("physical-interface", [ROOT, name, each], parent_type="physical-router")
        return name, names

    def interface(self, network: str, bindings: list[dict[str, str]] | None = None, **properties: Any) -> str:
        """A bare metal VMI in a network, unbound unless the bindings say otherwise; its uuid."""
        return self.create("virtual-machine-interface", self.in_project(self.name("vmi")), **self.interface_body(
            network, bindings, **properties))  # fmt: skip

    def interface_body(
        self, network: str, bindings: list[dict[str, str]] | None = None, **properties: Any
    ) -> dict[str, Any]:
        return {
            "parent_type": "project",
            "virtual_network_refs": [self.to("virtual-network", network)],
            "virtual_machine_interface_device_owner": "baremetal:none",
            BINDINGS: {"key_value_pair": bindings if bindings is not None else [pair("vnic_type", "baremetal")]},
            **properties,
        }

    def bind(self, interface: str, *links: tuple[str, str], vlan: int | None = None, expect: int = 200) -> str:
        """Update a VMI with a binding profile, as the controller's Neutron plugin does; the text of the answer."""
        body = {"virtual-machine-interface": {BINDINGS: {"key_value_pair": binding(*links, vlan=vlan)}}}
        answer = self.request("PUT", f"/virtual-machine-interface/{interface}", body)
        assert answer.status == expect, f"{answer.status} {answer.text}"
        return answer.text

    def unbind(self, interface: str, *, expect: int = 200) -> str:
        """Update it with the profile {}."""
        pairs = [pair("vnic_type", "baremetal"), pair("profile", "{}")]
        body = {"virtual-machine-interface": {BINDINGS: {"key_value_pair": pairs}}}
        answer = self.request("PUT", f"/virtual-machine-interface/{interface}", body)
        assert answer.status == expect, f"{answer.status} {answer.text}"
        return answer.text

    def group_of(self, interface: str) -> dict[str, Any] | None:
        """The port group of a VMI as it is shown now."""
        refs = self.show("virtual-machine-interface", interface).get("virtual_port_group_back_refs", [])
        assert len(refs) < 2
        return self.show("virtual-port-group", refs[0]["uuid"]) if refs else None

    # -- the end -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def test(self) -> Iterator[Controller]:
        """With a project; everything is removed afterwards."""
        self.project = self.name("project")
        self.create("project", ["default-domain", self.project], parent_type="domain")
        try:
            yield self
        finally:
            self._remove()

    def _remove(self) -> None:
        left = []
        for type, uuid in sorted(self._made, key=lambda made: _DELETE_ORDER.index(made[0])):
            answer = self.request("DELETE", f"/{type}/{uuid}")
            if answer.status not in (200, 404):
                left.append(f"{type} {uuid}: {answer.status} {answer.text}")
        self._made.clear()
        assert not left, f"not removed: {left}"


def subnet(cidr: str, *pools: tuple[str, str], **more: Any) -> dict[str, Any]:
    """An entry of `ipam_subnets`."""
    prefix, _, length = cidr.partition("/")
    entry: dict[str, Any] = {"subnet": {"ip_prefix": prefix, "ip_prefix_len": int(length)}, **more}
    if pools:
        entry["allocation_pools"] = [{"start": start, "end": end} for start, end in pools]
    return entry


def pair(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def binding(*links: tuple[str, str], vlan: int | None = None) -> list[dict[str, str]]:
    """The bindings of a bare metal server on these (switch, port)s."""
    information = [
        {"switch_info": switch, "port_id": port, "switch_id": "", "fabric": FABRIC} for switch, port in links
    ]
    pairs = [
        pair("vnic_type", "baremetal"),
        pair("host_id", "0c4d9b3e-6a50-4f0e-9d13-6c5d5d3a5a55"),
        pair("profile", json.dumps({"local_link_information": information})),
    ]
    return [*pairs, pair("tor_port_vlan_id", str(vlan))] if vlan is not None else pairs

"""Ironic (Bare Metal API v1): nodes as records, their verbs, their ports."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from steelyard.clouds.openstack.failures import masked
from steelyard.clouds.openstack.network import link_of
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import BAREMETAL, Access, Rest, part
from steelyard.clouds.ports import PowerAction, ProvisionVerb
from steelyard.errors import Invalid, UpstreamError
from steelyard.nouns import Driver, HistoryEntry, Inspection, Node, NodePort, NodePortSpec, NodeSpec, SwitchLink

LEAST, MOST = (1, 88), (1, 115)
"""Microversions: the least that has all we read (names of ports, 2023.2), and the newest that we know."""

NODE_FIELDS = (
    "uuid", "name", "driver", "provision_state", "target_provision_state", "power_state", "maintenance",
    "maintenance_reason", "last_error", "resource_class", "traits", "instance_uuid", "driver_info", "owner", "lessee",
    "retired", "protected", "provision_updated_at", "properties", "extra", "clean_step", "deploy_step",
    "target_power_state", "fault", "automated_clean", "driver_internal_info", "protected_reason", "description",
    "network_interface", "power_interface", "rescue_interface", "inspection_finished_at",
)  # fmt: skip
LATER_FIELDS = {"health": (1, 109)}
"""Fields that older services refuse to be asked for, and the microversion that brought each."""
NOTES = "steelyard"
"""The one key of driver_internal_info that is read: its others hold agents' tokens and addresses."""
PORT_FIELDS = (
    "uuid", "node_uuid", "address", "pxe_enabled", "physical_network", "local_link_connection", "name",
    "portgroup_uuid", "internal_info",
)  # fmt: skip
BMC_ADDRESSES = ("redfish_address", "ipmi_address", "drac_address", "ilo_address", "irmc_address")
POWER_TARGETS: dict[PowerAction, str] = {
    "on": "power on", "off": "power off", "soft off": "soft power off", "reboot": "rebooting"
}  # fmt: skip
POINTER = re.compile(r"(/[\w-]+)+\Z")
"""The paths that Ironic takes in a patch."""
NULLED = frozenset({"/automated_clean"})
"""Fields that Ironic fails to remove (it reads the value of the patch all the same), and takes null for."""
POWER_STATES = {"power on": "on", "power off": "off"}


class Agreement:
    """The microversion spoken with one Ironic: the newest that both sides know, found out at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: str | None = None

    def version(self, access: Access) -> str:
        """Raises `UpstreamError` with code `cloud_too_old` below `LEAST`."""
        with self._lock:
            if self._version is None:
                self._version = agree(Rest(access, BAREMETAL).call("GET", "").headers)
            return self._version


class IronicRest:
    """Ironic's API with one set of credentials."""

    def __init__(self, access: Access, agreement: Agreement):
        self._access = access
        self._agreement = agreement

    @property
    def rest(self) -> Rest:
        return Rest(self._access, BAREMETAL, microversion=self._agreement.version(self._access))

    def node_fields(self) -> tuple[str, ...]:
        """Everything that we read of a node, and that this service knows."""
        major, _, minor = self._agreement.version(self._access).partition(".")
        spoken = (int(major), int(minor))
        return (*NODE_FIELDS, *(name for name, since in LATER_FIELDS.items() if spoken >= since))


def agree(headers: Mapping[str, str]) -> str:
    """The microversion to speak with a service that answers with these headers."""
    newest = headers.get("x-openstack-ironic-api-maximum-version", "")
    major, _, minor = newest.partition(".")
    if not (major.isdecimal() and minor.isdecimal() and len(newest) < 16):
        raise UpstreamError(f"{BAREMETAL.title} does not say which API versions it has")
    agreed = min(MOST, (int(major), int(minor)))
    if agreed < LEAST:
        raise UpstreamError(
            f"{BAREMETAL.title} offers API version {newest} at most; {LEAST[0]}.{LEAST[1]} is needed",
            code="cloud_too_old",
        )
    return f"{agreed[0]}.{agreed[1]}"


class OpenstackNodes:
    """Nodes as records."""

    def __init__(self, ironic: IronicRest):
        self._ironic = ironic

    def all(self) -> list[Node]:
        params = {"fields": ",".join(self._ironic.node_fields())}
        found = self._ironic.rest.pages("nodes", "nodes", what="a node", id="uuid", params=params)
        return [node_of(node) for node in found]

    def get(self, node_id: str) -> Node:
        return node_of(self._get(node_id, self._ironic.node_fields()))

    def create(self, spec: NodeSpec) -> Node:
        body: dict[str, Any] = {
            "name": spec.name, "driver": spec.driver, "driver_info": dict(spec.driver_info),
            "properties": dict(spec.properties), "extra": dict(spec.extra),
            **{f"{interface}_interface": name for interface, name in spec.interfaces.items()},
        }  # fmt: skip
        if spec.resource_class:
            body["resource_class"] = spec.resource_class
        return node_of(self._ironic.rest.post("nodes", body, what="a node"))

    def update(self, node_id: str, changes: Mapping[str, Any]) -> Node:
        present: Mapping[str, Any] = {}
        if any(value is None for value in changes.values()):
            # A JSON patch may not remove what is not there; only a look tells.
            heads = {"uuid", *(path.strip("/").split("/")[0] for path, value in changes.items() if value is None)}
            present = self._get(node_id, sorted(heads)).data
        patch = patch_of(changes, present)
        if not patch:
            return self.get(node_id)
        return node_of(self._ironic.rest.patch(f"nodes/{part(node_id)}", patch, what="a node"))

    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        self._ironic.rest.call("PUT", f"nodes/{part(node_id)}/traits", body={"traits": sorted(traits)})

    def inspection(self, node_id: str) -> Inspection:
        found = self._ironic.rest.get(f"nodes/{part(node_id)}/inventory", what="an inventory")
        return Inspection(inventory=found.mapping("inventory"), plugin_data=found.mapping("plugin_data"))

    def set_maintenance(self, node_id: str, reason: str | None) -> None:
        path = f"nodes/{part(node_id)}/maintenance"
        if reason is None:
            self._ironic.rest.call("DELETE", path)
        else:
            self._ironic.rest.call("PUT", path, body={"reason": reason})

    def delete(self, node_id: str) -> None:
        self._ironic.rest.delete(f"nodes/{part(node_id)}")

    def _get(self, node_id: str, fields: Sequence[str]) -> Document:
        return self._ironic.rest.get(f"nodes/{part(node_id)}", params={"fields": ",".join(fields)}, what="a node")


class OpenstackProvisioning:
    """Verbs: Ironic accepts with 202 and works on by itself."""

    def __init__(self, ironic: IronicRest):
        self._ironic = ironic

    def request(self, node_id: str, verb: ProvisionVerb, *, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        body: dict[str, Any] = {"target": verb}
        if verb == "clean":
            if not steps:
                raise Invalid("a manual clean needs its steps")
            body["clean_steps"] = [dict(step) for step in steps]
        self._ironic.rest.call("PUT", f"nodes/{part(node_id)}/states/provision", body=body)

    def power(self, node_id: str, action: PowerAction) -> None:
        if action not in POWER_TARGETS:
            raise Invalid(f"{action!r} is not one of {', '.join(POWER_TARGETS)}")
        body = {"target": POWER_TARGETS[action]}
        self._ironic.rest.call("PUT", f"nodes/{part(node_id)}/states/power", body=body)

    def history(self, node_id: str) -> list[HistoryEntry]:
        path = f"nodes/{part(node_id)}/history"
        found = self._ironic.rest.pages(
            path, "history", what="an entry of a node's history", id="uuid", params={"detail": "true"}
        )
        return sorted((entry for each in found if (entry := entry_of(each))), key=lambda entry: entry.at)

    def drivers(self) -> list[Driver]:
        found = self._ironic.rest.get("drivers", params={"detail": "true", "type": "dynamic"}, what="a list of drivers")
        return [
            Driver(
                name=driver.text("name"),
                power_interfaces=frozenset(driver.texts("enabled_power_interfaces")),
                network_interfaces=frozenset(driver.texts("enabled_network_interfaces")),
            )
            for driver in found.required_documents("drivers", "a driver")
        ]


class OpenstackNodePorts:
    """The NICs of all nodes."""

    def __init__(self, ironic: IronicRest):
        self._ironic = ironic

    def all(self, *, node_id: str | None = None, mac: str | None = None) -> list[NodePort]:
        # Ironic has addresses in lower case, and asked for a node's ports it passes over the address.
        wanted = {"node_uuid": node_id, "address": mac.lower() if mac else None}
        params = {"fields": ",".join(PORT_FIELDS), **{key: value for key, value in wanted.items() if value}}
        found = self._ironic.rest.pages("ports", "ports", what="a node port", id="uuid", params=params)
        ports = [node_port_of(port) for port in found]
        return [port for port in ports if mac is None or port.mac == mac.lower()]

    def create(self, spec: NodePortSpec) -> NodePort:
        body: dict[str, Any] = {"node_uuid": spec.node_id, "address": spec.mac, "pxe_enabled": spec.pxe_enabled}
        if spec.physical_network:
            body["physical_network"] = spec.physical_network
        if spec.link:
            body["local_link_connection"] = connection_of(spec.link)
        return node_port_of(self._ironic.rest.post("ports", body, what="a node port"))

    def update(self, port_id: str, changes: Mapping[str, Any]) -> NodePort:
        wire = {p: connection_of(v) if isinstance(v, SwitchLink) else v for p, v in changes.items()}
        if "/local_link_connection" in wire and wire["/local_link_connection"] is None:
            wire["/local_link_connection"] = {}  # Ironic has no port without one, only an empty one
        path = f"ports/{part(port_id)}"
        present: Mapping[str, Any] = {}
        if not wire or None in wire.values():
            present = self._ironic.rest.get(path, what="a node port").data
        patch = patch_of(wire, present)
        if not patch:
            return node_port_of(Document(present, service=BAREMETAL.title, what="a node port"))
        return node_port_of(self._ironic.rest.patch(path, patch, what="a node port"))

    def delete(self, port_id: str) -> None:
        self._ironic.rest.delete(f"ports/{part(port_id)}")

    def detach(self, node_id: str, vif_id: str) -> None:
        vifs = f"nodes/{part(node_id)}/vifs"
        if not self._is_attached(vifs, vif_id):
            return
        try:
            self._ironic.rest.delete(f"{vifs}/{part(vif_id)}")
        except Invalid:
            if self._is_attached(vifs, vif_id):
                raise  # otherwise somebody else was quicker, which Ironic answers with 400

    def _is_attached(self, vifs: str, vif_id: str) -> bool:
        there = self._ironic.rest.get(vifs, what="a node's VIFs").documents("vifs", "a VIF")
        return any(vif.text("id") == vif_id for vif in there)


def patch_of(changes: Mapping[str, Any], present: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes as a JSON patch (RFC 6902); removing what `present` does not have is left out."""
    patch: list[dict[str, Any]] = []
    for path, value in changes.items():
        if not POINTER.match(path):
            raise Invalid(f"{path[:80]!r} is not a JSON pointer to a field")
        if value is not None or (path in NULLED and _has(present, path)):
            patch.append({"op": "add", "path": path, "value": value})
        elif _has(present, path):
            patch.append({"op": "remove", "path": path})
    return patch


def _has(document: Any, path: str) -> bool:
    for name in path[1:].split("/"):
        if not isinstance(document, Mapping) or name not in document:
            return False
        document = document[name]
    return document is not None


def connection_of(link: SwitchLink) -> dict[str, str]:
    """A cable's other end as Ironic keeps it."""
    return {
        "switch_id": link.switch_id, "port_id": link.port_id,
        **({"switch_info": link.switch_name} if link.switch_name else {}),
    }  # fmt: skip


def node_of(found: Document) -> Node:
    """A node as the API has it.

    Of its driver_info only the BMC's address is taken, of its driver_internal_info only our interfaces' own notes.
    """
    power, health = found.maybe_text("power_state"), found.maybe_text("health")
    notes = found.mapping("driver_internal_info").get(NOTES)
    return Node(
        id=found.text("uuid"),
        name=found.maybe_text("name"),
        driver=found.text("driver"),
        provision_state=found.maybe_text("provision_state") or "available",
        target_provision_state=found.maybe_text("target_provision_state"),
        power_state=POWER_STATES.get(power) if power else None,
        maintenance=found.flag("maintenance"),
        maintenance_reason=_explanation(found.maybe_text("maintenance_reason")),
        last_error=_explanation(found.maybe_text("last_error")),
        resource_class=found.maybe_text("resource_class"),
        traits=frozenset(found.texts("traits")),
        instance_id=found.maybe_text("instance_uuid"),
        bmc_address=bmc_address(found.mapping("driver_info")),
        owner=found.maybe_text("owner"),
        lessee=found.maybe_text("lessee"),
        retired=found.flag("retired"),
        protected=found.flag("protected"),
        provision_updated_at=found.moment("provision_updated_at"),
        created_at=found.moment("created_at"),
        properties=found.mapping("properties"),
        extra=found.mapping("extra"),
        step=_step_name(found.data.get("deploy_step")) or _step_name(found.data.get("clean_step")),
        target_power_state=found.maybe_text("target_power_state"),
        fault=found.maybe_text("fault"),
        health=health.lower() if health else None,
        automated_clean=found.flag("automated_clean") if found.data.get("automated_clean") is not None else None,
        driver_notes=notes if isinstance(notes, Mapping) else {},
        protected_reason=_explanation(found.maybe_text("protected_reason")),
        description=_explanation(found.maybe_text("description")),
        network_interface=found.maybe_text("network_interface"),
        power_interface=found.maybe_text("power_interface"),
        rescue_interface=found.maybe_text("rescue_interface"),
        inspected_at=found.moment("inspection_finished_at"),
    )


def _step_name(step: object) -> str | None:
    """The name of the step that runs; Ironic has an empty object, or null, while none does."""
    name = step.get("step") if isinstance(step, Mapping) else None
    return name[:64] if isinstance(name, str) and name else None


def _explanation(text: str | None) -> str | None:
    """What Ironic or an operator wrote, without secrets: an agent's token stands in the URL that was not answered.

    "** Value Redacted - …" is what a lessee sees who may not read; that is no value.
    """
    if text is None or (text.startswith("** ") and "Redacted" in text):
        return None
    return masked(text)


def bmc_address(driver_info: Mapping[str, Any]) -> str | None:
    """The BMC's address, without the credentials that somebody may have put into the URL."""
    for key in BMC_ADDRESSES:
        found = driver_info.get(key)
        if isinstance(found, str) and found:
            if "@" not in found:
                return found
            try:
                parts = urlsplit(found)
                bare = parts.netloc.rpartition("@")[2]
                return urlunsplit((parts.scheme, bare, parts.path, "", "")) if bare else None
            except ValueError:
                return None
    return None


def entry_of(found: Document) -> HistoryEntry | None:
    """A line of a node's history; None for one that has no time."""
    at = found.moment("created_at")
    if at is None:
        return None
    return HistoryEntry(
        at=at,
        source="ironic",
        kind=found.maybe_text("event_type") or "unknown",
        detail=_explanation(found.maybe_text("event")) or "",
        severity=found.maybe_text("severity"),
        user_id=found.maybe_text("user"),
    )


def node_port_of(found: Document) -> NodePort:
    """A node's port as the API has it."""
    connection = Document(found.mapping("local_link_connection"), service=found.service, what="a link")
    return NodePort(
        id=found.text("uuid"),
        node_id=found.text("node_uuid"),
        mac=found.text("address").lower(),
        pxe_enabled=found.flag("pxe_enabled", default=True),
        physical_network=found.maybe_text("physical_network"),
        link=link_of(connection),
        name=found.maybe_text("name"),
        bond_id=found.maybe_text("portgroup_uuid"),
        vif_id=vif_of(found),
    )


def vif_of(found: Document) -> str | None:
    """The VIF of a port or port group: the one that Ironic's network interfaces keep for the tenant."""
    vif_id = found.mapping("internal_info").get("tenant_vif_port_id")
    return vif_id if isinstance(vif_id, str) and vif_id else None

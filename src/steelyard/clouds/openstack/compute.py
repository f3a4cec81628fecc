"""Nova (Compute API v2.1, microversion 2.61): flavors and instances."""

from __future__ import annotations

import contextlib
from typing import Any

from steelyard.clouds.names import PREFIX, placement_class
from steelyard.clouds.openstack.failures import masked
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import COMPUTE, Access, Rest, part
from steelyard.clouds.ports import PowerAction
from steelyard.errors import Forbidden, Invalid, NotFound, SteelyardError, Unavailable
from steelyard.nouns import Flavor, FlavorSpec, HistoryEntry, Instance, ServerSpec

MICROVERSION = "2.61"
"""The first with extra specs inside of flavors (Queens); every later Nova serves it."""
POWER_STATES = {1: "on", 3: "on", 4: "off", 6: "off", 7: "off"}
"""Nova's power states: running, paused, shut down, crashed, suspended."""
ACTIONS: dict[PowerAction, dict[str, Any]] = {
    "on": {"os-start": None},
    # Nova's stop asks the operating system first and pulls the plug after its time-out.
    "off": {"os-stop": None},
    "soft off": {"os-stop": None},
    "reboot": {"reboot": {"type": "HARD"}},
}
MARK = "steelyard_request"
"""The key of a server's metadata that holds its mark."""
ZEROED = {"resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0"}
"""A bare metal flavor takes a whole node, and nothing by measure."""


class OpenstackFlavors:
    """Flavors; the list comes with its extra specs in one call."""

    def __init__(self, access: Access):
        self._rest = Rest(access, COMPUTE, microversion=MICROVERSION)

    def all(self) -> list[Flavor]:
        found = self._rest.pages("flavors/detail", "flavors", what="a flavor", params={"is_public": "None"})
        return [flavor_of(flavor) for flavor in found]

    def create(self, spec: FlavorSpec) -> Flavor:
        body = {"name": spec.name, "vcpus": spec.vcpus, "ram": spec.ram_mib, "disk": spec.disk_gib}
        specs = {
            f"resources:{placement_class(spec.resource_class)}": "1", **ZEROED,
            **{f"trait:{trait}": "required" for trait in sorted(spec.traits)},
        }  # fmt: skip
        created = self._rest.post("flavors", {"flavor": body}, what="a flavor").document("flavor", "a flavor")
        path = f"flavors/{part(created.text('id'))}"
        try:
            self._rest.post(f"{path}/os-extra_specs", {"extra_specs": specs})
        except BaseException:
            # A flavor without its resource class would take virtual machines' resources.
            with contextlib.suppress(SteelyardError):
                self._rest.delete(path)
            raise
        return flavor_of(Document({**created.data, "extra_specs": specs}, service=COMPUTE.title, what="a flavor"))

    def delete(self, flavor_id: str) -> None:
        self._rest.delete(f"flavors/{part(flavor_id)}")


class OpenstackCompute:
    """Instances as the credentials see them."""

    def __init__(self, access: Access):
        self._rest = Rest(access, COMPUTE, microversion=MICROVERSION)

    def all(self, *, all_projects: bool = False) -> list[Instance]:
        params = {"all_tenants": "True"} if all_projects else {}
        found = self._rest.pages("servers/detail", "servers", what="a server", params=params)
        return [instance_of(server) for server in found]

    def get(self, instance_id: str) -> Instance:
        try:
            answer = self._rest.get(f"servers/{part(instance_id)}", what="a server")
        except Forbidden:
            if self._rest.own:
                raise
            # Nova lets a stranger tell an instance that he may not see from one that is not there.
            raise NotFound(f"there is no server {instance_id}") from None
        return instance_of(answer.document("server", "a server"))

    def create(self, spec: ServerSpec) -> Instance:
        body: dict[str, Any] = {
            "name": spec.name,
            "flavorRef": spec.flavor_id,
            "imageRef": spec.image_id,
            "networks": [{"uuid": network_id} for network_id in spec.network_ids] or "none",
            "metadata": {**spec.metadata, **({MARK: spec.mark} if spec.mark else {})},
        }
        if spec.security_groups:
            body["security_groups"] = [{"name": group} for group in spec.security_groups]
        if spec.key_name:
            body["key_name"] = spec.key_name
        if spec.user_data:
            body["user_data"] = spec.user_data
        if spec.key_name or spec.user_data:
            # A physical server often cannot reach the metadata service.
            body["config_drive"] = True
        answer = self._rest.post("servers", {"server": body}, what="a server")
        instance_id = answer.document("server", "a server").text("id")
        try:
            return self.get(instance_id)
        except SteelyardError as error:
            # Nova has accepted it: whatever this is, it is no refusal.
            raise Unavailable(
                f"Nova has accepted server {instance_id}, but does not show it: {error.detail}", internal=error.internal
            ) from error

    def delete(self, instance_id: str) -> None:
        try:
            self._rest.delete(f"servers/{part(instance_id)}")
        except Forbidden:
            if self._is_visible(instance_id):
                raise

    def power(self, instance_id: str, action: PowerAction) -> None:
        if action not in ACTIONS:
            raise Invalid(f"{action!r} is not one of {', '.join(ACTIONS)}")
        self._act(instance_id, ACTIONS[action])

    def rebuild(self, instance_id: str, image_id: str) -> None:
        self._act(instance_id, {"rebuild": {"imageRef": image_id}})

    def rescue(self, instance_id: str, *, leave: bool = False, password: str | None = None) -> None:
        if leave:
            self._act(instance_id, {"unrescue": None})
        elif password is None:
            self._act(instance_id, {"rescue": None})
        elif not password.strip():
            raise Invalid("the password is empty")
        else:
            self._act(instance_id, {"rescue": {"adminPass": password}})

    def _act(self, instance_id: str, body: dict[str, Any]) -> None:
        """A server action. What Nova answers is thrown away: it may hold a password that Nova made up."""
        try:
            self._rest.call("POST", f"servers/{part(instance_id)}/action", body=body)
        except Forbidden:
            self.get(instance_id)
            raise

    def history(self, instance_id: str) -> list[HistoryEntry]:
        """Nova's newest 1,000 actions at most (its `max_limit`); they are not paged through."""
        try:
            answer = self._rest.get(f"servers/{part(instance_id)}/os-instance-actions", what="a list of actions")
        except Forbidden:
            if self._rest.own:
                raise
            raise NotFound(f"there is no server {instance_id}") from None
        found = answer.required_documents("instanceActions", "an action on a server")
        return sorted((entry for each in found if (entry := action_of(each))), key=lambda entry: entry.at)

    def _is_visible(self, instance_id: str) -> bool:
        try:
            self.get(instance_id)
        except NotFound:
            return False
        return True


def flavor_of(found: Document) -> Flavor:
    """A flavor as the API has it (microversion 2.61)."""
    specs = found.mapping("extra_specs")
    classes = sorted(
        name
        for key, amount in specs.items()
        if key.startswith(f"resources:{PREFIX}") and str(amount) == "1" and (name := key.removeprefix("resources:"))
    )
    return Flavor(
        id=found.text("id"),
        name=found.text("name"),
        vcpus=found.integer("vcpus"),
        ram_mib=found.integer("ram"),
        disk_gib=found.integer("disk"),
        resource_class=classes[0] if classes else None,
        traits=frozenset(
            key.removeprefix("trait:") for key, need in specs.items() if key.startswith("trait:") and need == "required"
        ),
        is_public=found.flag("os-flavor-access:is_public", default=True),
    )


def action_of(found: Document) -> HistoryEntry | None:
    """An action on a server (microversion 2.61); None for one that has no time. Its message is `Error`, or nothing."""
    at = found.moment("start_time")
    if at is None:
        return None
    kind, message = found.text("action"), found.maybe_text("message")
    return HistoryEntry(
        at=at,
        source="nova",
        kind=kind,
        detail=f"{kind}: {masked(message)}" if message else kind,
        severity="ERROR" if message else None,
        user_id=found.maybe_text("user_id"),
        request_id=found.maybe_text("request_id"),
    )


def instance_of(found: Document) -> Instance:
    """A server as the API has it (microversion 2.61; the node only for administrators)."""
    image = found.data.get("image")
    power = found.maybe_integer("OS-EXT-STS:power_state")
    fault = found.mapping("fault").get("message")
    addresses = (
        address.text("addr")
        for network in found.mapping("addresses")
        for address in Document(
            found.mapping("addresses"), service=found.service, what="a server's addresses"
        ).documents(network, "an address")
    )
    return Instance(
        id=found.text("id"),
        name=found.text("name"),
        status=found.text("status"),
        task_state=found.maybe_text("OS-EXT-STS:task_state"),
        power_state=POWER_STATES.get(power) if power is not None else None,
        project_id=found.text("tenant_id"),
        user_id=found.maybe_text("user_id"),
        flavor_name=Document(found.mapping("flavor"), service=found.service, what="a flavor").maybe_text(
            "original_name"
        ),
        # A server that boots from a volume has an empty text for its image.
        image_id=Document(image, service=found.service, what="an image").maybe_text("id") if image else None,
        node_id=found.maybe_text("OS-EXT-SRV-ATTR:hypervisor_hostname"),
        addresses=tuple(addresses),
        created_at=found.moment("created"),
        fault=masked(fault) if isinstance(fault, str) else None,
        updated_at=found.moment("updated"),
        locked=found.flag("locked"),
        mark=Document(found.mapping("metadata"), service=found.service, what="metadata").maybe_text(MARK),
    )

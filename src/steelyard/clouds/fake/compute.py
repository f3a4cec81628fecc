"""The fakes `Flavors`, `Compute` and `Placement`."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace

from steelyard.clouds.fake import nova, renewal
from steelyard.clouds.fake.gate import passes
from steelyard.clouds.fake.port import FakePort, call
from steelyard.clouds.names import placement_class
from steelyard.clouds.ports import PowerAction
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import AllocationRecord, Flavor, FlavorSpec, HistoryEntry, Instance, ServerSpec


class FakeFlavors(FakePort):
    name = "flavors"

    @call
    def all(self) -> list[Flavor]:
        return list(self.world.flavors.values())

    @call
    def create(self, spec: FlavorSpec) -> Flavor:
        self.require_admin("creating a flavor")
        if not spec.name.strip():
            raise Invalid("a flavor needs a name")
        if any(flavor.name == spec.name for flavor in self.world.flavors.values()):
            raise Duplicate(f"flavor with name {spec.name} already exists")
        flavor = Flavor(
            id=str(uuid.uuid4()), name=spec.name, vcpus=spec.vcpus, ram_mib=spec.ram_mib, disk_gib=spec.disk_gib,
            resource_class=placement_class(spec.resource_class), traits=spec.traits,
        )  # fmt: skip
        self.world.flavors[flavor.id] = flavor
        return flavor

    @call
    def delete(self, flavor_id: str) -> None:
        self.require_admin("deleting a flavor")
        self.world.flavors.pop(flavor_id, None)


class FakeCompute(FakePort):
    name = "compute"

    @call
    def all(self, *, all_projects: bool = False) -> list[Instance]:
        if all_projects:
            self.require_admin("listing the instances of all projects")
        project = self.actor.project_id
        return [
            self._shown(instance)
            for instance in self.world.instances.values()
            if all_projects or instance.project_id == project
        ]

    @call
    def get(self, instance_id: str) -> Instance:
        return self._shown(self._find(instance_id))

    @call
    def create(self, spec: ServerSpec) -> Instance:
        self.require_writer("creating a server")
        actor, world = self.actor, self.world
        if actor.project_id is None:
            raise Forbidden("creating a server needs a project-scoped token")
        flavor = world.flavors.get(spec.flavor_id)
        if flavor is None:
            raise Invalid(f"flavor {spec.flavor_id} could not be found")
        image = world.images.get(spec.image_id)
        if image is None or not (image.visibility in {"public", "community"} or self.sees(image.project_id)):
            raise Invalid(f"can not find requested image {spec.image_id}")
        for network_id in spec.network_ids:
            network = world.fabric.networks.get(network_id)
            if network is None or not (network.shared or self.sees(network.project_id)):
                raise Invalid(f"network {network_id} could not be found")
            if not network.subnet_ids:
                raise Invalid(f"network {network_id} requires a subnet in order to boot instances on")
        instance = Instance(
            id=str(uuid.uuid4()), name=spec.name, status="BUILD", task_state="scheduling", power_state=None,
            project_id=actor.project_id, user_id=actor.user_id, flavor_name=flavor.name, image_id=image.id,
            node_id=None, addresses=(), created_at=world.now, mark=spec.mark,
        )  # fmt: skip
        world.instances[instance.id] = instance
        world.history.acted(instance.id, "create", actor)
        world.wanted[instance.id] = nova.Wanted(flavor, spec.network_ids, spec.security_groups)
        return self._shown(instance)

    @call
    def delete(self, instance_id: str) -> None:
        try:
            instance = self._find(instance_id)
        except NotFound:
            return
        self.require_writer("deleting a server")
        self.world.history.acted(instance.id, "delete", self.actor)
        self.world.instances[instance.id] = replace(instance, task_state="deleting")

    @call
    def power(self, instance_id: str, action: PowerAction) -> None:
        instance = self._find(instance_id)
        self.require_writer("switching a server")
        wanted = {"on": {"SHUTOFF"}, "off": {"ACTIVE"}, "soft off": {"ACTIVE"}, "reboot": {"ACTIVE", "SHUTOFF"}}
        if instance.task_state is not None or instance.status not in wanted[action]:
            raise Conflict(
                f"cannot switch instance {instance_id} {action} while it is in vm_state {instance.status.lower()}"
            )
        said = {"on": "start", "off": "stop", "soft off": "stop", "reboot": "reboot"}[action]
        self.world.history.acted(instance.id, said, self.actor)
        if instance.node_id in self.world.unreachable:
            return  # accepted; it fails later and leaves the instance as it was
        if instance.node_id in self.world.moves:
            return  # the conductor has the node locked for longer than Nova's driver asks again
        on = action in {"on", "reboot"}
        if on and instance.node_id in self.world.nodes and not passes(self.world, self.world.nodes[instance.node_id]):
            return
        present = self.world.instances.get(instance.id)
        if present is None or present.task_state is not None:
            return  # it was deleted while the conductor asked
        state = "on" if on else "off"
        self.world.instances[instance.id] = replace(instance, status="ACTIVE" if on else "SHUTOFF", power_state=state)
        if instance.node_id in self.world.nodes:
            node = self.world.nodes[instance.node_id]
            self.world.nodes[node.id] = replace(node, power_state=state)

    @call
    def rebuild(self, instance_id: str, image_id: str) -> None:
        instance = self._find(instance_id)
        self.require_writer("rebuilding a server")
        image = self.world.images.get(image_id)
        if image is None or not (image.visibility in {"public", "community"} or self.sees(image.project_id)):
            raise Invalid(f"cannot find image {image_id} for rebuild")
        allowed = frozenset({"ACTIVE", "SHUTOFF", "ERROR"})
        renewal.begin(self.world, instance, renewal.REBUILDING, states=allowed, image_id=image_id)
        self.world.history.acted(instance.id, "rebuild", self.actor)

    @call
    def rescue(self, instance_id: str, *, leave: bool = False, password: str | None = None) -> None:
        instance = self._find(instance_id)
        self.require_writer("rescuing a server")
        if password is not None and not password.strip():
            raise Invalid("the password is empty")
        task = renewal.UNRESCUING if leave else renewal.RESCUING
        allowed = frozenset({"RESCUE"} if leave else {"ACTIVE", "SHUTOFF", "ERROR"})
        renewal.begin(self.world, instance, task, states=allowed, image_id=None)
        self.world.history.acted(instance.id, "unrescue" if leave else "rescue", self.actor)

    @call
    def history(self, instance_id: str) -> list[HistoryEntry]:
        entries = self.world.history.of_instances.get(instance_id, [])
        owner = self.world.history.owners.get(instance_id)
        if not entries or not self.sees(owner):
            raise NotFound(f"instance {instance_id} could not be found")
        return list(entries)

    def _find(self, instance_id: str) -> Instance:
        instance = self.world.instances.get(instance_id)
        if instance is None or not self.sees(instance.project_id):
            raise NotFound(f"instance {instance_id} could not be found")
        return instance

    def _shown(self, instance: Instance) -> Instance:
        return instance if self.actor.is_admin else replace(instance, node_id=None)


class FakePlacement(FakePort):
    name = "placement"

    @call
    def free(self, resource_class: str, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        self.require_admin("asking for allocation candidates")
        free = nova.free_nodes(self.world, placement_class(resource_class), traits)
        return frozenset(node.id for node in free)

    @call
    def hold_back(self, node_id: str) -> None:
        self.require_admin("changing an inventory")
        if node_id in self.world.nodes:
            self.world.held_back.add(node_id)

    @call
    def allocations(self, node_ids: Collection[str] | None = None) -> list[AllocationRecord]:
        self.require_admin("looking at allocations")
        records = sorted(self.world.allocations.values(), key=lambda record: (record.node_id, record.consumer_id))
        return [record for record in records if node_ids is None or record.node_id in node_ids]

    @call
    def delete_allocation(self, consumer_id: str) -> None:
        self.require_admin("deleting an allocation")
        self.world.allocations.pop(consumer_id, None)

    @call
    def traits(self) -> Mapping[str, frozenset[str]]:
        self.require_admin("looking at providers")
        return {node_id: self._traits_of(node_id) for node_id in self.world.nodes}

    @call
    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        self.require_admin("changing a provider")
        if node_id not in self.world.nodes:
            raise NotFound(f"no resource provider with uuid {node_id} found")
        self.world.provider_traits[node_id] = traits

    @call
    def classes(self, node_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        self.require_admin("looking at providers")
        return {node_id: self._classes_of(node_id) for node_id in node_ids}

    def _traits_of(self, node_id: str) -> frozenset[str]:
        return self.world.provider_traits.get(node_id, self.world.nodes[node_id].traits)

    def _classes_of(self, node_id: str) -> frozenset[str]:
        node = self.world.nodes.get(node_id)
        if node is None or node.resource_class is None:
            return frozenset()
        return frozenset({self.world.provider_classes.get(node_id, placement_class(node.resource_class))})

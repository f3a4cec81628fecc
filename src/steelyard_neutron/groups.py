"""`service_plugins = …,steelyard_groups`: security groups of servers, enforced at the switch ports they are cabled to.

Stands on networking-generic-switch's `genericswitch_security_group` and takes its place (one of the two, not both).
Devices are those of the mechanism driver whose section says `ngs_security_groups_enabled = true`. Beyond that plugin:

* Every link of a port has its groups: the other has them on one link of a bond.
* Where a port was is cleared when it is unbound, bound to other links, or deleted; where it comes to is given its
  groups also when they have not changed.
* Only servers' ports are filtered (`device_owner` is `compute:…`): on a ramdisk's network the conductor must reach the
  agent.
* A rule that was deleted reaches the switches. Neutron says of which group it was in the event's metadata.
* One switch that does not answer keeps no change from the others.
* Nothing is unfiltered in silence. What a device cannot do is refused in the transaction. When a switch does not take a
  port's groups, the request fails, and before the port is put on its network: Neutron says that a port is bound before
  its mechanism driver plugs it.
* A port has several groups where the device can have several, that is, where it has a method `set_security_groups(sgs,
  port_id, leaving)`: the port's groups are these and no others, whatever was there. Other devices have one access list
  for a port, and a second group is refused.

What is done to a switch port is always taken from Neutron's database, under a lock of that switch port: events that
overtake each other, or come twice, lead to the same end. The lock holds for the processes of one host.

Neutron tells that a port is unbound just before its mechanism driver unplugs it. A device with `set_security_groups`
is told which VLANs those are, and takes VLAN and groups off in one change; on others the switch port is on its network
without groups for the time of that request.

A switch that was away when a rule changed gets it with the group's next change, and with the next port that is bound
there.
"""

# Neutron fixes what a callback is given.
# ruff: noqa: ARG002

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from networking_generic_switch import devices, generic_switch_sg
from networking_generic_switch import utils as ngs_utils
from networking_generic_switch.devices import utils as device_utils
from neutron.db import models_v2
from neutron.db.models import securitygroup as group_models
from neutron.db.models import segment as segment_models
from neutron.objects import securitygroup as group_objects
from neutron.plugins.ml2 import models as ml2_models
from neutron_lib import constants, exceptions
from neutron_lib import context as neutron_context
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, priority_group, registry, resources
from neutron_lib.db import api as db_api
from oslo_concurrency import lockutils
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import strutils

LOG = logging.getLogger(__name__)

ENABLED = "ngs_security_groups_enabled"
_PRIORITY = priority_group.PRIORITY_DEFAULT + 471
"""One of its own: whether a failed callback fails the request is a property of all callbacks of a priority."""


class OneGroupOnly(exceptions.Conflict):  # type: ignore[misc]
    message = "Port %(port)s would have %(amount)s security groups: its switch can enforce one."


class GroupsNotEnforced(exceptions.ServiceUnavailable):  # type: ignore[misc]
    """Which switch it was is in Neutron's log alone: no tenant is told how the racks are wired."""

    message = "A switch did not take %(what)s; ask again when it answers."


@dataclass(frozen=True)
class Place:
    """A switch port."""

    switch: str
    port_id: str

    def __str__(self) -> str:
        return f"{self.switch}/{self.port_id}"


class SecurityGroups(generic_switch_sg.GenericSwitchSecurityGroupHandler):  # type: ignore[misc]
    """The service plugin. Stateless: what is bound where is in Neutron's database."""

    def __init__(self) -> None:
        super().__init__()
        # The base class takes the text of the file for a truth value, and so `false` for true.
        self.switches: dict[str, Any] = {
            name: device
            for name, device in devices.get_devices().items()
            if strutils.bool_from_string(device.ngs_config.get(ENABLED))
        }
        LOG.info("Security groups are enforced on %s", ", ".join(sorted(self.switches)) or "no switch")

    def get_plugin_description(self) -> str:
        return "Security groups of servers at their switch ports"

    def subscribe(self) -> None:
        """Called by the base class once."""
        told = [
            (resources.SECURITY_GROUP, events.AFTER_CREATE, self.create_security_group, False),
            (resources.SECURITY_GROUP, events.AFTER_DELETE, self.delete_security_group, False),
            (resources.SECURITY_GROUP_RULE, events.AFTER_CREATE, self.update_security_group_rules, True),
            (resources.SECURITY_GROUP_RULE, events.AFTER_DELETE, self.update_security_group_rules, True),
            (resources.PORT, events.PRECOMMIT_CREATE, self.check_port, True),
            (resources.PORT, events.PRECOMMIT_UPDATE, self.check_port, True),
            (resources.PORT, events.AFTER_UPDATE, self.update_port_security_group, True),
            (resources.PORT, events.AFTER_DELETE, self.remove_port_security_group, False),
        ]
        for resource, event, callback, fails_the_request in told:
            registry.subscribe(callback, resource, event, _PRIORITY, cancellable=fails_the_request)

    # Groups and their rules

    def create_security_group(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        """Of no consequence where it fails: a group is put on a switch again before a port there has it."""
        # A project's default group may be made within somebody's transaction: read in that.
        for group in _groups([payload.resource_id], payload.context.elevated()):
            self._everywhere(group.id, "add_security_group", group)

    def update_security_group_rules(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        """Raises GroupsNotEnforced when a switch on which a server has the group did not take the rules."""
        rule = payload.latest_state or payload.metadata
        for group in _groups([rule["security_group_id"]]):
            failed = self._everywhere(group.id, "update_security_group", group)
            if failed and failed & {place.switch for place, _ in self._bound(group_ids=[group.id])}:
                raise GroupsNotEnforced(what=f"the rules of security group {group.id}")

    def delete_security_group(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        self._everywhere(payload.resource_id, "del_security_group", payload.resource_id)

    def _everywhere(self, group_id: str, method: str, argument: Any) -> set[str]:
        """Have every switch do it; gives the names of those that did not."""
        failed = set()
        for name, device in self.switches.items():
            try:
                getattr(device, method)(argument)
            except Exception:
                LOG.exception("Security group %s: %s failed on %s", group_id, method, name)
                failed.add(name)
        return failed

    # Ports

    def check_port(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        """Raises OneGroupOnly, in the transaction: nothing of the request comes about."""
        port = payload.latest_state
        amount = len(_groups_of(port))
        if amount > 1 and ngs_utils.is_port_supported(port):
            for place in self._places(port[portbindings.PROFILE]):
                if not hasattr(self.switches[place.switch], "set_security_groups"):
                    raise OneGroupOnly(port=port["id"], amount=amount)

    def update_port_security_group(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        """Raises GroupsNotEnforced for a port that is bound. Where it no longer is, the network has to go in any
        case, and a failure is logged."""
        before, now = payload.states[0], payload.latest_state
        had, has = self._bound_at(before), self._bound_at(now)
        groups_before, groups_now = _groups_of(before), _groups_of(now)
        if _of_server(before):
            self._leave(had - has, before)
        if not (_of_server(now) or _of_server(before) or has != had):
            return
        failed = False
        for place in sorted(has, key=str):
            new = groups_now - groups_before if place in had else groups_now
            try:
                self._settle(place, groups_before - groups_now, new)
            except Exception:
                LOG.exception("Security groups of port %s are not as they should be at %s", now["id"], place)
                failed = True
        if failed:
            raise GroupsNotEnforced(what=f"the security groups of port {now['id']}")

    def remove_port_security_group(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        port = payload.latest_state
        if _of_server(port):
            self._leave(self._bound_at(port), port)

    def _leave(self, places: Collection[Place], port: Any) -> None:
        for place in places:
            try:
                self._settle(place, _groups_of(port), (), leaving=_vlans(port["network_id"]))
            except Exception:
                LOG.exception("Security groups of port %s are still at %s", port["id"], place)

    def _settle(
        self, place: Place, old: Collection[str], new: Collection[str], *, leaving: Collection[int] = ()
    ) -> None:
        """Make a switch port have the groups of the server's port that is bound there, if one is.

        `leaving`: VLANs that the port, if none is, is about to be unplugged from. A device that can only bind and
        unbind is told of `old` and `new` groups that differ, the others it has.
        """
        device = self.switches[place.switch]
        with lockutils.lock(f"steelyard-groups-{place}", external=bool(cfg.CONF.oslo_concurrency.lock_path)):
            if hasattr(device, "set_security_groups"):
                here = {group for there, group in self._bound(port_id=place.port_id) if there == place}
                device.set_security_groups(_groups(here), place.port_id, () if here else leaving)
                return
            ports: dict[str, set[str]] = {group: set() for group in (*old, *new)}
            for there, group in self._bound(group_ids=ports):
                if there.switch == place.switch:
                    ports[group].add(there.port_id)
            for group in old:
                if place.port_id not in ports[group]:
                    device.unbind_security_group(group, place.port_id, ports[group])
            for found in _groups(new):
                if place.port_id in ports[found.id]:
                    device.bind_security_group(found, place.port_id, ports[found.id])

    def _bound_at(self, port: Any) -> frozenset[Place]:
        return self._places(port[portbindings.PROFILE]) if ngs_utils.is_port_bound(port) else frozenset()

    def _places(self, profile: Any) -> frozenset[Place]:
        """Every link of a port, on the switches that enforce groups."""
        found = set()
        for link in (profile or {}).get("local_link_information") or ():
            device = device_utils.get_switch_device(
                self.switches, switch_info=link.get("switch_info"), ngs_mac_address=link.get("switch_id")
            )
            if device is not None and link.get("port_id"):
                found.add(Place(device.device_name, link["port_id"]))
        return frozenset(found)

    @db_api.retry_db_errors  # type: ignore[untyped-decorator]
    def _bound(
        self, *, group_ids: Collection[str] | None = None, port_id: str | None = None
    ) -> list[tuple[Place, str]]:
        """Every switch port with the groups of the server's port that is bound there; `port_id` may find others too.

        Columns, not objects: the base class loads every port of the cloud with all that belongs to it.
        """
        binding, port, group = ml2_models.PortBinding, models_v2.Port, group_models.SecurityGroupPortBinding
        query = (
            sqlalchemy.select(binding.profile, group.security_group_id)
            .join(port, port.id == binding.port_id)
            .join(group, group.port_id == binding.port_id)
            .where(
                binding.vnic_type == portbindings.VNIC_BAREMETAL,
                binding.vif_type == portbindings.VIF_TYPE_OTHER,
                binding.status == constants.ACTIVE,
                port.device_owner.startswith(constants.DEVICE_OWNER_COMPUTE_PREFIX),
            )
        )
        if group_ids is not None:
            query = query.where(group.security_group_id.in_(group_ids))
        if port_id is not None:
            query = query.where(binding.profile.contains(json.dumps(port_id), autoescape=True))
        with db_api.CONTEXT_READER.using(neutron_context.get_admin_context()) as session:
            rows = session.execute(query).all()
        return [(place, found) for profile, found in rows for place in self._places(json.loads(profile or "{}"))]


def _of_server(port: Any) -> bool:
    return str(port["device_owner"] or "").startswith(constants.DEVICE_OWNER_COMPUTE_PREFIX)


@db_api.retry_db_errors  # type: ignore[untyped-decorator]
def _vlans(network_id: str) -> list[int]:
    segment = segment_models.NetworkSegment
    query = sqlalchemy.select(segment.segmentation_id).where(
        segment.network_id == network_id,
        segment.network_type == constants.TYPE_VLAN,
        segment.segmentation_id.is_not(None),
    )
    with db_api.CONTEXT_READER.using(neutron_context.get_admin_context()) as session:
        return list(session.execute(query).scalars())


def _groups_of(port: Any) -> set[str]:
    """Ids of the groups that a port has to have where it is bound."""
    return set(port.get("security_groups") or ()) if _of_server(port) else set()


def _groups(ids: Collection[str], context: Any = None) -> list[Any]:
    """The groups of these ids with their rules, without those that are gone by now."""
    context = context or neutron_context.get_admin_context()
    found = (group_objects.SecurityGroup.get_object(context, id=one) for one in sorted(ids))
    return [group for group in found if group is not None]

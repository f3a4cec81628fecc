"""Neutron's security groups, told to the controller when they change and before an interface refers to them.

Neutron goes on whatever becomes of a notice after its commit: what the controller did not hear, the next comparison
tells it.
"""

# The callbacks' signatures are Neutron's.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neutron_lib import exceptions as n_exc
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import directory
from oslo_concurrency import lockutils
from oslo_log import log

from steelyard_neutron.contrail import group_objects
from steelyard_neutron.contrail.client import Refused, Unreachable
from steelyard_neutron.contrail.parts import parts

LOG = log.getLogger(__name__)


def subscribe() -> None:
    """Hear of every change from now on."""
    for event in (events.AFTER_CREATE, events.AFTER_UPDATE):
        registry.subscribe(_group_changed, resources.SECURITY_GROUP, event)
    registry.subscribe(_group_removed, resources.SECURITY_GROUP, events.AFTER_DELETE)
    for event in (events.AFTER_CREATE, events.AFTER_DELETE):
        registry.subscribe(_rule_changed, resources.SECURITY_GROUP_RULE, event)
    registry.subscribe(_addresses_changed, resources.ADDRESS_GROUP, events.AFTER_UPDATE)


def ensure(context: Any, group_id: str) -> None:
    """The controller has the group, as Neutron has it now. Raises SecurityGroupNotFound, Refused or Unreachable."""
    admin, plugin = context.elevated(), directory.get_plugin()
    # Of two changes at once the later must not be overtaken by what was read before it.
    with lockutils.lock(f"steelyard-contrail-{group_id}"):
        group = plugin.get_security_group(admin, group_id)
        parts().mirror.ensure_group(read([group], *_named_by(admin, [group]))[group_id])


def ensure_for(context: Any, port: Mapping[str, Any]) -> None:
    """The controller has the groups that the port's interface refers to. Raises as `ensure`."""
    for group_id in group_objects.groups_of(port):
        if not parts().mirror.has_group(group_id):
            ensure(context, group_id)


def every(context: Any) -> dict[str, dict[str, Any]]:
    """All groups by id, as the controller is to have them, in two lists."""
    plugin = directory.get_plugin()
    groups = plugin.get_security_groups(context, default_sg=True)
    projects = {one["id"]: one["project_id"] for one in groups}
    return read(groups, projects, {one["id"]: one["addresses"] for one in plugin.get_address_groups(context)})


def read(
    groups: Iterable[Mapping[str, Any]], projects: Mapping[str, str], addresses: Mapping[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """Groups of Neutron's by id, with what their rules name."""
    return {one["id"]: group_objects.resolved(one, projects, addresses) for one in groups}


def _named_by(admin: Any, groups: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What `read` needs to know for these groups."""
    plugin = directory.get_plugin()
    rules = [rule for group in groups for rule in group["security_group_rules"]]
    remotes = sorted({rule["remote_group_id"] for rule in rules if rule["remote_group_id"]})
    many = sorted({rule["remote_address_group_id"] for rule in rules if rule["remote_address_group_id"]})
    there = plugin.get_security_groups(admin, filters={"id": remotes}, default_sg=True) if remotes else []
    lists = plugin.get_address_groups(admin, filters={"id": many}) if many else []
    return {one["id"]: one["project_id"] for one in there}, {one["id"]: one["addresses"] for one in lists}


def _group_changed(resource: str, event: str, trigger: Any, payload: Any) -> None:
    _told(payload.resource_id, lambda: ensure(payload.context, payload.resource_id))


def _group_removed(resource: str, event: str, trigger: Any, payload: Any) -> None:
    _told(payload.resource_id, lambda: parts().mirror.remove_group(payload.resource_id))


def _rule_changed(resource: str, event: str, trigger: Any, payload: Any) -> None:
    known = payload.metadata if event == events.AFTER_DELETE else payload.latest_state
    _told(known["security_group_id"], lambda: ensure(payload.context, known["security_group_id"]))


def _addresses_changed(resource: str, event: str, trigger: Any, payload: Any) -> None:
    admin = payload.context.elevated()
    filters = {"remote_address_group_id": [payload.resource_id]}
    rules = directory.get_plugin().get_security_group_rules(admin, filters=filters)
    for group_id in sorted({rule["security_group_id"] for rule in rules}):
        _told(group_id, lambda group_id=group_id: ensure(payload.context, group_id))  # type: ignore[misc]


def _told(group_id: str, tell: Callable[[], None]) -> None:
    try:
        tell()
    except n_exc.NotFound:
        LOG.debug("Security group %s is gone meanwhile", group_id)
    except (Refused, Unreachable) as error:
        LOG.warning("The controller was not told of security group %s; the next comparison does it: %s",
                    group_id, error)  # fmt: skip

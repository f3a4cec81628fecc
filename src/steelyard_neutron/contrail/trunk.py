"""Tagged sub-interfaces: the subports of Neutron's trunks, which go with the switch ports of their parent.

They are bound and taken off before Neutron commits, so that a controller that does not say yes fails the request.
"""

# The callbacks' signatures are Neutron's.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neutron.services.trunk.drivers import base
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import directory
from neutron_lib.services.trunk import constants as trunk_constants
from oslo_config import cfg

from steelyard_neutron.contrail import objects
from steelyard_neutron.contrail.parts import addresses_of, as_subport, is_bound_here, parts, stored_port
from steelyard_neutron.contrail.switch_ports import Subport

NAME = "steelyard_contrail"


class ContrailTrunkDriver(base.DriverBase):  # type: ignore[misc]
    """VLANs on ports that the mechanism driver of the same name binds; also on those that are bound already."""

    @property
    def is_loaded(self) -> bool:
        return NAME in cfg.CONF.ml2.mechanism_drivers

    @classmethod
    def create(cls) -> ContrailTrunkDriver:
        """One for the process; it hears of the trunk plugin when that is there."""
        return cls(
            NAME,
            (portbindings.VIF_TYPE_OTHER,),
            (trunk_constants.SEGMENTATION_TYPE_VLAN,),
            None,
            can_trunk_bound_port=True,
        )

    @registry.receives(resources.TRUNK_PLUGIN, [events.AFTER_INIT])  # type: ignore[untyped-decorator]
    def register(self, resource: str, event: str, trigger: Any, payload: Any = None) -> None:
        super().register(resource, event, trigger, payload=payload)
        for what in (resources.TRUNK, resources.SUBPORTS):
            registry.subscribe(_adding, what, events.PRECOMMIT_CREATE)
            registry.subscribe(_added, what, events.AFTER_CREATE)
            registry.subscribe(_removing, what, events.PRECOMMIT_DELETE)
            registry.subscribe(_removed, what, events.AFTER_DELETE)


def report_status(context: Any, subports: Iterable[Subport], parent: Mapping[str, Any]) -> None:
    """Subports are ACTIVE while their parent is."""
    active = is_bound_here(parent) and parent["status"] == constants.PORT_STATUS_ACTIVE
    status = constants.PORT_STATUS_ACTIVE if active else constants.PORT_STATUS_DOWN
    for subport in subports:
        if subport.port["status"] != status:
            directory.get_plugin().update_port_status(context.elevated(), subport.port["id"], status)


def _adding(resource: str, event: str, trigger: Any, payload: Any) -> None:
    parent, subports = _concerned(payload)
    if is_bound_here(parent):
        for subport in subports:
            parts().switch_ports.bind_tagged(subport, parent["id"], objects.links_of(parent), addresses_of)


def _added(resource: str, event: str, trigger: Any, payload: Any) -> None:
    parent, subports = _concerned(payload)
    report_status(payload.context, subports, parent)


def _removing(resource: str, event: str, trigger: Any, payload: Any) -> None:
    _, subports = _concerned(payload)
    for subport in subports:
        parts().switch_ports.release_tagged(subport.port, addresses_of)


def _removed(resource: str, event: str, trigger: Any, payload: Any) -> None:
    _, subports = _concerned(payload)
    for subport in subports:
        status = constants.PORT_STATUS_DOWN
        directory.get_plugin().update_port_status(payload.context.elevated(), subport.port["id"], status)


def _concerned(payload: Any) -> tuple[Mapping[str, Any], list[Subport]]:
    """The parent and the subports that an event is about: those that come or go, or all of a trunk."""
    trunk = payload.latest_state
    subports = (payload.metadata or {}).get("subports")
    if subports is None:
        subports = trunk.sub_ports
    parent = stored_port(payload.context, trunk.port_id)
    return parent, [as_subport(payload.context, one.port_id, one.segmentation_id) for one in subports]

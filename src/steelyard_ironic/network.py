"""Network interface: Ironic's own for Neutron, which frees a server's NICs from Steelyard's quarantine first.

While a deployed server is off, Steelyard has a Neutron port of its own on each of its NICs. Where Ironic comes to put
the NICs elsewhere (a release, a rebuild, a rescue), those ports must be gone before: two ports bound to one switch port
would take each other's VLAN away.
"""

from __future__ import annotations

from typing import Any

from ironic.common import exception, neutron
from ironic.common.i18n import _
from ironic.conf import CONF
from ironic.drivers.modules.network import neutron as neutron_network
from openstack import exceptions as sdk_exceptions
from oslo_log import log

from steelyard_ironic import PARKED, QUARANTINE_PORT
from steelyard_ironic.asking import SteelyardRefused, ask

LOG = log.getLogger(__name__)


def leave_quarantine(task: Any) -> None:
    """No NIC of the node is on the quarantine network any more, and Steelyard puts none there meanwhile.

    Steelyard is asked to let go of the node; where it is away, nobody there moves anything, and its ports are removed
    all the same. Raises NetworkError when they cannot be.
    """
    node = task.node
    if PARKED not in node.extra:
        return
    try:
        ask(node.uuid, "network-gate", "change networks")
    except SteelyardRefused as refused:
        LOG.warning("Removing the quarantine ports without Steelyard: %s", refused)
    client = neutron.get_client(context=task.context, auth_from_config=True)
    try:
        for port in list(client.ports(device_id=node.uuid, name=QUARANTINE_PORT)):
            LOG.info("Node %s: removing quarantine port %s", node.uuid, port.id)
            client.delete_port(port.id, ignore_missing=True)
    except sdk_exceptions.SDKException as error:
        raise exception.NetworkError(
            _("Could not remove the quarantine ports of node %(node)s: %(error)s") % {"node": node.uuid, "error": error}
        ) from error
    finally:
        client.close()


def check_bound(task: Any, port_ids: list[str]) -> None:
    """Every port is plugged, where `[neutron]fail_on_port_binding_failure` wants that. Raises NetworkError.

    Ironic looks at that option for an interface of the name `neutron` only.
    """
    wanted = task.node.driver_info.get("fail_on_binding_failure", CONF.neutron.fail_on_port_binding_failure)
    if not wanted or not port_ids:
        return
    client = neutron.get_client(context=task.context, auth_from_config=True)
    try:
        for port_id in port_ids:
            neutron.wait_for_port_status(client, port_id, "ACTIVE", fail_on_binding_failure=True)
    except sdk_exceptions.SDKException as error:
        raise exception.NetworkError(
            _("A port of node %(node)s was not bound: %(error)s") % {"node": task.node.uuid, "error": error}
        ) from error
    finally:
        client.close()


class SteelyardNetwork(neutron_network.NeutronNetwork):  # type: ignore[misc]
    """Networks of a node whose NICs Steelyard may have put into quarantine."""

    def _add_network(self, task: Any, network: str, security_groups: Any, net_type: Any) -> Any:
        leave_quarantine(task)
        vifs = super()._add_network(task, network, security_groups, net_type)
        try:
            check_bound(task, list(vifs.values()))
        except exception.NetworkError:
            neutron.rollback_ports(task, network)
            raise
        return vifs

    def _remove_network(self, task: Any, network: str, net_type: Any) -> Any:
        leave_quarantine(task)
        return super()._remove_network(task, network, net_type)

    def configure_tenant_networks(self, task: Any) -> None:
        leave_quarantine(task)
        super().configure_tenant_networks(task)
        check_bound(task, [vif["id"] for vif in self.vif_list(task)])

    def unconfigure_tenant_networks(self, task: Any) -> None:
        leave_quarantine(task)
        super().unconfigure_tenant_networks(task)

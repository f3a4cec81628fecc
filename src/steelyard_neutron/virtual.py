"""`mechanism_drivers = …,steelyard_virtual`: binds virtual machines' ports on hosts that have no hypervisor.

    [steelyard_virtual]
    hosts = virtual-1

Neutron binds the port of a virtual machine only where a mechanism driver says that it knows how the host reaches the
network's segment; the usual ones ask an agent on that host. The embedded cloud's virtual machines are run by Nova's fake
driver: they are instances, allocations, ports and addresses of the real services, and no frame ever comes from one. So
there is nothing to plug: a `normal` port on one of the named hosts is bound on the network's VLAN as it stands, and is
active. Not for a host with a hypervisor: its virtual machines would be on no network.
"""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
GROUP = "steelyard_virtual"
OPTIONS = [cfg.ListOpt("hosts", default=[], help="Compute hosts without a hypervisor: their ports are bound.")]


class VirtualHosts(api.MechanismDriver):  # type: ignore[misc]
    """Stateless: what it binds is in Neutron's own tables."""

    def initialize(self) -> None:
        """Read the names of the hosts. Called once, by ML2."""
        cfg.CONF.register_opts(OPTIONS, GROUP)
        self._hosts = frozenset(cfg.CONF[GROUP].hosts)
        LOG.info("Ports of virtual machines are bound on %s", ", ".join(sorted(self._hosts)) or "no host")

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        """Bind a virtual machine's port on the first VLAN or flat segment; leave all others to other drivers."""
        port = context.current
        if context.host not in self._hosts or port[portbindings.VNIC_TYPE] != portbindings.VNIC_NORMAL:
            return
        for segment in context.segments_to_bind:
            if segment[api.NETWORK_TYPE] in (constants.TYPE_VLAN, constants.TYPE_FLAT):
                context.set_binding(
                    segment[api.ID], portbindings.VIF_TYPE_OTHER, {}, status=constants.PORT_STATUS_ACTIVE
                )
                return

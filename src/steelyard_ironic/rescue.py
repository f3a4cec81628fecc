"""Rescue interface: Ironic's own for its agent, which leaves the rescue system running.

As soon as the agent has taken the password, Ironic 39 cleans up the boot of the ramdisk. Its Redfish virtual media boot
takes the power away in order to do that (ironic/drivers/modules/redfish/boot.py, `clean_up_ramdisk`), so that the
server is "rescue" and off. Here the medium stays in until the rescue ends, however it ends.
"""

from __future__ import annotations

from typing import Any

from ironic.common import states
from ironic.conductor import utils as manager_utils
from ironic.drivers.modules import agent
from oslo_log import log

LOG = log.getLogger(__name__)


def finishes(task: Any) -> bool:
    """Whether the agent has just taken the password.

    Where a rescue fails or runs out of time, Ironic takes the power away before it cleans up; where it is aborted or
    the server is released, the node is in another state.
    """
    node = task.node
    return bool(node.provision_state == states.RESCUING and node.power_state == states.POWER_ON)


class SteelyardRescue(agent.AgentRescue):  # type: ignore[misc]
    """Rescue by the agent, with the boot of the ramdisk cleaned up when the rescue is over."""

    def clean_up(self, task: Any) -> None:
        """As the parent's; of a rescue that begins well only the password and the rescuing network go."""
        if not finishes(task):
            super().clean_up(task)
            return
        LOG.debug("Node %s: the rescue system runs; its boot medium stays", task.node.uuid)
        manager_utils.remove_node_rescue_password(task.node, save=True)
        with manager_utils.power_state_for_network_configuration(task):
            task.driver.network.remove_rescuing_network(task)

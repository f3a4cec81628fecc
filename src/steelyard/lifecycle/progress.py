"""What a server's deployment, release or power change waits for, in words for its tenant. Pure.

The words come from Nova's task state and from the state and step that Ironic is at. They name no node, no BMC and no
network but by its role: tenants read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from steelyard.lifecycle.model import Power
from steelyard.nouns import Instance, Node

_ADDRESS: Final = re.compile(r"https?://\S+")
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TASKS: Final[Mapping[str, str]] = {
    "scheduling": "scheduling: a node is chosen",
    "block_device_mapping": "preparing the disks",
    "networking": "networking: ports and addresses are made",
}
"""Nova's task states (nova/compute/task_states.py) before it hands over to Ironic."""
_STATES: Final[Mapping[str, str]] = {
    "available": "preparing the node",
    "deploying": "preparing the deployment",
    "wait call-back": "booting the agent (provisioning network)",
    "active": "booting",
}
_STEPS: Final[Mapping[str, str]] = {
    "deploy": "booting the agent (provisioning network)",
    "write_image": "writing the image (provisioning network)",
    "prepare_instance_boot": "preparing to boot from the disk",
    "tear_down_agent": "stopping the agent",
    "switch_to_tenant_network": "switching to the tenant network",
    "boot_instance": "booting",
}
"""Ironic's deploy steps (ironic/drivers/modules/agent.py and agent_base.py)."""


def deploying(instance: Instance, node: Node | None) -> str:
    """What a deployment waits for."""
    if before := _TASKS.get(instance.task_state or ""):
        return before
    if node is not None and node.maintenance and node.provision_state in ("deploying", "wait call-back"):
        return "the end of an administrator's maintenance"
    if node is None:
        return "scheduling: a node is chosen" if instance.node_id is None else "preparing the node"
    if node.provision_state in ("deploying", "wait call-back") and (step := _STEPS.get(node.step or "")):
        return step
    return _STATES.get(node.provision_state, "the deployment")


def powering(instance: Instance, action: Power) -> str:
    """What a change of power waits for."""
    doing = (instance.task_state or "").replace("-", " ").replace("_", " ")
    now = f"power is {instance.power_state or 'not known'}, wanted {action.power}"
    return f"{doing}: {now}" if doing else now


def releasing(instance: Instance, node: Node | None) -> str:
    """What a release waits for, until the tenant has nothing of the server any more."""
    if node is None or node.instance_id != instance.id:
        return "releasing"
    if node.provision_state == "active":
        return "powering off" if node.power_state == "on" else "releasing"
    if node.provision_state == "deleting":
        return "taking it off the tenant network"
    return "releasing"


def cleaning(node: Node) -> str:
    """What a reclaimed node waits for, for administrators."""
    step = f" ({node.step})" if node.step else ""
    return f"cleaning: node {node.label} is {node.provision_state}{step}, wanted available"


def fault(instance: Instance) -> str | None:
    """Why Nova says that the server is in error, for its tenant. Nova quotes Ironic and the libraries by which it asks
    Ironic: what names a node or the address of a service is left out."""
    if instance.fault is None:
        return None
    text = _ADDRESS.sub("(an address)", instance.fault)
    return _ID.sub(lambda found: found[0] if found[0] == instance.id else "(an id)", text)

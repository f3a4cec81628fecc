"""What is said of a server in each phase when an action is refused, and what to type next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from steelyard.lifecycle.phases import Phase

DOING: Final[Mapping[Phase, str]] = {
    Phase.CANDIDATE: "is no node yet",
    Phase.ENROLLED: "is enrolled, and its BMC has not been verified",
    Phase.MANAGEABLE: "is manageable, and nothing proves that its disks are clean",
    Phase.INSPECTING: "is being inspected",
    Phase.CLEANING: "is being cleaned",
    Phase.AVAILABLE: "is available",
    Phase.DEPLOYING: "is being deployed",
    Phase.ACTIVE: "is active",
    Phase.POWERED_OFF: "is powered off",
    Phase.SERVICING: "is being serviced by an administrator",
    Phase.RESCUE: "is in rescue",
    Phase.RECLAIMING: "is being released",
    Phase.ADOPTED: "is an adopted system",
    Phase.QUARANTINED: "is quarantined",
    Phase.RETIRED: "is retired",
}
"""What is said of it in a refusal."""
NODE_NEXT: Final[Mapping[Phase, str]] = {
    Phase.CANDIDATE: "steelyard node onboard {candidate}",
    Phase.ENROLLED: "steelyard node onboard {candidate}",
    Phase.MANAGEABLE: "steelyard node clean {node} --wait",
    Phase.INSPECTING: "steelyard node wait {node} --phase manageable",
    Phase.CLEANING: "steelyard node wait {node}",
    Phase.AVAILABLE: "steelyard node show {node}",
    Phase.DEPLOYING: "steelyard node wait {node} --phase active",
    Phase.ACTIVE: "steelyard node show {node}",
    Phase.POWERED_OFF: "steelyard node show {node}",
    Phase.SERVICING: "steelyard node wait {node} --phase active",
    Phase.RESCUE: "steelyard node show {node}",
    Phase.RECLAIMING: "steelyard node wait {node}",
    Phase.ADOPTED: "steelyard node show {node}",
    Phase.QUARANTINED: "steelyard node release {node} --wait",
    Phase.RETIRED: "steelyard node unretire {node} --wait",
}
"""The next safe command for an administrator, where the action has none of its own."""
SERVER_NEXT: Final[Mapping[Phase, str]] = {
    **dict.fromkeys(Phase, "steelyard server show {server}"),
    Phase.DEPLOYING: "steelyard server wait {server}",
    Phase.POWERED_OFF: "steelyard server power {server} on --wait",
    Phase.SERVICING: "steelyard server wait {server}",
    Phase.RESCUE: "steelyard server unrescue {server} --wait",
    Phase.RECLAIMING: "steelyard server wait {server} --phase deleted",
}
"""The same for a tenant: no node is named."""

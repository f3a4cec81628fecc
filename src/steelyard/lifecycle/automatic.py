"""What happens to a server by itself, beside the actions that somebody asks for. Pure."""

from __future__ import annotations

from typing import Final

from steelyard.lifecycle.phases import Phase

AUTOMATIC: Final[tuple[tuple[Phase, Phase, str], ...]] = (
    (Phase.ENROLLED, Phase.MANAGEABLE, "its BMC obeys"),
    (Phase.INSPECTING, Phase.MANAGEABLE, "the agent has reported"),
    (Phase.MANAGEABLE, Phase.CLEANING, "onboarding goes on"),
    (Phase.CLEANING, Phase.AVAILABLE, "erased and recorded"),
    (Phase.CLEANING, Phase.RETIRED, "erased, with the flag"),
    (Phase.DEPLOYING, Phase.ACTIVE, "the image has booted"),
    (Phase.RECLAIMING, Phase.CLEANING, "off the tenant's networks"),
    (Phase.ACTIVE, Phase.POWERED_OFF, "found off"),
    (Phase.POWERED_OFF, Phase.ACTIVE, "found on"),
    (Phase.ACTIVE, Phase.SERVICING, "Ironic's servicing"),
    (Phase.SERVICING, Phase.ACTIVE, "serviced"),
    (Phase.AVAILABLE, Phase.QUARANTINED, "not proven clean"),
    (Phase.INSPECTING, Phase.QUARANTINED, "failed"),
    (Phase.CLEANING, Phase.QUARANTINED, "failed or interrupted"),
    (Phase.DEPLOYING, Phase.QUARANTINED, "failed"),
    (Phase.RECLAIMING, Phase.QUARANTINED, "failed"),
    (Phase.RESCUE, Phase.QUARANTINED, "failed"),
    (Phase.SERVICING, Phase.QUARANTINED, "failed"),
)
"""What happens by itself, and what is observed: from, to, why."""

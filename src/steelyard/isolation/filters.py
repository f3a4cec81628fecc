"""The filters on a switch port, compared with the security groups of the port that is bound there. Pure."""

from __future__ import annotations

from typing import Final

from steelyard.nouns import SwitchPort

UNFILTERED: Final = "without the filter of security group"
"""How it is said of a switch port that lets pass what a security group forbids."""


def unlike(port: SwitchPort, wanted: frozenset[str] | None) -> str | None:
    """How the port's filters differ, as a phrase; None where they do not.

    `wanted`: ids of security groups, as `SecurityGroups.on_switch` has them. What nobody enforces (None), and what the
    switch's reader does not read, is not compared.
    """
    if wanted is None or port.filters is None:
        return None
    if less := wanted - port.filters:
        return f"{UNFILTERED} {', '.join(sorted(less))}"
    if more := port.filters - wanted:
        return f"also filtered by security group {', '.join(sorted(more))}"
    return None

"""Placement: placement.conf."""

from __future__ import annotations

from steelyard.embedded.configuration.description import Description
from steelyard.embedded.configuration.ini import Sections


def placement_conf(cloud: Description) -> Sections:
    """placement.conf."""
    return {
        "DEFAULT": {"use_stderr": True},
        "placement_database": {"connection": cloud.connection("placement")},
        "api": {"auth_strategy": "keystone"},
        # Equal servers in random order: parallel requests then seldom want the same one.
        "placement": {"randomize_allocation_candidates": True},
        "keystone_authtoken": cloud.token_check("placement"),
    }

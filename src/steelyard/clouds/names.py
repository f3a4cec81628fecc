"""Names of resource classes, as the ports take them: in either spelling, Ironic's or Placement's."""

from __future__ import annotations

from steelyard import naming

PREFIX = "CUSTOM_"


def placement_class(resource_class: str) -> str:
    """The class's name in Placement; a name that is one already stays."""
    return resource_class if resource_class.startswith(PREFIX) else naming.placement_class(resource_class)

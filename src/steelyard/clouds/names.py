"""Names of resource classes: Ironic's (`bm.small`) as Placement and Nova spell them (`CUSTOM_BM_SMALL`)."""

from __future__ import annotations

import re

PREFIX = "CUSTOM_"


def placement_class(resource_class: str) -> str:
    """The class's name in Placement; a name that already has it stays.

    Source: os_resource_classes.normalize_name, which Nova's Ironic driver uses: runs of other characters than
    letters and digits become one underscore.
    """
    if resource_class.startswith(PREFIX):
        return resource_class
    return PREFIX + re.sub("[^0-9A-Za-z]+", "_", resource_class).upper()

"""Placement: which nodes could be allocated now."""

from __future__ import annotations

from steelyard.clouds.names import placement_class
from steelyard.clouds.openstack.session import PLACEMENT, Access, Rest
from steelyard.errors import Invalid

MICROVERSION = "1.22"
"""The first with forbidden traits (Rocky)."""
DISABLED = "COMPUTE_STATUS_DISABLED"
"""Trait that Nova sets on the nodes of a compute service that is switched off."""


class OpenstackPlacement:
    """Asks GET /resource_providers with a resources filter.

    It weighs capacity exactly as GET /allocation_candidates does, without that call's limit on the number of
    candidates and without the list of all traits of all of them; an Ironic node is one provider by itself, so there
    is no combination to be worked out.
    """

    def __init__(self, access: Access):
        self._rest = Rest(access, PLACEMENT, microversion=MICROVERSION)

    def free(self, resource_class: str, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        params = {
            "resources": f"{placement_class(resource_class)}:1",
            "required": ",".join([*sorted(traits), f"!{DISABLED}"]),
        }
        try:
            answer = self._rest.get("resource_providers", params=params, what="a list of resource providers")
        except Invalid as error:
            # A class or trait that no node has ever had is unknown to Placement: nothing of it is free.
            if "Invalid resource class" in error.detail or "No such trait" in error.detail:
                return frozenset()
            raise
        return frozenset(
            provider.text("uuid") for provider in answer.required_documents("resource_providers", "a resource provider")
        )

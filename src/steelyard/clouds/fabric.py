"""The port to what a network controller is set up with; its rules are those of `ports`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from steelyard.nouns import FabricFacts, Leftover


@runtime_checkable
class Fabric(Protocol):
    """What the network controller is set up with: for the checks before the first deployment. Administrators' work."""

    def facts(self, network_ids: Collection[str] = ()) -> FabricFacts:
        """Switches, their ports, and what servers depend on of these networks."""

    def leftovers(self) -> list[Leftover]:
        """Objects of the controller that nothing uses any more, beside ports: those are compared with servers."""

    def remove(self, kind: str, identifier: str) -> None:
        """Remove a leftover. What is gone is removed. Raises `Conflict` (`in_use`) for what is used by now."""

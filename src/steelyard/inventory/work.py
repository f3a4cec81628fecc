"""The reconciler of the inventory.

`inventory.index` — keeps one row per server, so that 10,000 can be searched in milliseconds.
By hand: `steelyard reconciler run inventory.index`. It reads the cloud's bulk lists and the candidates, joins them, and
writes the rows that differ, each with what changed. A row whose server is nowhere any more is marked as gone; its
history stays. It changes nothing in the cloud. When it fails, lists answer with what is known and say how old that is.
"""

from __future__ import annotations

from steelyard.inventory.index import NAME
from steelyard.inventory.service import InventoryService
from steelyard.operations.reconciling import Reconciler

PERIOD = 30.0


def reconcilers(service: InventoryService) -> tuple[Reconciler, ...]:
    """What keeps the inventory up to date."""
    return (
        Reconciler(
            name=NAME,
            about="Keeps the searchable list of all servers as Ironic, Nova, Neutron and discovery know them.",
            run=service.index.reconcile,
            period=PERIOD,
        ),
    )

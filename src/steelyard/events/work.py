"""Reconcilers of events: noting and checking the chain (runbook: `events.audit`), sending to webhooks (runbook:
`events.webhooks`)."""

from __future__ import annotations

from steelyard.events.audit import AuditService
from steelyard.events.webhooks import WebhookService
from steelyard.operations.reconciling import Reconciler, Reconcilers
from steelyard.store import Store

CHAIN = "events.chain"
WEBHOOKS = "events.webhooks"


def reconcilers(audit: AuditService, webhooks: WebhookService) -> tuple[Reconciler, ...]:
    """The reconcilers of this room."""
    return (
        Reconciler(
            CHAIN,
            "Notes the head of the chain of events, and looks whether the next part of it is whole.",
            audit.reconcile,
            period=60.0,
        ),
        Reconciler(
            WEBHOOKS,
            "Sends events to the webhooks that want them.",
            webhooks.run,
            period=10.0,
        ),
    )


def signal_on_events(store: Store, reconcilers: Reconcilers) -> None:
    """Have new events sent at once, while there is a webhook."""

    def heard(_: int) -> None:
        if store.webhooks.any():
            reconcilers.signal(WEBHOOKS)

    store.events.listen(heard)

"""The reconciler `attention.watch`: keeps in the store what needs a human and can be told from what is there anyway.

Runbook (what a person would do): go through the nodes for those that are quarantined, that Ironic took out of use, and
whose BMC it never reached; through the servers for those in ERROR; through the candidates for those whose onboarding
failed; through the operations for those that failed, stand still or are paused; through the reconcilers for those that
fail or do not run. Write down what is new and strike out what is over. What cannot be looked at now stays as it was.

It reads the shared bulk lists and the database, makes no other call, and changes nothing in the cloud.
"""

from __future__ import annotations

from steelyard.attention.service import WATCH, AttentionService
from steelyard.operations.reconciling import Reconciler, Report

PERIOD = 30.0


def reconcilers(service: AttentionService) -> tuple[Reconciler, ...]:
    """The reconcilers of this room."""

    def watch() -> Report:
        found, changed = service.watch()
        return Report(seen=found, changed=changed, detail=f"{changed} came or went" if changed else "")

    return (Reconciler(WATCH, "Keeps the list of what needs a human, and since when.", watch, period=PERIOD),)

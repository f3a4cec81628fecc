"""What the guard does with a node: never offered unless proven clean, never removed while deployed. Pure.

See docs/clean-proof.md for the rules in words, and docs/adr for why they are so.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from steelyard.attention.model import Finding, Severity
from steelyard.lifecycle.model import MAINTENANCE_PREFIX, quarantine, releasing
from steelyard.lifecycle.records import How, Tenancy, Verdict
from steelyard.lifecycle.sighting import HOLDING
from steelyard.nouns import Instance, Node

GRACE: Final = timedelta(minutes=2)
"""How long an operation that works on a node has after it became available to write down that it saw it cleaned."""
NOT_PROVEN: Final = "not proven clean: "
CLEAN_FAILED: Final = "cleaning failed: "
RECLAIM_FAILED: Final = "taking it back failed: "
DEPLOY_FAILED: Final = "its deployment failed: "
"""How the reasons begin for which the guard puts a node into quarantine."""
_FAILURES: Final = {
    CLEAN_FAILED: "clean_failed", "its cleaning failed": "clean_failed", "not cleaned to the end": "clean_failed",
    RECLAIM_FAILED: "reclaim_failed", DEPLOY_FAILED: "deploy_failed",
}  # fmt: skip
"""Findings of nodes that are in quarantine for a reason that begins so, whoever put them there."""
PROTECTION: Final = f"{MAINTENANCE_PREFIX}deployed and in maintenance, so Ironic would let it be deleted"
"""Why Ironic protects the node, where the guard asked for it."""
PROTECTABLE: Final = frozenset({"active", "rescue"})
"""States in which Ironic lets a node be protected (ConductorManager._check_update_protected)."""


class FoundAvailable(StrEnum):
    """What becomes of nodes that were available when Steelyard first came: nobody knows whether they are clean."""

    FINDING = "finding"
    """They stay in the offer, and are found until they have been cleaned once."""
    TRUST = "trust"
    """They are taken as clean."""
    QUARANTINE = "quarantine"
    """They are taken out of the offer like every other that is not proven clean."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of a node when it is judged."""

    node: Node
    verdict: Verdict
    now: datetime
    nova: bool = True
    """Whether Nova answered; if not, `instance` says nothing."""
    instance: Instance | None = None
    """Nova's, of the node's `instance_id`."""
    busy: str | None = None
    """An operation of ours that works on it at this moment."""
    paused: bool = False
    """That operation stands still, and so writes down nothing of what it saw."""
    tenancy: Tenancy | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a node, and what is to be told of it."""

    quarantine: str | None = None
    """Put it into quarantine for this reason."""
    protect: bool | None = None
    """Have Ironic protect it, or end that; None: leave it as it is."""
    findings: tuple[Finding, ...] = ()


def decide(case: Case, policy: FoundAvailable = FoundAvailable.FINDING) -> Decision:
    """The guard's decision; the same case gives the same decision, and what was decided before stays so."""
    reason = _to_quarantine(case, policy)
    return Decision(reason, _to_protect(case), tuple(_findings(case, reason, policy)))


def is_ours(node: Node) -> bool:
    """Whether it was the guard that had Ironic protect the node."""
    return node.protected and (node.protected_reason or "").startswith(MAINTENANCE_PREFIX)


def _to_quarantine(case: Case, policy: FoundAvailable) -> str | None:
    node, mark = case.node, quarantine(case.node)
    if node.retired and node.provision_state != "available":
        return None  # Ironic offers it to nobody, unless it was told not to clean it: then it passes over this flag too
    if mark is not None:
        cleans = releasing(node) is not None and releasing(node) == case.busy
        put_back = node.provision_state == "available" and not node.maintenance and not cleans
        return mark if put_back else None
    if node.provision_state == "available" and node.instance_id is None:
        return _not_proven(case, policy)
    if case.busy is not None:
        return None  # it ends in quarantine by itself, or is made good
    why = node.last_error or "Ironic gives no reason"
    if node.provision_state == "clean failed":
        return f"{CLEAN_FAILED}{why}"
    if node.provision_state in {"error", "deploy failed"} and case.nova and case.instance is None:
        # While Nova has the instance, it takes the node back itself, which Ironic would not do in maintenance.
        return f"{RECLAIM_FAILED if node.provision_state == 'error' else DEPLOY_FAILED}{why}"
    return None


def _not_proven(case: Case, policy: FoundAvailable) -> str | None:
    since = case.node.provision_updated_at
    if case.verdict.proven:
        trusted = case.verdict.record is not None and case.verdict.record.how is How.TRUSTED
        if not (trusted and policy is FoundAvailable.QUARANTINE):
            return None
        return f"{NOT_PROVEN}it was available when Steelyard first saw it, and nobody knows whether it is clean"
    cleaned = case.node.automated_clean is not False  # otherwise nobody can have seen a clean
    if case.busy is not None and not case.paused and cleaned and since is not None and case.now - since <= GRACE:
        return None
    return f"{NOT_PROVEN}{case.verdict.reason}"


def _to_protect(case: Case) -> bool | None:
    """Ironic deletes a deployed node that is in maintenance, unless it is protected.

    Protection also keeps the tenant from giving the server back, so it lasts no longer than it must.
    """
    node, instance = case.node, case.instance
    leaving = instance is not None and (instance.task_state == "deleting" or instance.status in {"ERROR", "DELETED"})
    if node.protected:
        return False if is_ours(node) and (not node.maintenance or leaving) else None
    wanted = node.maintenance and node.provision_state in PROTECTABLE
    return True if wanted and not leaving and case.busy is None else None


def _findings(case: Case, reason: str | None, policy: FoundAvailable) -> list[Finding]:
    node = case.node
    name = shlex.quote(node.label)
    release = f"steelyard node release {name}"
    found = []

    def add(kind: str, severity: Severity, why: str, next: str) -> None:
        evidence = {
            "state": node.provision_state, "maintenance": node.maintenance, "automated_clean": node.automated_clean,
            "available_since": node.provision_updated_at.isoformat() if node.provision_updated_at else None,
            "power_interface": node.power_interface, "last_error": node.last_error,
        }  # fmt: skip
        found.append(Finding(f"lifecycle.{kind}", f"node:{node.id}", node.label, severity, why, next, evidence))

    why = reason or quarantine(node) or ""
    if why.startswith(NOT_PROVEN):
        add("not_proven_clean", Severity.CRITICAL, f"It was in the offer, {why}.", release)
    kind = next((kind for begins, kind in _FAILURES.items() if why.startswith(begins)), None)
    if kind is not None:
        add(kind, Severity.MAJOR, f"{why[:1].upper()}{why[1:]}", release)
    record = case.verdict.record
    offered = node.provision_state == "available" and node.instance_id is None and not why
    trusted = case.verdict.proven and record is not None and record.how is How.TRUSTED
    if offered and trusted and policy is FoundAvailable.FINDING:
        said = "It was available when Steelyard first saw it; nobody knows whether it is clean."
        add("never_seen_clean", Severity.MINOR, said, f"steelyard node clean {name} --wait")
    if node.automated_clean is False and (offered or node.provision_state in HOLDING):
        said = "Automated cleaning is switched off for it: Ironic will offer it again with the last tenant's data."
        add("cleaning_switched_off", Severity.MAJOR, said, f"openstack baremetal node set {name} --automated-clean")
    tenancy = case.tenancy
    if tenancy is not None and tenancy.until is None and tenancy.unproven is not None:
        said = f"A tenant has it, and it was not proven clean when they got it: {tenancy.unproven}."
        add("given_unproven", Severity.CRITICAL, said, f"steelyard node show {name}")
    return found

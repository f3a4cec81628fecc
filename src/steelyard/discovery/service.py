"""Use cases of discovery: sweep for BMCs, keep the candidates, start making nodes of them."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.discovery import targets as reading
from steelyard.discovery.binding import LEFT_BEHIND
from steelyard.discovery.model import Candidate, CandidateState, KnownNodes, is_class, recognise, refreshed, settled
from steelyard.discovery.onboarding import abandoned
from steelyard.errors import Invalid, NotFound, Refused, SteelyardError
from steelyard.hardware.redfish.port import BmcProber, ProbeResult, SystemIdentity, Verdict
from steelyard.lifecycle.holding import ends_it, held
from steelyard.naming import pick, shown
from steelyard.nouns import Actor, Node
from steelyard.operations.keys import REQUEST, Turns, digest, repeated, turn
from steelyard.operations.model import Operation, Operations
from steelyard.settings import Settings
from steelyard.store import Store

SWEEP = "discoveries.sweep"
ONBOARD = "nodes.onboard"
CHUNK = 2048
"""Addresses asked between two signs of life of a sweep."""
MAX_TROUBLES = 200
"""Addresses with a trouble that a sweep's result names one by one; the rest is counted."""
MAX_ONBOARD = 1000

REPAIRABLE = frozenset({"enroll", "manageable", "inspect failed", "clean failed"}) | LEFT_BEHIND
"""Ironic's states of a node without tenant from which onboarding brings it (back) to available."""

FEW = 16
"""A sweep of no more addresses than this names also those where nobody answers: they were meant one by one."""


@dataclass(slots=True)
class _Progress:
    """How far one running sweep is. Lost with the process, as the sweep then starts again."""

    done: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[dict[str, Any]] = field(default_factory=list)


class DiscoveryService:
    """Finding servers and knowing them."""

    def __init__(
        self, *, clouds: Clouds, store: Store, operations: Operations, prober: BmcProber, settings: Settings,
        observer: Observer,
    ):  # fmt: skip
        self.clouds = clouds
        self.store = store
        self.settings = settings
        self.observer = observer
        self._operations = operations
        self._prober = prober
        self._running: dict[str, _Progress] = {}
        self._recording = threading.Lock()
        self._turns = Turns(store.locks, scope="discovery")

    # Sweeping

    def discover(
        self,
        actor: Actor,
        targets: Sequence[str],
        credentials: Sequence[Mapping[str, Any]],
        *,
        port: int = 443,
        timeout: float = 10.0,
        key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:
        """Start a sweep. Credentials go to the store's safe for as long as the sweep lasts. Raises `Invalid`."""
        ranges = reading.parse_targets(targets)
        given = reading.parse_credentials(credentials)
        if not 1 <= port <= 65535:
            raise Invalid(f"{port} is not a TCP port.", code="invalid_port")
        if not 0.5 <= timeout <= 60:
            raise Invalid("The time-out must be between 0.5 and 60 seconds.", code="invalid_timeout")
        asked = {"targets": [str(each) for each in ranges], "port": port, "timeout": timeout}
        request = digest(actor, asked)
        with self._turns.at(turn(actor, key)):
            if known := repeated(self._operations, actor, SWEEP, key, request):
                return known[0]
            secret_id = self.store.secrets.put(reading.to_secret(given))
            try:
                params = {**asked, "secret_id": secret_id, REQUEST: request}
                return self._operations.start(SWEEP, params, actor, key=key, request_id=request_id)
            except Exception:
                self.store.secrets.delete(secret_id)
                raise

    def sweep_some(self, operation_id: str, params: Mapping[str, Any]) -> tuple[int, int, Mapping[str, Any] | None]:
        """Ask the next addresses of a sweep. Returns how many were asked, of how many, and the result at the end.

        Candidates are recorded as they are found; recording twice changes nothing but the time.
        """
        ranges = reading.parse_targets(params["targets"])
        everything = list(reading.addresses(ranges))
        progress = self._running.setdefault(operation_id, _Progress())
        credentials = reading.from_secret(self.store.secrets.get(params["secret_id"]))
        part = list(islice(everything, progress.done, progress.done + CHUNK))
        results = self._prober.sweep(
            part, port=params["port"], credentials=credentials, timeout=params["timeout"]
        )  # fmt: skip
        self._record(results, progress, total=len(everything))
        progress.done += len(part)
        if progress.done < len(everything):
            return progress.done, len(everything), None
        del self._running[operation_id]
        return progress.done, len(everything), {
            "asked": progress.done,
            "verdicts": dict(progress.verdicts),
            "candidates": list(progress.found.values()),
            "troubles": progress.troubles,
        }  # fmt: skip

    def forget_sweep(self, operation_id: str, params: Mapping[str, Any]) -> None:
        """Throw away the credentials of a sweep that is over."""
        self._running.pop(operation_id, None)
        self.store.secrets.delete(params["secret_id"])

    def _record(self, results: Sequence[ProbeResult], progress: _Progress, *, total: int) -> None:
        quiet = {Verdict.FOUND} if total <= FEW else {Verdict.FOUND, Verdict.NOBODY}
        found = [result for result in results if result.verdict is Verdict.FOUND]
        nodes = self._nodes() if found else KnownNodes(())
        for result in results:
            progress.verdicts[result.verdict.value] += 1
            if result.verdict not in quiet and len(progress.troubles) < MAX_TROUBLES:
                progress.troubles.append({
                    "address": str(result.address), "verdict": result.verdict.value, "reason": result.reason
                })  # fmt: skip
        with self._recording:
            known = {each.id: each for each in self.store.candidates.all()} if found else {}
            for answer in found:
                for system in answer.systems:
                    candidate, is_new = self._keep(answer, system, known, nodes)
                    known[candidate.id] = candidate
                    progress.found[candidate.id] = {
                        "id": candidate.id, "name": candidate.name, "address": candidate.address,
                        "state": candidate.state.value, "new": is_new, "note": candidate.note,
                    }  # fmt: skip

    def _keep(
        self, result: ProbeResult, system: SystemIdentity, known: Mapping[str, Candidate], nodes: KnownNodes
    ) -> tuple[Candidate, bool]:
        """Store what was seen, as a new candidate or as one already known; say whether it is new."""
        now = datetime.now(UTC)
        seen = Candidate(
            id=str(uuid.uuid4()), address=str(result.address), port=result.port, system_path=system.path,
            state=CandidateState.FOUND, first_seen_at=now, last_seen_at=now, uuid=system.uuid, serial=system.serial,
            vendor=system.vendor, model=system.model, asset_tag=system.asset_tag, hostname=system.hostname,
            power_state=system.power_state, cpus=system.cpus, memory_mib=system.memory_mib, macs=system.macs,
            bmc_firmware=system.bmc_firmware, fingerprint=result.fingerprint, bios_version=system.bios_version,
        )  # fmt: skip
        assert result.credential is not None  # a found BMC accepted one
        accepted = {"username": result.credential.username, "password": result.credential.password}
        with self.store.unit_of_work():  # the credentials and the candidate that names them, or neither
            same = self._held(recognise(known.values(), seen))
            old_secret = same.secret_id if same else None
            keeps = old_secret is not None and self._secret(old_secret) == accepted
            seen = replace(seen, secret_id=old_secret if keeps else self.store.secrets.put(accepted))
            if same is None:
                candidate = settled(seen, nodes)
                self.store.candidates.put(candidate)
                return candidate, True
            # An onboarding may be changing it at this moment: what it wrote meanwhile is kept.
            candidate = self.store.candidates.change(same.id, lambda now: settled(refreshed(now, seen), nodes))
            if old_secret is not None and not keeps:
                self.store.secrets.delete(old_secret)
            return candidate, False

    def _held(self, candidate: Candidate | None) -> Candidate | None:
        """The candidate as it is now, which nobody changes or deletes before this unit of work ends; None if gone."""
        if candidate is None:
            return None
        try:
            return self.store.candidates.change(candidate.id, lambda now: now)
        except NotFound:
            return None  # somebody deleted it meanwhile: it is found anew

    def _secret(self, secret_id: str) -> Mapping[str, str] | None:
        try:
            return self.store.secrets.get(secret_id)
        except NotFound:
            return None

    def _nodes(self) -> KnownNodes:
        return KnownNodes(self.clouds.own.nodes.all())

    # Candidates

    def candidates(self, *, state: CandidateState | None = None) -> list[Candidate]:
        """All candidates as they stand now, whoever enrolled or deleted their nodes."""
        nodes = self._nodes()
        found = [settled(each, nodes) for each in self.store.candidates.all()]
        return [each for each in found if state is None or each.state is state]

    def candidate(self, reference: str) -> Candidate:
        """By id, or by what people call it (label, host name, serial, BMC address). Raises `NotFound`, `Conflict`."""
        return _pick(reference, self.candidates())

    def delete_candidate(self, actor: Actor, reference: str, *, request_id: str | None = None) -> None:
        """Forget a candidate and its credentials; the next sweep finds it again. Raises `Refused` for one in use."""
        candidate = self.candidate(reference)
        if candidate.state is CandidateState.ONBOARDING:
            raise Refused(
                f"Candidate {shown(candidate.name)} is being onboarded.",
                code="candidate_busy",
                next=f"steelyard operation cancel {self._onboarding_of(candidate) or 'ID'}",
            )
        if candidate.state is CandidateState.ONBOARDED:
            raise Refused(
                f"Candidate {shown(candidate.name)} is a node; delete the node first.",
                code="candidate_onboarded",
                next=f"steelyard node delete {candidate.node_id}",
            )
        if candidate.state is CandidateState.FAILED and self._nodes().of(candidate) is not None:
            raise Refused(
                f"Onboarding candidate {shown(candidate.name)} failed and left a node; go on with it, or delete the "
                f"node first: steelyard node delete {self._nodes_name(candidate)}.",
                code="candidate_has_node",
                next=f"steelyard node onboard {candidate.id}",
            )
        with self.store.unit_of_work():
            now = self._held(candidate)  # a sweep may have given it other credentials meanwhile
            if now is None:
                return
            self.store.candidates.delete(now.id)
            if now.secret_id:
                self.store.secrets.delete(now.secret_id)
            self.store.events.append(
                f"candidate:{candidate.id}", "candidate.deleted", actor=actor.user_name,
                detail=f"candidate {candidate.name} was deleted", request_id=request_id,
            )  # fmt: skip

    # Onboarding

    def onboard(
        self,
        actor: Actor,
        references: Sequence[str],
        *,
        everything: bool = False,
        resource_class: str | None = None,
        recabled: bool = False,
        reason: str | None = None,
        key: str | None = None,
        request_id: str | None = None,
    ) -> list[Operation]:
        """Start making nodes of candidates, one operation each.

        `everything` takes all that are not nodes yet, failed ones too, but none whose node is in maintenance. All
        references are checked before anything starts. `recabled`: other switch ports than the known ones are no reason
        to stop. Raises `NotFound`, `Invalid`, or `Refused` for one that is a node or on its way to be one, or whose
        node is in maintenance.
        """
        if resource_class is not None and not is_class(resource_class):
            raise Invalid(
                f"The class {shown(resource_class)} is not one: letters, digits, '.', '_' and '-', at most 80.",
                code="invalid_class",
            )
        if everything == bool(references):
            raise Invalid("Name the candidates, or ask for all of them.", next="steelyard candidate list")
        request = digest(actor, {
            "candidates": sorted(references), "all": everything, "class": resource_class, "recabled": recabled
        })  # fmt: skip
        with self._turns.at(turn(actor, key)):
            if known := repeated(self._operations, actor, ONBOARD, key, request):
                return known
            return [
                self._operations.start(
                    ONBOARD,
                    {
                        "candidate_id": each.id, "candidate": each.name, "resource_class": resource_class,
                        "recabled": recabled, REQUEST: request,
                    },
                    actor,
                    reason=reason,
                    key=f"{key}:{each.id}" if key is not None else None,
                    subject=_subject(each),
                    request_id=request_id,
                )
                for each in self._chosen(references, everything=everything)
            ]  # fmt: skip

    def _chosen(self, references: Sequence[str], *, everything: bool) -> list[Candidate]:
        """The candidates to onboard, each once, all of them fit for it.

        A bulk operation asks this for each of its items. For candidates that never were a node, a list of a moment ago
        is enough: their onboarding looks for itself. Whom that list refuses, a new one is asked about.
        """
        if not everything:
            listed = KnownNodes(self.observer.nodes())
            with suppress(SteelyardError):
                chosen = self._fit(references, listed, everything=False)
                if all(_never_a_node(self.store.candidates.get(each.id)) for each in chosen):
                    return chosen
        return self._fit(references, self._nodes(), everything=everything)

    def _fit(self, references: Sequence[str], nodes: KnownNodes, *, everything: bool) -> list[Candidate]:
        """In the light of these nodes. Raises `NotFound`, `Conflict`, `Invalid` or `Refused`."""
        known = [settled(each, nodes) for each in self.store.candidates.all()]
        startable = {CandidateState.FOUND, CandidateState.FAILED}
        if everything:
            chosen = [each for each in known if each.state in startable and _in_maintenance(nodes.of(each)) is None]
        else:
            chosen = list({each.id: each for each in (_pick(ref, known) for ref in references)}.values())
        if len(chosen) > MAX_ONBOARD:
            raise Invalid(f"{len(chosen)} candidates at once; at most {MAX_ONBOARD}.", code="too_many")
        for candidate in chosen:
            self._check_onboardable(candidate, nodes)
        return chosen

    def _onboarding_of(self, candidate: Candidate) -> str | None:
        """The operation that makes a node of it at this moment."""
        found = self._operations.all(subject=_subject(candidate), kind=ONBOARD, limit=1)
        return found[0].id if found and not found[0].phase.ended else None

    def _nodes_name(self, candidate: Candidate) -> str:
        node = self._nodes().of(candidate)
        return node.label if node else "NODE"

    def _needs_onboarding(self, candidate: Candidate, nodes: KnownNodes) -> bool:
        """Whether its node fell out of the offer, so that onboarding again is what brings it back."""
        node = nodes.by_id.get(candidate.node_id or "")
        return node is not None and node.provision_state in REPAIRABLE and abandoned(self.clouds.own, node)

    def _check_onboardable(self, candidate: Candidate, nodes: KnownNodes) -> None:
        if candidate.state is CandidateState.ONBOARDED and not self._needs_onboarding(candidate, nodes):
            raise Refused(
                f"Candidate {shown(candidate.name)} is a node already.",
                code="already_onboarded",
                next=f"steelyard node show {candidate.node_id}",
            )
        if candidate.state is CandidateState.ONBOARDING:
            operation = self._onboarding_of(candidate)
            raise Refused(
                f"Candidate {shown(candidate.name)} is being onboarded.",
                code="operation_running",
                next=f"steelyard operation wait {operation}" if operation else "steelyard operation list",
            )
        if (there := _in_maintenance(nodes.of(candidate))) is not None:
            why = there.maintenance_reason or "no reason given"
            raise Refused(
                f"Node {there.label} is in maintenance ({why}); agents do nothing then.",
                code="node_in_maintenance",
                next=ends_it(there),
            )
        if candidate.secret_id is None:
            raise Refused(
                f"The credentials of candidate {shown(candidate.name)} are not known.",
                code="no_credentials",
                next=f"steelyard discover {candidate.address} --credentials FILE",
            )


def _never_a_node(candidate: Candidate) -> bool:
    """As it is written down, whatever nodes there are now."""
    return candidate.state is CandidateState.FOUND and candidate.node_id is None


def _in_maintenance(node: Node | None) -> Node | None:
    """The node, where people hold it in maintenance: an agent would do nothing. One that Ironic put there as its BMC
    does not answer comes out by itself."""
    return node if node is not None and held(node) and node.fault is None else None


def _subject(candidate: Candidate) -> str:
    return f"candidate:{candidate.id}"


def _pick(reference: str, candidates: Sequence[Candidate]) -> Candidate:
    """By id; else by name, serial or BMC address."""
    for candidate in candidates:
        if candidate.id == reference:
            return candidate
    by_other = [each for each in candidates if reference in (each.serial, each.address) and reference != each.name]
    if len(by_other) == 1:
        return by_other[0]
    return pick(
        "candidate", reference, candidates, id=lambda c: c.id, name=lambda c: c.name, next="steelyard candidate list"
    )

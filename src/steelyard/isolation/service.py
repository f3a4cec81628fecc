"""Use cases of isolation: the three views of a server's NICs, read at this moment; and the policies of projects."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.errors import Forbidden, NotFound, SteelyardError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import By, Flips
from steelyard.isolation.model import NicIsolation, PowerOffPolicy, Role, Seen, Verdict, compare
from steelyard.isolation.parking import has_own_segment
from steelyard.isolation.reading import (
    SwitchRead,
    filters_of,
    named_roles,
    ports_at,
    read_switches,
    role_networks,
    try_switches,
)
from steelyard.isolation.refusal import REFUSED, check_may_join
from steelyard.isolation.refusals import Refusals
from steelyard.isolation.segments import Segment, Segments
from steelyard.isolation.verifying import Flip, Verified, Verifier
from steelyard.lifecycle.model import IN_TRANSITION, Phase, phase
from steelyard.naming import pick
from steelyard.networks.sub_interfaces import strip
from steelyard.nouns import Actor, Instance, Node
from steelyard.settings import Settings
from steelyard.store import Store

CONDUCTOR = "conductor"
"""Who acts when Ironic asks at a gate: the request is its own, whoever asked Ironic."""


@dataclass(frozen=True, slots=True)
class NodeIsolation:
    """One server's NICs in their three views."""

    node_id: str
    node: str
    phase: Phase
    nics: tuple[NicIsolation, ...]

    @property
    def agrees(self) -> bool:
        """All NICs, in all three views, the switch's included."""
        return bool(self.nics) and all(nic.verdict is Verdict.AGREE for nic in self.nics)


@dataclass(frozen=True, slots=True)
class ShownPolicy:
    """What holds for one project."""

    project_id: str
    project: str
    power_off: PowerOffPolicy
    is_default: bool
    actor: str | None
    """Who set it; None where nobody did. Administrators only, like the reason."""
    reason: str | None


class IsolationService:
    """Is every NIC where it must be, and only there?"""

    def __init__(
        self,
        *,
        clouds: Clouds,
        switches: SwitchReaders,
        settings: Settings,
        store: Store,
        flips: Flips | None = None,
        observer: Observer | None = None,
        verifier: Verifier | None = None,
        segments: Segments | None = None,
        signal: Callable[[str], None] = lambda _: None,
    ):
        """`signal`: has a reconciler run as soon as it can."""
        self._clouds = clouds
        self.switch_readers = switches
        self._roles = named_roles(settings)
        self.settings = settings
        self.store = store
        self.segments = segments or Segments(clouds=clouds, store=store, settings=settings)
        self.flips = flips or Flips(
            clouds=clouds, store=store, switches=switches, settings=settings, segments=self.segments
        )
        self.observer = observer or Observer(clouds)
        self.refusals = Refusals(clouds, store, self.observer)
        self._verifier = verifier or Verifier(
            clouds=clouds, store=store, switches=switches, settings=settings, signal=signal, segments=self.segments
        )

    # The views

    def show(self, reference: str) -> NodeIsolation:
        """One server's, by id or name of its node. A switch that cannot be read leaves its NICs unverified.

        The node is read last: what changes meanwhile shows as `changing`, never as agreement.
        """
        own = self._clouds.own
        node = own.nodes.get(reference)
        leased = self.segments.leases()
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="isolation") as readers:
            ports = readers.submit(own.node_ports.all, node_id=node.id)
            networks = readers.submit(own.networks.all)
            attachments = readers.submit(own.attachments.all)
            instance = readers.submit(self._instance, node)
            nics = ports.result()
            read = read_switches(
                self.switch_readers, {nic.link.switch_id.lower() for nic in nics if nic.link is not None}
            )
            known = networks.result()
            bound = attachments.result()
            leases = self.segments.leases()
            seen = Seen(
                networks={network.id: network for network in known},
                role_networks=role_networks(known, self._roles),
                attachments=bound,
                switch_ports=ports_at(read, nics),
                leases=leases,
                filters=filters_of(own.security_groups, bound),
                held=leases.unchanged_since(leased) if leases is not None else None,
            )
            on_it = instance.result()
        before = phase(node, on_it)
        node = own.nodes.get(node.id)
        now = phase(node, on_it)
        return NodeIsolation(
            node_id=node.id,
            node=node.label,
            phase=now,
            nics=tuple(
                compare(
                    nics,
                    phase=now.value,
                    instance_id=node.instance_id,
                    in_transition=now in IN_TRANSITION or now is not before or node.target_power_state is not None,
                    seen=seen,
                    power_off=self.store.policies.power_off(on_it.project_id if on_it else None),
                    state=node.provision_state,
                    power=node.power_state,
                    own_segment=has_own_segment(node),
                )
            ),
        )

    def _instance(self, node: Node) -> Instance | None:
        if node.instance_id is None:
            return None
        try:
            return self._clouds.own.compute.get(node.instance_id)
        except NotFound:
            return None

    # The switches themselves

    def switches(self) -> list[SwitchRead]:
        """Every switch of the switches file, read at this moment; one that cannot be read says why."""
        return try_switches(self.switch_readers, self.switch_readers.switches)

    def switch(self, reference: str) -> SwitchRead:
        """One of them, by chassis id or name."""
        found = pick(
            "switch", reference.lower() if ":" in reference else reference, list(self.switch_readers.switches),
            id=lambda switch: switch.chassis_id, name=lambda switch: switch.name, next="steelyard isolation switches",
        )  # fmt: skip
        return try_switches(self.switch_readers, [found])[0]

    # The gates, for conductors

    def power_gate(self, reference: str, *, request_id: str | None = None) -> None:
        """May the node get power? Its NICs are back on its tenant's networks when this returns; raises otherwise."""
        self.flips.gate(reference, By(CONDUCTOR, "the server gets power", request_id=request_id))

    def network_gate(self, reference: str) -> None:
        """The conductor changes the node's networks: nothing of ours does from here on."""
        self.flips.hands_off(reference)

    def flip_gate(self, reference: str, flip: Flip, *, request_id: str | None = None) -> Verified:
        """The conductor has changed the node's networks: everything is as it should be when this returns.

        Raises `Refused` (`flip_refused`) otherwise; the node goes into quarantine then.
        """
        done = self._verifier.verify(reference, flip, By(CONDUCTOR, f"Ironic: {flip.role}", request_id=request_id))
        if flip.leaving == Role.TENANT:
            with suppress(SteelyardError):  # a reconciler looks for what is left, and the release must not wait
                self._strip(reference)
        return done

    def _strip(self, reference: str) -> None:
        """A server that is being released has no sub-interfaces any more: in a moment Nova deletes its ports."""
        own = self._clouds.own
        node = own.nodes.get(reference)
        if node.provision_state == "deleting" and node.instance_id is not None:
            strip(own, own.attachments.all(device_ids=[node.instance_id]))

    def segment(self, reference: str, role: Role) -> Segment:
        """The conductor is about to put the node on a network for an agent: which one.

        Raises `Conflict` (`segments_exhausted`) while none is free, and `Refused` (`flip_refused`) for a node that was
        refused and is not in quarantine yet: it would not be let on that network, and so is not put there first.
        """
        if self.store.findings.by(REFUSED):
            check_may_join(self.store, self._clouds.own.nodes.get(reference))
        return self.segments.lease(reference, role, CONDUCTOR)

    # Policies

    def policies(self, actor: Actor) -> list[ShownPolicy]:
        """Of every project, for administrators; of the caller's own, for tenants."""
        names = self._clouds.identity.project_names()
        if not actor.is_admin:
            if actor.project_id is None:
                raise Forbidden("This token belongs to no project.", next="steelyard isolation policy list")
            own = actor.project_id
            return [self._policy(own, actor.project_name or own, whole=False)]
        return [self._policy(project_id, name, whole=True) for project_id, name in sorted(names.items(), key=_by_name)]

    def set_policy(
        self, actor: Actor, project: str, power_off: PowerOffPolicy, *, reason: str | None = None,
        request_id: str | None = None,
    ) -> ShownPolicy:  # fmt: skip
        """Where the NICs of the project's servers go while they are off; for servers that are off now, within one run
        of the reconciler `isolation.power`. By id or name of the project."""
        names = self._clouds.identity.project_names()
        project_id, name = pick(
            "project", project, list(names.items()), id=lambda item: item[0], name=lambda item: item[1],
            next="steelyard isolation policy list",
        )  # fmt: skip
        with self.store.unit_of_work():
            if self.store.policies.set(project_id, power_off, actor=actor.user_name, reason=reason):
                self.store.events.append(
                    f"project:{project_id}", "isolation.policy_set", actor=actor.user_name, reason=reason,
                    detail=f"NICs of project {name} while its servers are off: {power_off.value}",
                    request_id=request_id, data={"power_off": power_off.value},
                )  # fmt: skip
        return self._policy(project_id, name, whole=True)

    def _policy(self, project_id: str, name: str, *, whole: bool) -> ShownPolicy:
        found = self.store.policies.get(project_id)
        return ShownPolicy(
            project_id=project_id,
            project=name,
            power_off=self.store.policies.power_off(project_id),
            is_default=found is None,
            actor=found.actor if found and whole else None,
            reason=found.reason if found and whole else None,
        )


def _by_name(project: tuple[str, str]) -> tuple[str, str]:
    return project[1], project[0]

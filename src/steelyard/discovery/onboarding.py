"""What onboarding does to the cloud, one function per step of `work`. Each looks first, so repeating it is harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Cloud, Clouds, ProvisionVerb
from steelyard.discovery.binding import AFTER_INSPECTION, LEFT_BEHIND, Binding, again, enrolled_already
from steelyard.discovery.looking import POLL, Looks, pause
from steelyard.discovery.model import Candidate, CandidateState, KnownNodes, node_name, size_class
from steelyard.errors import Duplicate, NotFound
from steelyard.inventory.notes import LOCATION, TAGS
from steelyard.lifecycle.cleaning import BEGUN, SEEN, STOPPED
from steelyard.lifecycle.holding import Holding, ends_it, held
from steelyard.lifecycle.model import noting, quarantine
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.lifecycle.records import notes_cleans
from steelyard.naming import placement_class
from steelyard.nouns import NetworkPort, Node, NodePortSpec, NodeSpec, SwitchLink
from steelyard.operations.model import Done, Failed, Outcome, Retry, StepContext
from steelyard.settings import Settings
from steelyard.store import Store

AFTER_VERIFY = frozenset({"manageable", "inspecting", "inspect wait", "inspect failed"}) | AFTER_INSPECTION
VERIFYING = frozenset({"verifying"})
INSPECTING = frozenset({"inspecting", "inspect wait"})
CLEANING = frozenset({"cleaning", "clean wait"})
"""States in which Ironic or the agent is at work, and there is nothing to do but to wait."""
SAYS_NEXT = frozenset({
    "already_enrolled", "verify_failed", "identity_conflict", "cable_moved", "no_lldp", "candidate_not_found",
    "switch_port_taken", "nic_in_use", "node_in_maintenance", "node_quarantined",
    "node_deployed", "automated_clean_off",
})  # fmt: skip
"""Failures after which onboarding again is not what helps; their own `next` says what does."""

AWAITED = "offered_as"
"""Key of the result of an onboarding that waits for Placement: the resource class to be offered."""


def abandoned(cloud: Cloud, node: Node) -> bool:
    """Whether no server of Nova's is on the node, whatever Ironic still believes."""
    if node.instance_id is None:
        return True
    try:
        return cloud.compute.get(node.instance_id).status == "DELETED"
    except NotFound:
        return True


class Onboarding:
    """Makes a node of a candidate."""

    def __init__(self, *, clouds: Clouds, store: Store, settings: Settings, observer: Observer):
        self._clouds = clouds
        self._store = store
        self._settings = settings
        self._observer = observer
        self._looks = Looks(clouds, store, observer)
        self._holding = Holding(settings.maintenance_seconds)
        self._binding = Binding(clouds=clouds, store=store, settings=settings, observer=observer)
        self.identify = self._binding.identify

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def enroll(self, ctx: StepContext) -> Outcome:
        """Ironic has a node of the candidate's own, with a name, a resource class and a port per known NIC."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        nodes = self._nodes(ctx, candidate)
        node = KnownNodes(nodes).of(candidate)
        if node is not None and node.notes.get("candidate_id") != candidate.id:
            return enrolled_already(node)
        self._begin(candidate, node)
        links = {} if ctx.params.get("recabled") else self._binding.usable_links(candidate, node)
        if node is None and (attached := self._tenants_on(links)) is not None:
            return Failed(
                f"A tenant's server is still attached to its NIC {attached.mac}: it was removed while it was deployed.",
                code="nic_in_use",
                next=f"steelyard server delete {attached.device_id} --wait",
            )
        if node is None:
            taken = {each.name or "" for each in nodes}
            node = self._create(candidate, ctx.params.get("resource_class"), taken, managed=bool(links))
            self._begin(candidate, node)
        elif node.provision_state == "enroll" and candidate.secret_id:
            # Credentials or address may be better now than when the last attempt failed.
            for path, value in self._driver_info(candidate).items():
                node = self._cloud.nodes.update(node.id, {f"/driver_info/{path}": value})
        self._looks.watch.begin(node)
        self._ports_for(node, candidate, links)
        return Done({"node_id": node.id, "node": node.name, "switch_ports_known": bool(links)})

    def _nodes(self, ctx: StepContext, candidate: Candidate) -> Sequence[Node]:
        """The nodes that exist. What others listed a moment ago is enough to know that nobody has enrolled a server,
        but not where it may have been this step itself, which tries again."""
        if ctx.attempt == 1 and candidate.node_id is None:
            listed = self._observer.nodes()
            if KnownNodes(listed).of(candidate) is None:
                return listed
        return self._cloud.nodes.all()

    def _begin(self, candidate: Candidate, node: Node | None) -> None:
        self._store.candidates.change(
            candidate.id,
            lambda now: replace(
                now, state=CandidateState.ONBOARDING, reason=None, next=None, node_id=node.id if node else None
            ),
        )

    def _tenants_on(self, links: Mapping[str, SwitchLink]) -> NetworkPort | None:
        """A tenant's port that is still bound to a NIC of a machine that was a node before.

        To inspect or clean it there would put the tenant's network and the operator's on one NIC.
        """
        if not links:
            return None  # nobody knows its switch ports, so it never was a node
        places = {(link.switch_id, link.port_id) for link in links.values()}
        for port in self._cloud.attachments.all():
            if port.is_novas and port.link is not None and (port.link.switch_id, port.link.port_id) in places:
                return port
        return None

    def _create(self, candidate: Candidate, resource_class: str | None, taken: set[str], *, managed: bool) -> Node:
        """Enroll. Its class is there from the start: Nova must never see a node without one."""
        offered = self._binding.offered()
        spec = NodeSpec(
            name=node_name(candidate, taken),
            driver=offered.driver,
            driver_info=self._driver_info(candidate),
            resource_class=resource_class or size_class(candidate.cpus, candidate.memory_mib),
            properties={"capabilities": "boot_mode:uefi"},
            extra={
                "steelyard": {
                    "candidate_id": candidate.id, "serial": candidate.serial, "uuid": candidate.uuid,
                    "vendor": candidate.vendor, "model": candidate.model, "class_given": resource_class is not None,
                    LOCATION: dict(candidate.location), TAGS: list(candidate.tags),
                }
            },
            interfaces={
                "boot": "redfish-virtual-media",
                "inspect": "agent",
                # Ironic moves no switch port that it does not know. Until LLDP has told which one it is, a server
                # is inspected on the network that an unconfigured switch port is on (the discovery VLAN).
                "network": offered.network if managed else "noop",
            },
        )  # fmt: skip
        try:
            return self._cloud.nodes.create(spec)
        except Duplicate:
            return self._cloud.nodes.create(replace(spec, name=node_name(candidate, {*taken, spec.name})))

    def _driver_info(self, candidate: Candidate) -> dict[str, Any]:
        """Ironic's way to the BMC. Goes to Ironic only."""
        secret = self._store.secrets.get(candidate.secret_id or "")
        settings = self._settings
        info: dict[str, Any] = {
            "redfish_address": candidate.bmc_url,
            "redfish_system_id": candidate.system_path,
            "redfish_username": secret["username"],
            "redfish_password": secret["password"],
            "redfish_verify_ca": settings.bmc_verify_ca or False,
        }
        images = {
            "iso": settings.deploy_iso,
            "kernel": settings.deploy_kernel,
            "ramdisk": settings.deploy_ramdisk,
        }
        # The agent's ramdisk deploys, cleans and rescues.
        return info | {f"{use}_{name}": url for use in ("deploy", "rescue") for name, url in images.items() if url}

    def _ports_for(self, node: Node, candidate: Candidate, links: Mapping[str, SwitchLink]) -> None:
        """A port for every NIC that the BMC names, with its switch port where an earlier inspection proved it."""
        for mac in candidate.macs:
            port = next(iter(self._cloud.node_ports.all(mac=mac)), None)
            if port is not None and port.node_id != node.id:
                owner = port.node_id
                raise Duplicate(
                    f"NIC {mac} belongs to another node already.",
                    code="already_enrolled",
                    next=f"steelyard node show {owner}",
                )
            if port is None:
                link = links.get(mac)
                self._cloud.node_ports.create(
                    NodePortSpec(
                        node_id=node.id,
                        mac=mac,
                        pxe_enabled=True,
                        physical_network=self._settings.physical_network if link else None,
                        link=link,
                    )
                )

    # Verbs and waiting

    def ask(self, ctx: StepContext, verb: ProvisionVerb, *, when: frozenset[str]) -> Outcome:
        """Ask for a verb if the node is in one of the states; otherwise there is nothing to ask for."""
        return self._ask(self._looks.node(ctx), verb, when=when)

    def _ask(self, node: Node, verb: ProvisionVerb, *, when: frozenset[str]) -> Outcome:
        if node.provision_state in when:
            self._cloud.provisioning.request(node.id, verb)
        return Done()

    def verify_ended(self, ctx: StepContext) -> Outcome:
        """Ironic reached the BMC with the credentials and power state is known."""
        node = self._looks.node(ctx, at_work=VERIFYING)
        if node.provision_state in AFTER_VERIFY:
            return Done()
        if node.provision_state == "enroll":
            return Failed(
                f"Ironic cannot manage it through its BMC: {node.last_error or 'no reason given'}",
                code="verify_failed",
                next=f"steelyard discover {_host(node)} --credentials FILE",
            )
        return Retry(pause(ctx), f"node is {node.provision_state}, wanted manageable")

    def inspection_ended(self, ctx: StepContext) -> Outcome:
        """The agent has booted and reported."""
        node = self._looks.node(ctx, at_work=INSPECTING)
        if node.provision_state == "manageable" or node.provision_state in AFTER_INSPECTION:
            return Done()
        if node.provision_state == "inspect failed":
            return Failed(
                f"The inspection from within failed: {node.last_error or 'no reason given'}",
                code="inspection_failed",
                next=again(ctx),
            )
        known = ctx.results.get("switch_ports_known", True)
        where = "" if known else ", on whatever network its switch port carries (nobody knows which port it is)"
        return Retry(pause(ctx), f"the agent's report: node is {node.provision_state}{where}")

    def start_cleaning(self, ctx: StepContext) -> Outcome:
        """Cleaning is under way; after a failed one the node is first brought back to manageable."""
        node = self._looks.node(ctx)
        if node.automated_clean is False:  # Ironic would pass over the cleaning, and offer what is on the disks
            return Failed(
                f"Ironic is told not to clean node {node.label} (automated_clean is false).",
                code="automated_clean_off",
                next=f"openstack baremetal node set --automated-clean {node.id}",
            )
        if held(node) and node.provision_state in ("clean failed", "manageable"):
            return self._held(node, ctx)  # whoever works on it is not to be surprised by power
        if node.provision_state == "clean failed":
            if node.maintenance:
                self._cloud.nodes.set_maintenance(node.id, None)
            self._cloud.provisioning.request(node.id, "manage")
            return Retry(POLL, "node is manageable again")
        if node.maintenance and not held(node):
            self._cloud.nodes.set_maintenance(node.id, None)  # ours, of its quarantine: Ironic cleans nothing in it
        if node.provision_state in LEFT_BEHIND:
            if not abandoned(self._cloud, node):
                return Failed(
                    f"Node {node.label} is {node.provision_state}, and Nova still has its server.",
                    code="node_deployed",
                    next=f"steelyard server delete {node.instance_id} --wait",
                )
            self._cloud.provisioning.request(node.id, "deleted")
            return Retry(POLL, "node is taken back")
        if "offered" not in node.notes:
            # Before it can be offered, not after: from here on only a clean node may be deleted.
            self._cloud.nodes.update(node.id, noting(node, {"offered": ctx.operation_id}))
        return self._ask(node, "provide", when=frozenset({"manageable"}))

    def cleaning_ended(self, ctx: StepContext) -> Outcome:
        """The disks are clean and Ironic says available."""
        seen = ctx.results.get(SEEN)
        if (listed := self._looks.listed(ctx, CLEANING)) is not None and _needs_no_look(listed, seen):
            return Retry(pause(ctx), _cleans(listed), self._holding.over(ctx))
        node = self._looks.node(ctx)
        if node.provision_state == "available":
            if isinstance(seen, str) and node.automated_clean is not False:
                since = datetime.fromisoformat(seen)
                self._store.tenancies.watched(node, operation_id=ctx.operation_id, since=since)
                if quarantine(node) is not None:  # an administrator had it onboarded again, and here it was cleaned
                    Quarantine(self._clouds, self._store).lift(
                        node, by=ctx.actor.user_name, reason=ctx.reason, operation_id=ctx.operation_id
                    )
            return Done()
        if node.instance_id is not None and node.provision_state not in BEGUN:
            return Done({"next_tenant": True})  # it was available between two looks, and somebody has it
        adopted = node.provision_state in ("active", "rescue")  # with the stock client, instead of being cleaned
        if adopted or (node.provision_state in STOPPED and node.provision_state != "manageable"):
            return Failed(
                f"Cleaning failed: {node.last_error or 'no reason given'}",
                code="clean_failed",
                next=again(ctx),
            )
        if node.provision_state == "manageable":
            return Failed(
                f"Cleaning was stopped: {node.last_error or 'somebody asked for it'}",
                code="clean_failed",
                next=again(ctx),
            )
        if node.maintenance and (why := quarantine(node)) is not None:
            return Failed(
                f"Node {node.label} was quarantined meanwhile: {why}", code="node_quarantined",
                next=f"steelyard node release {node.label} --wait",
            )  # fmt: skip
        at_work = node.provision_state == "clean wait" and node.automated_clean is not False
        result = {SEEN: datetime.now(UTC).isoformat()} if at_work and not isinstance(seen, str) else {}
        if node.maintenance:
            held_up = self._held(node, ctx)
            return replace(held_up, result={**held_up.result, **result}) if isinstance(held_up, Retry) else held_up
        return Retry(pause(ctx), _cleans(node), {**self._holding.over(ctx), **result})

    def _held(self, node: Node, ctx: StepContext) -> Retry | Failed:
        """Somebody holds it in maintenance: agents do nothing then. If that lasts too long, it is given up."""
        waits = self._holding.look(node, ctx)
        if isinstance(waits, Retry):
            return waits
        return Failed(
            f"The cleaning of node {node.label} did not go on: {waits}.", code="node_in_maintenance", next=ends_it(node)
        )

    # The end

    def offered(self, ctx: StepContext) -> Outcome:
        """Placement offers the node: the next tenant can have it."""
        awaited = ctx.results.get(AWAITED)
        if isinstance(awaited, str) and self._looks.not_offered_yet(ctx, awaited):
            return Retry(pause(ctx), f"Placement offers the node as {awaited}")
        node = self._looks.node(ctx)
        if node.instance_id is not None:  # somebody was faster than we could look
            return Done({"resource_class": node.resource_class})
        wanted = placement_class(node.resource_class or "")
        if node.id in self._cloud.placement.free(wanted):
            return Done({"resource_class": node.resource_class})
        return Retry(pause(ctx), f"Placement offers the node as {wanted}", {AWAITED: wanted})

    def record(self, ctx: StepContext) -> Outcome:
        """Candidate and node say that it is done."""
        node = self._looks.node(ctx)

        def onboarded(now: Candidate) -> Candidate:
            return replace(now, state=CandidateState.ONBOARDED, node_id=node.id, reason=None, next=None, note=None)

        with self._store.unit_of_work():
            before = self._store.candidates.get(ctx.params["candidate_id"])
            if self._store.candidates.change(before.id, onboarded) != before:
                self._event(ctx, f"node:{node.id}", "node.onboarded", f"{before.name} became node {node.name}")
        return Done({"state": CandidateState.ONBOARDED.value})

    def give_up(self, ctx: StepContext) -> Outcome:
        """The candidate says why; what still runs on its server is stopped. The node is offered to nobody."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        if candidate.state is CandidateState.ONBOARDED:
            return Done()  # everything was done and written down
        why = ctx.error.detail if ctx.error else "unknown"
        says_next = ctx.error is not None and ctx.error.code in SAYS_NEXT
        next_command = (ctx.error.next if ctx.error and says_next else None) or again(ctx)

        def failed(now: Candidate) -> Candidate:
            return replace(now, state=CandidateState.FAILED, reason=why, next=next_command)

        with self._store.unit_of_work():
            if self._store.candidates.change(candidate.id, failed) != candidate:
                self._event(
                    ctx, f"candidate:{candidate.id}", "candidate.failed", f"onboarding {candidate.name} failed: {why}"
                )  # fmt: skip
        return Done() if candidate.node_id is None else self._looks.watch.stop(candidate.node_id, ctx)

    def _event(self, ctx: StepContext, subject: str, kind: str, detail: str, **data: Mapping[str, Any]) -> None:
        self._store.events.append(
            subject, kind, actor=ctx.actor.user_name, detail=detail, reason=ctx.reason,
            operation_id=ctx.operation_id, request_id=ctx.request_id, data=data,
        )  # fmt: skip


def _needs_no_look(listed: Node, seen: Any) -> bool:
    """Whether it is enough that a list has it cleaning. Who is to see the agent at work must look: the list may be of
    an earlier cleaning, or come late. That is seen already, or the conductor's own note proves the cleaning."""
    return isinstance(seen, str) or (notes_cleans(listed) and quarantine(listed) is None)


def _cleans(node: Node) -> str:
    """What an onboarding waits for while the node is cleaned."""
    doing = f" ({node.step})" if node.step else ""
    return f"node is {node.provision_state}{doing}, wanted available"


def _host(node: Node) -> str:
    address = (node.bmc_address or "").partition("://")[2].partition("/")[0]
    return address.rpartition(":")[0] or address or "ADDRESS"

"""What onboarding does to the cloud, one function per step of `work`. Each looks first, so repeating it is harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steelyard.clouds.ports import Cloud, Clouds, ProvisionVerb
from steelyard.discovery.inband import InBand, identity_conflict, in_band, moved_links
from steelyard.discovery.model import (
    Candidate,
    CandidateState,
    KnownNodes,
    node_name,
    placement_class,
    size_class,
    traits_for,
)
from steelyard.errors import Conflict, Duplicate, NotFound
from steelyard.nouns import Node, NodePort, NodePortSpec, NodeSpec
from steelyard.operations.model import Done, Failed, Outcome, Retry, StepContext
from steelyard.settings import Settings
from steelyard.store import Store

POLL = 1.0
"""Seconds between two looks at a node that works."""


_AFTER_VERIFY = frozenset({
    "manageable", "inspecting", "inspect wait", "inspect failed", "cleaning", "clean wait", "clean failed", "available",
})  # fmt: skip
_SAYS_NEXT = frozenset({"already_enrolled", "verify_failed", "identity_conflict", "cable_moved", "no_lldp"})
"""Failures after which onboarding again is not what helps; their own `next` says what does."""
_AFTER_INSPECTION = frozenset({"cleaning", "clean wait", "clean failed", "available"})


class Onboarding:
    """Makes a node of a candidate."""

    def __init__(self, *, clouds: Clouds, store: Store, settings: Settings):
        self._clouds = clouds
        self._store = store
        self._settings = settings

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def enroll(self, ctx: StepContext) -> Outcome:
        """Ironic has a node of the candidate's own, with a name, a resource class and a port per known NIC."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        nodes = self._cloud.nodes.all()
        node = KnownNodes(nodes).of(candidate)
        if node is not None and node.notes.get("candidate_id") != candidate.id:
            return Failed(
                f"This server is enrolled already: node {node.name or node.id} ({node.provision_state}) has its "
                "serial number, UUID or BMC address.",
                code="already_enrolled",
                next=f"steelyard node show {node.id}",
            )
        self._begin(candidate, node)
        if node is None:
            node = self._create(candidate, ctx.params.get("resource_class"), {each.name or "" for each in nodes})
            self._begin(candidate, node)
        elif node.provision_state == "enroll" and candidate.secret_id:
            # Credentials or address may be better now than when the last attempt failed.
            for path, value in self._driver_info(candidate).items():
                node = self._cloud.nodes.update(node.id, {f"/driver_info/{path}": value})
        self._ports_for(node, candidate)
        return Done({"node_id": node.id, "node": node.name})

    def _begin(self, candidate: Candidate, node: Node | None) -> None:
        self._store.candidates.change(
            candidate.id,
            lambda now: replace(
                now, state=CandidateState.ONBOARDING, reason=None, next=None, node_id=node.id if node else None
            ),
        )

    def _create(self, candidate: Candidate, resource_class: str | None, taken: set[str]) -> Node:
        """Enroll. Its class is there from the start: Nova must never see a node without one."""
        spec = NodeSpec(
            name=node_name(candidate, taken),
            driver="redfish",
            driver_info=self._driver_info(candidate),
            resource_class=resource_class or size_class(candidate.cpus, candidate.memory_mib),
            properties={"capabilities": "boot_mode:uefi"},
            extra={
                "steelyard": {
                    "candidate_id": candidate.id, "serial": candidate.serial, "uuid": candidate.uuid,
                    "vendor": candidate.vendor, "model": candidate.model, "class_given": resource_class is not None,
                }
            },
            interfaces={
                "boot": "redfish-virtual-media",
                "inspect": "agent",
                # Ironic moves no switch port that it does not know. Until LLDP has told which one it is, a server
                # is inspected on the network that an unconfigured switch port is on (the discovery VLAN).
                "network": "neutron" if candidate.links else "noop",
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
            "deploy_iso": settings.deploy_iso,
            "deploy_kernel": settings.deploy_kernel,
            "deploy_ramdisk": settings.deploy_ramdisk,
        }
        return info | {name: url for name, url in images.items() if url}

    def _ports_for(self, node: Node, candidate: Candidate) -> None:
        """A port for every NIC that the BMC names, with its switch port where an earlier inspection proved it."""
        known = {port.mac: port for port in self._cloud.node_ports.all()}
        for mac in candidate.macs:
            port = known.get(mac)
            if port is not None and port.node_id != node.id:
                owner = port.node_id
                raise Duplicate(
                    f"NIC {mac} belongs to another node already.",
                    code="already_enrolled",
                    next=f"steelyard node show {owner}",
                )
            if port is None:
                link = candidate.links.get(mac)
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
        node = self._node(ctx)
        if node.provision_state not in when:
            return Done()
        self._cloud.provisioning.request(node.id, verb)
        return Done()

    def verify_ended(self, ctx: StepContext) -> Outcome:
        """Ironic reached the BMC with the credentials and power state is known."""
        node = self._node(ctx)
        if node.provision_state in _AFTER_VERIFY:
            return Done()
        if node.provision_state == "enroll":
            return Failed(
                f"Ironic cannot manage it through its BMC: {node.last_error or 'no reason given'}",
                code="verify_failed",
                next=f"steelyard discover {_host(node)} --credentials FILE",
            )
        return Retry(POLL, f"node is {node.provision_state}, wanted manageable")

    def inspection_ended(self, ctx: StepContext) -> Outcome:
        """The agent has booted and reported."""
        node = self._node(ctx)
        if node.provision_state == "manageable" or node.provision_state in _AFTER_INSPECTION:
            return Done()
        if node.provision_state == "inspect failed":
            return Failed(
                f"The inspection from within failed: {node.last_error or 'no reason given'}",
                code="inspection_failed",
                next=f"steelyard node onboard {ctx.params['candidate_id']}",
            )
        return Retry(POLL, f"node is {node.provision_state}, wanted manageable")

    def start_cleaning(self, ctx: StepContext) -> Outcome:
        """Cleaning is under way; after a failed one the node is first brought back to manageable."""
        node = self._node(ctx)
        if node.provision_state == "clean failed":
            if node.maintenance:
                self._cloud.nodes.set_maintenance(node.id, None)
            asked = self.ask(ctx, "manage", when=frozenset({"clean failed"}))
            return asked if isinstance(asked, Retry) else Retry(POLL, "node is manageable again")
        if "offered" not in node.notes:
            # Before it can be offered, not after: from here on only a clean node may be deleted.
            self._cloud.nodes.update(node.id, {"/extra/steelyard": {**node.notes, "offered": ctx.operation_id}})
        return self.ask(ctx, "provide", when=frozenset({"manageable"}))

    def cleaning_ended(self, ctx: StepContext) -> Outcome:
        """The disks are clean and Ironic says available."""
        node = self._node(ctx)
        if node.provision_state == "available":
            return Done()
        if node.provision_state == "clean failed":
            return Failed(
                f"Cleaning failed: {node.last_error or 'no reason given'}",
                code="clean_failed",
                next=f"steelyard node onboard {ctx.params['candidate_id']}",
            )
        if node.provision_state == "manageable":
            return Failed(
                f"Cleaning was stopped: {node.last_error or 'somebody asked for it'}",
                code="clean_failed",
                next=f"steelyard node onboard {ctx.params['candidate_id']}",
            )
        return Retry(POLL, f"node is {node.provision_state}, wanted available")

    # Identity

    def identify(self, ctx: StepContext) -> Outcome:
        """The server that booted is the one whose BMC was asked; its NICs, size and capabilities are on the node."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        node = self._node(ctx)
        if node.provision_state in _AFTER_INSPECTION:
            return Done()
        try:
            found = in_band(self._cloud.nodes.inspection(node.id))
        except NotFound:
            return Failed("The inspection left no inventory.", code="inspection_failed", next=_again(ctx))
        if conflict := identity_conflict(candidate, found):
            return Failed(
                f"Identity conflict: {conflict}. The BMC's cable or its address may belong to another server.",
                code="identity_conflict",
                next=f"check the BMC's cable and address, then: {_again(ctx)}",
            )
        if moved := moved_links(candidate, found):
            return Failed(
                f"A cable moved since the last inspection: {moved}. Its switch port may serve somebody else.",
                code="cable_moved",
                next=f"put the cable back, or steelyard candidate delete {candidate.id} and discover again",
            )
        if not found.links:
            return Failed(
                "No NIC heard LLDP from a switch, so no switch port can be bound to it.",
                code="no_lldp",
                next="enable LLDP on the switch ports, then: " + _again(ctx),
            )
        self._bind(node, found)
        self._describe(node, candidate, found, ctx.params.get("resource_class"))
        self._store.candidates.change(
            candidate.id, lambda now: replace(now, links=dict(found.links), macs=found.macs or now.macs)
        )
        return Done({
            "nics": [
                {"mac": mac, "switch": link.switch_name or link.switch_id, "port": link.port_id}
                for mac, link in sorted(found.links.items())
            ],
            "uncabled": sorted(set(found.macs) - set(found.links)),
        })  # fmt: skip

    def _bind(self, node: Node, found: InBand) -> None:
        """Every NIC with a switch port gets a port bound to it; one without gets none, so that nothing relies on it."""
        existing: dict[str, NodePort] = {p.mac: p for p in self._cloud.node_ports.all() if p.node_id == node.id}
        for mac, link in found.links.items():
            port = existing.pop(mac, None)
            if port is None:
                self._cloud.node_ports.create(
                    NodePortSpec(
                        node_id=node.id, mac=mac, pxe_enabled=False,
                        physical_network=self._settings.physical_network, link=link,
                    )
                )  # fmt: skip
            elif port.link != link or port.physical_network != self._settings.physical_network:
                self._cloud.node_ports.update(
                    port.id,
                    {"/local_link_connection": link, "/physical_network": self._settings.physical_network},
                )
        for port in existing.values():
            self._cloud.node_ports.delete(port.id)

    def _describe(self, node: Node, candidate: Candidate, found: InBand, resource_class: str | None) -> None:
        vendor = found.vendor or candidate.vendor
        wanted_class = resource_class
        if wanted_class is None:
            given = node.notes.get("class_given")
            size = size_class(found.cpus or candidate.cpus, found.memory_mib or candidate.memory_mib)
            wanted_class = node.resource_class if given and node.resource_class else size
        properties = {
            "cpus": found.cpus, "memory_mb": found.memory_mib, "local_gb": found.disk_gib,
            "cpu_arch": found.architecture, "vendor": vendor,
        }  # fmt: skip
        changes: dict[str, Any] = {
            "/network_interface": "neutron",
            "/resource_class": wanted_class,
            "/extra/steelyard": {
                **node.notes, "serial": candidate.serial or found.serial, "vendor": candidate.vendor or vendor,
                "model": candidate.model or found.product, "class_given": resource_class is not None
                or bool(node.notes.get("class_given")), "bmc_firmware": candidate.bmc_firmware,
            },
        }  # fmt: skip
        changes |= {f"/properties/{name}": value for name, value in properties.items() if value is not None}
        self._cloud.nodes.update(node.id, changes)
        self._cloud.nodes.set_traits(node.id, node.traits | traits_for(vendor, found.architecture))

    # The end

    def offered(self, ctx: StepContext) -> Outcome:
        """Placement offers the node: the next tenant can have it."""
        node = self._node(ctx)
        if node.instance_id is not None:  # somebody was faster than we could look
            return Done({"resource_class": node.resource_class})
        wanted = placement_class(node.resource_class or "")
        if node.id in self._cloud.placement.free(wanted):
            return Done({"resource_class": node.resource_class})
        return Retry(POLL, f"Placement offers the node as {wanted}")

    def record(self, ctx: StepContext) -> Outcome:
        """Candidate and node say that it is done."""
        node = self._node(ctx)

        def onboarded(now: Candidate) -> Candidate:
            return replace(now, state=CandidateState.ONBOARDED, node_id=node.id, reason=None, next=None, note=None)

        with self._store.unit_of_work():
            before = self._store.candidates.get(ctx.params["candidate_id"])
            if self._store.candidates.change(before.id, onboarded) != before:
                self._event(ctx, f"node:{node.id}", "node.onboarded", f"{before.name} became node {node.name}")
        return Done({"state": CandidateState.ONBOARDED.value})

    def give_up(self, ctx: StepContext) -> Outcome:
        """The candidate says why; a node that still waits for its agent is stopped. It is offered to nobody."""
        candidate = self._store.candidates.get(ctx.params["candidate_id"])
        if candidate.state is CandidateState.ONBOARDED:
            return Done()  # everything was done and written down
        if candidate.node_id is not None:
            try:
                node = self._cloud.nodes.get(candidate.node_id)
                if node.provision_state in ("inspect wait", "clean wait"):
                    self._cloud.provisioning.request(node.id, "abort")
            except (NotFound, Conflict):
                pass  # gone, or at rest meanwhile: nothing to stop
        why = ctx.error.detail if ctx.error else "unknown"
        says_next = ctx.error is not None and ctx.error.code in _SAYS_NEXT
        next_command = (ctx.error.next if ctx.error and says_next else None) or _again(ctx)

        def failed(now: Candidate) -> Candidate:
            return replace(now, state=CandidateState.FAILED, reason=why, next=next_command)

        with self._store.unit_of_work():
            if self._store.candidates.change(candidate.id, failed) != candidate:
                self._event(
                    ctx, f"candidate:{candidate.id}", "candidate.failed", f"onboarding {candidate.name} failed: {why}"
                )  # fmt: skip
        return Done()

    def _node(self, ctx: StepContext) -> Node:
        node_id = ctx.results.get("node_id")
        if node_id is None:
            node_id = self._store.candidates.get(ctx.params["candidate_id"]).node_id
        if node_id is None:
            raise NotFound("The candidate has no node.", code="node_not_found")
        return self._cloud.nodes.get(node_id)

    def _event(self, ctx: StepContext, subject: str, kind: str, detail: str, **data: Mapping[str, Any]) -> None:
        self._store.events.append(
            subject, kind, actor=ctx.actor.user_name, detail=detail, reason=ctx.reason,
            operation_id=ctx.operation_id, request_id=ctx.request_id, data=data,
        )  # fmt: skip


def _again(ctx: StepContext) -> str:
    return f"steelyard node onboard {ctx.params['candidate_id']}"


def _host(node: Node) -> str:
    address = (node.bmc_address or "").partition("://")[2].partition("/")[0]
    return address.rpartition(":")[0] or address or "ADDRESS"

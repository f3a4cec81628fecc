"""Every action of the life cycle as a table: which phases allow it, where it leads, who may. Pure.

`check` is the one gate that all doors use: API, CLI and bulk operations reach it through the services. An action that
the phase does not allow is `Refused` (HTTP 409) with the reason and the next safe command. docs/lifecycle.md is made
from these tables by `python -m steelyard.lifecycle.document`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from steelyard.errors import Refused
from steelyard.lifecycle.automatic import AUTOMATIC as AUTOMATIC
from steelyard.lifecycle.deletion import DELETE_REFUSED, check_deletable
from steelyard.lifecycle.phases import MAINTENANCE, QUARANTINE, Phase, instance_phase, phase
from steelyard.lifecycle.sayings import DOING, NODE_NEXT, SERVER_NEXT
from steelyard.lifecycle.switching import Power, check_power
from steelyard.nouns import Instance, Node


class Action(StrEnum):
    """What somebody may ask for."""

    ONBOARD = "onboard"
    DEPLOY = "deploy"
    POWER_ON = "power on"
    POWER_OFF = "power off"
    REBOOT = "reboot"
    REBUILD = "rebuild"
    RESCUE = "rescue"
    UNRESCUE = "unrescue"
    ATTACH = "attach a NIC"
    DETACH = "detach a NIC"
    MOVE = "move a NIC"
    TAG = "add a sub-interface"
    UNTAG = "remove a sub-interface"
    RELEASE = "release"
    RECLAIM = "reclaim"
    INSPECT = "inspect again"
    CLEAN = "clean again"
    FREE = "release from quarantine"
    MAINTENANCE_ON = "maintenance on"
    MAINTENANCE_OFF = "maintenance off"
    BOND = "bond NICs"
    UNBOND = "part a bond"
    RECABLE = "re-cable"
    RETIRE = "retire"
    UNRETIRE = "unretire"
    DELETE = "delete"
    FORCED_DELETE = "forced delete"


class Who(StrEnum):
    """Who may ask. An administrator may do whatever a tenant may."""

    TENANT = "tenant"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class Rule:
    """One action: a row of the table."""

    who: Who
    done: str
    """What becomes of the server, as a participle: `rebuilt`."""
    about: str
    """What it does, in a sentence."""
    leads: Mapping[Phase, Phase]
    """The phases that allow it, and the phase that it leads to from each; what follows by itself is in `AUTOMATIC`."""
    command: str
    """How to ask for it."""
    kind: str
    """The kind of operation that does it."""
    on_server: bool = False
    """Asked of a tenant's server, in words that name no node; otherwise of a node or candidate."""
    condition: str | None = None
    """What must be true besides the phase."""
    code: str = "wrong_phase"
    """Of a refusal."""
    codes: Mapping[Phase, str] = field(default_factory=dict)
    """Of a refusal in a phase that has one of its own."""
    next: Mapping[Phase, str] = field(default_factory=dict)
    """The next safe command where it is another one than the phase's own."""


_OWNED: Final = (Phase.ACTIVE, Phase.POWERED_OFF, Phase.RESCUE, Phase.ADOPTED)
"""A tenant has it, and it is at rest."""
_AT_REST: Final = (Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE, *_OWNED, Phase.QUARANTINED, Phase.RETIRED)
_NODES: Final = tuple(each for each in Phase if each is not Phase.CANDIDATE)


def _stay(phases: Iterable[Phase]) -> dict[Phase, Phase]:
    return {each: each for each in phases}


_TAKE_BACK: Final[Mapping[Phase, str]] = dict.fromkeys(_OWNED, "steelyard server delete {instance} --wait")

RULES: Final[Mapping[Action, Rule]] = {
    Action.ONBOARD: Rule(
        Who.ADMINISTRATOR, "onboarded",
        "Makes a node of a candidate: verified, inspected from within, bound to its switch ports, cleaned, offered.",
        {
            Phase.CANDIDATE: Phase.ENROLLED, Phase.ENROLLED: Phase.ENROLLED, Phase.MANAGEABLE: Phase.INSPECTING,
            Phase.QUARANTINED: Phase.CLEANING,
        },
        "steelyard node onboard CANDIDATE", "nodes.onboard", code="already_onboarded",
        condition="In quarantine: only what failed in Ironic and carries no mark of Steelyard's, and no tenant has it.",
    ),
    Action.DEPLOY: Rule(
        Who.TENANT, "deployed", "Writes an image and gives the server to a tenant. Nova chooses the node.",
        {Phase.AVAILABLE: Phase.DEPLOYING},
        "steelyard server create NAME --flavor F --image I --network N", "servers.create",
        condition="It is offered: no maintenance, its newest clean record is newer than its last tenancy.",
    ),
    Action.POWER_ON: Rule(
        Who.TENANT, "powered on", "Puts the NICs back on the tenant's networks, then gives the server power.",
        {Phase.POWERED_OFF: Phase.ACTIVE, **_stay((Phase.ACTIVE, Phase.ADOPTED))},
        "steelyard server power SERVER on", "servers.power", on_server=True, code="server_busy",
    ),
    Action.POWER_OFF: Rule(
        Who.TENANT, "powered off",
        "Takes the power away. By the project's policy its NICs leave for the quarantine network.",
        {Phase.ACTIVE: Phase.POWERED_OFF, **_stay((Phase.POWERED_OFF, Phase.ADOPTED))},
        "steelyard server power SERVER off", "servers.power", on_server=True, code="server_busy",
    ),
    Action.REBOOT: Rule(
        Who.TENANT, "rebooted", "Takes the power away and gives it again.", _stay((Phase.ACTIVE, Phase.ADOPTED)),
        "steelyard server power SERVER reboot", "servers.power", on_server=True, code="server_busy",
    ),
    Action.REBUILD: Rule(
        Who.TENANT, "rebuilt", "Writes an image anew. Name, addresses and node stay; what is on the disk is lost.",
        {Phase.ACTIVE: Phase.DEPLOYING},
        "steelyard server rebuild SERVER", "servers.rebuild", on_server=True,
    ),
    Action.RESCUE: Rule(
        Who.TENANT, "rescued", "Boots a rescue ramdisk with a password of the tenant's; the disk is not touched.",
        {Phase.ACTIVE: Phase.RESCUE},
        "steelyard server rescue SERVER", "servers.rescue", on_server=True,
    ),
    Action.UNRESCUE: Rule(
        Who.TENANT, "taken out of rescue", "Boots from the disk again.", {Phase.RESCUE: Phase.ACTIVE},
        "steelyard server unrescue SERVER", "servers.unrescue", on_server=True,
    ),
    Action.ATTACH: Rule(
        Who.TENANT, "given a NIC", "Puts one more NIC on a network, proven in the controller and on the switch.",
        _stay((Phase.ACTIVE,)), "steelyard server nic attach SERVER --network N", "servers.attach", on_server=True,
        condition="A NIC is free.",
    ),
    Action.DETACH: Rule(
        Who.TENANT, "taken off a network", "Takes a NIC off its network, proven the same way.",
        _stay((Phase.ACTIVE,)), "steelyard server nic detach SERVER NIC", "servers.detach", on_server=True,
    ),
    Action.MOVE: Rule(
        Who.TENANT, "moved to another network",
        "Takes a NIC from its network to another one, and puts it back where that cannot be proven.",
        _stay((Phase.ACTIVE,)), "steelyard server nic move SERVER NIC --network N", "servers.move", on_server=True,
    ),
    Action.TAG: Rule(
        Who.TENANT, "given a sub-interface",
        "Has a NIC carry one more network, tagged with that network's VLAN, proven the same way.",
        _stay((Phase.ACTIVE,)), "steelyard server nic tag SERVER NIC --network N", "servers.tag", on_server=True,
    ),
    Action.UNTAG: Rule(
        Who.TENANT, "relieved of a sub-interface", "Takes a sub-interface off a NIC, proven the same way.",
        _stay((Phase.ACTIVE,)), "steelyard server nic untag SERVER NIC --network N", "servers.untag", on_server=True,
    ),
    Action.RELEASE: Rule(
        Who.TENANT, "released",
        "Gives the server back: off, off the tenant's networks, cleaned, recorded, available. Its disks are erased.",
        dict.fromkeys((*_OWNED, Phase.DEPLOYING, Phase.RECLAIMING, Phase.QUARANTINED), Phase.RECLAIMING),
        "steelyard server delete SERVER", "servers.delete", on_server=True,
    ),
    Action.RECLAIM: Rule(
        Who.ADMINISTRATOR, "reclaimed",
        "A release that an administrator asks for: it lasts until the node is clean, recorded and available.",
        dict.fromkeys((*_OWNED, Phase.DEPLOYING, Phase.RECLAIMING, Phase.QUARANTINED), Phase.RECLAIMING),
        "steelyard server delete SERVER", "servers.reclaim", on_server=True,
    ),
    Action.INSPECT: Rule(
        Who.ADMINISTRATOR, "inspected", "Looks at it from within again, and makes it available again if it was.",
        dict.fromkeys((Phase.MANAGEABLE, Phase.AVAILABLE), Phase.INSPECTING),
        "steelyard node inspect NODE", "nodes.inspect", next=_TAKE_BACK, condition="Not in maintenance.",
    ),
    Action.CLEAN: Rule(
        Who.ADMINISTRATOR, "cleaned", "Erases its disks again, records that, and makes it available.",
        dict.fromkeys((Phase.MANAGEABLE, Phase.AVAILABLE), Phase.CLEANING),
        "steelyard node clean NODE", "nodes.clean", next=_TAKE_BACK, condition="Not in maintenance.",
    ),
    Action.FREE: Rule(
        Who.ADMINISTRATOR, "released from quarantine",
        "Erases its disks, records that, lifts the quarantine and makes it available. "
        "A failure leaves it in quarantine.",
        {Phase.QUARANTINED: Phase.CLEANING},
        "steelyard node release NODE", "nodes.release",
        condition="Nova has no server on it. It is in no administrator's maintenance, and not flagged as retired.",
    ),
    Action.MAINTENANCE_ON: Rule(
        Who.ADMINISTRATOR, "put into maintenance",
        "Keeps it out of the offer while somebody works on it: who, why and until when is written on the node.",
        _stay(_AT_REST), "steelyard node maintenance on NODE", "nodes.maintenance",
    ),
    Action.MAINTENANCE_OFF: Rule(
        Who.ADMINISTRATOR, "taken out of maintenance",
        "Ends the maintenance. A node in quarantine stays out of the offer.",
        _stay(_NODES), "steelyard node maintenance off NODE", "nodes.maintenance",
    ),
    Action.BOND: Rule(
        Who.ADMINISTRATOR, "given a bond", "Has several of its NICs act as one, on one leaf or on two.",
        _stay((Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE)), "steelyard node bond create NODE", "nodes.bond",
        next=_TAKE_BACK,
    ),
    Action.UNBOND: Rule(
        Who.ADMINISTRATOR, "relieved of a bond", "Has the NICs of a bond act by themselves again.",
        _stay((Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE)), "steelyard node bond delete NODE BOND",
        "nodes.unbond", next=_TAKE_BACK,
    ),
    Action.RECABLE: Rule(
        Who.ADMINISTRATOR, "re-cabled",
        "A NIC's cable is in another switch port: its networks follow, proven at both, or it is put back.",
        _stay(_AT_REST), "steelyard node recable NODE NIC --switch S --port P", "nodes.recable",
    ),
    Action.RETIRE: Rule(
        Who.ADMINISTRATOR, "retired",
        "Takes it out of service for good. A tenant's server stays; after its release the node is cleaned and retired.",
        {
            **dict.fromkeys((Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE, Phase.RETIRED), Phase.RETIRED),
            **_stay((*_OWNED, Phase.QUARANTINED)),
        },
        "steelyard node retire NODE", "nodes.retire",
    ),
    Action.UNRETIRE: Rule(
        Who.ADMINISTRATOR, "taken back into service",
        "Cleans it, records that, and makes it available; a tenant's server just loses the flag.",
        {Phase.RETIRED: Phase.CLEANING, **_stay((*_OWNED, Phase.QUARANTINED))},
        "steelyard node unretire NODE", "nodes.unretire", condition="It is flagged as retired.", code="not_retired",
        next={Phase.ENROLLED: "steelyard node show {node}", Phase.MANAGEABLE: "steelyard node show {node}"},
    ),
    Action.DELETE: Rule(
        Who.ADMINISTRATOR, "deleted", "Removes the node from Ironic. What is known of its BMC and cables stays.",
        dict.fromkeys(
            (Phase.ENROLLED, Phase.MANAGEABLE, Phase.AVAILABLE, Phase.QUARANTINED, Phase.RETIRED), Phase.CANDIDATE
        ),
        "steelyard node delete NODE", "nodes.delete",
        condition="Manageable, retired or failed: only if it verifiably was never offered, or left the offer clean and "
        "has not moved since. Never with Steelyard's quarantine mark.",
        codes={found: each.code for found, each in DELETE_REFUSED.items()},
        next={found: each.next for found, each in DELETE_REFUSED.items()}
        | {Phase.CANDIDATE: "steelyard candidate delete {candidate}"},
    ),
    Action.FORCED_DELETE: Rule(
        Who.ADMINISTRATOR, "removed by force",
        "Removes the node whatever it is doing, also with a tenant on it, and releases what can be released. "
        "Its disks are not erased.",
        dict.fromkeys(_NODES, Phase.CANDIDATE),
        "steelyard node delete NODE --force --reason TEXT", "nodes.remove", condition="A reason is given.",
        next={Phase.CANDIDATE: "steelyard candidate delete {candidate}"},
    ),
}  # fmt: skip
"""The table of actions."""

_POWER: Final[Mapping[Power, Action]] = {
    Power.ON: Action.POWER_ON, Power.OFF: Action.POWER_OFF, Power.SOFT_OFF: Action.POWER_OFF,
    Power.REBOOT: Action.REBOOT,
}  # fmt: skip


def power_action(power: Power) -> Action:
    """The action that a change of power is."""
    return _POWER[power]


def refusal(action: Action, found: Phase, **names: str) -> Refused | None:
    """What is said to somebody who asks for it in this phase; None when the phase allows it.

    `names`: `server` (its id), `name` (the server's), `node`, `instance`, `candidate`, as far as they are known.
    """
    rule = RULES[action]
    if found in rule.leads:
        return None
    if rule.on_server:
        subject, template = f"Server {names.get('name', 'SERVER')}", SERVER_NEXT[found]
    else:
        what = "Candidate" if found is Phase.CANDIDATE else "Node"
        name = names.get(what.lower(), what.upper())
        subject, template = f"{what} {name}", NODE_NEXT[found]
    words = {"server": "SERVER", "node": "NODE", "instance": "SERVER", "candidate": "CANDIDATE", **names}
    when = _listed([str(each) for each in rule.leads])
    return Refused(
        f"{subject} {DOING[found]}. It can be {rule.done} when it is {when}.",
        code=rule.codes.get(found, rule.code),
        next=rule.next.get(found, template).format(**words),
    )


def check(
    action: Action,
    node: Node | None = None,
    instance: Instance | None = None,
    *,
    onboarding: str | None = None,
    leaving: str | None = None,
) -> Phase:
    """Let an action pass, or raise `Refused` with the reason and the next safe command. Returns the phase found.

    `instance`: the tenant's server; a node action takes the one that Nova has on the node. Without a node and an
    instance it is a candidate. `onboarding` and `leaving`: see `check_deletable`.
    """
    rule = RULES[action]
    if rule.on_server and instance is not None:
        found = instance_phase(instance, node)
        names = {"server": instance.id, "name": instance.name}
    elif node is not None:
        found = phase(node, instance)
        names = _names(node, instance)
    else:
        found, names = Phase.CANDIDATE, {}
    if action is Action.DELETE and node is not None:
        check_deletable(node, instance, onboarding=onboarding, leaving=leaving)
        return found
    if instance is not None and (power := _power_of(action)) is not None and instance.status == "ERROR":
        check_power(instance, power)
    if (refused := refusal(action, found, **names)) is not None:
        if found is Phase.MANAGEABLE and node is not None and not_onboarded(node):
            refused.next = f"steelyard node onboard {names['candidate']}"
        raise refused
    if node is not None and not rule.on_server:
        _check_condition(action, node, names)
    return found


def _power_of(action: Action) -> Power | None:
    return next((power for power, other in _POWER.items() if other is action), None)


def _check_condition(action: Action, node: Node, names: Mapping[str, str]) -> None:
    """What a rule demands besides the phase."""
    name = names["node"]
    if action is Action.UNRETIRE and not node.retired:
        raise Refused(f"Node {name} is not retired.", code="not_retired", next=f"steelyard node show {name}")
    if action is Action.ONBOARD and node.notes.get(QUARANTINE) is not None:
        raise Refused(
            f"Node {name} is quarantined by Steelyard; releasing it cleans it.",
            code="node_quarantined",
            next=f"steelyard node release {name} --wait",
        )
    unfinished = not_onboarded(node)
    if unfinished and (action is Action.CLEAN or (action is Action.FREE and QUARANTINE not in node.notes)):
        raise Refused(
            f"Node {name} was never onboarded to the end, so its NICs may be bound to no switch port.",
            code="not_onboarded",
            next=f"steelyard node onboard {names['candidate']}",
        )
    if action in (Action.FREE, Action.CLEAN, Action.INSPECT) and node.retired:
        raise Refused(
            f"Node {name} is flagged as retired; Ironic makes no such node available.",
            code="node_retired",
            next=f"steelyard node unretire {name} --wait",
        )
    if action in (Action.INSPECT, Action.CLEAN) and node.instance_id is not None:
        raise Refused(
            f"Node {name} belongs to server {node.instance_id}.",
            code="node_deployed",
            next=f"steelyard server delete {node.instance_id} --wait",
        )
    by_people = action is Action.FREE and node.notes.get(MAINTENANCE) is not None
    if by_people or (action in (Action.INSPECT, Action.CLEAN) and node.maintenance):
        raise Refused(
            f"Node {name} is in maintenance ({node.maintenance_reason or 'no reason given'}); agents do nothing then.",
            code="node_in_maintenance",
            next=f"steelyard node maintenance off {name}",
        )


def not_onboarded(node: Node) -> bool:
    """Whether an onboarding of Steelyard's began with it and has never come to offering it."""
    return isinstance(node.notes.get("candidate_id"), str) and "offered" not in node.notes


def _names(node: Node, instance: Instance | None) -> dict[str, str]:
    candidate = node.notes.get("candidate_id")
    found = {"node": node.label}
    if isinstance(candidate, str):
        found["candidate"] = candidate
    if (owner := node.instance_id or (instance.id if instance else None)) is not None:
        found["instance"] = owner
    return found


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

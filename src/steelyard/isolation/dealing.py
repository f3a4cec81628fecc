"""What is done about NICs with which something is wrong: told, put right, or their nodes contained."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from steelyard.attention.model import Finding
from steelyard.clouds.ports import Clouds
from steelyard.errors import Refused, SteelyardError
from steelyard.isolation.fleet import Attachment, severity, views
from steelyard.isolation.mending import Mending
from steelyard.isolation.policy import MOST_AT_ONCE, Dealing, Role, Trouble, may_attach
from steelyard.lifecycle.model import Phase
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import Node, NodePort
from steelyard.store import Store

ACTOR: Final = "steelyard"


@dataclass
class Dealt:
    """What came of it."""

    findings: list[Finding] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    @property
    def changed(self) -> int:
        return self.done["repaired"] + self.done["contained"]


class Dealer:
    """Deals with what a check found, as the settings say for each kind of trouble."""

    def __init__(self, *, clouds: Clouds, store: Store, mending: Mending, dealing: Mapping[Trouble, Dealing]) -> None:
        self._clouds = clouds
        self._store = store
        self._mending = mending
        self._dealing = dealing
        self._quarantine = Quarantine(clouds, store)

    def deal(self, found: Iterable[Attachment]) -> Dealt:
        """At most `MOST_AT_ONCE` nodes are repaired or contained; the others are told, and why nothing was done."""
        dealt = Dealt()
        groups: dict[tuple[str, Trouble], list[Attachment]] = defaultdict(list)
        for each in found:
            if each.nic.trouble is not None and (each.differs or each.unverified):
                groups[each.node.id, each.nic.trouble].append(each)
        touched: set[str] = set()
        for (node_id, trouble), group in groups.items():
            dealing = self._dealing[trouble]
            if dealing is Dealing.IGNORE:
                continue
            note: str | None = None
            if dealing is not Dealing.REPORT:
                if node_id not in touched and len(touched) >= MOST_AT_ONCE:
                    note = f"Nothing was done about it: more than {MOST_AT_ONCE} servers at once are wrong."
                else:
                    touched.add(node_id)
                    note = self._act(dealing, group, dealt)
                    if note is None and dealing is Dealing.REPAIR:
                        continue  # it is as it must be
            dealt.findings.append(_finding(group, note))
        return dealt

    def _act(self, dealing: Dealing, group: Sequence[Attachment], dealt: Dealt) -> str | None:
        """Returns why it could not be done."""
        node = group[0].node
        try:
            if dealing is Dealing.CONTAIN:
                if group[0].phase is not Phase.QUARANTINED:
                    self._quarantine.put(node, f"isolation: {_reason(group)}", by=ACTOR)
                    dealt.done["contained"] += 1
                return None
            for each in group:
                self.repair(each)
                dealt.done["repaired"] += 1
        except SteelyardError as error:
            return f"It could not be {'contained' if dealing is Dealing.CONTAIN else 'repaired'}: {error.detail}"
        return None

    def repair(self, found: Attachment) -> None:
        """Put one NIC right. Raises `Refused` for what nobody but a person can put right, and as `Mending` does."""
        if found.overdue:
            raise Refused(
                "Its server is between two phases: whoever works on it has its NICs in hand.", code="changing"
            )
        node = self._clouds.own.nodes.get(found.node.id)
        if (node.provision_state, node.instance_id) != (found.node.provision_state, found.node.instance_id):
            raise Refused("Its server has moved on since.", code="changing")
        nic = self._mending.nic(node, found.nic.mac)
        what = self._mend(found, node, nic)
        self._store.events.append(
            f"node:{node.id}", "isolation.repaired", actor=ACTOR, reason=found.nic.why,
            detail=f"NIC {nic.mac} of node {node.label}: {what}",
            data={"mac": nic.mac, "trouble": str(found.nic.trouble), **views(found)},
        )  # fmt: skip

    def _mend(self, found: Attachment, node: Node, nic: NodePort) -> str:
        there = self._mending.on_nic(nic)
        if found.nic.trouble is Trouble.FOREIGN:
            role, instance_id = found.nic.role, node.instance_id
            strangers = [port for port in there if not may_attach(port, role, node_id=node.id, instance_id=instance_id)]
            for port in strangers:
                self._mending.detach(node.id, port.id)
            return f"{len(strangers)} ports that may not be there were taken off"
        if found.nic.trouble is Trouble.CONTROLLER:
            mine = self._mending.belonging(node, nic) if found.nic.role is Role.TENANT else None
            if mine is None or len(there) > 1:
                raise Refused("Nobody but a person can say which port belongs there.", code="not_repairable")
            self._mending.bind(node, mine, nic)
            return "bound where it belongs"
        if not there:
            self._mending.empty(node, nic)
            return "the switch port was emptied"
        self._mending.bind(node, there[0], nic)
        return "written to the switch again"


def _finding(group: Sequence[Attachment], note: str | None) -> Finding:
    first = group[0]
    assert first.nic.trouble is not None
    reason = _reason(group)
    if first.overdue:
        reason += f" It has been changing since {first.changing_since:%Y-%m-%d %H:%M:%S} UTC."
    return Finding(
        kind=f"isolation.{first.nic.trouble}",
        subject=f"node:{first.node.id}",
        name=first.node.label,
        severity=severity(first),
        reason=f"{reason} {note}" if note else reason,
        next=f"steelyard isolation show {shlex.quote(first.node.label)}",
        evidence={"phase": first.phase.value, "nics": [{"mac": each.nic.mac, **views(each)} for each in group]},
    )


def _reason(group: Sequence[Attachment]) -> str:
    said = [f"NIC {each.nic.mac}: {each.nic.why}." for each in group[:2]]
    if len(group) > len(said):
        said.append(f"So do {len(group) - len(said)} more NICs.")
    return " ".join(said)

"""What the fake services remember: Ironic's node history, Nova's instance actions.

Source: ironic/conductor/utils.py (node_history_record, log_step_flow_history), nova/compute/api.py
(_record_action_start). Ironic forgets a node's history with the node, Nova keeps a deleted instance's.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.clouds.fake.machines import WORK, skips_cleaning
from steelyard.nouns import Actor, HistoryEntry, Node

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

_FLOWS = {"clean": "automated_cleaning", "deploy": "deployment"}
_ERRORS = {"clean": "cleaning", "deploy": "deploying", "verify": "verifying", "inspect": "introspection"}
"""Ironic's event type of a failed job, where it is not the job's own name."""


class History:
    """The memory of one world's services."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self.of_nodes: dict[str, list[HistoryEntry]] = {}
        self.of_instances: dict[str, list[HistoryEntry]] = {}
        self.owners: dict[str, str] = {}
        """Project of every instance that there ever was."""

    def moved(self, before: Node | None, after: Node) -> None:
        """A node has changed its state, perhaps."""
        if before is None or before.provision_state == after.provision_state:
            return
        was, now = WORK.get(before.provision_state), WORK.get(after.provision_state)
        if skips_cleaning(self._world, after) or skips_cleaning(self._world, before):
            return  # cleaning.do_node_clean: nothing begins
        if now is not None and now.job in _FLOWS and (was is None or was.job != now.job):
            kind = "manual_cleaning" if after.target_provision_state == "manageable" else _FLOWS[now.job]
            self._note(after, f"{kind}_start", f"Starting {kind.replace('_', ' ')} with steps=[]")
        if was is None or (now is not None and now.job == was.job):
            return
        if after.provision_state == was.failed and after.last_error:
            self._note(after, _ERRORS.get(was.job, was.job), after.last_error, error=True)
        elif was.job in _FLOWS:
            kind = "manual_cleaning" if before.target_provision_state == "manageable" else _FLOWS[was.job]
            words = kind.replace("_", " ").title()
            self._note(after, f"{kind}_end", f"{words} completed successfully with steps=[]")

    def gone(self, node_id: str) -> None:
        self.of_nodes.pop(node_id, None)

    def acted(self, instance_id: str, action: str, actor: Actor) -> None:
        """Somebody asked Nova for something, and Nova accepted."""
        if instance_id in self._world.instances:
            self.owners[instance_id] = self._world.instances[instance_id].project_id
        entry = HistoryEntry(
            at=self._world.now, source="nova", kind=action, detail=action, user_id=actor.user_id,
            request_id=f"req-{uuid.uuid4()}",
        )  # fmt: skip
        self.of_instances.setdefault(instance_id, []).append(entry)

    def failed(self, instance_id: str) -> None:
        """What was asked for last came to nothing: Nova says so of the action."""
        entries = self.of_instances.get(instance_id)
        if entries:
            entries[-1] = replace(entries[-1], detail=f"{entries[-1].kind}: Error", severity="ERROR")

    def _note(self, node: Node, kind: str, detail: str, *, error: bool = False) -> None:
        severity = "ERROR" if error else "INFO"
        entry = HistoryEntry(at=self._world.now, source="ironic", kind=kind, detail=detail, severity=severity)
        self.of_nodes.setdefault(node.id, []).append(entry)

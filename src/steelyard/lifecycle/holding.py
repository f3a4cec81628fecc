"""Work on a node that somebody holds in Ironic's maintenance: it waits, visibly, and not for ever.

Ironic accepts a clean in maintenance, and then takes no notice of the agent's heartbeats until the maintenance ends;
its own time-outs rest meanwhile (AgentBase._heartbeat_in_maintenance, ConductorManager._check_cleanwait_timeouts). With
`allow_provisioning_in_maintenance = false` it refuses and aborts instead. In both cases it is for whoever set the
maintenance to end it. An operation says so, goes on when that happens, and gives up after `maintenance_seconds`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from steelyard.lifecycle.model import MAINTENANCE_PREFIX
from steelyard.nouns import Node
from steelyard.operations.model import Retry, StepContext

HELD_SINCE: Final = "held_since"
"""In an operation's result: since when its node has been held in maintenance (UTC, ISO 8601); null once it is not."""
HELD_SECONDS: Final = 3600.0
"""How long an operation waits, where no setting says otherwise."""
HELD_POLL: Final = 1.0
"""Seconds between two looks at a node that somebody holds: as close as at one that is cleaned, which it may be next."""
CLEAN_FAULT: Final = "clean failure"
"""Ironic's fault of a node that it put into maintenance itself as its cleaning failed (ironic.common.faults)."""


def held(node: Node) -> bool:
    """Whether it is in a maintenance that is neither Steelyard's own nor what Ironic makes of a failed clean."""
    ours = (node.maintenance_reason or "").startswith(MAINTENANCE_PREFIX)
    return node.maintenance and not ours and node.fault != CLEAN_FAULT


def ends_it(node: Node) -> str:
    """The next safe command for a node that is held."""
    if node.fault is not None:  # Ironic ends it by itself once the BMC answers
        return f"steelyard node show {shlex.quote(node.label)}"
    return f"steelyard node maintenance off {shlex.quote(node.label)}"


class Holding:
    """How long a node is waited for that somebody holds in maintenance."""

    def __init__(self, seconds: float = HELD_SECONDS, *, clock: Callable[[], datetime] | None = None) -> None:
        self.seconds = seconds
        self._clock = clock or (lambda: datetime.now(UTC))

    def look(self, node: Node, ctx: StepContext) -> Retry | str:
        """One look at a node in maintenance: wait on, or why that was too long."""
        name, why = node.label, node.maintenance_reason or "no reason given"
        since = ctx.results.get(HELD_SINCE)
        now = self._clock()
        if isinstance(since, str) and (now - datetime.fromisoformat(since)).total_seconds() >= self.seconds:
            return f"it has been in maintenance for {self.seconds:g} s ({why}), and agents do nothing then"
        result = {} if isinstance(since, str) else {HELD_SINCE: now.isoformat()}
        return Retry(HELD_POLL, f"node {name} leaves maintenance ({why}): {ends_it(node)}", result)

    @staticmethod
    def over(ctx: StepContext) -> Mapping[str, None]:
        """What the operation's result says of a node that is not held, or not any more."""
        return {HELD_SINCE: None} if ctx.results.get(HELD_SINCE) is not None else {}

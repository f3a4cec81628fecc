"""Use cases of events: lists and timelines. Lists are Steelyard's own; a timeline asks the services, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.events.model import Event, EventFilter, seen_by, shown
from steelyard.events.timeline import (
    IRONIC,
    NOVA,
    Line,
    Missing,
    line_of_event,
    line_of_history,
    lines_of_steps,
    merged,
)
from steelyard.naming import pick
from steelyard.nouns import Actor, HistoryEntry, Node
from steelyard.operations.model import Operations
from steelyard.store import Store

MOST_EVENTS = 1000
"""Events of a timeline, the newest; older ones are in the list of events."""
MOST_OPERATIONS = 50
"""Operations of which a timeline shows the steps."""
MOST_SERVERS = 10
"""Servers of which Nova is asked, for the timeline of one node: that which it has, and the last ones it had."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that is known of one thing, the newest first, and who could not be asked."""

    lines: tuple[Line, ...]
    missing: tuple[Missing, ...]


class EventService:
    """What happened."""

    def __init__(self, *, clouds: Clouds, store: Store, operations: Operations) -> None:
        self._clouds = clouds
        self._store = store
        self._operations = operations

    def page(self, actor: Actor, wanted: EventFilter, *, limit: int, before: int | None) -> list[Event]:
        """Events that the actor may see, the newest first."""
        wanted = replace(wanted, project_id=seen_by(actor))
        return self._store.events.page(wanted, limit=limit, before=before)

    # Timelines

    def node_timeline(self, reference: str) -> Timeline:
        """Of a node, by id or name; by id also of one that is gone. For administrators.

        Raises `NotFound`; and what Ironic raises if it is away and nothing is known under this id.
        """
        missing: list[Missing] = []
        node: Node | None = None
        node_id = reference
        try:
            node = self._clouds.own.nodes.get(reference)
            node_id = node.id
        except SteelyardError as error:
            if not self._store.events.of(f"node:{reference}", limit=1):
                raise
            if not isinstance(error, NotFound):
                missing.append(Missing(IRONIC, error.detail))
        servers = self._servers_of(node_id, node)
        subjects = [f"node:{node_id}", *self._candidates_of(node_id, node)]
        subjects += [f"{what}:{server}" for server in servers for what in ("server", "release")]
        lines = self._own_lines(subjects, None)
        if node is not None:
            own = self._clouds.own.provisioning
            lines += _asked(IRONIC, lambda: own.history(node_id), f"node:{node_id}", missing)
        lines += self._of_nova(self._clouds.own, servers[:MOST_SERVERS], missing)
        return Timeline(tuple(merged(lines)), tuple(missing))

    def server_timeline(self, actor: Actor, token: str, reference: str) -> Timeline:
        """Of a server, by id or name; by id also of one that is deleted. Names no node, and no operator's words.

        Raises `NotFound`; and what Nova raises if it is away and nothing is known under this id.
        """
        project_id = seen_by(actor)
        cloud = self._clouds.on_behalf_of(token) if actor.project_id is not None else self._clouds.own
        missing: list[Missing] = []
        try:
            server_id = self._server_id(actor, cloud, reference)
        except SteelyardError as error:
            server_id = reference
            known = self._store.events.about((f"server:{reference}", f"release:{reference}"), limit=MOST_EVENTS)
            if not any(project_id is None or event.project_id == project_id for event in known):
                raise
            if not isinstance(error, NotFound):
                missing.append(Missing(NOVA, error.detail))
        lines = self._own_lines([f"server:{server_id}", f"release:{server_id}"], actor)
        if not missing:
            asked = self._clouds.own if actor.is_admin else cloud
            lines += self._of_nova(asked, [server_id], missing)
        return Timeline(tuple(merged(lines)), tuple(missing))

    def _server_id(self, actor: Actor, cloud: Cloud, reference: str) -> str:
        try:
            mine = cloud.compute.all(all_projects=actor.project_id is None)
            return pick(
                "server", reference, mine, id=lambda s: s.id, name=lambda s: s.name, next="steelyard server list"
            ).id
        except NotFound:
            if not actor.is_admin:
                raise
            return self._clouds.own.compute.get(reference).id

    def _servers_of(self, node_id: str, node: Node | None) -> list[str]:
        """The servers that the node has and had, the newest first."""
        had = [tenancy.instance_id for tenancy in self._store.tenancies.of(node_id)]
        present = [node.instance_id] if node is not None else []
        return list(dict.fromkeys(server for server in [*present, *had] if server))

    def _candidates_of(self, node_id: str, node: Node | None) -> list[str]:
        noted = node.notes.get("candidate_id") if node is not None else None
        if isinstance(noted, str):
            return [f"candidate:{noted}"]
        return [f"candidate:{each.id}" for each in self._store.candidates.all() if each.node_id == node_id]

    def _own_lines(self, subjects: Sequence[str], actor: Actor | None) -> list[Line]:
        """What Steelyard knows itself; for an actor who is no administrator, of what they may see."""
        events = self._store.events.about(subjects, limit=MOST_EVENTS)
        project_id = seen_by(actor) if actor is not None else None
        if project_id is not None:
            events = [event for event in events if event.project_id == project_id]
        lines = [line_of_event(event) for event in events]
        if project_id is not None:
            words = {f"event:{event.id}": shown(event, administrator=False) for event in events}
            lines = [
                replace(line, reason=words[line.id]["reason"], request_id=words[line.id]["request_id"])
                for line in lines
            ]
        ids = list(dict.fromkeys(event.operation_id for event in events if event.operation_id))[:MOST_OPERATIONS]
        for operation in self._operations.found(ids) if ids else []:
            if project_id is None or operation.project_id == project_id:
                lines += lines_of_steps(operation)
        return lines

    def _of_nova(self, cloud: Cloud, servers: Iterable[str], missing: list[Missing]) -> list[Line]:
        wanted = list(servers)
        if not wanted:
            return []

        def ask(server: str) -> tuple[list[Line], list[Missing]]:
            away: list[Missing] = []
            return _asked(NOVA, lambda: cloud.compute.history(server), f"server:{server}", away), away

        with ThreadPoolExecutor(max_workers=min(4, len(wanted)), thread_name_prefix="timeline") as readers:
            answers = list(readers.map(ask, wanted))
        missing += list(dict.fromkeys(away for _, found in answers for away in found))
        return [line for lines, _ in answers for line in lines]


def _asked(source: str, ask: Callable[[], Sequence[HistoryEntry]], subject: str, missing: list[Missing]) -> list[Line]:
    """What a service remembers. One that does not answer is noted as missing; one that has forgotten is not."""
    try:
        return [line_of_history(entry, subject) for entry in ask()]
    except NotFound:
        return []
    except SteelyardError as error:
        missing.append(Missing(source, error.detail))
        return []

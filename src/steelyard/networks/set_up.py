"""Use case: is the network controller set up so that a server can be deployed? Reads only. For administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from steelyard.clouds.ports import Clouds
from steelyard.errors import Forbidden, SteelyardError
from steelyard.networks.preflight import Check, Seen, checks
from steelyard.networks.service import operator_networks
from steelyard.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a run of all checks found."""

    controller: str
    checks: Sequence[Check]
    at: datetime


class PreflightService:
    """Reads what the controller and the bare metal service have, with Steelyard's own rights."""

    def __init__(self, *, clouds: Clouds, settings: Settings):
        self._clouds = clouds
        self._settings = settings

    def run(self) -> Preflight:
        """All checks. What cannot be read is in their answers: this raises nothing of the cloud's."""
        own = self._clouds.own
        errors: dict[str, str] = {}
        forbidden: set[str] = set()

        def read(what: str, ask: Callable[[], T]) -> T | None:
            try:
                return ask()
            except SteelyardError as error:
                errors[what] = error.detail
                if isinstance(error, Forbidden):
                    forbidden.add(what)
                return None

        operators = operator_networks(self._settings)
        networks = read("networks", own.networks.all)
        wanted = [network.id for network in networks or () if operators.role_of(network) is not None]
        facts = read("facts", lambda: own.fabric.facts(wanted))
        nics = read("nics", own.node_ports.all)
        nodes = read("nodes", own.nodes.all) or []
        projects = (read("projects", self._clouds.identity.project_names) or {}) if operators.segments else {}
        seen = Seen(
            controller=self._settings.network_controller,
            operators=operators,
            networks=networks,
            facts=facts,
            nics=nics,
            nodes={node.id: node.label for node in nodes},
            virtual_media=self._settings.deploy_iso is not None,
            segment_projects=[id for id, name in projects.items() if self._settings.segments_project in (id, name)],
            errors=errors,
            forbidden=bool(forbidden & {"networks", "facts"}),
        )
        return Preflight(self._settings.network_controller, checks(seen), datetime.now(UTC))

"""Stories in which nothing breaks: two tenants and an administrator use the cloud, and the switches keep the log."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from ..switch_history import Change, SwitchHistory, Tenancy
from .game import Game
from .histories import prologue
from .moves import MOVES, play
from .truths import Truths

LENGTH = 25
"""Moves of one story."""
TOLD = (
    "node_onboard", "bulk_onboard", "server_create", "stock_server_create", "server_delete", "stock_server_delete",
    "server_reclaim", "bulk_release", "server_power", "stock_server_power", "a_server_is_off_for_a_while",
    "parked_server_gets_power", "server_rebuild_or_rescue", "stock_server_rebuild_or_rescue", "node_clean",
    "node_inspect", "power_policy", "a_reconciler_runs", "signalled_reconcilers_run", "the_server_works", "time_passes",
)  # fmt: skip
"""The moves of which stories are made."""


class Story:
    """One story, told to its end."""

    def __init__(self, seed: int, template: Path, *, change: Callable[[Game], None] | None = None) -> None:
        """`change`: done to the cloud before anything happens."""
        self._random = Random(seed)
        with tempfile.TemporaryDirectory(prefix="story-") as directory:
            self.game = Game(seed, Path(directory), template)
            try:
                truths = Truths(self.game)
                self.game.network_faults = False
                if change is not None:
                    change(self.game)
                prologue(self.game, reconciled=False)
                for _ in range(LENGTH):
                    play(self.game, self._random.choice(self._names), self._random.randrange(10_000))
                    truths.check()
                self.game.settle()
                truths.check()
            finally:
                self.game.close()

    @property
    def _names(self) -> list[str]:
        return [name for name in TOLD for _ in range(MOVES[name].weight)]

    @property
    def log(self) -> SwitchHistory:
        """What the switches wrote down, with who had which server when."""
        world = self.game.world
        names = dict(world.fabric.switches.names)
        changes = [
            Change(
                at=f"{change.at:%H:%M:%S}", port=f"{names[change.place[0]]}/{change.place[1]}",
                before=_carried(change.before), after=_carried(change.after),
            )
            for change in world.fabric.switches.log
        ]  # fmt: skip
        cables = {
            f"{nic.link.switch_name}/{nic.link.port_id}": machine
            for machine, hardware in world.hardware.items()
            for nic in hardware.nics
            if nic.link is not None
        }
        tenancies = [Tenancy(each.changes, each.machine, each.project_id) for each in world.truth.tenancies]
        return SwitchHistory(changes, cables, tenancies=tenancies)

    @property
    def owners(self) -> dict[int, str]:
        """The project of each VLAN that is a tenant's network."""
        world = self.game.world
        return {
            network.segmentation_id: network.project_id
            for network in world.fabric.networks.values()
            if network.segmentation_id is not None
            and network.project_id is not None
            and network.project_id != world.service_project
        }

    @property
    def operators(self) -> set[int]:
        """The VLANs of the operator's networks that servers share: of those with a network to themselves whenever they
        are in transition, only the one that they are on before anybody knows where they are cabled."""
        world = self.game.world
        roles = {"inspection": world.role_networks["inspection"]} if self.game.alone else world.role_networks
        networks = (world.fabric.networks[network_id] for network_id in roles.values())
        return {network.segmentation_id for network in networks if network.segmentation_id is not None}


def _carried(vlan: int | None) -> frozenset[int]:
    return frozenset() if vlan is None else frozenset({vlan})

"""A hundred stories of two tenants, and what the switches' own log says of every instant of them.

Servers are onboarded, deployed, turned off and on, rescued, rebuilt, released and cleaned, through Steelyard and past
it. At no instant are the ports of two servers in one segment, whether they have power or not, except in a network of
the tenant who has both; servers whose agents run, or that are in quarantine, share the operator's networks for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from .game import Game
from .stories import Story

STORIES, PARTS = 100, 4
"""How many there are, and how many tests share them."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_two_strangers_ports_are_ever_in_one_segment(
    part: int, model_seed: int, template: Path, tell: Callable[[str], None]
) -> None:
    changes = tenancies = 0
    for number in range(part, STORIES, PARTS):
        story = Story(model_seed * STORIES + number, template)
        log = story.log
        assert log.meetings(owner_of=story.owners, shared=story.operators) == [], "\n".join(story.game.story)
        assert log.doubled() == []
        changes += len(log)
        tenancies += len(story.game.world.truth.tenancies)
    told = STORIES // PARTS
    tell(f"part {part}: {told} stories, {changes} changes of switch ports, {tenancies} tenancies")
    assert changes > 20 * told, "servers were moved"
    assert tenancies > 2 * told, "tenants had servers"


def test_two_tenants_with_one_segment_are_found_out(template: Path) -> None:
    def mistake(game: Game) -> None:
        """The controller gives the networks of both the same VLAN."""
        networks = game.world.fabric.networks
        vlans = {network.name: network.segmentation_id for network in networks.values()}
        for network in list(networks.values()):
            if network.name.startswith("blue-"):
                networks[network.id] = replace(network, segmentation_id=vlans[network.name.replace("blue", "red")])

    stories = (Story(seed, template, change=mistake) for seed in range(20))
    assert any(story.log.meetings(owner_of=story.owners, shared=story.operators) for story in stories)

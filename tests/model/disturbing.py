"""What goes wrong in the switches and the network controller, and who would like to be on the operator's networks."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from steelyard.clouds.fake.fabric import BindingFault
from steelyard.clouds.fake.switches import SWITCHES, Disturbance

from .fabric import BMC_NETWORK, server_ports
from .game import Game
from .moves import move


def _a_switch(random: Random) -> tuple[str, str]:
    return random.choice(SWITCHES)


def plan(game: Game, random: Random, *, longest: int = 4) -> str:
    """One disturbance of a write or a binding, after up to `longest` others."""
    kind: Disturbance | BindingFault = random.choice([*Disturbance, *BindingFault])
    skip = random.randrange(longest)
    if isinstance(kind, BindingFault):
        game.world.fabric.fail_binding(kind, skip=skip)
        return f"in {skip} bindings the controller {kind}"
    to = random.choice(server_ports(game)) if kind is Disturbance.WRONG_PORT else None
    seconds = random.choice((2.0, 10.0, 20.0, 40.0, 90.0))
    game.world.fabric.switches.disturb(kind, skip=skip, seconds=seconds, to=to)
    where = f" ({to.switch_name} {to.port_id})" if to else f" by {seconds:g} s" if kind is Disturbance.LATE else ""
    return f"in {skip} writes one is {kind}{where}"


@move(1)
def a_switch_write_or_a_binding_goes_wrong(game: Game, random: Random) -> str:
    return plan(game, random)


@move(1)
def a_switch_answers_from_a_cache(game: Game, random: Random) -> str:
    name, switch_id = _a_switch(random)
    seconds, lasts = random.choice((5, 20, 60)), random.choice((10, 60, 200))
    game.reader.stale(switch_id, until=game.world.now + timedelta(seconds=lasts), seconds=seconds)
    return f"{name} shows for {lasts} s what was so {seconds} s before"


@move(1)
def a_switch_cannot_be_read(game: Game, random: Random) -> str:
    name, switch_id = _a_switch(random)
    lasts = random.choice((5, 30, 120))
    game.reader.silence(switch_id, until=game.world.now + timedelta(seconds=lasts))
    return f"{name} cannot be read for {lasts} s"


@move(1)
def server_create_on_the_operators_network(game: Game, random: Random) -> str:
    """Somebody asks for a server among the BMCs, or among ramdisks."""
    tenant = random.choice(game.tenants)
    names = [BMC_NETWORK, "provisioning", "cleaning", "quarantine"]
    network = random.choice([each for each in game.world.fabric.networks.values() if each.name in names])
    named = random.choice((network.name, network.id))
    lifecycle = game.steelyard.lifecycle
    game.ask(
        f"create on {network.name}",
        lambda: lifecycle.create(
            game.actor(tenant), tenant.token, f"{tenant.name}-spy-{game.moves}", flavor="metal", image="debian",
            networks=[named],
        ),
    )  # fmt: skip
    return f"{tenant.name} asks for a server on the operator's network {network.name}"

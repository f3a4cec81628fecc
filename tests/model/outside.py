"""What the world does without asking Steelyard: stock clients of tenants and administrators, hardware, the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random

from steelyard.clouds.ports import ProvisionVerb
from steelyard.errors import SteelyardError
from steelyard.nouns import Instance, Node, ServerSpec

from .game import Game, Tenant
from .moves import move


def _tenant(game: Game, random: Random) -> Tenant:
    return random.choice(game.tenants)


def _server(game: Game, random: Random) -> tuple[Tenant, Instance] | None:
    tenant = _tenant(game, random)
    project = game.world.project(tenant.name)
    mine = sorted(
        (each for each in game.world.instances.values() if each.project_id == project), key=lambda each: each.name
    )
    return (tenant, random.choice(mine)) if mine else None


def _node(game: Game, random: Random) -> Node | None:
    nodes = game.nodes()
    return random.choice(nodes) if nodes else None


def _tried(words: str, error: SteelyardError | None) -> str:
    return f"{words}: {error.detail}" if error else words


@move(3)
def stock_server_create(game: Game, random: Random) -> str:
    tenant = _tenant(game, random)
    cloud = game.clouds.on_behalf_of(tenant.token)
    networks = {network.name: network.id for network in game.world.fabric.networks.values()}
    name = f"{tenant.name}-stock-{game.moves}"
    wanted = random.sample(tenant.networks, random.choice((1, 1, 2)))
    flavor = next(iter(game.world.flavors))
    cloud.compute.create(ServerSpec(name, flavor, "image-1", tuple(networks[each] for each in wanted)))
    return f"{tenant.name} asks Nova for {name} on {', '.join(wanted)}"


@move(3)
def stock_server_delete(game: Game, random: Random) -> str | None:
    if (found := _server(game, random)) is None:
        return None
    tenant, server = found
    game.clouds.on_behalf_of(tenant.token).compute.delete(server.id)
    return f"{tenant.name} deletes {server.name}"


@move(3)
def stock_server_power(game: Game, random: Random) -> str | None:
    if (found := _server(game, random)) is None:
        return None
    tenant, server = found
    action = random.choice(("on", "off", "reboot"))
    error = None
    try:
        game.clouds.on_behalf_of(tenant.token).compute.power(server.id, action)
    except SteelyardError as refused:
        error = refused
    return _tried(f"{tenant.name} switches {server.name} {action}", error)


@move(1)
def nova_dies_before_a_deployment(game: Game, random: Random) -> str | None:
    """It had noted the ports of a server at a node's NIC in Ironic, and forgets the server when it is back."""
    free = [
        unit
        for node in game.nodes()
        if node.provision_state == "available" and node.instance_id is None
        for unit in game.world.vif_holders(node.id)
        if unit.vif_id is None
    ]
    if not free:
        return None
    unit = random.choice(free)
    game.world.put_vif(unit.id, f"gone-{game.moves}")
    return f"a port of a server that is gone is left on NIC {unit.mac} of {game.name(unit.node_id)}"


@move(1)
def stock_server_rebuild_or_rescue(game: Game, random: Random) -> str | None:
    if (found := _server(game, random)) is None:
        return None
    tenant, server = found
    compute = game.clouds.on_behalf_of(tenant.token).compute
    what = random.choice(("rebuild", "rescue", "unrescue"))
    error = None
    try:
        if what == "rebuild":
            compute.rebuild(server.id, random.choice(("image-1", "image-2")))
        else:
            compute.rescue(server.id, leave=what == "unrescue")
    except SteelyardError as refused:
        error = refused
    return _tried(f"{tenant.name} asks Nova to {what} {server.name}", error)


VERBS: tuple[ProvisionVerb, ...] = (
    *("manage", "provide", "abort", "deleted") * 4, "inspect", "inspect", "rebuild", "active", "adopt", "unrescue",
)  # fmt: skip


@move(3)
def ironic_verb(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    verb = random.choice(VERBS)
    error = None
    try:
        game.outside.provisioning.request(node.id, verb)
    except SteelyardError as refused:
        error = refused
    return _tried(f"{verb} {node.name} ({node.provision_state})", error)


@move(1)
def ironic_manual_clean(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    step = random.choice(("erase_devices", "apply_configuration", "erase_devices_metadata"))
    error = None
    try:
        game.outside.provisioning.request(node.id, "clean", steps=[{"interface": "deploy", "step": step}])
    except SteelyardError as refused:
        error = refused
    return _tried(f"clean {node.name} by {step}", error)


@move(2)
def ironic_maintenance(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    on = random.random() < 0.5
    with suppress(SteelyardError):
        game.outside.nodes.set_maintenance(node.id, "somebody works on it" if on else None)
    return f"{node.name} {'into' if on else 'out of'} maintenance"


@move(2)
def ironic_automated_clean(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    wanted = random.choice((False, False, None, True))
    with suppress(SteelyardError):
        game.outside.nodes.update(node.id, {"/automated_clean": wanted})
    return f"automated_clean of {node.name} is {wanted}"


@move(2)
def ironic_node_delete(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    error = None
    try:
        game.outside.nodes.delete(node.id)
    except SteelyardError as refused:
        error = refused
    return _tried(f"delete {node.name} ({node.provision_state})", error)


@move(1)
def ironic_flags(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    path, value = random.choice((("/protected", False), ("/protected", True), ("/retired", True), ("/retired", False)))
    error = None
    try:
        game.outside.nodes.update(node.id, {path: value})
    except SteelyardError as refused:
        error = refused
    return _tried(f"{path} of {node.name} is {value}", error)


@move(2)
def ironic_power(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    action = random.choice(("on", "off", "reboot"))
    error = None
    try:
        game.outside.provisioning.power(node.id, action)
    except SteelyardError as refused:
        error = refused
    return _tried(f"{node.name} ({node.provision_state}) {action}", error)


@move(2)
def machine_loses_power(game: Game, random: Random) -> str | None:
    running = [node for node in game.nodes() if node.provision_state == "active" and node.power_state == "on"]
    if not running:
        return None
    node = random.choice(running)
    game.world.nodes[node.id] = replace(node, power_state="off")
    return f"{node.name}'s power supply fails for a moment"


@move(3)
def a_server_is_off_for_a_while(game: Game, random: Random) -> str | None:
    """Long enough for its NICs to be in quarantine."""
    running = [
        node
        for node in game.nodes()
        if node.provision_state == "active" and node.power_state == "on" and node.instance_id in game.world.instances
    ]
    if not running:
        return None
    node = random.choice(running)
    game.world.nodes[node.id] = replace(node, power_state="off")
    game.reconcile("isolation.power")
    game.go_on(random.choice((10, 20, 30)))
    return f"{node.name} is shut down from within"


@move(2)
def bmc_fails_or_returns(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    if node.id in game.world.unreachable:
        game.world.find_bmc(node.id)
        return f"{node.name}'s BMC answers again"
    game.world.lose_bmc(node.id)
    return f"{node.name}'s BMC does not answer"


@move(2)
def a_job_will_fail(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    job = random.choice(("verify", "inspect", "clean", "clean", "deploy", "delete", "rescue"))
    game.world.break_node(node.id, job, "disk 2 does not answer")
    return f"the next {job} of {node.name} fails"


@move(1)
def a_node_hangs(game: Game, random: Random) -> str | None:
    if (node := _node(game, random)) is None:
        return None
    if node.id in game.world.hung | game.world.locked:
        game.world.release_node(node.id)
        return f"{node.name} is free again"
    if random.random() < 0.5:
        game.world.hang_node(node.id)
        return f"{node.name} hangs"
    game.world.lock_node(node.id)
    return f"{node.name} is locked"


@move(1)
def stock_port_delete(game: Game, random: Random) -> str | None:
    tenant = _tenant(game, random)
    project = game.world.project(tenant.name)
    ports = sorted(
        (port for port in game.world.fabric.ports.values() if port.project_id == project), key=lambda port: port.id
    )
    if not ports:
        return None
    port = random.choice(ports)
    game.clouds.on_behalf_of(tenant.token).attachments.delete(port.id)
    return f"{tenant.name} deletes its port with {', '.join(each.address for each in port.addresses) or 'no address'}"


@move(6)
def time_passes(game: Game, random: Random) -> str:
    seconds = random.choice((1, 2, 5, 15))
    for _ in range(seconds):
        game.pass_time(1)
        game.go_on(random.choice((1, 2, 4)))
    return f"{seconds} s"

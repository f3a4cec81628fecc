"""What people ask of Steelyard, what it does by itself, and what befalls it."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

from steelyard.errors import SteelyardError
from steelyard.isolation.parking import MARK
from steelyard.lifecycle.model import Power
from steelyard.nouns import Instance

from .disturbing import plan
from .faults import LIST_FAULTS, READ_FAULTS, STORE_FAULTS, WRITE_FAULTS
from .game import CREDENTIALS, PORT, Game, Tenant
from .moves import move


def _mine(game: Game, random: Random, *, worn: bool = False) -> tuple[Tenant, Instance] | None:
    """A server of one of the tenants; `worn`: rather one in error, half of the time."""
    tenant = random.choice(game.tenants)
    project = game.world.project(tenant.name)
    servers = sorted((i for i in game.world.instances.values() if i.project_id == project), key=lambda i: i.name)
    errors = [server for server in servers if server.status == "ERROR"]
    if worn and errors and random.random() < 0.5:
        return tenant, random.choice(errors)
    return (tenant, random.choice(servers)) if servers else None


@move(6)
def server_create(game: Game, random: Random) -> str:
    tenant = random.choice(game.tenants)
    name = f"{tenant.name}-{game.moves}"
    networks = random.sample(tenant.networks, random.choice((1, 1, 2)))
    key = random.choice((None, f"key-{random.randrange(4)}"))
    lifecycle = game.steelyard.lifecycle
    game.ask(
        f"create {name}",
        lambda: lifecycle.create(
            game.actor(tenant), tenant.token, name, flavor="metal", image="debian", networks=networks, key=key
        ),
    )
    return f"{tenant.name} asks for {name} on {', '.join(networks)}"


@move(4)
def server_delete(game: Game, random: Random) -> str | None:
    if (found := _mine(game, random, worn=True)) is None:
        return None
    tenant, server = found
    lifecycle = game.steelyard.lifecycle
    game.ask(f"delete {server.name}", lambda: lifecycle.delete(game.actor(tenant), tenant.token, server.id))
    return f"{tenant.name} releases {server.name}"


@move(2)
def server_reclaim(game: Game, random: Random) -> str | None:
    if (found := _mine(game, random)) is None:
        return None
    _, server = found
    lifecycle = game.steelyard.lifecycle
    game.ask(
        f"reclaim {server.name}",
        lambda: lifecycle.delete(game.admin, game.admin_token, server.id, reason="the contract is over"),
    )
    return f"ada takes {server.name} back"


@move(4)
def server_power(game: Game, random: Random) -> str | None:
    if (found := _mine(game, random)) is None:
        return None
    tenant, server = found
    action = random.choice(list(Power))
    if random.random() < 0.6:
        action = Power.ON if server.power_state == "off" else Power.OFF
    lifecycle = game.steelyard.lifecycle
    game.ask(
        f"power {server.name} {action}",
        lambda: lifecycle.power(game.actor(tenant), tenant.token, server.id, action),
    )
    return f"{tenant.name} switches {server.name} {action}"


@move(4)
def parked_server_gets_power(game: Game, random: Random) -> str | None:
    """A server that is off and whose NICs are in quarantine is powered on, by whichever door."""
    parked = [node for node in game.nodes() if MARK in node.extra and node.power_state == "off"]
    owners = {game.world.project(tenant.name): tenant for tenant in game.tenants}
    servers = [server for node in parked if (server := game.world.instances.get(node.instance_id or "")) is not None]
    if not servers:
        return None
    server = random.choice(servers)
    tenant = owners[server.project_id]
    door = random.choice(("Steelyard", "Steelyard", "Nova", "Ironic"))
    if game.network_faults and random.random() < 0.4:
        game.tell(f"  network: {plan(game, random, longest=2)}")
    lifecycle = game.steelyard.lifecycle
    if door == "Steelyard":
        game.ask(
            f"power {server.name} on", lambda: lifecycle.power(game.actor(tenant), tenant.token, server.id, Power.ON)
        )
    else:
        with suppress(SteelyardError):
            if door == "Nova":
                game.clouds.on_behalf_of(tenant.token).compute.power(server.id, "on")
            else:
                game.outside.provisioning.power(server.node_id or "", "on")
    return f"{tenant.name} switches {server.name} on, by way of {door}"


@move(3)
def node_onboard(game: Game, random: Random) -> str | None:
    candidates = sorted(game.store.candidates.all(), key=lambda each: each.name)
    if not candidates:
        return None
    candidate = random.choice(candidates)
    game.ask(
        f"onboard {candidate.name}",
        lambda: game.steelyard.discovery.onboard(
            game.admin, [candidate.id], resource_class="bm.small", reason="more servers"
        ),
    )
    return f"ada onboards {candidate.name}"


@move(1)
def sweep(game: Game, random: Random) -> str:
    game.ask("sweep", lambda: game.steelyard.discovery.discover(game.admin, ["10.200.0.0/29"], CREDENTIALS, port=PORT))
    return "ada looks for servers"


@move(2)
def node_delete(game: Game, random: Random) -> str | None:
    nodes = game.nodes()
    if not nodes:
        return None
    node = random.choice(nodes)
    game.ask(
        f"delete node {node.name}",
        lambda: game.steelyard.lifecycle.delete_node(game.admin, node.id, reason="it is old"),
    )
    return f"ada deletes node {node.name} ({node.provision_state})"


@move(3)
def server_rebuild_or_rescue(game: Game, random: Random) -> str | None:
    if (found := _mine(game, random)) is None:
        return None
    tenant, server = found
    what = random.choice(("rebuild", "rescue", "unrescue"))
    renewal = game.steelyard.lifecycle.renewal
    method: Any = getattr(renewal, what)
    game.ask(f"{what} {server.name}", lambda: method(game.actor(tenant), tenant.token, server.id))
    return f"{tenant.name}: {what} {server.name}"


def _on_node(game: Game, random: Random, what: str, states: frozenset[str] | None = None, **more: Any) -> str | None:
    nodes = [node for node in game.nodes() if states is None or node.provision_state in states]
    if not nodes:
        return None
    node = random.choice(nodes)
    method: Any = getattr(game.steelyard.lifecycle.nodes, what)
    words = " ".join(str(value) for value in more.values() if isinstance(value, bool))
    game.ask(f"{what} {node.name}", lambda: method(game.admin, node.id, **more))
    return f"ada: {what} {node.name} ({node.provision_state}) {words}".rstrip()


@move(6)
def node_release_from_quarantine(game: Game, random: Random) -> str | None:
    marked = [node for node in game.nodes() if "quarantine" in node.notes or node.provision_state.endswith("failed")]
    if not marked:
        return None
    node = random.choice(marked)
    nodes = game.steelyard.lifecycle.nodes
    game.ask(f"release {node.name}", lambda: nodes.release(game.admin, node.id, reason="it was looked at"))
    return f"ada: release {node.name} ({node.provision_state}) from quarantine"


@move(2)
def node_clean(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "clean", frozenset({"available", "manageable", "clean failed"}), reason="again")


@move(1)
def node_inspect(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "inspect", frozenset({"available", "manageable"}), reason="new memory")


@move(2)
def node_maintenance(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "maintenance", on=random.random() < 0.4, reason="a fan is changed")


@move(1)
def node_retire(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "retire", reason="it is old")


@move(2)
def node_unretire(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "unretire", reason="it is needed") if any(n.retired for n in game.nodes()) else None


@move(1)
def node_remove_by_force(game: Game, random: Random) -> str | None:
    return _on_node(game, random, "remove", reason="it burnt down")


@move(1)
def bulk_release(game: Game, random: Random) -> str | None:
    tenant = random.choice(game.tenants)
    project = game.world.project(tenant.name)
    servers = sorted((i for i in game.world.instances.values() if i.project_id == project), key=lambda i: i.name)
    if not servers:
        return None
    items = [{"server": server.id} for server in servers]
    game.ask(
        "bulk release",
        lambda: game.steelyard.bulk.start(game.actor(tenant), tenant.token, "servers.delete", items, reason="the end"),
    )
    return f"{tenant.name} releases {', '.join(server.name for server in servers)}"


@move(1)
def bulk_onboard(game: Game, random: Random) -> str | None:
    items = [{"candidate": each.id} for each in sorted(game.store.candidates.all(), key=lambda each: each.name)]
    if not items:
        return None
    game.ask(
        "bulk onboard",
        lambda: game.steelyard.bulk.start(game.admin, game.admin_token, "nodes.onboard", items, reason="all of them"),
    )
    return f"ada onboards {len(items)} candidates"


@move(1)
def power_policy(game: Game, random: Random) -> str:
    tenant = random.choice(game.tenants)
    policy = random.choice(("keep", "quarantine", "quarantine"))
    isolation: Any = game.steelyard.isolation
    game.ask(f"policy {policy}", lambda: game.set_policy(isolation, tenant, policy))
    return f"powered-off servers of {tenant.name}: {policy}"


@move(1)
def operation_cancel(game: Game, random: Random) -> str | None:
    return _operation(game, random, "cancel")


@move(1)
def operation_pause(game: Game, random: Random) -> str | None:
    return _operation(game, random, "pause")


@move(2)
def operation_resume(game: Game, random: Random) -> str | None:
    return _operation(game, random, "resume")


def _operation(game: Game, random: Random, what: str) -> str | None:
    running = [each for each in game.store.operations.all(limit=40) if not each.phase.ended]
    if what == "resume":
        running = [each for each in running if each.pause_requested]
    if not running:
        return None
    chosen = random.choice(running)
    method: Any = getattr(game.operations, what)
    game.ask(f"{what} {chosen.id[:8]}", lambda: method(chosen.id, reason="ada says so", by="ada"))
    return f"ada: {what} {chosen.kind} {chosen.id[:8]}"


@move(6)
def a_reconciler_runs(game: Game, random: Random) -> str | None:
    names = game.reconcilers.names
    if not names:
        return None
    often = [name for name in names if name in {"lifecycle.guard", "isolation.power", "isolation.refused"}]
    name = random.choice(names + often * 3)
    game.reconcile(name)
    return name


@move(2)
def signalled_reconcilers_run(game: Game, random: Random) -> str | None:
    if not game.reconcilers.signalled:
        return None
    names, game.reconcilers.signalled = game.reconcilers.signalled, []
    for name in names:
        game.reconcile(name)
    return ", ".join(names)


@move(6)
def the_server_works(game: Game, random: Random) -> str:
    rounds = random.choice((5, 10, 20, 40))
    game.go_on(rounds)
    return f"{rounds} turns"


@move(3)
def a_call_fails(game: Game, random: Random) -> str:
    what = random.choice(("list", "read", "write", "write", "store"))
    faults = {"list": LIST_FAULTS, "read": READ_FAULTS, "write": WRITE_FAULTS, "store": STORE_FAULTS}[what]
    fault = random.choice(faults)
    skip = random.choice((0, 0, 1, 2, 3, 5, 8))
    game.faults.plan(what, fault, skip)
    return f"in {skip} calls ({what}): {fault}"


@move(1)
def the_server_is_killed(game: Game, random: Random) -> str:
    game.kill_server()
    return "at this moment"

"""One history: a small cloud, two tenants, an administrator, the outside world, and a server that may be killed."""

from __future__ import annotations

import inspect
import ipaddress
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from steelyard import wiring
from steelyard.clouds.fake import FakeCloud, FakeClouds, FakeWorld
from steelyard.clouds.fake.switches import SWITCHES
from steelyard.clouds.observing import Observer
from steelyard.errors import SteelyardError, Unavailable
from steelyard.hardware.redfish.fake import FakeBmc, FakeBmcProber
from steelyard.hardware.redfish.port import SystemIdentity
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.model import PowerOffPolicy, Role
from steelyard.nouns import Actor, Driver, FlavorSpec, Image, Node
from steelyard.operations.model import Operation
from steelyard.settings import Settings
from steelyard.store import Store

from .clockwork import Killed, Task, Tasks, illusion
from .engine import TaskOperations, TaskReconcilers
from .fabric import BMC_NETWORK, BMC_VLANS, Gates, Reader, cable
from .faults import Faults, FaultyClouds, FaultyDatabase, Process

T = TypeVar("T")

PORT = 8443
CREDENTIALS = [{"username": "root", "password": "calvin"}]
MACHINES = 4
CLASS = "bm.small"
TENANTS = ("red", "blue")
SEGMENTS = (0, 12)
"""How many segments there are, by the seed: none, or more than nodes ever wait for; see `isolation.segments`."""
STILL = 300
"""Seconds in which the world does not move, after which time goes faster for those that wait for it to the end."""


class Violation(AssertionError):
    """An invariant does not hold; the message is the whole history."""


@dataclass
class Tenant:
    name: str
    token: str = field(repr=False)
    networks: tuple[str, ...]
    """Names."""


class Game:
    """The state of one history. `seed` decides ids and who goes on; the moves come from outside."""

    def __init__(self, seed: int, directory: Path, template: Path, *, change: Callable[[Game], None] | None = None):
        self.seed = seed
        self.random = Random(seed)
        self.story: list[str] = []
        self.moves = 0
        self.change = change
        """A deliberately broken variant: called on every start of the server."""
        self._ticks = 0
        self._end = ExitStack()
        self.tasks = Tasks(self.now)
        self.world = FakeWorld()
        self._start_time = self.world.now
        self._end.enter_context(illusion(self.now, lambda: self.tasks, self.random, stand_still=self.stand_still))
        self.clouds = FakeClouds(self.world)
        self.faults = Faults(self.world, self.tell)
        self.directory = directory
        self.database = directory / "steelyard" / "steelyard.sqlite"
        self.database.parent.mkdir()
        shutil.copy(template, self.database)
        shutil.copy(template.with_name("keys"), directory / "keys")
        segments = SEGMENTS[seed % len(SEGMENTS)]
        self.world.add_segments(segments)
        named = ("segment-*",) if segments else ()
        self.settings = Settings(home=directory, maintenance_seconds=60.0, segments=named)
        self.prober = FakeBmcProber()
        self.boots = 0
        self.boot_id = ""
        self.asked: dict[int, tuple[str, Task]] = {}
        """Requests that have not been answered, by the task's number."""
        self.watchers: list[Callable[[str, Game], None]] = []
        """Called before and after each run of a reconciler."""
        self._gate_killed = False
        self.network_faults = True
        """Whether moves may let something go wrong in the controller and the switches."""
        self.reader = Reader(self)
        self.gates = Gates(self)
        self._people()
        if self.random.random() < 0.75:
            self.world.drivers.append(
                Driver("steelyard-redfish", frozenset({"steelyard-redfish"}), frozenset({"neutron", "steelyard"}))
            )
        self.world.provisioning_in_maintenance = self.random.random() < 0.7
        self.maintenance_ends = self.random.random() < 0.5
        """Whether after the storm whoever holds a node in maintenance ends it, or has forgotten it."""
        self.world.power_gate = self._gate
        self.world.segment_gate = self._segment
        self.world.flip_gate = self.gates.flip
        self.world.network_gate = self.gates.network
        self.begin_server()

    @property
    def alone(self) -> bool:
        """Whether each node in transition has a network to itself."""
        return bool(self.settings.segments) and any(
            "steelyard" in each.network_interfaces for each in self.world.drivers
        )

    # Time and words

    def now(self) -> datetime:
        """The world's time; no two readings are equal."""
        self._ticks += 1
        return self.world.now + timedelta(microseconds=self._ticks)

    def tell(self, line: str) -> None:
        self.story.append(f"{(self.world.now - self._start_time).total_seconds():6.0f} s  {line}")

    def fail(self, what: str) -> None:
        raise Violation(f"{what}\n\n" + "\n".join(self.story))

    # The people and their things

    def _people(self) -> None:
        world = self.world
        self.tenants = []
        for number, name in enumerate(TENANTS):
            for part in (1, 2):
                world.add_network(f"{name}-{part}", project=name, cidr=f"10.{10 * number + part}.0.0/24")
            self.tenants.append(Tenant(name, world.token(project=name), (f"{name}-1", f"{name}-2")))
        self.admin_token = world.token(project="admin", roles={"admin"}, user="ada")
        self.outsider_token = world.token(project="admin", roles={"admin"}, user="outsider")
        self.outside: FakeCloud = self.clouds.on_behalf_of(self.outsider_token)
        """An administrator with stock clients."""
        world.images["image-1"] = Image("image-1", "debian", "active", 1, "raw", None, "public", None, None)
        world.images["image-2"] = Image("image-2", "fedora", "active", 1, "raw", None, "public", None, None)
        self.clouds.own.flavors.create(FlavorSpec("metal", CLASS))
        world.fabric.add_network(BMC_NETWORK, world.service_project, vlans=BMC_VLANS)
        for number in range(1, MACHINES + 1):
            address = ipaddress.ip_address(f"10.200.0.{number}")
            machine = world.add_hardware(f"https://{address}:{PORT}")
            cable(self, number, machine)
            identity = SystemIdentity(
                path="/redfish/v1/Systems/1", uuid=f"00000000-0000-4000-8000-{number:012}", serial=machine.serial,
                vendor=machine.vendor, model=machine.product, hostname=f"bm-{number}", power_state="off",
                cpus=machine.cpus, memory_mib=machine.memory_mib, macs=tuple(nic.mac for nic in machine.nics),
            )  # fmt: skip
            self.prober.bmcs[address, PORT] = FakeBmc("root", "calvin", (identity,))

    @property
    def admin(self) -> Actor:
        return self.world.identities.holder(self.admin_token, self.world.now)

    def actor(self, tenant: Tenant) -> Actor:
        return self.world.identities.holder(tenant.token, self.world.now)

    def nodes(self) -> list[Node]:
        return sorted(self.world.nodes.values(), key=lambda node: node.name or node.id)

    def name(self, node_id: str | None) -> str:
        node = self.world.nodes.get(node_id or "")
        return (node.name or node.id) if node else f"gone node {(node_id or 'none')[:8]}"

    # The server

    def begin_server(self) -> None:
        """Start it: a fresh process over the same database; what was under way goes on."""
        self.boots += 1
        self.boot_id = f"boot-{self.seed}-{self.boots}"
        self.tasks = Tasks(self.now)
        self.process = Process(self.faults, self.tasks)
        database = FaultyDatabase(f"sqlite:///{self.database}")
        database.process = self.process
        self.store = Store(database, key_file=self.directory / "keys")
        self.process.in_transaction = lambda: database._current.get() is not None
        clouds: Any = FaultyClouds(self.clouds, self.process)
        self.operations = TaskOperations(
            self.store, self.process, boot=self.boot_id, now=self.now, tell=self.tell
        )  # fmt: skip
        self.reconcilers = TaskReconcilers(self.now)
        parts = {
            "clouds": clouds, "store": self.store, "operations": self.operations, "reconcilers": self.reconcilers,
            "switches": SwitchReaders(dict.fromkeys((chassis for _, chassis in SWITCHES), self.reader)),
             "prober": self.prober,
            "observer": Observer(clouds, clock=lambda: (self.now() - self._start_time).total_seconds()),
        }  # fmt: skip
        wanted = inspect.signature(wiring.assemble).parameters
        self.steelyard = wiring.assemble(
            self.settings, **{name: part for name, part in parts.items() if name in wanted}
        )
        for worker in self.steelyard.reconcilers._workers.values():
            self.reconcilers.register(worker.reconciler)
        if self.change is not None:
            self.change(self)
        self.tasks.spawn("take up", self.operations.take_up)

    def _gate(self, node_id: str) -> None:
        """Ironic's conductor asks Steelyard, over REST, whether a node may get power."""
        self._asked(lambda: self.steelyard.isolation.power_gate(node_id))

    def _segment(self, node_id: str, role: str) -> str | None:
        """The same, for the network that the node has to itself."""
        network = self._asked(lambda: self.steelyard.isolation.segment(node_id, Role(role))).network
        return network.id if network is not None else None

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except Killed:
            if self.tasks.current() is not None:
                raise
            self._gate_killed = True
            raise Unavailable("Steelyard cannot be reached") from None

    def set_policy(self, isolation: Any, tenant: Tenant, policy: str) -> Any:
        done = isolation.set_policy(self.admin, tenant.name, PowerOffPolicy(policy))
        if self.powered_off_keeps(done.project_id) is not (policy == "keep"):
            self.fail(f"the policy {policy} of {tenant.name} was answered, and is not in force")
        return done

    def powered_off_keeps(self, project_id: str | None) -> bool:
        """Whether its servers stay on their networks while they are off. Who asked for that and got no answer does
        not know either."""
        return self.store.policies.power_off(project_id) is PowerOffPolicy.KEEP

    def kill_server(self) -> None:
        """SIGKILL, and a start of the same server."""
        self.process.alive = False
        running = self.tasks.kill()
        self.asked.clear()
        self.store.close()
        names = ", ".join(task.name for task in running) or "nothing"
        self.tell(f"  the server is killed (under way: {names}) and started again")
        self.begin_server()

    # Going on

    def ask(self, name: str, call: Callable[[], Any]) -> Task:
        """A request comes in: it runs until it is answered or first waits."""
        task = self.tasks.spawn(name, call)
        self.asked[task.number] = (name, task)
        self._let(task)
        return task

    def reconcile(self, name: str) -> Task:
        """A reconciler's period is over."""
        return self.ask(f"reconciler {name}", lambda: self._reconciled(name))

    def _reconciled(self, name: str) -> str:
        for watcher in self.watchers:
            watcher(f"before {name}", self)
        error = self.reconcilers.run(name)
        for watcher in self.watchers:
            watcher(f"{'failed' if error else 'after'} {name}", self)
        return f"failed: {error.detail}" if error else "done"

    def go_on(self, rounds: int) -> None:
        """Let so many tasks take their turn; where none is ready, a second passes."""
        for _ in range(rounds):
            ready = self.tasks.ready()
            if ready:
                self._let(self.random.choice(ready))
            else:
                self.pass_time(1)
        if self._gate_killed:
            self._gate_killed = False
            self.kill_server()

    def stand_still(self, seconds: float) -> None:
        """Somebody from within the world waits for us: nothing else goes on meanwhile."""
        self.world.now += timedelta(seconds=seconds)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.tick()

    def _let(self, task: Task) -> None:
        self.tasks.go_on(task)
        if not task.ended:
            return
        name = self.asked.pop(task.number, (task.name, task))[0]
        error = task.error
        if isinstance(error, Violation):
            raise error
        if isinstance(error, Killed) and not self.process.alive:
            self.kill_server()
        elif isinstance(error, SteelyardError):
            self.tell(f"  {name}: {type(error).__name__} {error.code}: {error.detail}")
        elif error is not None:
            import traceback

            trace = "".join(traceback.format_exception(error))
            self.fail(f"{name} broke: {type(error).__name__}: {error}\n{trace}")
        elif name.startswith("reconciler") and task.result != "done":
            self.tell(f"  {name} {task.result}")
        else:
            self.answered(name, task.result)

    def answered(self, name: str, result: Any) -> None:
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Operation):
            result = result[1]
        if isinstance(result, Operation):
            self.tell(f"  {name}: operation {result.kind} {result.id[:8]}")

    def close(self) -> None:
        self.process.alive = False
        self.tasks.kill()
        self.store.close()
        self._end.close()

    # The end

    def settle(self, rounds: int = 20_000) -> None:
        """No more faults; everything runs until nothing moves. Says what does not come to rest."""
        self.faults.calm()
        self.reader.calm()
        world = self.world
        world.fabric.calm()
        world.fabric.switches.calm()
        for node_id in list(world.nodes):
            world.release_node(node_id)
            world.find_bmc(node_id)
        world.broken.clear()
        for node in list(world.nodes.values()):
            if self.maintenance_ends and node.maintenance and "quarantine" not in node.notes:
                world.nodes[node.id] = replace(node, maintenance=False, maintenance_reason=None, fault=None)
        quiet = still = 0
        for _ in range(rounds):
            ready = self.tasks.ready()
            if ready:
                self._let(ready[0])
                continue
            moved = world.tick()
            still = 0 if moved else still + 1
            if self.tasks.living:
                soonest = min(task.wake_at for task in self.tasks.living.values())
                if not moved and soonest > world.now + timedelta(seconds=60):
                    world.now = soonest  # nothing happens until then
                elif still > STILL:
                    world.now += timedelta(seconds=10)  # they wait in vain; their deadlines come
                quiet = 0
                continue
            quiet = 0 if moved or world.moves or world.fabric.switches.awaits else quiet + 1
            if quiet > 3:
                if not self.store.operations.claimable(self.boot_id, {self.boot_id}):
                    return
                self.ask("take up", self.operations.take_up)
                quiet = 0
        left = ", ".join(task.name for task in self.tasks.living.values())
        self.fail(f"I7: the world does not come to rest: {left or 'nothing runs, but the world moves'}")

    def round_of_reconcilers(self) -> None:
        """Each of them once, and all that follows from it."""
        for name in self.reconcilers.names:
            self.reconcile(name)
            self.settle()

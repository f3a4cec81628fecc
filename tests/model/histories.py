"""Histories as hypothesis draws and shrinks them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from . import inside, outside  # noqa: F401 - the moves
from .disturbing import plan
from .game import CREDENTIALS, PORT, Game
from .moves import MOVES, play
from .truths import Truths

LENGTH = 150
"""Moves of one history."""
AT_A_TIME = 8
"""Histories that hypothesis draws before it begins anew with the next seed."""
Change = Callable[[Game], None]


class Played:
    """How much was played, for the report."""

    def __init__(self) -> None:
        self.histories = 0
        self.moves = 0
        self.faults = 0
        self.kills = 0
        self.flips = 0
        """Changes of networks that conductors asked about."""
        self.refused = 0
        """Those of them that were refused."""
        self.network_faults = 0


def prologue(game: Game, *, reconciled: bool = True) -> None:
    """Servers are found and onboarded but for one, which is left for later; some tenants have one when it begins.

    `reconciled`: every reconciler has run.
    """
    discovery = game.steelyard.discovery
    discovery.discover(game.admin, ["10.200.0.0/29"], CREDENTIALS, port=PORT)
    game.settle()
    candidates = sorted(game.store.candidates.all(), key=lambda each: each.name)
    discovery.onboard(game.admin, [each.id for each in candidates[:3]], resource_class="bm.small")
    game.settle()
    for tenant in game.random.sample(game.tenants, game.random.choice((0, 1, 1, 2))):
        game.steelyard.lifecycle.create(
            game.actor(tenant), tenant.token, f"{tenant.name}-first", flavor="metal", image="debian",
            networks=[tenant.networks[0]],
        )  # fmt: skip
        game.settle()
    for name in game.reconcilers.names if reconciled else ():
        game.reconcile(name)
        game.settle()


def network_faults(game: Game) -> None:
    """In every history something goes wrong in the controller or a switch, whatever hypothesis draws."""
    for _ in range(game.random.choice((1, 1, 2))):
        game.tell(f"  network: {plan(game, game.random, longest=30)}")


def machine(seed: int, template: Path, played: Played, change: Change | None) -> type[RuleBasedStateMachine]:
    """A state machine with a rule for every move."""

    class History(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self._directory = tempfile.TemporaryDirectory(prefix="model-")
            self.game = Game(seed, Path(self._directory.name), template, change=change)
            self.truths = Truths(self.game)

        @initialize()
        def prologue(self) -> None:
            prologue(self.game)
            self.truths.check()
            network_faults(self.game)

        def teardown(self) -> None:
            played.histories += 1
            played.moves += self.game.moves
            played.faults += self.game.faults.struck
            played.kills += self.game.boots - 1
            played.flips += self.game.gates.asked
            played.refused += self.game.gates.refused
            played.network_faults += self.game.world.fabric.went_wrong
            try:
                if self.game.moves:
                    self.truths.check_rest()
            finally:
                self.game.close()
                self._directory.cleanup()

    for name, known in MOVES.items():
        for copy in range(known.weight):

            def do(self: Any, number: int, name: str = name) -> None:
                play(self.game, name, number)
                self.truths.check()

            do.__name__ = f"{name}_{copy}" if copy else name
            setattr(History, do.__name__, rule(number=st.integers(0, 9999))(do))
    History.__name__ = History.__qualname__ = "History"
    return History


def run(
    seed: int, template: Path, *, steps: int, change: Change | None = None, shrink: bool = False, length: int = LENGTH
) -> Played:
    """Play so many moves. Raises `Violation` with the history of the first that breaks an invariant, `shrink`: made as
    short as five minutes allow."""
    played = Played()
    phases = [hypothesis.Phase.generate, hypothesis.Phase.shrink] if shrink else [hypothesis.Phase.generate]
    settings = hypothesis.settings(
        max_examples=AT_A_TIME,
        stateful_step_count=length + 1,  # the prologue is one
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    stretch = 0
    while played.moves < steps:
        drawn = hypothesis.seed(seed * 10_000 + stretch)(machine(seed, template, played, change))
        run_state_machine_as_test(drawn, settings=settings)
        stretch += 1
    return played

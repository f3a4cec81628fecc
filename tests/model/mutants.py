"""Deliberately broken variants of the server: each breaks one promise, and the histories must find it out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from steelyard.isolation import checking, flips, model, proof, refusals, verifying
from steelyard.isolation.refusal import note_mark
from steelyard.lifecycle import guard, guarding, quarantine
from steelyard.operations.reconciling import Report
from steelyard.store import events

from .fabric import BMC_NETWORK
from .game import Game


@dataclass(frozen=True)
class Variant:
    """One broken promise."""

    name: str
    breaks: str
    """The invariant that does not hold then."""
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    change: Callable[[Game], None] | None = None
    """Done to every start of the server."""
    seed: int = 8
    """Of histories that come to it soon."""


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _looks_at_nothing(*_: Any) -> Report:
    return Report(seen=0, changed=0)


_decide = guard.decide


def _trusting(case: guard.Case, *policy: Any) -> guard.Decision:
    return _decide(replace(case, verdict=replace(case.verdict, proven=True)), *policy)


def _only_marked(self: quarantine.Quarantine, node: Any, *_: Any, **__: Any) -> Any:
    note_mark(self._store, node)
    return node


def _not_cleaned(game: Game) -> None:
    """Whenever Steelyard makes a node available, it first tells Ironic not to clean."""
    provisioning = game.process.ports["provisioning"]
    request = provisioning.request

    def without_cleaning(node_id: str, verb: str, **more: Any) -> None:
        if verb in {"provide", "deleted"}:
            game.clouds.own.nodes.update(node_id, {"/automated_clean": False})
        request(node_id, verb, **more)

    provisioning.request = without_cleaning


def _nobody_takes_up(game: Game) -> None:
    if game.boots > 1:
        game.operations.take_up = lambda: 0  # type: ignore[method-assign]


def _power_at_once() -> AbstractContextManager[Any]:
    """Neither a request nor a conductor that asks waits for the NICs to be back."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(flips.Flips, "before_power_on", _nothing))
    stack.enter_context(mock.patch.object(flips.Flips, "gate", _nothing))
    return stack


def _says_yes(*_: Any, **__: Any) -> verifying.Verified:
    return verifying.Verified((), 0.0)


def _unlooked(*_: Any, **__: Any) -> tuple[None, None]:
    """The controller's word is enough: no switch says anything."""
    return None, None


def _nothing_wrong(*_: Any, **__: Any) -> list[str]:
    return []


def _among_bmcs(game: Game) -> None:
    """Somebody has the wrong network for quarantine in the settings."""
    for each in (game.steelyard.isolation.flips, game.steelyard.isolation._verifier):
        each._roles = {**each._roles, model.Role.QUARANTINE: BMC_NETWORK}


_append = events.Events.append


def _forgets_operations(self: events.Events, subject: str, kind: str, **more: Any) -> None:
    if not kind.startswith(("operation.", "server.", "node.")):
        _append(self, subject, kind, **more)


VARIANTS = (
    Variant("the guard is off", "I2", lambda: mock.patch.object(guarding.Guard, "run", _looks_at_nothing), seed=11),
    Variant(
        "the guard takes everything for clean", "I2", lambda: mock.patch.object(guarding, "decide", _trusting), seed=15
    ),
    Variant(
        "quarantine holds nothing back", "I2", lambda: mock.patch.object(quarantine.Quarantine, "put", _only_marked),
        seed=15,
    ),
    Variant("nodes are offered without a clean", "I2", change=_not_cleaned, seed=12),
    Variant(
        "a flip binds before it unbinds", "I3", lambda: mock.patch.object(proof.Proof, "unbind", _nothing)
    ),
    Variant(
        "powered-off servers stay where they are", "I3",
        lambda: mock.patch.object(flips.Flips, "to_quarantine", _nothing),
    ),
    Variant("power before networks", "I3", _power_at_once),
    Variant(
        "the flip gate says yes to everything", "I3",
        lambda: mock.patch.object(verifying.Verifier, "verify", _says_yes),
    ),
    Variant("the controller's word is enough", "I3", lambda: mock.patch.object(verifying, "_said", _unlooked)),
    Variant(
        "nobody puts refused nodes into quarantine", "I3",
        lambda: mock.patch.object(refusals.Refusals, "run", _looks_at_nothing),
    ),
    Variant(
        "NICs count as moved when they were written", "I3",
        lambda: mock.patch.object(proof.Proof, "prove", _nothing_wrong),
    ),
    Variant(
        "nobody compares the fleet", "I3",
        lambda: mock.patch.object(checking.FleetCheck, "reconcile", _looks_at_nothing),
        seed=13,
    ),
    Variant("quarantine is among the BMCs", "I4", change=_among_bmcs),
    Variant("nothing is written down", "I6", lambda: mock.patch.object(events.Events, "append", _forgets_operations)),
    Variant("what was under way at a kill is forgotten", "I7", change=_nobody_takes_up),
)  # fmt: skip

"""What may happen next in a history. Each move draws its particulars from the random numbers that it is given, looks at
the present, and says in words what it did, or None if there was nothing to do it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .game import Game

Move = Callable[[Game, Random], str | None]


@dataclass(frozen=True)
class Known:
    name: str
    do: Move
    weight: int
    """How often it comes up, in comparison with the others, in histories that are drawn by weight."""


MOVES: dict[str, Known] = {}


def move(weight: int = 1) -> Callable[[Move], Move]:
    """Make a function a move."""

    def known(do: Move) -> Move:
        name = getattr(do, "__name__", "move")
        MOVES[name] = Known(name, do, weight)
        return do

    return known


def play(game: Game, name: str, number: int) -> None:
    """One move, and a little time for what goes on in the server."""
    random = Random(number)
    game.moves += 1
    place = len(game.story)
    words = MOVES[name].do(game, random)
    if words is None:
        words = "nothing to do it to"
    said = game.story[place:]
    del game.story[place:]
    game.tell(f"{game.moves:4} {name.replace('_', ' ')}: {words}")
    game.story.extend(said)
    game.go_on(random.choice((0, 1, 2, 4, 8)))

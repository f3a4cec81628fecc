"""Random histories of two tenants, an administrator, the outside world, faults and kills: the invariants always hold.

At least 10,000 moves in a run of CI, split over parts so that workers share them. The run prints its seed and what each
part played; the same histories again, on any machine:

    pytest tests/model/test_random_histories.py --model-seed SEED [--model-steps 100000]

A history that breaks an invariant is printed in words: every move, what the server answered, what failed. With
`--model-shrink` it is first made as short as five minutes allow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .histories import run

PARTS = 8
"""How many tests share the moves."""


@pytest.mark.parametrize("part", range(PARTS))
def test_the_invariants_hold_in_every_history(
    part: int, model_seed: int, model_steps: int, model_shrink: bool, template: Path, tell: Callable[[str], None]
) -> None:
    seed = model_seed * PARTS + part
    played = run(seed, template, steps=-(-model_steps // PARTS), shrink=model_shrink)
    tell(
        f"part {part}: {played.histories} histories, {played.moves} moves, "
        f"{played.faults} faults struck, {played.kills} kills, {played.network_faults} faults in controller and "
        f"switches, {played.flips} changes of networks asked about, {played.refused} refused"
    )
    assert played.moves >= model_steps // PARTS

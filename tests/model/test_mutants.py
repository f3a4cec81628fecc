"""The histories can fail: every deliberately broken variant is found out within the budget of a run in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from .game import Violation
from .histories import run
from .mutants import VARIANTS, Variant

STRETCHES, MOVES = 5, 2000
"""A variant must be found out in so many stretches of so many moves, which are as many moves as a run in CI makes."""


def violation(variant: Variant, template: Path) -> str | None:
    """What finds the variant out; each stretch has a seed of its own. A stretch may end with another promise that is
    broken in consequence; the one that is named must be found broken in one of them."""
    found = None
    with variant.patched():
        for stretch in range(STRETCHES):
            try:
                run(variant.seed + stretch, template, steps=MOVES, change=variant.change)
            except Violation as violated:
                found = str(violated).split("\n", 1)[0]
                if variant.breaks in found:
                    break
    return found


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_broken_variant_is_found_out(variant: Variant, template: Path) -> None:
    found = violation(variant, template)
    assert found is not None
    assert variant.breaks in found

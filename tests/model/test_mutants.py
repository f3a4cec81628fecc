"""The histories can fail: every deliberately broken variant is found out within the budget of a run in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from .game import Violation
from .histories import run
from .mutants import VARIANTS, Variant

BUDGET = 2000
"""Moves in which a variant must be found out; a run in CI makes five times as many."""


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_broken_variant_is_found_out(variant: Variant, template: Path) -> None:
    with variant.patched(), pytest.raises(Violation) as found:
        run(variant.seed, template, steps=BUDGET, change=variant.change)
    first = str(found.value).split("\n", 1)[0]
    assert variant.breaks in first, first

"""When a service that has died is started again."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
QUICK_DEATH = 20.0
"""A service that lived for less than this many seconds died quickly."""
PATIENCE = 5
"""After so many quick deaths in a row we say that it is failing; it is still tried, at the longest delay."""


@dataclass(frozen=True)
class Restarts:
    """The record of one service's deaths."""

    total: int = 0
    quick: int = 0
    """Quick deaths in a row."""

    def after_death(self, lived_seconds: float) -> Restarts:
        """The record after one more death."""
        return replace(self, total=self.total + 1, quick=self.quick + 1 if lived_seconds < QUICK_DEATH else 1)

    @property
    def is_failing(self) -> bool:
        """Whether it is time to tell the user."""
        return self.quick >= PATIENCE

    @property
    def delay_seconds(self) -> float:
        """How long to wait before the next start."""
        if self.is_failing:
            return LONGEST_DELAY
        return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** max(0, self.quick - 1)))

"""How the steps of operations bear with the services below: what passes by itself is waited for, visibly."""

from __future__ import annotations

from steelyard.errors import Conflict, UpstreamError
from steelyard.operations.model import Outcome, Retry, Step, StepContext, StepFunction

POLL = 1.0
"""Seconds between two looks at a node or server that works."""
PAUSE = 3.0
"""Seconds after a service failed within."""


def patient(do: StepFunction) -> StepFunction:
    """A step that waits, up to its deadline, where another try may help.

    Ironic locks a node for every power sync and answers `Conflict` then; a refusal for a reason of its own (`Refused`,
    `Duplicate`) is not waited for. A service that failed within (HTTP 5xx: `UpstreamError`) usually does not twice,
    and all our steps may be repeated.
    """

    def patiently(ctx: StepContext) -> Outcome:
        try:
            return do(ctx)
        except Conflict as error:
            if type(error) is not Conflict:
                raise
            return Retry(POLL, f"the change is accepted: {error.detail}")
        except UpstreamError as error:
            return Retry(PAUSE, f"a service works again: {error.detail}")

    return patiently


def patient_step(name: str, do: StepFunction, *, deadline: float = 60.0, next: str | None = None) -> Step:
    """A `Step` that is patient."""
    return Step(name, patient(do), deadline=deadline, next=next)

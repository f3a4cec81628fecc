"""How the steps of operations bear with the services below: what passes by itself is waited for, visibly."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from steelyard.errors import Conflict, SteelyardError, Unavailable, UpstreamError
from steelyard.operations.model import Failed, Outcome, Retry, Step, StepContext, StepFunction

log = structlog.get_logger(__name__)

POLL = 1.0
"""Seconds between two looks at a node or server that works."""
PAUSE = 3.0
"""Seconds after a service failed within."""


REFUSED_WITHIN = "The cloud could not do it; the administrators find the reason in the server's log, by the operation."
"""Why a step of a tenant's failed for which a service gave a reason of its own."""

Tell = Callable[[str, SteelyardError], str]
"""Makes the words that are waited with, of what is waited for and why it is not so yet."""


def in_full(what: str, error: SteelyardError) -> str:
    """For administrators."""
    return f"{what}: {error.detail}"


def for_tenants(what: str, error: SteelyardError) -> str:  # noqa: ARG001
    """What the services say names nodes and switches, and is left out."""
    return what


def patient(do: StepFunction, *, tell: Tell = in_full) -> StepFunction:
    """A step that waits, up to its deadline, where another try may help.

    Ironic locks a node for every power sync and answers `Conflict` then; a refusal for a reason of its own (`Refused`,
    `Duplicate`) is not waited for. A service that failed within (HTTP 5xx: `UpstreamError`) usually does not twice,
    and all our steps may be repeated. `tell` for tenants: what is raised goes to the log, as it may name nodes.
    """

    def patiently(ctx: StepContext) -> Outcome:
        try:
            return do(ctx)
        except SteelyardError as error:
            if type(error) is Conflict:
                return Retry(POLL, tell("the change is accepted", error))
            if isinstance(error, UpstreamError):
                return Retry(PAUSE, tell("a service works again", error))
            if tell is not for_tenants or isinstance(error, Unavailable):
                raise
            log.warning(
                "a step of a tenant's failed", operation_id=ctx.operation_id, kind=ctx.kind, step=ctx.step,
                code=error.code, detail=error.detail, internal=error.internal,
            )  # fmt: skip
            return Failed(REFUSED_WITHIN, code=error.code)

    return patiently


def patient_step(
    name: str, do: StepFunction, *, deadline: float = 60.0, next: str | None = None, tell: Tell = in_full
) -> Step:
    """A `Step` that is patient."""
    return Step(name, patient(do, tell=tell), deadline=deadline, next=next)

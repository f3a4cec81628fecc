"""The plan file: what will be done, to what, as it was seen when the plan was made. Pure.

A plan is data, read as strictly as a request. It cannot ask for more than drift itself would: whoever applies one looks
again, and a step that no system gives a reason for now is refused, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from steelyard.attention.model import Severity
from steelyard.drift.model import Action
from steelyard.errors import Invalid

FORMAT: Final = "steelyard-drift-plan"
VERSION: Final = 1
MOST: Final = 300
"""Steps of one plan, so that it fits into a request."""
_NEXT: Final = "steelyard drift plan -o FILE"

Text = Annotated[str, Field(max_length=2000)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PlanStep(_Strict):
    """One action and its reason."""

    number: Annotated[int, Field(ge=1, le=MOST)]
    kind: Annotated[str, Field(max_length=128)]
    subject: Annotated[str, Field(max_length=255)]
    name: Annotated[str, Field(max_length=255)]
    severity: Annotated[Severity, Field(strict=False)]
    reason: Text
    action: Action
    observed: Annotated[dict[str, Any], Field(description="What the action changes, and what it depends on, as seen.")]
    fingerprint: Annotated[Digest, Field(description="Of `observed`.")]


class Plan(_Strict):
    """A whole plan."""

    format: Literal["steelyard-drift-plan"]
    version: Literal[1]
    made_at: Text
    made_by: Annotated[str, Field(max_length=255)]
    steps: Annotated[list[PlanStep], Field(max_length=MOST)]
    left_out: Annotated[int, Field(ge=0, description="Findings that did not fit, or that only a person can mend.")]
    digest: Annotated[Digest, Field(description="Of everything else in it.")]


def canonical(document: object) -> str:
    """`sha256:…` of a JSON document, however it is spaced and ordered."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def fingerprint(observed: Mapping[str, Any]) -> str:
    return canonical(dict(observed))


def seal(*, made_at: str, made_by: str, steps: list[PlanStep], left_out: int) -> Plan:
    """A plan with its digest."""
    body = {
        "format": FORMAT, "version": VERSION, "made_at": made_at, "made_by": made_by,
        "steps": [step.model_dump(mode="json") for step in steps], "left_out": left_out,
    }  # fmt: skip
    return Plan.model_validate({**body, "digest": canonical(body)})


def check(plan: Plan) -> None:
    """Raises `Invalid` (`plan_empty`, `plan_tampered`) for one that is not as it was made."""
    if not plan.steps:
        raise Invalid("The plan has no steps: there is nothing to do.", code="plan_empty", next="steelyard drift")
    if canonical(plan.model_dump(mode="json", exclude={"digest"})) != plan.digest:
        raise Invalid(
            "The plan was changed after it was made: its digest is another.", code="plan_tampered", next=_NEXT
        )
    for number, step in enumerate(plan.steps, start=1):
        if step.number != number or fingerprint(step.observed) != step.fingerprint:
            raise Invalid(f"Step {number} of the plan was changed after it was made.", code="plan_tampered", next=_NEXT)

"""The bases of everything that crosses the REST API, and the shape of a problem."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A request body. Unknown fields are refused, so that a typing error never passes for a default."""

    model_config = ConfigDict(extra="forbid", str_max_length=1 << 20)


class View(BaseModel):
    """Part of an answer. `View.model_validate(value)` reads the fields from a frozen dataclass of the same names."""

    model_config = ConfigDict(from_attributes=True)


class Problem(BaseModel):
    """Every error's body (RFC 9457, `application/problem+json`)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    code: str = Field(description="A stable word for programs.", examples=["node_deployed"])
    detail: str = Field(description="What is wrong, for people.")
    next: str | None = Field(default=None, description="The next safe command.")
    request_id: str = Field(examples=["req-8a7f6f0e-5d0f-4c52-9d3f-0d6a4b3f8c11"])
    errors: list[FieldError] | None = Field(default=None, description="What is wrong with which field.")


class FieldError(BaseModel):
    field: str = Field(examples=["body.targets.0"])
    message: str


Problem.model_rebuild()

"""What is peculiar to a type: called around the common work, inside of its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steelyard.embedded.contrail.database import Thing

if TYPE_CHECKING:
    from steelyard.embedded.contrail.resources import Resources


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: the body of a create or update as it came, and the single keys that are set or deleted."""

    body: Mapping[str, Any] = field(default_factory=dict)
    updates: Sequence[Mapping[str, Any]] = ()


class Rules:
    """No rule at all: the base of the others. Each method may change what it is given, and raises ApiError."""

    def before_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        """`thing` is not stored yet."""

    def after_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        """`thing` is stored."""

    def before_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        """`after` is not stored yet."""

    def after_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        """`after` is stored."""

    def before_delete(self, resources: Resources, thing: Thing) -> None:
        """`thing` is there yet, and nothing holds it any more."""

    def after_delete(self, resources: Resources, thing: Thing) -> None:
        """`thing` is gone."""

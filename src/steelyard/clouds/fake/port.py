"""What all fake ports share: the credentials they look with, the lock, the injected failures and the count of calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

from steelyard.clouds.fake.world import FakeWorld
from steelyard.errors import Forbidden
from steelyard.nouns import Actor

P = ParamSpec("P")
R = TypeVar("R")


class FakePort:
    """A port on the world, seen with somebody's credentials."""

    name: ClassVar[str]

    def __init__(self, world: FakeWorld, who: Callable[[], Actor]):
        self.world = world
        self._who = who

    @property
    def actor(self) -> Actor:
        """Whoever asks. Raises `Unauthenticated` if the token is not, or no longer, valid."""
        return self._who()

    def sees(self, project_id: str | None) -> bool:
        """Whether a thing of this project is visible: administrators see all, tenants their own."""
        actor = self.actor
        return actor.is_admin or (actor.project_id is not None and actor.project_id == project_id)

    def require_admin(self, action: str) -> None:
        if not self.actor.is_admin:
            raise Forbidden(f"{action} needs an administrator")

    def require_writer(self, action: str) -> None:
        if not self.actor.may_write:
            raise Forbidden(f"{action} needs the member role")


Port = TypeVar("Port", bound=FakePort)


def call(method: Callable[Concatenate[Port, P], R]) -> Callable[Concatenate[Port, P], R]:
    """A port's public method: counted, under the world's lock, after the token is checked and a failure, if set."""
    reads = method.__name__ in {"all", "get", "free", "subnets"}

    @functools.wraps(method)
    def wrapper(self: Port, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.world.lock:
            self.world.enter(f"{self.name}.{method.__name__}", reads=reads)
            before = self.world.truth.caller  # of a call that waits for what this one is part of
            self.world.truth.caller = self.actor.user_name
            try:
                return method(self, *args, **kwargs)
            finally:
                self.world.truth.caller = before

    return wrapper

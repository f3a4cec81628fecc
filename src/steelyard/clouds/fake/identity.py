"""The fake `Identity`."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.clouds.fake.port import FakePort, call
from steelyard.nouns import Actor


class FakeIdentity(FakePort):
    name = "identity"

    @call
    def validate(self, token: str) -> Actor:
        return self.world.identities.holder(token, self.world.now)

    @call
    def project_names(self) -> Mapping[str, str]:
        return {id: name for name, id in self.world.identities.projects.items()}

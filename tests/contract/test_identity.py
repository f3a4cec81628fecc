"""The contract of `Identity`, and of acting on somebody's behalf."""

from __future__ import annotations

import pytest

from steelyard.clouds.ports import Identity
from steelyard.errors import Unauthenticated

from .stages import Stage


def test_a_token_says_who_holds_it(stage: Stage) -> None:
    actor = stage.clouds.identity.validate(stage.token)
    assert actor.project_id == stage.project_id
    assert "member" in actor.roles
    assert actor.may_write
    assert not actor.is_admin
    assert not actor.system
    assert stage.token not in repr(actor)


def test_a_reader_may_not_write(stage: Stage) -> None:
    actor = stage.clouds.identity.validate(stage.reader_token)
    assert actor.roles == {"reader"}
    assert not actor.may_write


def test_an_administrator_is_one(stage: Stage) -> None:
    assert stage.clouds.identity.validate(stage.admin_token).is_admin


@pytest.mark.parametrize(
    "bad", ["", "nonsense", "gAAAAAB" + "x" * 170, "with space", "line\nbreak", "ümlaut", "x" * 100_000]
)
def test_what_is_no_token_is_refused(stage: Stage, bad: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        stage.clouds.identity.validate(bad)
    assert caught.value.next
    assert not bad or bad not in caught.value.detail


def test_nothing_is_done_on_behalf_of_a_bad_token(stage: Stage) -> None:
    with pytest.raises(Unauthenticated):
        stage.clouds.on_behalf_of("gAAAAAB" + "y" * 170).compute.all()


def test_projects_have_names(stage: Stage) -> None:
    names = stage.clouds.identity.project_names()
    assert stage.project_id in names
    assert "service" in names.values()


def test_it_is_an_identity(stage: Stage) -> None:
    assert isinstance(stage.clouds.identity, Identity)

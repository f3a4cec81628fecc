from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import Conflict, Invalid, NotFound
from steelyard.naming import check_name, pick, shown


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=255))
def test_what_can_be_seen_is_a_name(name: str) -> None:
    assert check_name("image", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        " a",
        "a ",
        "a" * 256,
        "a\nb",
        "a\x00",
        "\x1b[31mred",
        "a\u200bb",
        "\u202egnp.exe",
        "\ud800",
        "a\u2028b",
    ],
)
def test_what_cannot_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_name("image", name)
    assert refusal.value.code == "invalid_name"
    assert refusal.value.detail.isprintable()


def test_a_thing_is_found_by_id_before_name() -> None:
    things = [("1", "one"), ("2", "1"), ("3", "twin"), ("4", "twin")]

    def find(reference: str) -> tuple[str, str]:
        return pick("image", reference, things, id=lambda t: t[0], name=lambda t: t[1], next="list")

    assert find("1") == ("1", "one")
    assert find("one") == ("1", "one")
    with pytest.raises(Conflict, match="3, 4") as several:
        find("twin")
    assert several.value.code == "ambiguous"
    with pytest.raises(NotFound) as none:
        find("x" * 500 + "\n")
    assert none.value.next == "list"
    assert len(none.value.detail) < 150


@given(st.text())
def test_what_is_shown_is_one_short_line(text: str) -> None:
    assert len(shown(text)) <= 80
    assert shown(text).isprintable()

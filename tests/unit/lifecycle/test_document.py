"""docs/lifecycle.md holds what the tables of the code say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steelyard.lifecycle.document import PARTS, diagram, made, main
from steelyard.lifecycle.model import AUTOMATIC, RULES, Action, Phase

DOCUMENT = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_document_is_as_it_would_be_made_now() -> None:
    assert main([str(DOCUMENT), "--check"]) == 0, "python -m steelyard.lifecycle.document docs/lifecycle.md"


def test_every_part_is_in_it_once() -> None:
    assert sorted(re.findall(r"<!-- made: (\w+) -->", DOCUMENT.read_text())) == sorted(PARTS)


def test_the_diagram_has_every_way_of_the_tables() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ", diagram(), re.MULTILINE))
    ways = {(before, after) for before, after, _ in AUTOMATIC} | {
        (before, after)
        for action, rule in RULES.items()
        for before, after in rule.leads.items()
        if before is not after and action is not Action.FORCED_DELETE
    }
    assert drawn == {(str(a).replace("-", "_"), str(b).replace("-", "_")) for a, b in ways}
    assert {name for way in drawn for name in way} == {each.replace("-", "_") for each in Phase}


def test_what_is_changed_by_hand_is_noticed_and_made_again(tmp_path: Path) -> None:
    copy = tmp_path / "lifecycle.md"
    text = DOCUMENT.read_text()
    copy.write_text(text.replace("| `available` |", "| `offered` |", 1))
    assert main([str(copy), "--check"]) == 1
    assert main([str(copy)]) == 0
    assert copy.read_text() == text


def test_a_part_that_nobody_makes() -> None:
    with pytest.raises(ValueError, match="poem"):
        made("<!-- made: poem -->\n<!-- end -->")


def test_what_people_wrote_stays() -> None:
    text = DOCUMENT.read_text()
    assert made(text) == text
    assert "## Removal by force" in text.replace("### ", "## ")

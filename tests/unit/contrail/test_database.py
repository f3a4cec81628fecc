"""Objects in memory and in their file: a transaction happens as a whole or not at all, in every index."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.contrail.database import Database, Ref, Thing


class _Broken(Exception):
    pass


def _picture(database: Database) -> dict[str, Any]:
    """Everything that can be asked."""
    uuids = [thing.uuid for type in ("a", "b") for thing in database.of_type(type)]
    return {
        "things": {
            uuid: replace(database[uuid], refs={field: refs for field, refs in database[uuid].refs.items() if refs})
            for uuid in uuids
        },
        "order": uuids,
        "names": {uuid: database.find(database[uuid].type, database[uuid].fq_name) is database[uuid] for uuid in uuids},
        "children": {uuid: {child.uuid for child in database.children(uuid)} for uuid in uuids},
        "referrers": {uuid: {other.uuid for other in database.referrers(uuid)} for uuid in uuids},
        "addresses": {network: dict(database.addresses(network)) for network in ("n1", "n2")},
    }


def _change(database: Database, chance: random.Random, number: int) -> None:
    present = [thing for type in ("a", "b") for thing in database.of_type(type)]
    match chance.choice(("add", "add", "replace", "remove", "take", "free")):
        case "add":
            parent = chance.choice(present) if present and chance.random() < 0.5 else None
            refs = tuple(Ref(each.uuid) for each in chance.sample(present, min(2, len(present))))
            database.add(
                Thing(
                    chance.choice("ab"), f"u{number}", ("x", f"n{number}"), parent.type if parent else None,
                    parent.uuid if parent else None, {"p": number}, {"refs": refs},
                )
            )  # fmt: skip
        case "replace" if present:
            after = chance.choice(present).copy()
            after.properties["p"] = number
            after.refs["refs"] = tuple(Ref(each.uuid) for each in chance.sample(present, min(2, len(present))))
            database.replace(after)
        case "remove" if present:
            thing = chance.choice(present)
            if not list(database.children(thing.uuid)) and not list(database.referrers(thing.uuid)):
                database.remove(thing.uuid)
        case "take":
            database.take_address(chance.choice(("n1", "n2")), f"10.0.0.{number % 7}", f"u{number}")
        case "free":
            database.free_address(chance.choice(("n1", "n2")), f"10.0.0.{number % 7}")
        case _:
            pass


@pytest.mark.parametrize("seed", range(10))
def test_a_transaction_is_whole_or_not_at_all_and_is_in_the_file(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "state.sqlite"
    database = Database(path)
    number = 0
    for round_ in range(40):
        before, fails = _picture(database), chance.random() < 0.5
        try:
            with database.transaction():
                for _ in range(chance.randrange(1, 6)):
                    number += 1
                    _change(database, chance, number)
                if fails:
                    raise _Broken
        except _Broken:
            assert _picture(database) == before
        if round_ % 8 == 7:
            expected = _picture(database)
            database.close()
            database = Database(path)
            assert _picture(database) == expected
    assert number > 60
    database.close()


def test_a_commit_is_told_and_a_failure_is_not(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite")
    told: list[int] = []
    database.on_commit = lambda: told.append(1)
    with database.transaction():
        database.add(Thing("a", "u1", ("x",)))
    with pytest.raises(_Broken), database.transaction():
        database.add(Thing("a", "u2", ("y",)))
        raise _Broken
    with database.transaction():
        pass
    assert told == [1]
    database.close()


def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    Database(tmp_path / "inside" / "state.sqlite").close()
    assert (tmp_path / "inside" / "state.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "inside").stat().st_mode & 0o777 == 0o700

"""What is known of cables outlives candidates and nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from steelyard.nouns import SwitchLink
from steelyard.store import Store
from steelyard.store.database import Database

LEAF1, LEAF2 = "00:00:00:00:00:01", "00:00:00:00:00:02"
MAC_A, MAC_B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"


def test_what_was_learned_is_known_by_mac(store: Store) -> None:
    one = SwitchLink(LEAF1, "Ethernet1", "leaf1")
    store.cables.learn({MAC_A.upper(): one})
    assert store.cables.of([MAC_A, MAC_B]) == {MAC_A: one}
    assert store.cables.of([]) == {}


def test_the_newest_word_counts(store: Store) -> None:
    store.cables.learn({MAC_A: SwitchLink(LEAF1, "Ethernet1")})
    moved = SwitchLink(LEAF2, "Ethernet1")
    store.cables.learn({MAC_A: moved})
    assert store.cables.of([MAC_A]) == {MAC_A: moved}


def test_a_switch_port_has_one_cable(store: Store) -> None:
    link = SwitchLink(LEAF1, "Ethernet1")
    store.cables.learn({MAC_A: link})
    store.cables.learn({MAC_B: link})
    assert store.cables.of([MAC_A, MAC_B]) == {MAC_B: link}


def test_two_cables_that_were_swapped(store: Store) -> None:
    one, two = SwitchLink(LEAF1, "Ethernet1"), SwitchLink(LEAF1, "Ethernet2")
    store.cables.learn({MAC_A: one, MAC_B: two})
    store.cables.learn({MAC_A: two, MAC_B: one})
    assert store.cables.of([MAC_A, MAC_B]) == {MAC_A: two, MAC_B: one}


def test_the_migration_takes_over_what_candidates_know(
    url: str, key_file: Path, database_of: Callable[[str], Database]
) -> None:
    """As a database of the first release is brought up to date."""
    database = database_of("0001")
    document = json.dumps({"links": {MAC_A: {"switch_id": LEAF1, "port_id": "Ethernet1", "switch_name": "leaf1"}}})
    with database.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO candidates (id, address, port, system_path, state, first_seen_at, last_seen_at, document) "
                "VALUES ('c', '192.0.2.1', 443, '/', 'found', '2026-01-01', '2026-01-01', :document)"
            ),
            {"document": document},
        )
    database.close()
    store = Store.open(url, key_file=key_file)
    assert store.cables.of([MAC_A]) == {MAC_A: SwitchLink(LEAF1, "Ethernet1", "leaf1")}
    store.close()

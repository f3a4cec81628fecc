"""Steelyard's own database: what OpenStack has no place for. SQL lives here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard.discovery.model import Candidate, CandidateState
from steelyard.store.cables import Cables
from steelyard.store.candidates import Candidates
from steelyard.store.database import Database
from steelyard.store.events import Event, Events
from steelyard.store.operations import OperationRecords
from steelyard.store.secrets import Secrets, load_keys

__all__ = ["Cables", "Candidate", "CandidateState", "Candidates", "Event", "Events", "Secrets", "Store"]


class Store:
    """All repositories over one database."""

    def __init__(self, database: Database, *, key_file: Path) -> None:
        self.database = database
        self.events = Events(database)
        self.candidates = Candidates(database)
        self.cables = Cables(database)
        self.secrets = Secrets(database, load_keys(key_file))
        self.operations = OperationRecords(database, self.events)

    @classmethod
    def open(cls, url: str, *, key_file: Path) -> Store:
        """Connect, bring the schema up to date, and read the keys (made if missing). Raises `Unavailable`."""
        database = Database(url)
        database.migrate()
        return cls(database, key_file=key_file)

    @contextmanager
    def unit_of_work(self) -> Iterator[None]:
        """All that the repositories write inside is committed together at the end, or not at all."""
        with self.database.write():
            yield

    def close(self) -> None:
        self.database.close()

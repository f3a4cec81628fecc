"""Steelyard's own database: what OpenStack has no place for. SQL lives here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard.discovery.model import Candidate, CandidateState
from steelyard.store.acknowledgements import Acknowledgements
from steelyard.store.addresses import Addresses
from steelyard.store.bulk import BatchRecords
from steelyard.store.cables import Cables
from steelyard.store.candidates import Candidates
from steelyard.store.connections import DEFAULT, shares_of
from steelyard.store.database import Database
from steelyard.store.events import Event, Events
from steelyard.store.findings import Findings
from steelyard.store.flips import FlipRecords
from steelyard.store.intents import Intents
from steelyard.store.inventory import Inventory
from steelyard.store.leftovers import Leftovers
from steelyard.store.locks import Locks
from steelyard.store.numbers import Numbers
from steelyard.store.operations import OperationRecords
from steelyard.store.policies import Policies
from steelyard.store.reconcilers import RunRecords
from steelyard.store.secrets import Secrets, load_keys
from steelyard.store.segments import Segments
from steelyard.store.servers import ServerRecords
from steelyard.store.sightings import Sightings
from steelyard.store.tenancies import Tenancies
from steelyard.store.webhooks import Webhooks
from steelyard.store.workload import Workload

__all__ = ["Cables", "Candidate", "CandidateState", "Candidates", "Event", "Events", "Findings", "Secrets", "Store"]


class Store:
    """All repositories over one database."""

    def __init__(self, database: Database, *, key_file: Path) -> None:
        self.database = database
        keys = load_keys(key_file)
        self.secrets = Secrets(database, keys)
        self.events = Events(database, self.secrets)
        self.candidates = Candidates(database)
        self.cables = Cables(database)
        self.webhooks = Webhooks(database)
        self.operations = OperationRecords(database, self.events)
        self.servers = ServerRecords(database)
        self.reconcilers = RunRecords(database, self.servers)
        self.bulk = BatchRecords(database, keys)
        self.locks = Locks(database)
        self.intents = Intents(database)
        self.inventory = Inventory(database)
        self.findings = Findings(database, self.events)
        self.policies = Policies(database)
        self.flips = FlipRecords(database)
        self.segments = Segments(database)
        self.acknowledgements = Acknowledgements(database, self.events)
        self.workload = Workload(database)
        self.numbers = Numbers(database)
        self.tenancies = Tenancies(database)
        self.sightings = Sightings(database)
        self.addresses = Addresses(database)
        self.leftovers = Leftovers(database, self.secrets)

    @classmethod
    def open(cls, url: str, *, key_file: Path, connections: int = DEFAULT) -> Store:
        """Connect, bring the schema up to date, and read the keys (made if missing). Raises `Unavailable`.

        `connections`: how many this server may have open to PostgreSQL in all, the engine of operations included; see
        `store.connections`.
        """
        database = Database(url, connections=shares_of(connections).store)
        database.migrate()
        store = cls(database, key_file=key_file)
        store.events.chain.begin()
        return store

    @contextmanager
    def unit_of_work(self) -> Iterator[None]:
        """All that the repositories write inside is committed together at the end, or not at all."""
        with self.database.write():
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What the repositories read inside takes one connection, and one transaction. Nothing may be written."""
        with self.database.read():
            yield

    def close(self) -> None:
        self.locks.close()
        self.database.close()

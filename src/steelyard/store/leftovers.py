"""Secrets that nothing refers to any more: a crash between keeping one and naming it leaves such."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from steelyard.errors import SteelyardError
from steelyard.lifecycle.leaks import UnnamedSecret
from steelyard.store.database import Database
from steelyard.store.engine_tables import batches
from steelyard.store.secrets import Secrets
from steelyard.store.tables import candidates, event_chain, operations, webhooks
from steelyard.store.tables import secrets as table

WHAT: Final = {
    "password": "BMC credentials", "credentials": "credentials of a sweep", "token": "a token",
    "url": "the address of an image", "secret": "the secret of a webhook",
}  # fmt: skip
"""What a secret is, by a field that it has. The chain of events keeps its keys, also former ones, under `key`."""


class Leftovers:
    """Finds secrets that are in nobody's use."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    def secrets(self, *, before: datetime) -> list[UnnamedSecret]:
        """Those made before that time that no row names. Of their content only the fields' names are looked at."""
        named = sa.union(
            sa.select(candidates.c.secret_id), sa.select(webhooks.c.secret_id), sa.select(batches.c.secret_id),
            sa.select(event_chain.c.key_id),
        )  # fmt: skip
        with self._database.read() as connection:
            used = set(connection.execute(named).scalars())
            ids = connection.execute(sa.select(table.c.id).where(table.c.created_at < before).order_by(table.c.id))
            unnamed = [id for id in ids.scalars() if id not in used]
            if not unnamed:
                return []
            working = sa.select(operations.c.params, operations.c.result).where(operations.c.ended_at.is_(None))
            mentioned = "".join(json.dumps([*row]) for row in connection.execute(working))
        found = [UnnamedSecret(id, self._what(id)) for id in unnamed if id not in mentioned]
        return [secret for secret in found if secret.what]

    def _what(self, secret_id: str) -> str:
        try:
            fields = self._secrets.get(secret_id).keys()
        except SteelyardError:
            return ""  # a key file that is not there makes nothing useless
        if "key" in fields:
            return ""
        return next((what for field, what in WHAT.items() if field in fields), "a secret")

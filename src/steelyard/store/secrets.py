"""Secrets at rest: BMC credentials and the like, encrypted in the database with keys that are not in it.

Encryption is Fernet (AES-128-CBC with HMAC-SHA256; https://github.com/fernet/spec), with several keys at a time: the
first of the key file encrypts, all decrypt. To change keys: put a new first line, restart, `rotate()`, drop the old.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from steelyard.errors import NotFound, Unavailable
from steelyard.store.database import Database
from steelyard.store.tables import secrets as table


def load_keys(path: Path) -> MultiFernet:
    """Read the key file, one key a line, or make it (mode 0600) with one new key.

    Raises `Unavailable` (`secret_keys`) when it cannot be read, holds no key, or is readable by others.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _create(path)
        if path.stat().st_mode & 0o077:
            raise Unavailable(
                f"The key file {path} can be read by others.", code="secret_keys", next=f"chmod 600 {path}"
            )
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
        keys = [Fernet(line) for line in lines if line and not line.startswith("#")]
    except (OSError, ValueError) as error:
        # The text of a ValueError may quote the file; a key does not belong in a log.
        raise Unavailable(
            f"The key file {path} cannot be used ({type(error).__name__}).",
            code="secret_keys",
            next="restore it from the backup; without it the stored credentials are lost",
        ) from None
    if not keys:
        raise Unavailable(f"The key file {path} holds no key.", code="secret_keys", next="restore it from the backup")
    return MultiFernet(keys)


def _create(path: Path) -> None:
    """A whole file appears or none: written beside it and linked into place, so two servers cannot both win."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}")
    if path.exists():
        raise FileExistsError
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(beside)
    finally:
        beside.unlink()


class Secrets:
    """The repository of secrets. A secret is a small mapping of texts; its id may be passed around freely."""

    def __init__(self, database: Database, keys: MultiFernet) -> None:
        self._database = database
        self._keys = keys

    def put(self, value: Mapping[str, str]) -> str:
        """Store and return the new id."""
        secret_id = f"secret-{uuid.uuid4()}"
        # The id goes under the seal too: a row copied over another one does not open as it.
        sealed = self._keys.encrypt(json.dumps({"id": secret_id, "value": dict(value)}).encode())
        with self._database.write() as connection:
            connection.execute(table.insert().values(id=secret_id, ciphertext=sealed, created_at=datetime.now(UTC)))
        return secret_id

    def get(self, secret_id: str) -> dict[str, str]:
        """Raises `NotFound`, or `Unavailable` (`secret_unreadable`) when no key of the key file opens it."""
        with self._database.read() as connection:
            sealed = connection.execute(sa.select(table.c.ciphertext).where(table.c.id == secret_id)).scalar()
        if sealed is None:
            raise NotFound(f"There is no secret {secret_id}.")
        try:
            opened = json.loads(self._keys.decrypt(sealed))
        except InvalidToken:
            opened = {}
        if opened.get("id") != secret_id:
            raise Unavailable(
                f"The secret {secret_id} cannot be opened with the keys of the key file.",
                code="secret_unreadable",
                next="restore the key file from the backup, or give the credentials again",
            )
        value: dict[str, str] = opened["value"]
        return value

    def delete(self, secret_id: str) -> None:
        """Deleting what is gone succeeds."""
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.id == secret_id))

    def rotate(self) -> int:
        """Seal everything again with the first key. Returns how many."""
        with self._database.write() as connection:
            rows = connection.execute(sa.select(table.c.id, table.c.ciphertext)).all()
            for row in rows:
                connection.execute(
                    table.update().where(table.c.id == row.id).values(ciphertext=self._keys.rotate(row.ciphertext))
                )
        return len(rows)

"""State of one simulator that outlives its process: JSON records by key, and an append-only log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (sequence INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS log_is_never_changed BEFORE UPDATE ON log
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_is_never_cut BEFORE DELETE ON log
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""


class Records:
    """One SQLite file (mode 0600). Every write is committed before the call returns, so kill -9 loses nothing."""

    def __init__(self, path: Path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        # WAL with synchronous=NORMAL survives the death of the process (not of the machine, whose rack is gone too).
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("PRAGMA cache_size=-512")
        self._database.executescript(_SCHEMA)

    def get(self, key: str) -> dict[str, Any] | None:
        row = self._database.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()
        return None if row is None else _object(row[0])

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, separators=(",", ":"))
        self._database.execute(
            "INSERT INTO record (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, text),
        )

    def remove(self, key: str) -> None:
        self._database.execute("DELETE FROM record WHERE key = ?", (key,))

    def all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, value in self._database.execute("SELECT key, value FROM record ORDER BY key"):
            yield key, _object(value)

    def append(self, entry: Mapping[str, Any]) -> int:
        """Append to the log; the entry's sequence number, counted from 1 and never used twice."""
        text = json.dumps(entry, separators=(",", ":"))
        cursor = self._database.execute("INSERT INTO log (entry) VALUES (?)", (text,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def log(self, *, after: int = 0, limit: int = 10_000) -> list[dict[str, Any]]:
        """Entries with a sequence number above `after`, oldest first, each with its `sequence`."""
        rows = self._database.execute(
            "SELECT sequence, entry FROM log WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        )
        return [{"sequence": sequence, **_object(entry)} for sequence, entry in rows]

    def close(self) -> None:
        self._database.close()


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"a record is {type(value).__name__}, not an object")
    return value

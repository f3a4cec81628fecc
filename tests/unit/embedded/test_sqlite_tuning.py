"""Nested transactions of one thread do not wait for themselves; writers of two threads still wait for each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LAUNCHERS = Path(__file__).parents[3] / "src" / "steelyard" / "embedded" / "launchers"
SCRIPT = """
import sys, threading, time
sys.path.insert(0, {launchers!r})
import sqlite_tuning
import sqlalchemy as sa
from sqlalchemy.pool import NullPool
engine = sa.create_engine("sqlite:///{database}", poolclass=NullPool)
with engine.begin() as c:
    c.execute(sa.text("create table t (n integer)"))
    c.execute(sa.text("insert into t values (0)"))
began = time.monotonic()
with engine.begin() as outer:
    outer.execute(sa.text("update t set n = 1"))
    with engine.begin() as inner:
        seen = inner.execute(sa.text("select n from t")).scalar()
assert seen == 0, seen
assert time.monotonic() - began < 5, "it waited for itself"
def add():
    for _ in range(50):
        with engine.begin() as c:
            n = c.execute(sa.text("select n from t")).scalar()
            c.execute(sa.text("update t set n = :n"), {{"n": n + 1}})
threads = [threading.Thread(target=add) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
with engine.begin() as c:
    print(c.execute(sa.text("select n from t")).scalar())
"""


def test_an_inner_transaction_reads_and_no_update_is_lost(tmp_path: Path) -> None:
    script = SCRIPT.format(launchers=str(LAUNCHERS), database=tmp_path / "db.sqlite")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "201"

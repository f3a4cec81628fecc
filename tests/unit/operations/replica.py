"""One of several servers on one database, in a process of its own, for the tests that kill or stop it.

    python replica.py FOLDER URL NAME LEASE [start COUNT] [bulk COUNT]

It writes FOLDER/ready-NAME when it is up. Each attempt of a step is two lines in FOLDER/log, `begin` and `end`, with
the operation's number, the step and the server's name. A step that should hang in its own call waits for FOLDER/go.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.nouns import Actor
from steelyard.operations.bulk import BulkAction, BulkContext, BulkLimits
from steelyard.operations.bulking import Bulk
from steelyard.operations.engine import DurableOperations
from steelyard.operations.leases import ServerLease
from steelyard.operations.model import Done, Operation, OperationKind, Outcome, Retry, Step, StepContext
from steelyard.store import Store

folder, url, name, lease_seconds, *rest = sys.argv[1:]
FOLDER = Path(folder)
ACTOR = Actor("u", "ada", "p", "demo", frozenset({"member"}))


def note(line: str) -> None:
    """Whole lines, also when two processes write at once."""
    descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def do(ctx: StepContext) -> Outcome:
    who = f"{ctx.params['n']} {ctx.step} {name}"
    note(f"begin {who}")
    if ctx.step == "two" and ctx.attempt < 3:
        return Retry(0.2, f"look {ctx.attempt}")
    while ctx.params.get("hang") == ctx.step and not (FOLDER / "go").exists():
        time.sleep(0.02)
    time.sleep(0.05)
    note(f"end {who}")
    return Done({ctx.step: name})


def main() -> None:
    store = Store.open(url, key_file=FOLDER / "keys")
    lease = ServerLease(store.servers, replica=name, seconds=float(lease_seconds))
    engine = DurableOperations(store.operations, lease, database_url=url, concurrency=15)
    engine.register(OperationKind("test.kind", [Step(step, do) for step in ("one", "two", "three", "four")]))
    bulk = Bulk(engine, store)

    def start(item: Mapping[str, Any], ctx: BulkContext) -> Operation:
        note(f"start {item['n']} child {name}")
        return engine.start("test.kind", dict(item), ctx.actor, key=ctx.key)

    bulk.register(BulkAction("test.kind", "Work.", start))
    engine.launch()
    if rest[:1] == ["start"]:
        hang = rest[2] if len(rest) > 2 else None
        for number in range(int(rest[1])):
            engine.start("test.kind", {"n": number, "hang": hang}, ACTOR, key=f"k{number}")
    if rest[:1] == ["bulk"]:
        bulk.start(ACTOR, "", "test.kind", [{"n": n} for n in range(int(rest[1]))], limits=BulkLimits(4), key="b")
    (FOLDER / f"ready-{name}").touch()
    while not (FOLDER / f"stop-{name}").exists():
        time.sleep(0.02)
    engine.close()


main()

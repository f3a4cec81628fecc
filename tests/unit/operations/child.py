"""A server in a process of its own, for the tests that kill it.

    python child.py FOLDER [start]      runs what is unfinished in FOLDER, having started one operation if told so

It writes `ready` when it is up. The steps write what they do into FOLDER/log, one line each; the second one hangs in
the middle, inside its own call, until FOLDER/go exists.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from steelyard.nouns import Actor
from steelyard.operations.engine import DurableOperations
from steelyard.operations.leases import ServerLease
from steelyard.operations.model import Done, OperationKind, Outcome, Retry, Step, StepContext
from steelyard.store import Store

folder = Path(sys.argv[1])


def note(line: str) -> None:
    with (folder / "log").open("a") as file:
        file.write(line + "\n")


def first(ctx: StepContext) -> Outcome:
    note("first")
    return Done({"made": ctx.operation_id})


def second(ctx: StepContext) -> Outcome:
    note(f"second begins, knowing {sorted(ctx.results)}")
    while not (folder / "go").exists():
        time.sleep(0.02)
    note("second ends")
    return Done()


def third(ctx: StepContext) -> Outcome:
    note(f"third {ctx.attempt}")
    return Done() if (folder / "go on").exists() else Retry(0.05, "go on")


def main() -> None:
    store = Store.open(f"sqlite:///{folder / 's.sqlite'}", key_file=folder / "keys")
    engine = DurableOperations(
        store.operations,
        ServerLease(store.servers, alone=True),
        database_url=f"sqlite:///{folder / 'operations.sqlite'}",
    )
    engine.register(OperationKind("test.kind", [Step("one", first), Step("two", second), Step("three", third)]))
    engine.launch()
    if "start" in sys.argv:
        actor = Actor("u", "ada", "p", "demo", frozenset({"member"}))
        engine.start("test.kind", {}, actor, key="k", subject="node:1")
    (folder / "ready").touch()
    while not (folder / "stop").exists():
        time.sleep(0.02)
    engine.close()


main()

"""CLI: steelyard attention, steelyard attention acknowledge, steelyard attention withdraw."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TextIO

import typer

from steelyard.attention.screen import Row, draw, span
from steelyard.client.errors import UsageError
from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import say, show
from steelyard.client.progress import Patience
from steelyard.client.rest import Client, connect
from steelyard.client.session import colours

app = command_group("What needs a human: why, since when, and the next safe command.")

REFRESH = 5.0
"""Seconds between two looks of --watch."""
_CLEAR = "\x1b[H\x1b[2J"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

SeverityOption = Annotated[
    Literal["critical", "major", "minor"] | None, typer.Option("--severity", help="Only this bad, or worse.")
]


@app.callback(
    invoke_without_command=True,
    no_args_is_help=False,
    epilog=examples(
        "steelyard attention",
        "steelyard attention --severity major --watch",
        "steelyard attention --exit-code -f json",
        "steelyard attention acknowledge bm-007 lifecycle.quarantined --until 2d --reason 'disk on order'",
    ),
)
def attention(
    context: typer.Context,
    severity: SeverityOption = None,
    all: Annotated[bool, typer.Option("--all", help="Also what somebody has acknowledged.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help=f"Look again every {REFRESH:g} s, until Ctrl-C.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 if something needs a human, with 0 if nothing does.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Most to show. Default: all, or what the terminal has room for."),
    ] = None,
    format: Format = "table",
) -> None:
    """Show what needs a human, the worst first: why, since when, and the next safe command to paste.

    For administrators. One entry per server; `also` names what else is wrong with it.
    """
    if context.invoked_subcommand is not None:
        return
    if watch and (format == "json" or exit_code):
        raise UsageError("--watch shows a screen; it goes with neither -f json nor --exit-code.", next="leave one out")
    client = connect()
    query = {"severity": severity, "all": "true" if all else None}
    if watch:
        watch_screen(client, query, limit=limit)
    rows = client.list_all("/v1/attention", query)
    if format == "json":
        show(rows[:limit], [], format)
    else:
        print("\n".join(_drawn(rows, sys.stdout, limit)))
    if exit_code and rows:
        raise typer.Exit(1)


def watch_screen(
    client: Client,
    query: dict[str, Any],
    *,
    limit: int | None = None,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the screen anew every few seconds; where there is no terminal, print it whenever it has changed.

    Bears with a server that is away for a while. Never returns but by an exception.
    """
    out = stream or sys.stdout
    patience = Patience(client, sleep)
    before: list[Any] | None = None
    while True:
        rows = patience.get("/v1/attention", {**query, "limit": 1000})["attention"]
        if out.isatty():
            print(_CLEAR + "\n".join(_drawn(rows, out, limit)), file=out, flush=True)
        elif (now := [{**row, "evidence": None} for row in rows]) != before:
            print("\n".join([*_drawn(rows, out, limit), ""]), file=out, flush=True)
            before = now
        sleep(REFRESH)


def _drawn(rows: Sequence[Row], out: TextIO, limit: int | None) -> list[str]:
    """The screen's lines: as many entries as the terminal has room for, all of them elsewhere."""
    now = datetime.now().astimezone()
    if not out.isatty():
        return draw(rows, now, limit=limit)
    size = shutil.get_terminal_size()
    room = size.lines - 1 if limit is None else None
    return draw(rows, now, width=max(size.columns, 40), height=room, limit=limit, colour=colours(out))


@app.command(
    "acknowledge",
    epilog=examples(
        "steelyard attention acknowledge bm-007 lifecycle.quarantined --until 2d --reason 'disk on order'",
        "steelyard attention acknowledge bm-007 operations.failed --until 2026-12-01T08:00 --reason 'ticket 4711'",
    ),
)
def acknowledge(
    subject: Annotated[str, typer.Argument(help="Name or subject, as shown.")],
    kind: Annotated[str, typer.Argument(help="Kind, as shown: lifecycle.quarantined.")],
    until: Annotated[str, typer.Option("--until", help="30m, 8h, 2d, or a time; at most 30 days.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it may wait, for the record.")],
    format: Format = "table",
) -> None:
    """Hide one thing until a time, because somebody knows of it. It comes back when it went away and comes again."""
    end = moment(until, datetime.now().astimezone())
    answer = connect().post(
        "/v1/attention/acknowledge",
        {"subject": subject, "kind": kind, "until": end.isoformat(), "reason": reason},
    )["acknowledged"]
    if format == "json":
        print(json.dumps(answer, indent=2))
    say(
        f"{answer['kind']} of {subject} is hidden for {span((end - datetime.now(end.tzinfo)).total_seconds())}.", format
    )


@app.command("withdraw", epilog=examples("steelyard attention withdraw node:ID lifecycle.quarantined"))
def withdraw(
    subject: Annotated[str, typer.Argument(help="Subject, as `-f json` shows it.")],
    kind: Annotated[str, typer.Argument(help="Kind, as shown.")],
) -> None:
    """Take an acknowledgement back: it is shown again."""
    connect().post("/v1/attention/withdraw", {"subject": subject, "kind": kind})
    say("It is shown again.")


def moment(text: str, now: datetime) -> datetime:
    """The time that somebody means by `8h`, or by a date and time (of their own zone, unless they name one).

    Raises `UsageError` for what is neither.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if number.isascii() and number.isdigit() and unit in _UNITS:
            return now + timedelta(**{_UNITS[unit]: int(number)})
        given = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError("--until takes 30m, 8h, 2d, or a time like 2026-12-01T08:00.", next="--until 8h") from None
    return given if given.tzinfo is not None else given.replace(tzinfo=now.tzinfo)

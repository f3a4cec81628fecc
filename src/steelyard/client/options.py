"""The options that all commands share, and how a group of commands is made. Imports Typer, nothing heavier.

app = command_group("Images that are known to boot.")

@app.command("list", epilog=examples("steelyard image list", "steelyard image list -f json"))
def list_images(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    rows = connect().list_all("/v1/images", limit=limit, marker=marker)
    show(rows, [("Id", "id"), ("Name", "name")], format)
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

FormatName = Literal["table", "json"]

Format = Annotated[FormatName, typer.Option("--format", "-f", help="table for people, json for programs.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show the progress and return when the operation has ended.")]
WaitTimeout = Annotated[
    float | None, typer.Option("--wait-timeout", min=0, help="Seconds to wait at most; the operation goes on.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Most rows to show. Default: all.")]
Marker = Annotated[str | None, typer.Option("--marker", help="Id of the last row seen; show what comes after it.")]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="Most at work at a time. Default: 20; onboarding 100.")
]
Wave = Annotated[int | None, typer.Option("--wave", min=1, help="So many a wave; the next begins when all have ended.")]
WavePause = Annotated[float | None, typer.Option("--wave-pause", min=0, help="Seconds between two waves.")]
MaxFailures = Annotated[
    int | None, typer.Option("--max-failures", min=0, help="When more have failed, no more are started.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the record.")]


def bulk_limits(
    concurrency: int | None, wave: int | None, wave_pause: float | None, max_failures: int | None
) -> dict[str, int | float]:
    """The fields of a bulk request for what was given of these options."""
    given = {"concurrency": concurrency, "wave": wave, "wave_pause": wave_pause, "max_failures": max_failures}
    return {name: value for name, value in given.items() if value is not None}


def examples(*lines: str) -> str:
    """An epilog that shows each line as a command to type."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def command_group(help: str) -> typer.Typer:
    """A group of commands with the house's manners: plain help, no completion installer, usage shown when bare."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

"""CLI: steelyard image …"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, Wait, command_group, examples
from steelyard.client.output import Column, finish, say, show
from steelyard.client.rest import connect, fresh_key

app = command_group("Images that servers are deployed from.")

COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Status", "status"),
    ("Format", "disk_format"),
    ("Bytes", "size_bytes"),
    ("Visibility", "visibility"),
]
DETAILS: list[Column] = [*COLUMNS, ("Checksum", "checksum"), ("Project", "project_id"), ("Created", "created_at")]

_BY_SUFFIX = {".qcow2": "qcow2", ".iso": "iso"}


@app.command("list", epilog=examples("steelyard image list", "steelyard image list -f json"))
def list_images(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List the images that you may use."""
    show(connect().list_all("/v1/images", limit=limit, marker=marker), COLUMNS, format)


@app.command("show", epilog=examples("steelyard image show debian-13"))
def show_image(image: Annotated[str, typer.Argument(help="Id or name.")], format: Format = "table") -> None:
    """Show one image."""
    client = connect()
    show(client.get(client.path("/v1/images", image))["image"], DETAILS, format)


@app.command("delete", epilog=examples("steelyard image delete debian-13"))
def delete_image(images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Ids or names.")]) -> None:
    """Delete images. Servers that were deployed from them go on."""
    client = connect()
    for image in images:
        client.delete(client.path("/v1/images", image))
        say(f"Deleted image {image}.", "table")


@app.command(
    "add",
    epilog=examples(
        "steelyard image add debian-13 debian-13.raw",
        "steelyard image add debian-13 debian-13.qcow2 --checksum sha256:3b1f…",
        "steelyard image add debian-13 https://example.org/debian-13.raw --checksum sha256:3b1f… --wait",
    ),
)
def add_image(
    name: Annotated[str, typer.Argument(help="Name; used once in a project.")],
    source: Annotated[
        str, typer.Argument(metavar="FILE|URL", help="A local file, or an http(s) URL that the server fetches.")
    ],
    checksum: Annotated[
        str | None,
        typer.Option("--checksum", help="sha256:… or sha512:… of the data. For a file it is computed if not given."),
    ] = None,
    disk_format: Annotated[
        Literal["raw", "qcow2", "iso"] | None,
        typer.Option("--disk-format", help="What the data is. Default: by the suffix .qcow2 or .iso, else raw."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For all projects (administrators).")] = False,
    wait: Wait = False,
    format: Format = "table",
) -> None:
    """Add an image. Its checksum and its format are verified before it is stored."""
    visibility = "public" if public else "private"
    suffix = Path(source.partition("?")[0]).suffix.lower()
    claimed = disk_format or _BY_SUFFIX.get(suffix, "raw")
    client = connect()
    if source.startswith(("http://", "https://")):
        if checksum is None:
            raise UsageError(
                "An image from a URL needs a checksum, which its publisher states beside it.",
                next=f"steelyard image add {shlex.quote(name)} {shlex.quote(source)} --checksum sha256:…",
            )
        body = {"name": name, "url": source, "checksum": checksum, "disk_format": claimed, "visibility": visibility}
        finish(client, client.post("/v1/images", body, key=fresh_key()), wait=wait, format=format)
        return
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"There is no file {source}.")
    if checksum is None:
        checksum = _checksum(path)
        say(f"Checksum: {checksum}", format)
    params = {"name": name, "checksum": checksum, "disk_format": claimed, "visibility": visibility}
    with path.open("rb") as file:
        answer = client.upload("/v1/images", file, params=params, size=path.stat().st_size)
    show(answer["image"], DETAILS, format)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

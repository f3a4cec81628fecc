"""CLI: steelyard server rebuild|rescue|unrescue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.client.bulk import for_each
from steelyard.client.errors import UsageError
from steelyard.client.options import (
    Concurrency,
    Format,
    MaxFailures,
    Reason,
    Wait,
    WaitTimeout,
    Wave,
    WavePause,
    bulk_limits,
    command_group,
    examples,
)
from steelyard.client.output import finish, hint
from steelyard.client.rest import connect, fresh_key
from steelyard.lifecycle.commands import Servers, follow

app = command_group("Servers: what tenants deploy.")


@app.command(
    "rebuild",
    epilog=examples("steelyard server rebuild web-1 --wait", "steelyard server rebuild web-1 web-2 --image debian-13"),
)
def rebuild_servers(
    servers: Servers,
    image: Annotated[str | None, typer.Option("--image", help="Id or name. Default: the one that it has.")] = None,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Write an image anew. Name, addresses and hardware stay; what is on the disk is lost."""
    client = connect()
    chosen = {"image": image} if image else {}
    if len(servers) > 1:
        for_each(
            client, "servers.rebuild", [{"server": server, **chosen} for server in servers],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=reason, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    body = {**chosen, **({"reason": reason} if reason else {})}
    answer = client.post(client.path("/v1/servers", servers[0], "rebuild"), body, key=fresh_key())
    follow(client, answer, wait=wait, timeout=wait_timeout, format=format)


@app.command(
    "rescue",
    epilog=examples("steelyard server rescue web-1 --wait", "steelyard server rescue web-1 --password-file FILE"),
)
def rescue_servers(
    servers: Servers,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Its first line is root's password. Default: one is made up.")
    ] = None,
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Boot a rescue system; the disk is not touched. The password of its root is shown once and kept nowhere."""
    client = connect()
    password = _password(password_file)
    body = {"password": password, **({"reason": reason} if reason else {})}
    answers = [client.post(client.path("/v1/servers", server, "rescue"), body, key=fresh_key()) for server in servers]
    if password_file is None:
        hint(f"Password of root in the rescue system, shown once: {password}")
    if len(answers) == 1:
        follow(client, answers[0], wait=wait, timeout=wait_timeout, format=format)
        return
    started = {"operations": [answer["operation"] for answer in answers]}
    finish(client, started, wait=wait, timeout=wait_timeout, format=format)


@app.command("unrescue", epilog=examples("steelyard server unrescue web-1 --wait"))
def unrescue_servers(
    servers: Servers,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Boot from the disk again."""
    client = connect()
    if len(servers) > 1:
        for_each(
            client, "servers.unrescue", [{"server": server} for server in servers],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=reason, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    body = {"reason": reason} if reason else {}
    answer = client.post(client.path("/v1/servers", servers[0], "unrescue"), body, key=fresh_key())
    follow(client, answer, wait=wait, timeout=wait_timeout, format=format)


def _password(path: Path | None) -> str:
    """The password for the rescue system: from a file, or a fresh one."""
    if path is None:
        import secrets

        return secrets.token_urlsafe(15)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"The first line of {path} is empty.")
    return lines[0]

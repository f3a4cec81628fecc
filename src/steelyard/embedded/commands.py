"""`steelyard up | down | status | logs | reset`: the embedded cloud from the command line."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steelyard.embedded.home import Home
    from steelyard.embedded.status import Status

SILENCE = 15.0
"""After so many seconds without news the user is told what is being waited for."""

Nodes = Annotated[int | None, typer.Option("--nodes", help="Servers in the simulated rack (default 8, up to 1000).")]
Database = Annotated[
    str | None,
    typer.Option(help="sqlite (the default) or postgresql://USER[:PASSWORD]@HOST:PORT/ for the services' databases."),
]
Rpc = Annotated[str | None, typer.Option(help="fake:// (the default, in memory) or rabbit://USER:PASSWORD@HOST:PORT/.")]
Network = Annotated[
    str | None,
    typer.Option(help="neutron (the default) or contrail: who is the authority for networks, addresses, switch ports."),
]
Nics = Annotated[
    int | None,
    typer.Option(
        "--nics", help="NICs of each server (default 2, up to 4), to the two leaves in turn; at the first start."
    ),
]
Filters = Annotated[
    bool | None,
    typer.Option(
        "--filters/--no-filters",
        help="Whether the switches filter by security groups (they do unless told otherwise at the first start).",
    ),
]
NewPorts = Annotated[bool, typer.Option("--new-ports", help="Choose other ports than those recorded.")]
Wait = Annotated[bool, typer.Option(help="Wait until everything is up, showing progress.")]
Foreground = Annotated[bool, typer.Option("--foreground", help="Stay, and stop the cloud at Ctrl-C.")]
Format = Annotated[str, typer.Option("-f", "--format", help="table or json")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
All = Annotated[bool, typer.Option("--all", help="Also secrets, ports, template and the rack's plan.")]


def up(
    nodes: Nodes = None,
    database: Database = None,
    rpc: Rpc = None,
    network: Network = None,
    nics: Nics = None,
    filters: Filters = None,
    new_ports: NewPorts = False,
    wait: Wait = True,
    foreground: Foreground = False,
) -> None:
    """Start the embedded cloud: real OpenStack services and a simulated rack, on this machine alone."""
    from steelyard.embedded import lifecycle
    from steelyard.embedded.home import Wish

    root, openstack = _places(starting=True)
    began = time.monotonic()
    wish = Wish(
        nodes=nodes, database=database, rpc=rpc, network=network, nics=nics, filters=filters, new_ports=new_ports
    )
    home = lifecycle.start(root, openstack, wish)
    if not wait and not foreground:
        typer.echo("starting; see: steelyard status")
        return
    try:
        last = lifecycle.follow(root, _Progress(began))
    except KeyboardInterrupt:
        typer.echo("the start goes on without you; see: steelyard status; to end it: steelyard down", err=True)
        raise
    _say_what_next(home, last, time.monotonic() - began)
    if foreground:
        _stay(root)


def down() -> None:
    """Stop the embedded cloud, in order, and wait until nothing of it is left."""
    from steelyard.embedded import lifecycle

    root, _ = _places()
    began = time.monotonic()
    if lifecycle.stop(root, lifecycle.ignore_status):
        typer.echo(f"stopped in {time.monotonic() - began:.1f} s; its state is kept in {root}")
    else:
        typer.echo("nothing was running")


def status(format: Format = "table") -> None:
    """Show every service: state, process, restarts, memory. Exit code 0 only when all are up."""
    import json
    from dataclasses import asdict

    from steelyard.embedded import lifecycle
    from steelyard.embedded.status import Phase

    root, _ = _places()
    current = lifecycle.live(root)
    if format == "json":
        shown = asdict(current) if current is not None else {"home": str(root), "phase": Phase.DOWN}
        typer.echo(json.dumps(shown, indent=1))
    elif current is None:
        typer.echo(f"{root}: down")
    else:
        _show(current)
    raise typer.Exit(0 if current is not None and current.phase is Phase.UP else 1)


def logs(
    service: Annotated[str, typer.Argument(help="A service as `steelyard status` names it, or `supervisor`.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as the log grows.")] = False,
) -> None:
    """Show the log of one service, without secrets."""
    from steelyard.embedded import home
    from steelyard.embedded.supervisor import tail
    from steelyard.errors import NotFound

    root, openstack = _places()
    of = home.load(root, openstack)
    known = sorted(path.stem for path in of.path("log").glob("*.log"))
    if service not in known:
        raise NotFound(f"no log of {service!r}; there are: {', '.join(known)}", next="steelyard status")
    path = of.path("log", f"{service}.log")
    typer.echo(tail(of, path, lines) if lines else "", nl=bool(lines))
    if follow:
        _follow(of, path)


def reset(yes: Yes = False, everything: All = False) -> None:
    """Remove the cloud's data: databases, images, the rack's state, Steelyard's own database, logs."""
    from steelyard.embedded import lifecycle

    root, openstack = _places()
    what = "EVERYTHING" if everything else "all data (secrets, ports and the template stay)"
    if not yes and not typer.confirm(f"Remove {what} in {root}?"):
        raise typer.Exit(1)
    lifecycle.reset(root, openstack, everything=everything)
    typer.echo(f"removed {what} in {root}; start again: steelyard up")


# -- how it is shown ---------------------------------------------------------------------------------------------------


class _Progress:
    """Prints each step and service once, when it is done or up, with its seconds."""

    def __init__(self, began: float):
        self._began = began
        self._shown: set[str] = set()
        self._restarts: dict[str, int] = {}
        self._last_word = began

    def __call__(self, status: Status) -> None:
        if status.from_template and "template" not in self._shown:
            self._shown.add("template")
            self._line(None, "databases from the template of the first start")
        for unit in status.units:
            if unit.restarts > self._restarts.get(unit.name, 0):
                self._restarts[unit.name] = unit.restarts
                self._line(None, f"{unit.title} ended and is started again ({unit.restarts}); log: {unit.log}")
            if unit.seconds is not None and unit.state in ("done", "up") and unit.name not in self._shown:
                self._shown.add(unit.name)
                self._line(unit.seconds, unit.title if unit.kind == "step" else f"{unit.title} is up")
        if time.monotonic() - self._last_word > SILENCE:
            slow = [f"{unit.name} ({unit.reason})" if unit.reason else unit.name for unit in status.units
                    if unit.state not in ("done", "up", "waiting")]  # fmt: skip
            self._line(None, f"still waiting for {', '.join(slow)}")

    def _line(self, seconds: float | None, text: str) -> None:
        self._last_word = time.monotonic()
        took = f"(took {seconds:.1f} s)" if seconds is not None else ""
        typer.echo(f"{time.monotonic() - self._began:6.1f} s  {text} {took}".rstrip())


def _say_what_next(home: Home, status: Status, seconds: float) -> None:
    memory = sum(unit.rss_mib or 0 for unit in status.services)
    rack, port = home.record.rack_network, home.port("bmc")
    controller = ""
    if home.record.network == "contrail":
        controller = f"\nThe Contrail controller's config API: {home.url('contrail')} (X-Auth-Token of Keystone)\n"
    typer.echo(
        f"""
The cloud is up, in {seconds:.1f} s{f", using {memory} MiB" if memory else ""}, with {home.record.nodes} simulated servers in the rack.

The stock client:
  export OS_CLIENT_CONFIG_FILE={home.path("clouds.yaml")}
  openstack --os-cloud demo network list          (a tenant)
  openstack --os-cloud admin image list           (the administrator)
  openstack --os-cloud system baremetal node list (the administrator of the whole system)

Steelyard (API: {home.url("steelyard")}):
  export STEELYARD_HOME={home.root}
  steelyard discover {rack}.1.0/24 --port {port} --credentials {home.path("rack", "credentials.yaml")}
  steelyard candidate list
{controller}
  steelyard status | steelyard down
"""  # noqa: E501
    )


def _show(current: Status) -> None:
    from steelyard.embedded.processes import own_rss_mib

    header = ("SERVICE", "STATE", "PID", "PORT", "RESTARTS", "SINCE", "MIB")
    rows = [
        tuple("" if cell is None else str(cell) for cell in cells)
        for cells in (
            (unit.title, unit.state, unit.pid, unit.port, unit.restarts, unit.since, unit.rss_mib)
            for unit in current.units
            if unit.kind == "service" or unit.state != "done"
        )
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    typer.echo(f"{current.home}: {current.phase}")
    for row in (header, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for unit in current.units:
        if unit.reason:
            typer.echo(f"\n{unit.name}: {unit.reason}")
    own = own_rss_mib(current.supervisor.pid)
    total = own + sum(unit.rss_mib or 0 for unit in current.services)
    typer.echo(f"{total} MiB in all, {own} of them the supervisor's (process {current.supervisor.pid})")


def _follow(of: Home, path: Path) -> None:
    from steelyard.embedded.credentials import redacted

    with path.open(encoding="utf-8", errors="replace") as stream, contextlib.suppress(KeyboardInterrupt):
        stream.seek(0, 2)
        while True:
            if line := stream.readline():
                typer.echo(redacted(line, of.credentials), nl=False)
            else:
                time.sleep(0.3)


def _stay(root: Path) -> None:
    from steelyard.embedded import lifecycle

    typer.echo("Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        while lifecycle.live(root) is not None:
            time.sleep(0.5)
    lifecycle.stop(root, lifecycle.ignore_status)


def _places(*, starting: bool = False) -> tuple[Path, Path]:
    """STEELYARD_HOME and the environment of the OpenStack services.

    Raises Refused when an embedded cloud is to be started although STEELYARD_CLOUD names another one.
    """
    from steelyard.errors import Refused
    from steelyard.settings import Settings

    settings = Settings()
    if starting and settings.cloud != "steelyard":
        raise Refused(
            f"STEELYARD_CLOUD={settings.cloud} names a cloud that exists already; `up` starts only the embedded one",
            code="other_cloud",
            next="steelyard serve  (uses that cloud), or: unset STEELYARD_CLOUD",
        )
    beside = Path(sys.prefix).parent / "openstack"
    openstack = settings.openstack_env if settings.openstack_env is not None else beside
    return settings.home.expanduser().resolve(), openstack.expanduser().absolute()

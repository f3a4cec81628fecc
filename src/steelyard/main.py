"""The command line: finds the command, imports its room and nothing else, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from steelyard.client.session import Choices


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `steelyard`. `sources` are `module:attribute`: Typer apps to merge, or one function."""

    help: str
    sources: tuple[str, ...]
    section: str
    examples: tuple[str, ...] = ()
    """For a function, which has no place for them (unless its module has EXAMPLES). Typer's commands have their own."""


_LOCAL = "This machine"
_OPERATOR = "For administrators"
_TENANT = "For tenants and administrators"

COMMANDS: dict[str, Command] = {
    "up": Command(
        "Start a whole cloud on this machine.",
        ("steelyard.embedded.commands:up",),
        _LOCAL,
        ("steelyard up", "steelyard up --nodes 16"),
    ),
    "down": Command(
        "Stop it; its state is kept.",
        ("steelyard.embedded.commands:down",),
        _LOCAL,
        ("steelyard down",),
    ),
    "status": Command(
        "Show its services.",
        ("steelyard.embedded.commands:status",),
        _LOCAL,
        ("steelyard status", "steelyard status -f json"),
    ),
    "logs": Command(
        "Show the log of one of its services.",
        ("steelyard.embedded.commands:logs",),
        _LOCAL,
        ("steelyard logs ironic", "steelyard logs nova --follow"),
    ),
    "reset": Command(
        "Remove its data.",
        ("steelyard.embedded.commands:reset",),
        _LOCAL,
        ("steelyard reset --yes",),
    ),
    "serve": Command(
        "Run Steelyard's server alone, against any cloud.",
        ("steelyard.serve:serve",),
        _LOCAL,
        ("steelyard serve", "STEELYARD_CLOUD=mycloud steelyard serve --listen 192.0.2.10"),
    ),
    "attention": Command(
        "What needs a human, and the next safe command.", ("steelyard.attention.commands:app",), _OPERATOR
    ),
    "discover": Command("Find servers by their BMCs.", ("steelyard.discovery.commands:discover",), _OPERATOR),
    "leaks": Command("What was left behind, in all services.", ("steelyard.lifecycle.leak_commands:leaks",), _OPERATOR),
    "drift": Command(
        "What the systems do not agree on, and mending it by a plan.", ("steelyard.drift.commands:app",), _OPERATOR
    ),
    "candidate": Command("Servers that were found.", ("steelyard.discovery.commands:candidate_app",), _OPERATOR),
    "node": Command(
        "Servers under management: list, show, onboard, bond, recable, release, maintenance, retire, delete.",
        (
            "steelyard.inventory.commands:node_app",
            "steelyard.inventory.record_commands:node_app",
            "steelyard.discovery.commands:node_app",
            "steelyard.lifecycle.commands:node_app",
            "steelyard.lifecycle.node_commands:app",
            "steelyard.networks.cabling_commands:app",
            "steelyard.events.commands:node_app",
        ),
        _OPERATOR,
    ),
    "view": Command("Saved views of the inventory.", ("steelyard.inventory.record_commands:view_app",), _OPERATOR),
    "part": Command("Where a disk or NIC is, and was.", ("steelyard.inventory.record_commands:part_app",), _OPERATOR),
    "pool": Command("Pools of nodes that flavors draw on.", ("steelyard.flavors.commands:pool_app",), _OPERATOR),
    "reconciler": Command(
        "Work that nobody asked for, done again and again.",
        ("steelyard.operations.reconciler_commands:app",),
        _OPERATOR,
    ),
    "isolation": Command(
        "What network each NIC should be on, and is on.",
        (
            "steelyard.isolation.commands:app",
            "steelyard.isolation.check_commands:app",
            "steelyard.isolation.segment_commands:app",
        ),
        _OPERATOR,
    ),
    "audit": Command(
        "The record of events: list, export, verify.", ("steelyard.events.commands:audit_app",), _OPERATOR
    ),
    "webhook": Command("Have events sent to a URL.", ("steelyard.events.webhook_commands:app",), _OPERATOR),
    "image": Command("Images to deploy.", ("steelyard.images.commands:app",), _TENANT),
    "flavor": Command("Flavors, and how many are free.", ("steelyard.flavors.commands:app",), _TENANT),
    "network": Command(
        "Tenant networks.", ("steelyard.networks.commands:app", "steelyard.networks.preflight_commands:app"), _TENANT
    ),
    "ipam": Command(
        "Addresses and their owners: list, reserve, release, import, history, check.",
        (
            "steelyard.ipam.commands:app",
            "steelyard.ipam.reservation_commands:app",
            "steelyard.ipam.check_commands:app",
        ),
        _TENANT,
    ),
    "server": Command(
        "Deployed servers: create, list, show, wait, power, rebuild, rescue, nic, delete.",
        (
            "steelyard.lifecycle.commands:server_app",
            "steelyard.lifecycle.renewal_commands:app",
            "steelyard.networks.nic_commands:app",
            "steelyard.events.commands:server_app",
        ),
        _TENANT,
    ),
    "events": Command("What happened, and what happens.", ("steelyard.events.commands:events",), _TENANT),
    "operation": Command(
        "Work in progress and done: list, show, wait, pause, resume, cancel, bulk.",
        ("steelyard.operations.commands:app",),
        _TENANT,
    ),
}

_USAGE = """Usage: steelyard [OPTIONS] COMMAND ...

Bare metal servers for multi-tenant clouds, as easy and as safe as virtual machines.
"""
_OPTIONS = """Options (anywhere in the line):
  --os-cloud NAME       Entry of clouds.yaml to use. Otherwise OS_CLOUD or the OS_* variables.
  --steelyard-url URL   Address of the server. Otherwise STEELYARD_URL or Keystone's catalogue.
  --os-cacert FILE      Certificate authorities to trust.
  --insecure            Do not verify the server's certificate.
  --http-timeout S      Seconds to wait for an answer. Default: 60.
  --debug               Show a traceback for an internal error.
  --version             Show the version.
  -h, --help            Show this, or the help of a command.

Examples:
  steelyard up
  steelyard --os-cloud admin discover 192.0.2.0/24 --credentials FILE
  steelyard --os-cloud demo server create web --flavor bm.small --image debian --network blue --wait
  steelyard node list --help

Exit codes: 0 done, 1 failed operation or other failure, 2 usage, 3 not authenticated or forbidden,
4 not found, 5 refused or in conflict, 6 unavailable, 7 a check found something,
130 interrupted."""


def root_help() -> str:
    """The help of `steelyard` itself, from the table alone: nothing is imported for it."""
    lines = [_USAGE]
    for section in (_LOCAL, _OPERATOR, _TENANT):
        lines.append(f"{section}:")
        lines += [f"  {name:<12}{command.help}" for name, command in COMMANDS.items() if command.section == section]
        lines.append("")
    lines.append("  version     Show the version.\n")
    lines.append(_OPTIONS)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script. Never returns."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read has had enough; keep Python from complaining about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except SystemExit as exit:
        raise exit
    except Exception as error:
        if debug:
            raise
        code = _explain(error)
    sys.exit(code)


def _dispatch(given: list[str]) -> int:
    rest, choices = _global_options(given)
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(root_help())
        return 0 if rest else 2
    name, *words = rest
    if name in ("version", "--version"):
        from steelyard import __version__

        print(f"steelyard {__version__}")
        return 0
    if name not in COMMANDS:
        return _unknown(name)
    if choices is not None:
        from steelyard.client.session import chosen

        chosen.set(choices)
    code = _load(name)(args=words, prog_name=f"steelyard {name}")
    return code if isinstance(code, int) else 0


_WITH_VALUE = {"--os-cloud": "cloud", "--steelyard-url": "url", "--os-cacert": "cacert", "--http-timeout": "timeout"}
_SWITCHES = {"--insecure": "insecure", "--debug": "debug"}


def _global_options(given: list[str]) -> tuple[list[str], Choices | None]:
    """Take the global options out of the line, wherever they stand before a `--`."""
    rest: list[str] = []
    found: dict[str, Any] = {}
    words = iter(given)
    for word in words:
        if word == "--":
            rest += [word, *words]
            break
        option, equals, value = word.partition("=")
        if option in _WITH_VALUE:
            try:
                found[_WITH_VALUE[option]] = value if equals else next(words)
            except StopIteration:
                raise _usage(f"{option} needs a value.") from None
        elif word in _SWITCHES:
            found[_SWITCHES[word]] = True
        else:
            rest.append(word)
    found.pop("debug", None)
    if not found:
        return rest, None
    from steelyard.client.session import Choices

    if "timeout" in found:
        try:
            found["timeout"] = float(found["timeout"])
        except ValueError:
            raise _usage("--http-timeout takes a number of seconds.") from None
    return rest, Choices(**found)


def _usage(detail: str) -> Exception:
    from steelyard.client.errors import UsageError

    return UsageError(detail, next="steelyard --help")


def _unknown(name: str) -> int:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    print(f"error: there is no command '{name[:40]}'.", file=sys.stderr)
    print(f"next: steelyard {close[0] + ' ' if close else ''}--help", file=sys.stderr)
    return 2


def _load(name: str) -> Callable[..., object]:
    """The Typer app of a command, merged from its sources."""
    import typer

    from steelyard.client.options import command_group, examples

    command = COMMANDS[name]
    merged = command_group(command.help)
    for source in command.sources:
        module, _, attribute = source.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            merged.registered_commands += found.registered_commands
            merged.registered_groups += found.registered_groups
            if found.registered_callback and found.registered_callback.invoke_without_command is True:
                merged.registered_callback = found.registered_callback  # a group that does something by itself
        else:
            epilog = examples(*command.examples) if command.examples else getattr(sys.modules[module], "EXAMPLES", None)
            merged.command(name, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]})(found)
            return merged
    if merged.registered_callback is not None:
        return merged
    lines = [_first_example(found.epilog) for found in merged.registered_commands]
    merged.callback(epilog=examples(*filter(None, lines)))(_stay_a_group)
    return merged


def _stay_a_group() -> None:
    """A group of one command would otherwise be that command, without its word."""


def _first_example(epilog: str | None) -> str | None:
    """The first line that `examples` put into an epilog."""
    return next((line.strip() for line in (epilog or "").splitlines() if line.startswith("  ")), None)


def _explain(error: Exception) -> int:
    """Print what went wrong in one line, what to do in another, and give the exit code."""
    from steelyard.client.errors import ClientError
    from steelyard.client.text import safe
    from steelyard.errors import SteelyardError

    request_id = None
    if isinstance(error, ClientError):
        detail, next, code, request_id = error.detail, error.next, error.exit_code, error.request_id
    elif isinstance(error, SteelyardError):
        detail, next, code = error.detail, error.next, _exit_code(error)
    else:
        detail, next, code = f"internal error ({type(error).__name__}): {error}", "try again with --debug", 1
    print(f"error: {safe(detail)}", file=sys.stderr)
    if next:
        print(f"next: {safe(next)}", file=sys.stderr)
    if request_id:
        print(f"request id: {safe(request_id)}", file=sys.stderr)
    return code


def _exit_code(error: Exception) -> int:
    from steelyard import errors

    table: tuple[tuple[type[Exception], int], ...] = (
        (errors.Invalid, 2),
        (errors.TooLarge, 2),
        (errors.Unauthenticated, 3),
        (errors.Forbidden, 3),
        (errors.NotFound, 4),
        (errors.Conflict, 5),
        (errors.Unavailable, 6),
        (errors.UpstreamError, 6),
    )
    return next((code for kind, code in table if isinstance(error, kind)), 1)


if __name__ == "__main__":
    main()

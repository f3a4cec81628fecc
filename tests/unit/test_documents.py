"""What the documents name exists: files, commands, settings."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from steelyard.discovery.service import ONBOARD, SWEEP
from steelyard.images.service import FETCH
from steelyard.isolation.model import intended_role
from steelyard.lifecycle.model import Phase
from steelyard.lifecycle.nodes import CLEAN, DELETE_NODE, INSPECT, MAINTENANCE, RELEASE, REMOVE, RETIRE, UNRETIRE
from steelyard.lifecycle.renewal import REBUILD, RESCUE, UNRESCUE
from steelyard.lifecycle.service import CREATE, DELETE, POWER, RECLAIM
from steelyard.main import COMMANDS
from steelyard.networks.attaching import ATTACH, DETACH, MOVE, TAG, UNTAG
from steelyard.networks.cabling import BOND, RECABLE, UNBOND
from steelyard.operations.bulk import BULK_ADMIN
from steelyard.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
CLIENT_VARIABLES = {"STEELYARD_URL"}
SCRIPT_VARIABLES = {"STEELYARD_PYTHON", "STEELYARD_TEST_HOME"}
GLOBAL_WITH_VALUE = {"--os-cloud", "--steelyard-url", "--os-cacert", "--http-timeout"}


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_relative_link_resolves(document: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or not path.is_relative_to(ROOT):
            broken.append(target)
        elif anchor and anchor not in _anchors(path.read_text()):
            broken.append(f"{target} (no such heading)")
    assert not broken


def _tree() -> dict[str, set[str] | None]:
    """Every command: the words that may follow it, or None for a command that takes none."""
    found: dict[str, set[str] | None] = {"version": None, "help": None}
    for name, command in COMMANDS.items():
        words: set[str] | None = None
        for source in command.sources:
            module, _, attribute = source.partition(":")
            app = getattr(importlib.import_module(module), attribute)
            if isinstance(app, typer.Typer):
                words = words or set()
                words |= {str(each.name or getattr(each.callback, "__name__", "")) for each in app.registered_commands}
                words |= {str(group.name) for group in app.registered_groups}
        found[name] = words
    return found


TREE = _tree()
BY_THEMSELVES = {"attention"}
"""Groups that do something without a sub-command."""


def _quoted_commands(text: str) -> Iterator[str]:
    """What the text quotes as `steelyard …`: whole code spans, and lines of code blocks."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s{3,}|[|;]\s|#", line.removeprefix("$ ")):
                words = part.strip()
                if re.match(r"(\w+=\S+\s+)*(\S*/)?steelyard\s", words + " "):
                    yield re.sub(r"^(\w+=\S+\s+)*(\S*/)?", "", words)
    for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        if span.startswith("steelyard "):
            yield span


def _problem(command: str) -> str | None:
    """Why a quoted command is none of ours."""
    try:
        words = shlex.split(command.replace("\\|", "|"))[1:]
    except ValueError:
        words = command.split()[1:]
    given = iter(words)
    path = []
    for word in given:
        if word in GLOBAL_WITH_VALUE:
            next(given, None)
        elif not word.startswith("-"):
            path.append(word)
    if not path or path[0] in ("…", "COMMAND"):
        return None
    if path[0] not in TREE:
        return f"there is no command {path[0]}"
    if path[0] in BY_THEMSELVES and words[words.index(path[0]) + 1 :][:1] and words[words.index(path[0]) + 1][0] == "-":
        return None  # options of the group's own; their values are no sub-commands
    words_after = TREE[path[0]]
    if words_after is None or len(path) == 1:
        return None
    unknown = [word for word in path[1].split("|") if word not in words_after]
    return f"{path[0]} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_quoted_command_is_one_of_ours(document: Path) -> None:
    quoted = list(_quoted_commands(document.read_text()))
    problems = [f"{command}: {problem}" for command in quoted if (problem := _problem(command))]
    assert not problems


def test_commands_are_found_in_the_documents() -> None:
    """The search above finds something, and tells a wrong command from a right one."""
    text = (
        "`steelyard node list`\n```\nSTEELYARD_CLOUD=x steelyard serve --port 1\n$ steelyard --os-cloud a up | cat\n```"
    )
    assert list(_quoted_commands(text)) == [
        "steelyard serve --port 1",
        "steelyard --os-cloud a up",
        "steelyard node list",
    ]
    assert _problem("steelyard node fly") == "node has no fly"
    assert _problem("steelyard fly") == "there is no command fly"
    assert _problem("steelyard --os-cloud demo server create web-1 --wait") is None


def _variables(text: str) -> set[str]:
    return {name for name in re.findall(r"STEELYARD_[A-Z_]*[A-Z]", text) if not name.endswith("_DEPLOY")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {f"STEELYARD_{name.upper()}" for name in Settings.model_fields} | CLIENT_VARIABLES | SCRIPT_VARIABLES
    assert _variables(document.read_text()) <= known


def test_every_setting_is_described() -> None:
    described = _variables((ROOT / "docs" / "data-centre.md").read_text())
    assert {f"STEELYARD_{name.upper()}" for name in Settings.model_fields} <= described


def test_the_phases_and_their_roles_are_those_of_the_code() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    described = dict(re.findall(r"^\| `([a-z-]+)` \|[^|]*\| ([a-z]+) \|", glossary, re.MULTILINE))
    assert described == {phase.value: intended_role(phase.value).value for phase in Phase}


def test_the_kinds_of_operation_are_those_of_the_code() -> None:
    api = (ROOT / "docs" / "api.md").read_text()
    described = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", api, re.MULTILINE))
    nodes = {DELETE_NODE, REMOVE, RELEASE, CLEAN, INSPECT, MAINTENANCE, RETIRE, UNRETIRE}
    servers = {CREATE, POWER, DELETE, RECLAIM, REBUILD, RESCUE, UNRESCUE}
    cabling = {ATTACH, DETACH, MOVE, TAG, UNTAG, BOND, UNBOND, RECABLE}
    assert described - {BULK_ADMIN} == {SWEEP, ONBOARD, FETCH} | servers | nodes | cabling

"""Every command that an error or a hint tells people to type exists, with its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import steelyard
from steelyard import main

SOURCE = Path(steelyard.__file__).parent
MENTION = re.compile(r"(?<![\w/.-])steelyard((?: +[^\s;|`'\"(),]+)+)")
GLOBAL = frozenset({*main._WITH_VALUE, *main._SWITCHES, "--help", "-h"})
NOT_COMMANDS = frozenset({"version", "COMMAND", "[OPTIONS]", "--help"})


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text in a module but its docstrings; what an f-string puts in stands as WORD."""
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in silent | inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "WORD" for part in node.values)
            yield node.lineno, "".join(map(str, parts))


def mentions() -> Iterator[tuple[str, list[str]]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for found in MENTION.finditer(text):
                words = [word.rstrip(".:") for word in found[1].split()]
                yield f"{path.relative_to(SOURCE)}:{line}", words


MENTIONS = [
    pytest.param(words, id=f"{where} {' '.join(words[:3])}")
    for where, words in mentions()
    if words[0] not in NOT_COMMANDS and not words[0].startswith(("{", "WORD"))
]


@cache
def command(name: str) -> Any:
    """The Click command or group behind a word."""
    return typer.main.get_command(main._load(name))  # type: ignore[arg-type]


def options_of(found: Any) -> set[str]:
    return {each for parameter in found.params for each in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("words", MENTIONS)
def test_it_can_be_typed(words: list[str]) -> None:
    rest = list(words)
    while rest and rest[0] in main._WITH_VALUE:
        rest = rest[2:]
    name, *rest = rest
    assert name in main.COMMANDS, f"there is no command {name}"
    found = command(name)
    while hasattr(found, "commands") and not (found.invoke_without_command and (not rest or rest[0].startswith("-"))):
        assert rest, f"{name} needs a sub-command"
        assert rest[0] in found.commands, f"{name} has no sub-command {rest[0]}"
        found, *rest = found.commands[rest[0]], *rest[1:]
    said = {word.split("=")[0] for word in rest if word.startswith("-")}
    unknown = said - {"-", "--WORD"} - GLOBAL - options_of(found)
    assert not unknown, f"{name} has no options {unknown}"


def test_there_is_something_to_look_at() -> None:
    assert len(MENTIONS) > 100

"""Rules of this repository that no linter knows. Prints breaches as `path:line: rule`; exits 1 if there are any."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

LONGEST = 400
FORBIDDEN_NAMES = {"utils", "helpers", "util", "helper", "misc", "common"}
SQL = re.compile(r"^\s*(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from)\s", re.IGNORECASE)
ADDRESS = re.compile(r"(index-url|https?://[^\s\"']*(pypi|pythonhosted|npmjs|/simple/)|/(work|root|home)/[a-z])")
READS_ENVIRONMENT = {
    Path("src/steelyard/settings.py"),
    # A program's own configuration, in the way of every OpenStack client.
    Path("src/steelyard/client/session.py"),
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    return [path for line in listed.stdout.splitlines() if (path := Path(line)).is_file()]


def environment_reads(tree: ast.AST) -> list[int]:
    """Lines that read a variable; handing a whole environment to a child process is not reading."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Load()):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(attr="get" | "pop", value=ast.Attribute(attr="environ"))):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(attr="getenv")):
                found.append(node.lineno)
    return found


def breaches(path: Path) -> list[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return []
    lines = text.splitlines()
    found = []
    if path != Path("scripts/house_rules.py"):
        found += [
            f"{path}:{number}: names a registry or a private path"
            for number, line in enumerate(lines, 1)
            if ADDRESS.search(line)
        ]
    if path.suffix != ".py":
        return found
    if path.parts[0] == "src" and len(lines) > LONGEST:
        found.append(f"{path}:{LONGEST + 1}: longer than {LONGEST} lines: probably two files")
    if FORBIDDEN_NAMES & {path.stem, *path.parts}:
        found.append(f"{path}:1: a name that says nothing")
    tree = ast.parse(text, str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in FORBIDDEN_NAMES:
            found.append(f"{path}:{node.lineno}: a name that says nothing")
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and path.parts[:2] == ("src", "steelyard")
            and "store" not in path.parts
            and "embedded" not in path.parts
            and SQL.match(node.value)
        ):
            found.append(f"{path}:{node.lineno}: SQL outside store/")
    if path.parts[0] == "src" and path not in READS_ENVIRONMENT and "launchers" not in path.parts:
        found += [f"{path}:{line}: only settings reads the environment" for line in environment_reads(tree)]
    return found


def main() -> int:
    found = [breach for path in tracked() for breach in breaches(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

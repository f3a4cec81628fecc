"""The diagram and the tables of docs/lifecycle.md, made from the tables of the code.

    python -m steelyard.lifecycle.document docs/lifecycle.md          writes them into the document
    python -m steelyard.lifecycle.document docs/lifecycle.md --check  says whether they are in it

They stand between `<!-- made: NAME -->` and `<!-- end -->`; all else in the document is written by people.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from steelyard.lifecycle.model import AUTOMATIC, PHASES, RULES, Action, Phase, Who, refusal

PLACE = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def made(text: str) -> str:
    """The document with every made part as it is now. Raises `ValueError` for a part that nobody makes."""

    def part(found: re.Match[str]) -> str:
        make = PARTS.get(found[2])
        if make is None:
            raise ValueError(f"there is no part {found[2]!r}; there are: {', '.join(PARTS)}")
        return f"{found[1]}{make()}{found[4]}"

    return PLACE.sub(part, text)


def diagram() -> str:
    """The life cycle as a Mermaid state diagram: what people ask for, and in brackets what happens by itself."""
    ways: dict[tuple[Phase, Phase], list[str]] = {}
    for action, rule in RULES.items():
        for before, after in rule.leads.items():
            if before is not after and action not in (Action.FORCED_DELETE, Action.RECLAIM):
                ways.setdefault((before, after), []).append(str(action))
    for before, after, why in AUTOMATIC:
        ways.setdefault((before, after), []).append(f"[{why}]")
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {_id(each)}: {each}" for each in Phase if "-" in each]
    lines.append("    [*] --> candidate: discover")
    lines += [f"    {_id(before)} --> {_id(after)}: {', '.join(why)}" for (before, after), why in ways.items()]
    return "\n".join([*lines, "```", ""])


def phases() -> str:
    """Every phase, with a sentence."""
    return _table(("phase", "meaning"), [(f"`{each}`", PHASES[each]) for each in Phase])


def actions() -> str:
    """Every action: who may, in which phases, where it leads, how to ask for it."""
    rows = []
    for action, rule in RULES.items():
        who = "tenant or administrator" if rule.who is Who.TENANT else "administrator"
        what = f"{rule.about} *{rule.condition}*" if rule.condition else rule.about
        rows.append((f"**{action}**", who, _leads(rule.leads), what, f"`{rule.command}`", f"`{rule.kind}`"))
    return _table(("action", "who", "from → to", "what it does; *condition*", "command", "operation"), rows)


def refusals() -> str:
    """What is said where the phase does not allow an action, by action and phase."""
    names = {"server": "SERVER", "name": "SERVER", "node": "NODE", "instance": "SERVER", "candidate": "CANDIDATE"}
    rows = []
    for action in RULES:
        told: dict[tuple[str, str], list[str]] = {}
        for each in Phase:
            refused = refusal(action, each, **names)
            if refused is not None:
                told.setdefault((refused.code, refused.next or ""), []).append(f"`{each}`")
        rows += [(f"**{action}**", ", ".join(found), f"`{code}`", f"`{next}`") for (code, next), found in told.items()]
    return _table(("refused", "in phase", "code", "next safe command"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "diagram": diagram, "phases": phases, "actions": actions, "refusals": refusals
}  # fmt: skip


def _id(phase: Phase) -> str:
    return phase.replace("-", "_")


def _leads(leads: Mapping[Phase, Phase]) -> str:
    by_end: dict[Phase | None, list[str]] = {}
    for before, after in leads.items():
        by_end.setdefault(None if before is after else after, []).append(str(before))
    parts = [f"{', '.join(befores)} → {after}" for after, befores in by_end.items() if after is not None]
    if stays := by_end.get(None):
        parts.append(f"{', '.join(stays)}: stays")
    return "<br>".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """The command. Returns the exit code: 1 when `--check` finds that the document is old."""
    paths = [Path(each) for each in arguments if not each.startswith("-")]
    if len(paths) != 1:
        print("usage: python -m steelyard.lifecycle.document FILE [--check]", file=sys.stderr)
        return 2
    before = paths[0].read_text(encoding="utf-8")
    after = made(before)
    if "--check" in arguments:
        return int(before != after)
    paths[0].write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

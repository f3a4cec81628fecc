"""A strict parser of as much of PromQL as alert rules should need; what it does not know is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<duration>\d+[smhdwy])|(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>[a-zA-Z_:][\w:]*)
    |(?P<sign>==|!=|<=|>=|=~|!~|[-+*/%^<>=(){}\[\],])
    )""",
    re.VERBOSE,
)
_BINARY = (
    frozenset({"or"}), frozenset({"and", "unless"}), frozenset({"==", "!=", "<", "<=", ">", ">="}),
    frozenset({"+", "-"}), frozenset({"*", "/", "%"}),
)  # fmt: skip
"""From the loosest to the tightest."""
AGGREGATES = frozenset({"sum", "max", "min", "avg", "count"})
FUNCTIONS = {"rate": "range", "increase": "range", "time": "none", "absent": "instant", "vector": "number"}
KEYWORDS = frozenset({"by", "without", "ignoring", "on", "offset", "or", "and", "unless"})


@dataclass
class Parsed:
    """The metrics that an expression names, each with the labels that its matchers name."""

    metrics: list[tuple[str, dict[str, tuple[str, str]]]] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    """Named in `by`, `ignoring` and the like."""


def parse(text: str) -> Parsed:
    """Raises `ValueError` for what is no expression."""
    parser = _Parser(text)
    parser.expression(0)
    if parser.tokens:
        raise ValueError(f"there is more after the end: {parser.tokens[0][1]}")
    return parser.found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.found = Parsed()
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"no PromQL: {text[position : position + 20]}")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))
            position = match.end()

    def peek(self) -> str:
        return self.tokens[0][1] if self.tokens else ""

    def take(self, wanted: str | None = None, *, kind: str | None = None) -> str:
        if not self.tokens or (wanted, kind) not in ((None, self.tokens[0][0]), (self.tokens[0][1], None)):
            raise ValueError(f"{wanted or kind} was expected, not {self.peek() or 'the end'}")
        return self.tokens.pop(0)[1]

    def expression(self, level: int) -> None:
        if level == len(_BINARY):
            self.operand()
            return
        self.expression(level + 1)
        while self.peek() in _BINARY[level]:
            self.tokens.pop(0)
            if self.peek() in ("ignoring", "on"):
                self.tokens.pop(0)
                self.names()
            self.expression(level + 1)

    def operand(self) -> None:
        if self.peek() == "(":
            self.take("(")
            self.expression(0)
            self.take(")")
        elif self.tokens and self.tokens[0][0] == "number":
            self.take(kind="number")
        else:
            self.named(self.take(kind="name"))

    def named(self, name: str) -> None:
        if name in AGGREGATES:
            if self.peek() in ("by", "without"):
                self.tokens.pop(0)
                self.names()
            self.take("(")
            self.expression(0)
            self.take(")")
        elif name in FUNCTIONS:
            self.take("(")
            takes = FUNCTIONS[name]
            if takes == "number":
                self.take(kind="number")
            elif takes != "none":
                self.selector(self.take(kind="name"), over_time=takes == "range")
            self.take(")")
        elif name in KEYWORDS:
            raise ValueError(f"{name} stands where a value should")
        else:
            self.selector(name, over_time=False)

    def selector(self, name: str, *, over_time: bool) -> None:
        matchers: dict[str, tuple[str, str]] = {}
        if self.peek() == "{":
            self.take("{")
            while self.peek() != "}":
                label = self.take(kind="name")
                sign = self.take(kind="sign")
                if sign not in ("=", "!=", "=~", "!~"):
                    raise ValueError(f"{sign} matches nothing")
                matchers[label] = (sign, self.take(kind="text")[1:-1])
                if self.peek() != "}":
                    self.take(",")
            self.take("}")
        if over_time:
            self.take("[")
            self.take(kind="duration")
            self.take("]")
        if self.peek() == "offset":
            self.take("offset")
            self.take(kind="duration")
        self.found.metrics.append((name, matchers))

    def names(self) -> None:
        self.take("(")
        self.found.labels.add(self.take(kind="name"))
        while self.peek() == ",":
            self.take(",")
            self.found.labels.add(self.take(kind="name"))
        self.take(")")

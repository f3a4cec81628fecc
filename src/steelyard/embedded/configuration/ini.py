"""INI text as oslo.config reads it."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.errors import Invalid

Value = str | int | float | bool
Sections = Mapping[str, Mapping[str, Value]]


def render(sections: Sections) -> str:
    """The sections as text. Raises Invalid for a value with a line break, which would start another option.

    oslo.config replaces `$name` in values, so a dollar sign is doubled unless the value says `$default_hooks` and the
    like on purpose, which is marked by the type Reference.
    """
    lines: list[str] = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for name, value in options.items():
            lines.append(f"{name} = {_text(name, value)}")
        lines.append("")
    return "\n".join(lines)


class Reference(str):
    """A value in which `$name` stands for another option's value."""

    __slots__ = ()


def _text(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if "\n" in text or "\r" in text:
        raise Invalid(f"the value of {name} has a line break")
    return text if isinstance(value, Reference) else text.replace("$", "$$")

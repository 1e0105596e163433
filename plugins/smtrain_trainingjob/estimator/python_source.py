"""Python source text in the layout of ruff format and black, at their own width, so that neither changes a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from smtrain.plugin import Json

WIDTH = 88
_INDENT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call with named arguments; an argument named "" is positional."""

    name: str
    arguments: Mapping[str, Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbatim:
    """Source as it is, on one line."""

    text: str


Source = Json | Call | Verbatim | Sequence["Source"] | Mapping[str, "Source"]
"""What can be written as an expression: plain data, calls, and both inside one another."""


def statement(head: str, value: Source) -> str:
    """Returns `head` and the expression behind it, e.g. `("trainer = ", Call(…))`."""
    return head + _expression(value, indent=0, used=len(head), after=0)


def literal(text: str) -> str:
    """Returns a string literal in the quotes that need fewer escapes, double ones by preference."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_character(char, quote) for char in text) + quote


def _character(char: str, quote: str) -> str:
    if char in {quote, "\\"}:
        return f"\\{char}"
    return char if char.isprintable() else repr(char)[1:-1]


def _expression(value: Source, *, indent: int, used: int, after: int) -> str:
    """Returns an expression, on one line where that fits behind `used` columns and before `after`."""
    flat = _flat(value)
    opening, items, closing = _parts(value)
    if not items or used + len(flat) + after <= WIDTH:
        return flat
    inner = indent + _INDENT
    lines = [
        " " * inner + label + _expression(item, indent=inner, used=inner + len(label), after=1) + ","
        for label, item in items
    ]
    return "\n".join((opening, *lines, " " * indent + closing))


def _flat(value: Source) -> str:
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return literal(value)
        case Verbatim(text=text):
            return text
    opening, items, closing = _parts(value)
    return opening + ", ".join(label + _flat(item) for label, item in items) + closing


def _parts(value: Source) -> tuple[str, list[tuple[str, Source]], str]:
    match value:
        case Call(name=name, arguments=arguments):
            return f"{name}(", [(f"{key}=" if key else "", item) for key, item in arguments.items()], ")"
        case Mapping():
            return "{", list(_entries(value)), "}"
        case Sequence() if not isinstance(value, str):
            return "[", [("", item) for item in value], "]"
    return "", [], ""


def _entries(value: Mapping[str, Source]) -> Iterator[tuple[str, Source]]:
    for key, item in value.items():
        yield f"{literal(key)}: ", item

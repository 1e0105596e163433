"""Checks an API request against the service's own limits, offline.

botocore checks the names of members and the types of values before it sends a request; lengths, counts, ranges,
patterns and enums it leaves to the service, which answers after everything was uploaded. Its service model carries them
all; `smtrain.service_models` has what concerns smtrain, so that checking imports no botocore.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from smtrain.credentials import hidden, names_secret
from smtrain.errors import Problem
from smtrain.service_models import model
from smtrain.service_models.model import Shape
from smtrain.service_models.pattern import matches
from smtrain.spec import Json
from smtrain.suggest import did_you_mean

Path = tuple[str | int, ...]
"""Where in a request: names of members and keys of maps, and indices of lists."""

KeyOf = Callable[[Path], str]
"""The configuration key that a place in the request comes from; "" when no single one is."""

_LONG_VALUE = 60
_FEW_CHOICES = 12
_SHOWN_CHOICES = 5
_BITS = {"integer": 31, "long": 63}
_NOUNS: Mapping[str, str] = {
    "structure": "a mapping",
    "map": "a mapping",
    "list": "a list",
    "string": "a string",
    "integer": "a whole number",
    "long": "a whole number",
    "float": "a number",
    "double": "a number",
    "boolean": "true or false",
    "timestamp": "a time",
    "blob": "a string",
}


def _no_key(_: Path) -> str:
    return ""


def problems(operation: str, request: Mapping[str, Json], *, key_of: KeyOf = _no_key) -> Iterator[Problem]:
    """Yields everything in a request that the service would refuse by its own model, in the request's order.

    Args:
      operation: a service and its operation, e.g. "sagemaker.CreateTrainingJob".
      request: the request as JSON; nothing in it is evaluated.
      key_of: from a place in the request to the configuration key to report.

    Raises:
      LookupError: the limits of this operation are not known.
    """
    document = model.load(operation)
    walk = _Walk(operation=document["operation"], shapes=document["shapes"], key_of=key_of)
    yield from walk.value(dict(request), document["input"], ())


def place(path: Path) -> str:
    """Returns the text of a place in a request, e.g. `InputDataConfig[0].ChannelName`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() and len(part) <= _LONG_VALUE:
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text


def shown(value: Json) -> str:
    """Returns a value as a message shows it: on one line, cut short, without credentials and control characters."""
    # Half of a surrogate pair cannot be printed either.
    text = hidden(value.encode(errors="replace").decode()) if isinstance(value, str) else str(value)
    text = text if len(text) <= _LONG_VALUE else f"{text[:_LONG_VALUE]}…"
    if isinstance(value, str):
        return f'"{text}"' if text.isprintable() and not {'"', "\\"} & set(text) else repr(text)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    operation: str
    shapes: Mapping[str, Shape]
    key_of: KeyOf

    def value(self, value: Json, name: str, path: Path) -> Iterator[Problem]:
        shape = self.shapes[name]
        if not _has_type(value, shape["type"]):
            yield self.wrong_type(value, shape, path)
            return
        if isinstance(value, dict):
            yield from self.members(value, shape, path) if "members" in shape else self.entries(value, shape, path)
        elif isinstance(value, list):
            yield from self.count(len(value), shape, path, "items")
            for index, item in enumerate(value):
                yield from self.value(item, shape["member"], (*path, index))
        elif isinstance(value, str):
            yield from self.string(value, shape, path)
        elif isinstance(value, int | float):
            yield from self.number(value, shape, path)

    def members(self, value: dict[str, Json], shape: Shape, path: Path) -> Iterator[Problem]:
        known = shape["members"]
        for name in shape.get("required", ()):
            if name not in value:
                what = f"{self.operation} needs `{place((*path, name))}`."
                yield self.problem((*path, name), what, "Set it.")
        if shape.get("union") and len(value) != 1:
            what = f"`{place(path)}` of {self.operation} has {len(value)} members; it takes exactly one."
            yield self.problem(path, what, f"Keep one of: {', '.join(known)}.")
        for name, inner in value.items():
            if name in known:
                yield from self.value(inner, known[name], (*path, name))
            else:
                what = f"`{place((*path, name))}` is not a member of {self.operation}."
                yield self.problem((*path, name), what, did_you_mean(name, known))

    def entries(self, value: dict[str, Json], shape: Shape, path: Path) -> Iterator[Problem]:
        yield from self.count(len(value), shape, path, "entries")
        for name, inner in value.items():
            inside = (*path, name)
            yield from self.string(name, self.shapes[shape["key"]], inside, is_name=True)
            yield from self.value(inner, shape["value"], inside)

    def count(self, count: int, shape: Shape, path: Path, noun: str) -> Iterator[Problem]:
        least, most = shape.get("min", 0), shape.get("max")
        if count < least:
            what = f"`{place(path)}` of {self.operation} has {count} {noun}; it takes at least {least}."
            yield self.problem(path, what, "Add what is missing, or leave it out.")
        elif most is not None and count > most:
            what = f"`{place(path)}` of {self.operation} has {count} {noun}; it takes at most {most}."
            yield self.problem(path, what, f"Take {count - most} out.")

    def string(self, text: str, shape: Shape, path: Path, *, is_name: bool = False) -> Iterator[Problem]:
        fault = _fault(text, shape)
        if fault is None:
            return
        subject = f"the name {shown(text)} in `{place(path[:-1])}`" if is_name else f"`{place(path)}`"
        found = "" if is_name or names_secret(place(path)) else f": {shown(text)}"
        what, fix = fault
        yield self.problem(path, f"{subject} of {self.operation} {what}{found}.", fix)

    def number(self, value: float, shape: Shape, path: Path) -> Iterator[Problem]:
        bits = _BITS.get(shape["type"])
        least = shape.get("min", -(2**bits) if bits else None)
        most = shape.get("max", 2**bits - 1 if bits else None)
        where = f"`{place(path)}` of {self.operation} is {shown(value)}"
        if least is not None and value < least:
            yield self.problem(path, f"{where}; it takes at least {least}.", "Raise it.")
        elif most is not None and value > most:
            yield self.problem(path, f"{where}; it takes at most {most}.", "Lower it.")

    def wrong_type(self, value: Json, shape: Shape, path: Path) -> Problem:
        noun = _NOUNS[shape["type"]]
        found = "a value" if names_secret(place(path)) else _described(value)
        what = f"`{place(path)}` of {self.operation} is {found}; it takes {noun}."
        fix = "Leave it out." if value is None else f"Write {noun}."
        return self.problem(path, what, fix)

    def problem(self, path: Path, what: str, fix: str) -> Problem:
        return Problem(key=self.key_of(path), what=what, fix=fix)


def _has_type(value: Json, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "structure" | "map":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list)
        case "string" | "blob":
            return isinstance(value, str)
        case "integer" | "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float" | "double":
            return number and (isinstance(value, int) or math.isfinite(cast("float", value)))
        case "boolean":
            return isinstance(value, bool)
        case "timestamp":
            return number or isinstance(value, str)
    return False


def _described(value: Json) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the string {shown(value)}"
        case _:
            return shown(value)


def _fault(text: str, shape: Shape) -> tuple[str, str] | None:
    """Returns what is wrong with a string, and what to do; None when nothing is.

    The length comes first: patterns are evaluated on nothing that is longer than allowed.
    """
    least, most = shape.get("min", 0), shape.get("max")
    if not _encodable(text):
        return "has a character that cannot be sent (half of a surrogate pair)", "Take it out."
    if len(text) < least:
        return f"has {_characters(len(text))}; it takes at least {least}", "Write all of it."
    if most is not None and len(text) > most:
        return f"has {_characters(len(text))}; it takes at most {most}", "Shorten it."
    if "enum" in shape and text not in shape["enum"]:
        return "has a value that the service does not know", _nearest(text, shape["enum"])
    if "pattern" in shape and not matches(shape["pattern"], text):
        return "does not have the form that the service takes", _form(text, shape["pattern"])
    return None


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _characters(count: int) -> str:
    return f"{count} character" if count == 1 else f"{count} characters"


def _nearest(text: str, choices: list[str]) -> str:
    """Says which values come closest: there are hundreds of instance types."""
    if len(choices) <= _FEW_CHOICES:
        return did_you_mean(text, choices)
    from difflib import get_close_matches

    near = get_close_matches(text.strip().lower(), choices, n=_SHOWN_CHOICES, cutoff=0.7)
    return f"Did you mean {_either(near)}?" if near else f"Choose one of its {len(choices)} values."


def _either(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _form(text: str, pattern: str) -> str:
    """Says what the service wants; a line break is named, since it does not show."""
    if len(text.splitlines()) > 1 or text.rstrip("\r\n") != text:
        return f"Take the line breaks out; it must match {pattern} as a whole."
    return f"It must match {pattern} as a whole."

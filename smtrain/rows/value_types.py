"""The type of each column, as the loader wants it: one for all rows, nested fields included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from smtrain.rows.sample import Row, RowProblem

_KINDS: Mapping[type, str] = MappingProxyType(
    {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "an object"}
)


def kind_of(value: object) -> str:
    """Returns what a value is, in words for messages: "a string", "a list", "null", ..."""
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


@dataclass(slots=True)
class ValueType:
    """What the values of a column, or of a nested field, have been so far; the loader wants one type for each."""

    kind: str = "null"
    place: str = ""
    parts: dict[str, ValueType] = field(default_factory=dict)

    def learn(self, value: object, place: str, path: str) -> RowProblem | None:
        """Takes one more value in, or returns why the loader could not."""
        kind = kind_of(value)
        if kind == "null":
            return None
        if self.kind == "null" or {self.kind, kind} == {"an integer", "a number"}:
            self.kind, self.place = ("a number" if self.kind == "an integer" else kind), self.place or place
        elif kind != self.kind:
            what = f"`{path}` is {kind}, but {self.kind} at {self.place}."
            return RowProblem(place=place, what=what, fix="Let a column hold one type of value in all rows.")
        for name, part in _parts(value):
            inner = f"{path}{name}" if name == "[]" else f"{path}.{name}"
            if problem := self.parts.setdefault(name, ValueType()).learn(part, place, inner):
                return problem
        return None

    def misfit(self, later: ValueType, path: str) -> str:
        """Returns what of a later table cannot be cast to this type, "" when all can."""
        if later.kind == "null":
            return ""
        to_text = self.kind == "a string" and later.kind not in {"a list", "an object"}
        if self.kind != later.kind and not to_text and (self.kind, later.kind) != ("a number", "an integer"):
            return f"`{path}` is {later.kind}, but {self.kind} in"
        for name, part in later.parts.items():
            inner = f"{path}{name}" if name == "[]" else f"{path}.{name}"
            if self.kind == "an object" and name not in self.parts:
                return f"`{inner}` is new, and absent from"
            if name in self.parts and (found := self.parts[name].misfit(part, inner)):
                return found
        return ""


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from (("[]", item) for item in value)


def column_types(rows: Sequence[Row], places: Sequence[str]) -> tuple[dict[str, ValueType], list[RowProblem]]:
    """Returns the type of each column, and the first conflict in each."""
    types: dict[str, ValueType] = {}
    conflicts: dict[str, RowProblem] = {}
    for row, place in zip(rows, places, strict=True):
        for name, value in row.items():
            if name not in conflicts and (problem := types.setdefault(name, ValueType()).learn(value, place, name)):
                conflicts[name] = problem
    return types, list(conflicts.values())


def misfits(first: Mapping[str, ValueType], later: Mapping[str, ValueType]) -> Iterator[tuple[str, str]]:
    """Yields the columns of a later table that do not fit the first one, and how: "`a` is a string, but a list in"."""
    for name, kind in later.items():
        if name not in first:
            yield name, f"column `{name}` is new, and absent from"
        elif found := first[name].misfit(kind, name):
            yield name, found

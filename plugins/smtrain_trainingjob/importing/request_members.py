"""The members of a request, each taken once, so that what nobody took is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from smtrain.plugin import Json, Origin, Problem


@dataclass(slots=True, kw_only=True)
class Members:
    """A mapping inside a request; taking a member removes it.

    Null, "", [] and {} stand for an absent member, as they do in what AWS answers.

    Attributes:
      values: what nobody took yet.
      source: path of the file, for messages.
      path: where in the request, with a dot at its end; "" for the request itself.
      faults: members of the wrong type, of all mappings of one request.
      opened: all mappings of one request, from the outermost on.
    """

    values: dict[str, Json]
    source: str
    path: str = ""
    faults: list[Problem] = field(default_factory=list)
    opened: list[Members] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Joins the mappings of its request."""
        self.opened.append(self)

    def take(self, name: str) -> Json:
        """Returns a member whatever it is; None when it is absent."""
        value = self.values.pop(name, None)
        return None if isinstance(value, str | list | dict) and not value else value

    def text(self, name: str) -> str | None:
        """Returns a text."""
        value = self.take(name)
        if value is None or isinstance(value, str):
            return value
        self._fault(name, value, "text")
        return None

    def number(self, name: str) -> int | None:
        """Returns a whole number."""
        value = self.take(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self._fault(name, value, "a whole number")
        return None

    def flag(self, name: str) -> bool | None:
        """Returns true or false."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return value
        self._fault(name, value, "true or false")
        return None

    def texts(self, name: str) -> list[str]:
        """Returns a list of texts."""
        value = self.take(name)
        items = value if isinstance(value, list) else []
        if value is not None and not (items and all(isinstance(item, str) for item in items)):
            self._fault(name, value, "a list of texts")
        return [item for item in items if isinstance(item, str)]

    def pairs(self, name: str) -> dict[str, str]:
        """Returns a mapping of names to texts; numbers and booleans become the text that was written."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            self._fault(name, value, "a mapping")
        items = value.items() if isinstance(value, dict) else ()
        return {key: self._plain(f"{name}.{key}", item) for key, item in items}

    def inner(self, name: str) -> Members:
        """Returns a mapping; an empty one when it is absent."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            self._fault(name, value, "a mapping")
        return self._inside(f"{name}.", value)

    def inners(self, name: str) -> list[Members]:
        """Returns a list of mappings."""
        value = self.take(name)
        items = value if isinstance(value, list) else []
        if value is not None and not (items and all(isinstance(item, dict) for item in items)):
            self._fault(name, value, "a list of mappings")
        return [self._inside(f"{name}[{index}].", item) for index, item in enumerate(items)]

    def by_name(self, name: str, key: str) -> dict[str, Members]:
        """Returns a list of mappings by the member that names each."""
        named: dict[str, Members] = {}
        for item in self.inners(name):
            own = item.needed(key)
            if own in named:
                what = f"Two of them are named {own!r}."
                where = Origin(source=self.source)
                self.faults.append(Problem(key=f"{self.path}{name}", what=what, fix="Rename one.", where=where))
            named[own] = item
        return named

    def needed(self, name: str) -> str:
        """Returns a text that must be there."""
        if not self.values.get(name):
            self._fault(name, None, "text")
        return self.text(name) or ""

    def skip(self, name: str, silent: object) -> None:
        """Takes a member that says no more than its absence would."""
        if self.values.get(name) == silent:
            del self.values[name]

    def left(self) -> Iterator[tuple[str, Json]]:
        """Takes what is left: where it is, and what."""
        for name in list(self.values):
            value = self.take(name)
            if value is not None:
                yield f"{self.path}{name}", value

    def _inside(self, path: str, value: Json) -> Members:
        return Members(
            values=dict(value) if isinstance(value, dict) else {},
            source=self.source,
            path=f"{self.path}{path}",
            faults=self.faults,
            opened=self.opened,
        )

    def _plain(self, name: str, value: Json) -> str:
        match value:
            case None:
                return ""
            case bool():
                return str(value).lower()
            case str() | int():
                return str(value)
        self._fault(name, value, "text")
        return ""

    def _fault(self, name: str, value: Json, wanted: str) -> None:
        nouns = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number"}
        what = f"It is {nouns[type(value)]}, and takes {wanted}." if value is not None else f"It is missing: {wanted}."
        where = Origin(source=self.source)
        self.faults.append(Problem(key=f"{self.path}{name}", what=what, fix="Mend it there.", where=where))

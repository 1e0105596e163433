"""Where in a JSON text each key stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|[{}\[\],]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of an object.

    Attributes:
      path: the keys from the outermost object inwards, joined by "."; places in a list do not count.
      line: 1-based.
      column: 1-based.
      repeated: whether the same object has had this key before.
    """

    path: str
    line: int
    column: int
    repeated: bool


@dataclass(slots=True)
class _Open:
    """An object or list that is not closed yet."""

    prefix: str
    seen: set[str] = field(default_factory=set)
    current: str = ""


def keys(text: str) -> Iterator[Key]:
    """Yields every key of a valid JSON text, in order; `json` itself keeps the last of several and says nothing."""
    stack: list[_Open] = []
    for token in _TOKEN.finditer(text):
        if token["colon"]:
            top = stack[-1]
            name = json.loads(token["string"])
            top.current = f"{top.prefix}.{name}" if top.prefix else name
            start = token.start()
            yield Key(
                path=top.current,
                line=text.count("\n", 0, start) + 1,
                column=start - text.rfind("\n", 0, start),
                repeated=name in top.seen,
            )
            top.seen.add(name)
        elif token[0] in "{[":
            stack.append(_Open(prefix=stack[-1].current if stack else ""))
            stack[-1].current = stack[-1].prefix
        elif token[0] in "}]":
            stack.pop()

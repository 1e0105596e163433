"""Key path → where it was said: the file and line, or the override."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from smtrain.errors import Origin

if TYPE_CHECKING:
    from yaml import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """One config file as it was merged.

    Attributes:
      source: its path or package address, as shown to the user.
      package: dotted path under which its content was placed, "" for the root.
      text: its content.
    """

    source: str
    package: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where each key of a composed configuration was said last.

    Files are parsed for their lines only when somebody asks, since a good configuration never does.

    Attributes:
      files: the config files in the order in which they were merged.
      overrides: key → override as typed, in order.
    """

    files: tuple[ConfigFile, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)

    def of(self, key: str) -> Origin | None:
        """Returns the origin of a key; failing that, of one inside it, or of the nearest one around it."""
        if key not in self._known:
            inside = next((origin for name, origin in self._known.items() if name.startswith(f"{key}.")), None)
            if inside is not None:
                return inside
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            found = self._known.get(".".join(parts[:length]))
            if found is not None:
                return found
        return None

    @cached_property
    def _known(self) -> dict[str, Origin]:
        known: dict[str, Origin] = {}
        for file in self.files:
            known.update((key, Origin(source=file.source, line=line)) for key, line in _lines(file))
        known.update((key, Origin(source=f"override `{text}`")) for key, text in self.overrides.items())
        return known


def _lines(file: ConfigFile) -> Iterator[tuple[str, int]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root = yaml.compose(file.text, Loader=loader)
    if root is not None:
        yield from _walk(root, tuple(file.package.split(".")) if file.package else ())


def _walk(node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for name, line, value in _children(node):
        here = (*path, name)
        yield ".".join(here), line
        yield from _walk(value, here)


def _children(node: Node) -> Iterable[tuple[str, int, Node]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key.start_mark.line + 1, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(index), item.start_mark.line + 1, item) for index, item in enumerate(node.value)]
    return ()

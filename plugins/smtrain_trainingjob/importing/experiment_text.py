"""An experiment config as YAML text, comments included, that OmegaConf reads as the values that were put in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from smtrain.plugin import Json

_LAST_OF_FOUR_DIGITS = 0xFFFF
_SHOWN = 300
"""Characters of a value in a comment."""

# Neither OmegaConf's notion of a number, nor any of YAML's words for true, false and nothing.
_PLAIN = re.compile(r"(?!(?:true|false|yes|no|on|off|y|n|null|nan|inf)$)[a-z/](?:[\w./:@+=-]*[\w/])?", re.ASCII | re.I)
_BEFORE_INTERPOLATION = re.compile(r"(\\*)\$\{")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A comment: its first line, and what to do about it."""

    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key with its value, or with the entries below it; one without entries shows its notes alone."""

    key: str
    value: Json | tuple[Node, ...]


Node = Entry | Note


def said(key: str, value: Json | Mapping[str, Json] | Sequence[Json]) -> tuple[Entry, ...]:
    """Returns the entry of a value; none where the value says nothing: null, false, or empty but for a text."""
    if isinstance(value, Mapping):
        return section(key, [entry for name, item in value.items() for entry in said(name, item)])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return (Entry(key=key, value=[*value]),) if value else ()
    return () if value is None or value is False else (Entry(key=key, value=value),)


def section(key: str, nodes: Iterable[Node]) -> tuple[Entry, ...]:
    """Returns the entry of what is below a key; none where nothing is."""
    inside = tuple(nodes)
    return (Entry(key=key, value=inside),) if inside else ()


def lost(path: str, value: Json, fix: str) -> Note:
    """Returns the comment on what could not be carried over.

    Args:
      path: where it stood.
      value: what it was.
      fix: what to do instead.
    """
    text = json.dumps(value, ensure_ascii=False)
    told = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters in all)"
    return Note(what=f"Not carried over: {path}: {told}", fix=fix)


def render(nodes: Iterable[Node], indent: str = "") -> str:
    """Returns the YAML, a line each."""
    return "".join(f"{indent}{line}\n" if line else "\n" for node in nodes for line in _lines(node))


def _lines(node: Node) -> Iterator[str]:
    if isinstance(node, Note):
        yield f"# {printable(node.what)}"
        yield from (f"#   {line}" for line in node.fix.splitlines())
    elif (fault := _unsayable(node)) is not None:
        yield from _lines(fault)
    elif isinstance(node.value, tuple):
        inside = [line for child in node.value for line in _lines(child)]
        holds = any(line and not line.startswith("#") for line in inside)
        yield from (f"{_scalar(node.key)}:", *(f"  {line}" for line in inside)) if holds else inside
    else:
        yield f"{_scalar(node.key)}: {_flow(node.value)}"


def _unsayable(entry: Entry) -> Note | None:
    """Returns the comment in the place of a value that no config can hold."""
    values = entry.value if isinstance(entry.value, list) else [entry.value]
    if "???" in values:
        return lost(
            entry.key, _json(entry.value), "`???` is Hydra's sign for a value that is missing: it cannot be said."
        )
    if any(_SURROGATE.search(text) for text in (entry.key, *values) if isinstance(text, str)):
        return lost(entry.key, _json(entry.value), "Half of a surrogate pair is no text: it cannot be sent.")
    return None


def _json(value: Json | tuple[Node, ...]) -> Json:
    return None if isinstance(value, tuple) else value


def _flow(value: Json) -> str:
    return f"[{', '.join(map(_flow, value))}]" if isinstance(value, list) else _scalar(_escaped(value))


def _escaped(value: Json) -> Json:
    """Returns a value that OmegaConf resolves to the given one: `${` in its text is no interpolation."""
    return _BEFORE_INTERPOLATION.sub(lambda found: f"{found[1] * 2}\\${{", value) if isinstance(value, str) else value


def _scalar(value: Json) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value):
        return value
    return printable(str(yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31)).rstrip("\n"))


def printable(text: str) -> str:
    """Returns a text with an escape, which YAML knows in double quotes, for each character that cannot be seen."""
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    return f"\\U{code:08x}" if code > _LAST_OF_FOUR_DIGITS else f"\\u{code:04x}"

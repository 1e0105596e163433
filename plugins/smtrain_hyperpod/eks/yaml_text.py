"""Documents as YAML: in the order in which they were made, each part written out where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from smtrain.plugin import Json

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
"""What one reader of YAML or another takes for something else than text; kubectl's is not PyYAML."""


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and lists indented below their keys."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def render(document: Mapping[str, Json], *, comment: str) -> bytes:
    """Returns a document as YAML, with a comment in front."""
    text = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return f"# {comment}\n{text}".encode()

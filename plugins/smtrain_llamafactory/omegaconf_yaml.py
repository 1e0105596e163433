"""Reading YAML as LLaMA-Factory does, with the line of every key.

OmegaConf's loader differs from PyYAML's: `1e-4` is a float, dates stay text, and a key may not come twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from smtrain.plugin import Json, Origin, Problem, SmtrainError

_FLOAT = re.compile(
    r"""^(?:
     [-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_TAG, _DATE_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML mapping.

    Attributes:
      values: its content.
      lines: top-level key → line.
      source: its path, for messages.
    """

    values: Mapping[str, Json]
    lines: Mapping[str, int]
    source: str

    def problem(self, key: str, what: str, fix: str = "") -> Problem:
        """Returns a problem located at a key of the document."""
        where = Origin(source=self.source, line=self.lines.get(key))
        return Problem(key=key, what=what, fix=fix, where=where)


class _Loader(yaml.SafeLoader):
    """SafeLoader with OmegaConf's floats, and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT_TAG, _DATE_TAG)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))


def read(text: str, source: str) -> Document:
    """Returns the mapping of a YAML file.

    Raises:
      SmtrainError: it is not valid YAML, or no mapping.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = Origin(source=source, line=mark.line + 1 if mark else None)
        what = f"Not valid YAML: {getattr(error, 'problem', None) or error}."
        raise SmtrainError([Problem(key="", what=what, fix="Mend the file.", where=where)]) from None
    if not isinstance(root, yaml.MappingNode) or not isinstance(values, dict):
        what = "There is nothing in the file." if root is None else "No mapping of arguments to values."
        problem = Problem(key="", what=what, fix="Give a YAML of LLaMA-Factory.", where=Origin(source=source))
        raise SmtrainError([problem])
    lines: dict[str, int] = {}
    twice = []
    for key, _ in root.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            where = Origin(source=source, line=line)
            what = f"The key comes twice, first in line {lines[name]}."
            twice.append(Problem(key=name, what=what, fix="Keep one of them.", where=where))
        lines.setdefault(name, line)
    if twice:
        raise SmtrainError(twice)
    return Document(values={str(key): value for key, value in values.items()}, lines=lines, source=source)

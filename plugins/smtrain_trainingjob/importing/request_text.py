"""Reading a CreateTrainingJob request, or the answer of DescribeTrainingJob, as JSON or YAML.

A request has text where YAML 1.1 sees dates, numbers of base 60 and booleans: AWS's CLI writes YAML 1.2, in which
`yes` and `2024-01-01` are text. So of YAML's plain words only whole numbers, `true`, `false` and `null` are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable

import yaml

from smtrain.plugin import Json, Origin, Problem, SmtrainError

REQUIRED = ("RoleArn", "AlgorithmSpecification", "OutputDataConfig", "ResourceConfig")
"""Members without which a request is none that smtrain could make an experiment of."""

_MOST_VALUES = 100_000
"""Hundreds of times of what a request may hold."""

_WANTED = "Give a CreateTrainingJob request, or what `aws sagemaker describe-training-job` answers, as JSON or YAML."
_PRINTED = "A dict that Python printed is no JSON: print(json.dumps(request, indent=2, default=str)) is."


def read(text: str, source: str) -> dict[str, Json]:
    """Returns the request.

    Args:
      text: JSON or YAML.
      source: its path, for messages.

    Raises:
      SmtrainError: it is neither, or no such request.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise _fault(source, "There is nothing in the file.", _WANTED)
    request = _json(text, source) if text.lstrip()[0] in '{["' else _yaml(text, source)
    if not isinstance(request, dict):
        noun = "A list" if isinstance(request, list) else "A single value"
        raise _fault(source, f"{noun}, where a request is a mapping of its members.", _WANTED)
    missing = [name for name in REQUIRED if not request.get(name)]
    if missing:
        what = f"This is no CreateTrainingJob request: it has no {', '.join(f'`{name}`' for name in missing)}."
        raise _fault(source, what, _unwrapped(request) or _WANTED)
    return request


def _unwrapped(request: dict[str, Json]) -> str:
    """Says where inside of another document the request is; "" when it is nowhere near."""
    inside = (name for name, value in request.items() if isinstance(value, dict) and REQUIRED[1] in value)
    return "".join(f"Give what stands under `{name}` alone." for name in [next(inside, None)] if name)


def _fault(source: str, what: str, fix: str, line: int | None = None) -> SmtrainError:
    return SmtrainError([Problem(key="", what=what, fix=fix, where=Origin(source=source, line=line))])


def _json(text: str, source: str) -> Json:
    def once(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for name, value in pairs:
            if name in members:
                raise _twice(source, name)
            members[name] = value
        return members

    try:
        # A request has no fractions: where one stands, text was meant.
        document: Json = json.loads(text, object_pairs_hook=once, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise _fault(source, f"Not valid JSON: {error.msg}.", f"{_WANTED}\n{_PRINTED}", error.lineno) from None
    except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
        raise _fault(source, f"Not valid JSON: {error}.", _WANTED) from None
    return document


def _twice(source: str, name: str, line: int | None = None) -> SmtrainError:
    return _fault(source, f"The member {name!r} comes twice.", "Keep one of them.", line)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's notion of text, and no member twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Json]:
        members: dict[Hashable, Json] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a name that is no text", problem_mark=key.start_mark)
            if key.value in members:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} comes twice", problem_mark=key.start_mark)
            members[key.value] = self.construct_object(value, deep=deep)
        return members


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"0|-?[1-9][0-9]{0,18}", "-0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$(?!\n)"), [*_first, ""])


def _yaml(text: str, source: str) -> Json:
    try:
        document: Json = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise _fault(source, f"Not valid YAML: {error.problem}.", _WANTED, line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _fault(source, f"Not valid YAML: {' '.join(str(error).split())}.", _WANTED) from None
    if _is_larger(document, _MOST_VALUES):
        raise _fault(source, "Its references (*name) stand for more than a request can hold.", "Write it without them.")
    return document


def _is_larger(value: Json, most: int) -> bool:
    """Whether there are more values than so many: references of references multiply, or come back to themselves."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        last = waiting.pop()
        children = last.values() if isinstance(last, dict) else last if isinstance(last, list) else ()
        count += len(children)
        waiting.extend(children)
    return count > most

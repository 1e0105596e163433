r"""The service models' regular expressions, evaluated as the service evaluates them.

They are Java's, and a value must match as a whole although hardly any is anchored: when the model's pattern for job
names began with `^` and had no `$`, the service still refused `health_and_…`, of which `health` matches
(https://github.com/aws/sagemaker-python-sdk/issues/384, 2018; the length limit is reported apart from it, as in
https://github.com/zenml-io/zenml/issues/1502). The differences from Python's `re` that occur in the models, from
https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/regex/Pattern.html:

- `.` stands for no line terminator: \n, \r, \u0085, \u2028 and \u2029. Python's leaves out \n alone.
- \d, \w and \s are ASCII.
- \p{L}, \p{Z} and \p{N} are Unicode's general categories; \p{Alnum} is ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

_TOKEN = re.compile(r"\\p\{(?P<property>\w+)\}|\\.|\[\^?\]?|\]|\.|[^\\\[\].]+", re.DOTALL)
_ANY = r"[^\n\r\x85\u2028\u2029]"
_ASCII_MEMBERS: Mapping[str, str] = MappingProxyType({"Alnum": "a-zA-Z0-9", "L": "a-zA-Z", "N": "0-9", "Z": " "})
_CATEGORIES = frozenset({"L", "N", "Z"})


def matches(pattern: str, text: str) -> bool:
    """Whether the text as a whole matches a service model's pattern.

    No pattern in the committed models takes more than linear time for long; the caller checks the length first.
    """
    other = "" if text.isascii() else "".join(sorted({char for char in text if not char.isascii()}))
    return _compiled(pattern, other if r"\p{" in pattern else "").fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str, other: str) -> re.Pattern[str]:
    """Returns Python's pattern for texts whose only characters outside ASCII, as far as they matter, are `other`."""

    def members(name: str) -> str:
        if name in _CATEGORIES:
            return _ASCII_MEMBERS[name] + "".join(char for char in other if unicodedata.category(char)[0] == name)
        return _ASCII_MEMBERS[name]

    return re.compile(_translated(pattern, members), re.ASCII)


def _translated(pattern: str, members: Callable[[str], str]) -> str:
    parts: list[str] = []
    in_class = False
    for token in _TOKEN.finditer(pattern):
        word = token.group()
        if name := token["property"]:
            parts.append(members(name) if in_class else f"[{members(name)}]")
        elif word == "." and not in_class:
            parts.append(_ANY)
        else:
            parts.append(word)
            in_class = word != "]" and (in_class or word.startswith("["))
    return "".join(parts)

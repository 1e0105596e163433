"""YAML that PyYAML and OmegaConf read alike.

LLaMA-Factory reads its files with OmegaConf, people and other tools with PyYAML; the two disagree on `1e-4` (a float, a
string), and OmegaConf gives `${` a meaning of its own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./,+@-]*(?: [A-Za-z0-9_./,+@-]+)*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LAST_OF_FOUR_DIGITS = 0xFFFF
_OTHER_THAN_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"})


def scalar(value: object) -> str:
    """Returns a string, number, boolean or null as YAML text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _OTHER_THAN_TEXT:
            return value
    return quoted(str(value))


def quoted(text: str) -> str:
    """Returns a string in double quotes, any character in it escaped in YAML's own way."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + "".join(char if _printable(char) else _escape(char) for char in escaped) + '"'


def flow(value: object) -> str:
    """Returns any value on one line, in YAML's flow style."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
        case str():
            return quoted(value) if re.search(r"[,\s]", value) else scalar(value)
        case Sequence():
            return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def line(key: str, value: object) -> str:
    """Returns `key: value`, nested values in flow style."""
    nested = isinstance(value, Mapping | Sequence) and not isinstance(value, str)
    return f"{scalar(key)}: {flow(value) if nested else scalar(value)}"


def strings(value: object) -> Iterator[str]:
    """Yields every string inside a value."""
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from strings(item)
        case Sequence():
            for item in value:
                yield from strings(item)


def arrives_intact(text: str) -> bool:
    """Whether OmegaConf hands the string on as it is.

    It parses whatever holds `${` when it loads the file, even though LLaMA-Factory never resolves it: a well-formed
    `${name}` passes, a malformed one is a GrammarParseError at the start of the training. A lone surrogate is no text.
    """
    if _SURROGATE.search(text):
        return False
    if "${" not in text:
        return True
    # The judge itself, for the rare string that needs one.
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    try:
        parse(text)
    except GrammarParseError:
        return False
    return True


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{exponent}{power}" if exponent else mantissa


def _printable(char: str) -> bool:
    return char.isprintable() and char != "\ufeff"


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\U{code:08x}" if code > _LAST_OF_FOUR_DIGITS else f"\\u{code:04x}"

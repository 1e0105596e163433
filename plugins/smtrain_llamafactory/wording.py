"""The words about one argument: what it takes, what was found, and what was probably meant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from smtrain.plugin import Json, suggest
from smtrain_llamafactory.conformance import Property, conforms, has_type, in_range, types_of
from smtrain_llamafactory.renamed import MEANT

_NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "array": "a list",
        "boolean": "true or false",
        "integer": "an integer",
        "null": "null",
        "number": "a number",
        "object": "a mapping",
        "string": "a string",
    }
)
_BOUNDS: Mapping[str, str] = MappingProxyType(
    {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
)
_MANY_CHOICES = 20
_LONG_VALUE = 60
_SCIENTIFIC = re.compile(r"(?P<whole>[+-]?\d+)(?P<fraction>\.\d*)?[eE](?P<sign>[+-]?)(?P<exponent>\d+)")


def wanted(schema: Property) -> str:
    """Returns what the argument takes, e.g. "an integer ≥ 1, or null"."""
    options = [_plain(option) for option in (schema, *schema.get("anyOf", ()))]
    return ", or ".join(dict.fromkeys(filter(None, options)))


def _plain(schema: Property) -> str:
    if "enum" in schema:
        return _choices(schema["enum"])
    limits = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]  # type: ignore[literal-required]
    last = ("array", "null")
    types = sorted(types_of(schema), key=lambda name: last.index(name) if name in last else -1)
    return ", or ".join(_noun(name, schema, limits) for name in types)


def _noun(name: str, schema: Property, limits: list[str]) -> str:
    if name in ("integer", "number") and limits:
        return f"{_NOUNS[name]} {' and '.join(limits)}"
    if name == "array":
        return "a list of strings" if schema.get("items") == {"type": "string"} else "a list of such"
    if name == "string" and "x-words" in schema:
        return f"words out of {', '.join(schema['x-words'])}"
    return _NOUNS[name]


def _choices(values: list[Json]) -> str:
    if len(values) > _MANY_CHOICES:
        return f"one of {len(values)} names"
    names = ", ".join(_literal(value) for value in values)
    return f"one of {names}" if len(values) > 1 else names


def _literal(value: Json) -> str:
    """Returns the value as it would stand in a YAML file."""
    if isinstance(value, str) and value not in ("no", "yes", "on", "off", "null", "true", "false", ""):
        return value
    return json.dumps(value, ensure_ascii=False)


def culprit(value: Json, schema: Property) -> Json:
    """Returns the first item of a list that keeps it from conforming; the value itself when it is no such list."""
    for option in (schema, *schema.get("anyOf", ())):
        items = option.get("items")
        if isinstance(value, list) and items is not None:
            return next((item for item in value if not conforms(item, items)), value)
    return value


def found(value: Json, *, secret: bool) -> str:
    """Returns what was found; a secret's value is never told."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if secret:
        return "a value of another type"
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= _LONG_VALUE else f"{text[:_LONG_VALUE]}…"
    return f"the string {text}" if isinstance(value, str) else text


def hint(name: str, value: Json, schema: Property) -> str:
    """Returns what was probably meant, or "" when nothing comes to mind."""
    meant = MEANT.get((name, value)) if isinstance(value, bool | str) else None
    if meant is not None:
        return f"Write {meant}."
    if value is False and "no" in schema.get("enum", ()):
        return 'Write "no" with its quotes: YAML reads a bare no as false.'
    if isinstance(value, str):
        return _number_in_quotes(value, schema) or _closest(value, schema)
    if value in (0, 1) and "boolean" in types_of(schema):
        return f"Write {json.dumps(bool(value))}."
    if isinstance(value, list) and "string" in types_of(schema) and "array" not in types_of(schema):
        return "Write one string, with commas between the names."
    return ""


def _number_in_quotes(value: str, schema: Property) -> str:
    if not {"integer", "number"} & set(types_of(schema)):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not (has_type(number, schema) and in_range(number, schema)):
        return ""
    written = _SCIENTIFIC.fullmatch(value.strip())
    if written is None or (written["fraction"] and written["sign"]):
        return "Write it without quotes."
    whole, fraction, exponent = written["whole"], written["fraction"] or ".0", written["exponent"]
    return f"Write {whole}{fraction}e{written['sign'] or '+'}{exponent}: YAML takes {value} for a string."


def _closest(value: str, schema: Property) -> str:
    names = [choice for choice in _all_choices(schema) if isinstance(choice, str)]
    if "boolean" in types_of(schema):
        names += ["true", "false"]
    spoilt = next((word for word in value.split() if word not in names), value) if "x-words" in schema else value
    match = suggest.closest(spoilt.lower(), names) if names else None
    if match is not None:
        return f"Did you mean {match}?" if match in ("true", "false") else f"Did you mean `{match}`?"
    return f"Choose one of: {', '.join(names)}." if len(names) > _MANY_CHOICES else ""


def _all_choices(schema: Property) -> list[Json]:
    own = [*schema.get("enum", []), *schema.get("x-words", [])]
    return own + [choice for option in schema.get("anyOf", []) for choice in _all_choices(option)]

"""Whether a value conforms to the schema of one argument: the few JSON Schema keywords that the generator writes.

jsonschema would say the same (a test holds the two equal), but importing it costs more than the whole compile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypedDict

from smtrain.plugin import Json

Property = TypedDict(
    "Property",
    {
        "type": str | list[str],
        "enum": list[Json],
        "anyOf": "list[Property]",
        "items": "Property",
        "pattern": str,
        "minimum": float,
        "maximum": float,
        "exclusiveMinimum": float,
        "exclusiveMaximum": float,
        "default": Json,
        "description": str,
        "x-group": str,
        "x-words": list[str],
    },
    total=False,
)
"""The schema of one argument; `x-group` names its dataclass, `x-words` what its pattern spells."""


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Json) -> bool:
    # JSON knows one kind of number: 3.0 is an integer.
    return _is_number(value) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


_TYPES: Mapping[str, Callable[[Json], bool]] = MappingProxyType(
    {
        "array": lambda value: isinstance(value, list),
        "boolean": lambda value: isinstance(value, bool),
        "integer": _is_integer,
        "null": lambda value: value is None,
        "number": _is_number,
        "object": lambda value: isinstance(value, dict),
        "string": lambda value: isinstance(value, str),
    }
)


def types_of(schema: Property) -> tuple[str, ...]:
    """Returns the names of the JSON types that the schema's `type` allows; none when it has no `type`."""
    said = schema.get("type", [])
    return (said,) if isinstance(said, str) else tuple(said)


def has_type(value: Json, schema: Property) -> bool:
    """Returns whether the value is of one of the types the schema allows."""
    types = types_of(schema)
    return not types or any(_TYPES[name](value) for name in types)


def is_choice(value: Json, schema: Property) -> bool:
    """Returns whether the value is among the schema's `enum`, if it has one; true is not 1 there."""
    choices = schema.get("enum")
    return choices is None or any(
        value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices
    )


def in_range(value: Json, schema: Property) -> bool:
    """Returns whether the value, if it is a number, keeps within the schema's bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return not (
        ("minimum" in schema and value < schema["minimum"])
        or ("maximum" in schema and value > schema["maximum"])
        or ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
        or ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
    )


def conforms(value: Json, schema: Property) -> bool:
    """Returns whether the value is valid under the schema."""
    if not (has_type(value, schema) and is_choice(value, schema) and in_range(value, schema)):
        return False
    if "anyOf" in schema and not any(conforms(value, option) for option in schema["anyOf"]):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(conforms(item, schema["items"]) for item in value)
    return not (isinstance(value, str) and "pattern" in schema and re.search(schema["pattern"], value) is None)

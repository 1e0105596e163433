"""Laying a user's overrides over a document that smtrain writes."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.spec import Json


def lay_over(document: Mapping[str, Json], overrides: Mapping[str, object]) -> dict[str, Json]:
    """Returns the document with the overrides in it; neither argument is changed.

    Args:
      document: plain JSON.
      overrides: nested mappings, dotted keys (`zero_optimization.stage`), or both; null removes a key.
    """
    result: dict[str, Json] = dict(document)
    for dotted, value in overrides.items():
        head, _, rest = str(dotted).partition(".")
        change: object = {rest: value} if rest else value
        if change is None:
            result.pop(head, None)
        elif isinstance(change, Mapping):
            inner = result.get(head)
            result[head] = lay_over(inner if isinstance(inner, dict) else {}, change)
        else:
            result[head] = plain(change)
    return result


def plain(value: object) -> Json:
    """Returns the value as JSON: tuples as lists, mappings as dicts; numbers keep their type."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)

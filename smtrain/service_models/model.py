"""The committed limits of an API operation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypedDict, cast


class Shape(TypedDict, total=False):
    """One type of a service model; which keys it has follows from `type`.

    The numbers bound the length of a string or blob (characters, bytes), the count of a list or map, or a number.
    """

    type: str
    required: list[str]
    members: Mapping[str, str]
    union: bool
    member: str
    key: str
    value: str
    min: int
    max: int
    pattern: str
    enum: list[str]


class ServiceModel(TypedDict):
    """An operation: its input, by the name of a shape, and every shape that the input refers to."""

    botocore: str
    service: str
    operation: str
    api_version: str
    input: str
    shapes: Mapping[str, Shape]


def operations() -> tuple[str, ...]:
    """Returns the operations whose limits are known, as `service.Operation`."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))


@cache
def load(operation: str) -> ServiceModel:
    """Returns the limits of an operation such as `sagemaker.CreateTrainingJob`; not to be changed.

    Raises:
      LookupError: no limits of it are committed.
    """
    if operation not in operations():
        what = f"the limits of {operation} are not known; known are {', '.join(operations())}"
        raise LookupError(what)
    text = Path(__file__).with_name(f"{operation}.json").read_text(encoding="utf-8")
    return cast("ServiceModel", json.loads(text))

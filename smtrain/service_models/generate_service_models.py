"""Writes the limits of the API operations that smtrain calls, read off the installed botocore.

Run it where botocore is installed:

    python smtrain/service_models/generate_service_models.py

It replaces the JSON documents beside it. A document holds what decides whether a request is accepted (members, types,
lengths, counts, ranges, patterns, enums), one shape a line, so that a change upstream is one line of a diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

OPERATIONS: tuple[tuple[str, str], ...] = (
    ("sagemaker", "CreateTrainingJob"),
    ("sagemaker", "CreateCluster"),
    ("sagemaker", "UpdateCluster"),
)
"""Service and operation, as botocore names them."""

_KEPT = ("type", "required", "union", "pattern", "enum")
_COUNTED = ("string", "list", "map", "blob")


def documents() -> Iterator[tuple[str, str]]:
    """Yields (file name, text) of every operation's document."""
    import botocore
    from botocore.loaders import Loader

    loader = Loader()
    for service, operation in OPERATIONS:
        model = cast("dict[str, dict[str, Json]]", loader.load_service_model(service, "service-2"))
        entry = cast("dict[str, dict[str, str]]", model["operations"][operation])
        shapes = cast("dict[str, dict[str, Json]]", model["shapes"])
        head: dict[str, Json] = {
            "botocore": str(botocore.__version__),
            "service": service,
            "operation": operation,
            "api_version": model["metadata"]["apiVersion"],
            "input": entry["input"]["shape"],
        }
        yield f"{service}.{operation}.json", _text(head, _reachable(entry["input"]["shape"], shapes))


def _reachable(root: str, shapes: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """Returns the slimmed shapes that the root refers to, itself included, in name order."""
    found: dict[str, Json] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            shape = _slim(shapes[name])
            found[name] = shape
            waiting += [str(shape[part]) for part in ("member", "key", "value") if part in shape]
            waiting += [str(inner) for inner in cast("dict[str, Json]", shape.get("members", {})).values()]
    return dict(sorted(found.items()))


def _slim(shape: Mapping[str, Json]) -> dict[str, Json]:
    slim = {key: shape[key] for key in _KEPT if shape.get(key)}
    for bound in ("min", "max"):
        if bound in shape and not (bound == "min" and shape[bound] == 0 and shape["type"] in _COUNTED):
            slim[bound] = shape[bound]
    if shape["type"] == "structure":
        members = cast("dict[str, dict[str, Json]]", shape["members"])
        slim["members"] = {name: inner["shape"] for name, inner in members.items()}
    for part in ("member", "key", "value"):
        if part in shape:
            slim[part] = cast("dict[str, Json]", shape[part])["shape"]
    return slim


def _text(head: Mapping[str, Json], shapes: Mapping[str, Json]) -> str:
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    rows = [f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in shapes.items()]
    return "\n".join(["{", *lines, ' "shapes": {', ",\n".join(rows), " }", "}"]) + "\n"


if __name__ == "__main__":
    for file_name, document in documents():
        Path(__file__).with_name(file_name).write_text(document, encoding="utf-8")
        print(file_name)

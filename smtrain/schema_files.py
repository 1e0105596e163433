"""The JSON Schemas under schemas/, one file a section: `python -m smtrain.schema_files schemas` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from smtrain import schema
from smtrain.registry import Registry
from smtrain.spec import Json


def documents(registry: Registry) -> Iterator[tuple[str, str]]:
    """Yields (file name, content) of every schema, for editors and for whoever checks a config without smtrain."""
    yield "config.json", _text(schema.of_config(registry.sections))
    for name, kind in schema.SECTIONS.items():
        yield f"{name}.json", _text(_composable(schema.of_type(kind)))
    for section, command in registry.sections.items():
        yield f"{section}.json", _text(_composable(schema.of_type(registry.options_type(command))))
    for section, specs in (("trainer", registry.trainers), ("backend", registry.backends)):
        for spec in specs.values():
            yield f"{section}.{spec.name}.json", _text(_composable(schema.of_plugin(registry, spec, {})))


def _composable(document: dict[str, Json]) -> dict[str, Json]:
    """Returns the schema of a config group's file: nothing is required of it, and it may have a defaults list."""
    properties = cast("dict[str, Json]", document.get("properties", {}))
    lenient = {key: value for key, value in document.items() if key != "required"}
    return {**lenient, "properties": {**properties, "defaults": {"type": "array"}}}


def _text(document: dict[str, Json]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in documents(Registry()):
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")

"""JSON Schemas (2020-12) of the sections, generated from their typed classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from smtrain import sections

if TYPE_CHECKING:
    from smtrain.hookspecs import BackendSpec, TrainerSpec
    from smtrain.registry import Registry
    from smtrain.spec import Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SECTIONS: Mapping[str, type] = {
    "model": sections.Model,
    "data": sections.Data,
    "strategy": sections.Strategy,
    "launcher": sections.Launcher,
    "compute": sections.Compute,
    "storage": sections.Storage,
}
"""The sections that belong to no plugin."""

PLUGIN_SECTIONS = ("backend", "trainer")


def of_type(typed: type) -> dict[str, Json]:
    """Returns the JSON Schema of a frozen dataclass; unknown keys are refused at every level."""
    import msgspec

    components: dict[str, dict[str, Json]]
    (root,), components = msgspec.json.schema_components([typed], schema_hook=_free, ref_template="#/$defs/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(str(component["description"]))
        if component.get("type") == "object" and "properties" in component:
            component["additionalProperties"] = False
            _default_mappings(component)
    name = str(root["$ref"]).rpartition("/")[2]
    top = components.pop(name)
    return {"$schema": DIALECT, **top, **({"$defs": cast("Json", components)} if components else {})}


def _default_mappings(component: dict[str, Json]) -> None:
    """Gives optional mappings their default, the empty one, which only newer releases of msgspec (0.23) state."""
    required = cast("list[Json]", component.get("required", []))
    for name, values in cast("dict[str, dict[str, Json]]", component["properties"]).items():
        if values.get("type") == "object" and name not in required:
            values.setdefault("default", {})


def of_plugin(registry: Registry, spec: TrainerSpec | BackendSpec, options: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the schema of a plugin's section: its options, `name`, and options whose keys come from elsewhere.

    Args:
      registry: where the plugin was found.
      spec: the plugin.
      options: the options set, which may decide the schema of others (a version, say).
    """
    schema = of_type(registry.options_type(spec))
    properties = cast("dict[str, Json]", schema.setdefault("properties", {}))
    schema["properties"] = {
        "name": {"const": spec.name, "description": "Name of the plugin."},
        **properties,
        **{
            option: cast("Json", dict(registry.load(spec, address)(options)))
            for option, address in spec.option_schemas.items()
        },
    }
    schema["additionalProperties"] = False
    return schema


def of_config(own: Iterable[str]) -> dict[str, Json]:
    """Returns the schema of a root config: the settings, and each section by reference to its own file.

    Args:
      own: names of the sections that plugins' commands bring.
    """
    schema = of_type(sections.Settings)
    properties = cast("dict[str, Json]", schema["properties"])
    properties |= {name: {"$ref": f"{name}.json"} for name in (*SECTIONS, *own)}
    properties |= {name: {"type": "object"} for name in PLUGIN_SECTIONS}
    properties |= {"defaults": {"type": "array"}, "hydra": {"type": "object"}}
    return schema


def _free(typed: type) -> dict[str, Json]:
    """Returns the schema of `object`: anything goes."""
    if typed is not object:
        message = f"{typed} has no JSON Schema"
        raise NotImplementedError(message)
    return {"type": ["array", "boolean", "null", "number", "object", "string"]}

"""`smtrain explain KEY`: a key's value, where it was set, its type, its default and its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from smtrain import schema, sections
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, SmtrainError, fail
from smtrain.hookspecs import BackendSpec, TrainerSpec
from smtrain.passes.compose import Composed, compose
from smtrain.registry import Registry
from smtrain.schema_problems import TYPE_NAMES
from smtrain.spec import Json
from smtrain.suggest import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that is known of a key."""

    key: str
    value: Json
    is_set: bool
    written: str | None
    origin: str | None
    type: str
    default: Json
    has_default: bool
    doc: str


def explain(line: CommandLine, console: Console) -> ExitCode:
    """Explains one key, or lists the keys of a section."""
    registry = Registry()
    if not line.operands:
        raise fail(what="Which key?", fix="For example: smtrain explain trainer.args.learning_rate trainer=lf_sft")
    composed = compose(replace(line.composable, search_paths=registry.config_paths))
    errors = [problem for problem in composed.problems if problem.is_error]
    if errors:
        raise SmtrainError(errors)
    root = _schema(composed, registry)
    key = line.operands[0]
    if _property(key, root) is None and not _value(key, composed.tree)[1]:
        raise fail(what=f"There is no key `{key}`.", fix=_hint(key, root, registry), key=key)
    explanation = _explanation(key, composed, root)
    console.rows(_rows(explanation))
    console.result(_as_json(explanation))
    return ExitCode.DONE


def _schema(composed: Composed, registry: Registry) -> Mapping[str, Json]:
    """Returns the schema of this very configuration, with its plugins' sections in place."""
    root = schema.of_type(sections.Settings)
    properties = cast("dict[str, Json]", root["properties"])
    properties |= {name: cast("Json", schema.of_type(kind)) for name, kind in schema.SECTIONS.items()}
    own = registry.sections.items()
    properties |= {section: cast("Json", schema.of_type(registry.options_type(spec))) for section, spec in own}
    for section, specs in (("backend", registry.backends), ("trainer", registry.trainers)):
        options = composed.tree.get(section)
        name = options.get("name") if isinstance(options, dict) else None
        if isinstance(options, dict) and isinstance(name, str) and name in specs:
            properties[section] = cast("Json", schema.of_plugin(registry, specs[name], options))
    return root


def _explanation(key: str, composed: Composed, root: Mapping[str, Json]) -> Explanation:
    described = _property(key, root) or {}
    value, is_set = _value(key, composed.tree)
    origin = composed.origins.of(key) if is_set else None
    return Explanation(
        key=key,
        value=value,
        is_set=is_set,
        written=composed.unresolved.get(key),
        origin=str(origin) if origin else None,
        type=_type(described),
        default=described.get("default"),
        has_default="default" in described,
        doc=str(described.get("description", "")),
    )


def _hint(key: str, root: Mapping[str, Json], registry: Registry) -> str:
    others = list(_others_with(key, registry))
    if others:
        return f"Say whose it is: {' or '.join(f'smtrain explain {key} {choice}' for choice in others)}"
    known = sorted(_keys(root, "", depth=3))
    parent = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    return did_you_mean(key, siblings or [name for name in known if "." not in name])


def _others_with(key: str, registry: Registry) -> Iterator[str]:
    """Yields the choices of a backend or trainer with which there is such a key."""
    section, _, inner = key.partition(".")
    specs: Mapping[str, BackendSpec | TrainerSpec] = {}
    if section in schema.PLUGIN_SECTIONS:
        specs = registry.backends if section == "backend" else registry.trainers
    for name, spec in sorted(specs.items()):
        try:
            options = schema.of_plugin(registry, spec, {})
        except SmtrainError:
            continue  # a broken plugin is reported where it is asked for
        if inner and _property(inner, options) is not None:
            yield f"{section}={name}"


def _property(key: str, root: Mapping[str, Json]) -> Mapping[str, Json] | None:
    node: Mapping[str, Json] = root
    definitions = cast("Mapping[str, Json]", root.get("$defs", {}))
    for part in key.split("."):
        definitions = cast("Mapping[str, Json]", node.get("$defs", definitions))
        properties = cast("Mapping[str, Json]", node.get("properties", {}))
        child = properties.get(part, node.get("additionalProperties"))
        if not isinstance(child, dict):
            return None
        node = _followed(child, definitions)
    return node


def _followed(node: Mapping[str, Json], definitions: Mapping[str, Json]) -> Mapping[str, Json]:
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return node
    target = cast("Mapping[str, Json]", definitions.get(reference.rpartition("/")[2], {}))
    return {**target, **{name: value for name, value in node.items() if name != "$ref"}}


def _value(key: str, tree: Mapping[str, Json]) -> tuple[Json, bool]:
    node: Json = cast("Json", tree)
    for part in key.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None, False
    return node, True


def _keys(node: Mapping[str, Json], prefix: str, *, depth: int) -> Iterator[str]:
    for name, child in cast("Mapping[str, Json]", node.get("properties", {})).items():
        yield f"{prefix}{name}"
        if depth > 1 and isinstance(child, dict):
            yield from _keys(child, f"{prefix}{name}.", depth=depth - 1)


def _type(described: Mapping[str, Json]) -> str:
    if "enum" in described:
        return "one of " + ", ".join(map(_shown, cast("list[Json]", described["enum"])))
    if "const" in described:
        return _shown(described["const"])
    if "anyOf" in described:
        return " or ".join(_type(cast("dict[str, Json]", option)) for option in cast("list[Json]", described["anyOf"]))
    kind = described.get("type", "anything")
    names = kind if isinstance(kind, list) else [kind]
    bounds = [f"{word} {described[name]}" for name, word in BOUNDS.items() if name in described]
    return ", ".join([" or ".join(TYPE_NAMES.get(str(name), str(name)) for name in names), *bounds])


BOUNDS = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "key", found.key
    yield "value", _shown(found.value) if found.is_set else "not set"
    if found.written:
        yield "written", found.written
    yield "set by", found.origin or "nobody"
    yield "type", found.type
    if found.has_default:
        yield "default", _shown(found.default)
    for text in found.doc.splitlines():
        yield "meaning", text


def _as_json(found: Explanation) -> dict[str, Json]:
    return {
        "key": found.key,
        "value": found.value,
        "is_set": found.is_set,
        "written": found.written,
        "origin": found.origin,
        "type": found.type,
        "default": found.default,
        "doc": found.doc,
    }

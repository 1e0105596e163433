"""Validate: `Composed` → `Run`; every section against its typed class, all problems at once.

The typed class decides whether a section is good, which is quick; the JSON Schema generated from it finds the words
when it is not. Bad keys are set aside and the rest is typed, so that later passes can add what they find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from smtrain import schema, schema_problems, sections
from smtrain.errors import ExitCode, Problem
from smtrain.spec import Json, Run, Selected
from smtrain.suggest import did_you_mean

if TYPE_CHECKING:
    from smtrain.hookspecs import BackendSpec, TrainerSpec
    from smtrain.passes.compose import Composed
    from smtrain.registry import Registry

T = TypeVar("T")
Tree = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run is to be executed, which is no part of what is launched."""

    attempt: int
    resume: str
    runs_dir: str
    objective: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """The typed run, as far as it could be typed.

    Attributes:
      run: None when something without which there is no run is missing.
      execution: how to execute it.
      problems: what was wrong.
    """

    run: Run | None
    execution: Execution
    problems: tuple[Problem, ...]


def validate(composed: Composed, registry: Registry) -> Validated:
    """Types every section."""
    tree = composed.tree
    problems: list[Problem] = list(_unknown_roots(tree))
    roots = {key: value for key, value in tree.items() if key in _setting_names()}
    settings = _typed(sections.Settings, roots, "", problems) or sections.Settings()
    typed = {name: _typed(kind, _mapping(tree, name, problems), name, problems) for name, kind in SECTION_TYPES}
    backend = _selected(tree, "backend", registry, registry.backends, problems)
    trainer = _selected(tree, "trainer", registry, registry.trainers, problems)
    run = None
    if backend and trainer and all(section is not None for section in typed.values()):
        run = _run(settings, backend, trainer, typed)
    execution = Execution(
        attempt=settings.attempt,
        resume=settings.resume,
        runs_dir=settings.runs_dir,
        objective=settings.objective,
    )
    return Validated(run=run, execution=execution, problems=tuple(problems))


SECTION_TYPES = tuple(schema.SECTIONS.items())


def _run(settings: sections.Settings, backend: Selected, trainer: Selected, typed: Mapping[str, object]) -> Run:
    return Run(
        name=settings.name,
        backend=backend,
        trainer=trainer,
        model=cast(sections.Model, typed["model"]),
        data=cast(sections.Data, typed["data"]),
        strategy=cast(sections.Strategy, typed["strategy"]),
        launcher=cast(sections.Launcher, typed["launcher"]),
        compute=cast(sections.Compute, typed["compute"]),
        storage=cast(sections.Storage, typed["storage"]),
        global_batch_size=settings.global_batch_size,
        micro_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        seed=settings.seed,
        env=settings.env,
        secrets=settings.secrets,
    )


def _setting_names() -> frozenset[str]:
    return frozenset(sections.Settings.__dataclass_fields__)


def _unknown_roots(tree: Tree) -> Iterator[Problem]:
    known = {*_setting_names(), *schema.SECTIONS, *schema.PLUGIN_SECTIONS}
    for key in sorted(set(tree) - known):
        hint = did_you_mean(key, known)
        fix = hint if "mean" in hint else f"{hint}\nA name of your own, for interpolations, goes under `vars`."
        yield Problem(key=key, what="Unknown key.", fix=fix)


def _mapping(tree: Tree, name: str, problems: list[Problem]) -> Tree:
    value = tree.get(name, {})
    if isinstance(value, dict):
        return value
    fix = f"Choose an option of the group (`{name}=…`, as written in a defaults list), or set keys: {name}.KEY=…"
    problems.append(Problem(key=name, what=f"`{value}` is no mapping, and no option of the group `{name}`.", fix=fix))
    return {}


def _selected(
    tree: Tree,
    section: str,
    registry: Registry,
    specs: Mapping[str, TrainerSpec] | Mapping[str, BackendSpec],
    problems: list[Problem],
) -> Selected | None:
    value = dict(_mapping(tree, section, problems))
    name = value.pop("name", None)
    if not isinstance(name, str) or name not in specs:
        what = "A name is required." if name in (None, "???") else f"No plugin offers a {section} called `{name}`."
        code = ExitCode.BROKEN_PLUGIN if registry.broken else ExitCode.BAD_CONFIG
        problems.append(Problem(key=f"{section}.name", what=what, fix=did_you_mean(str(name), specs), code=code))
        return None
    spec = specs[name]
    options = _typed(registry.options_type(spec), value, section, problems)
    return Selected(name=name, options=options) if options is not None else None


def _typed(kind: type[T], value: Tree, prefix: str, problems: list[Problem]) -> T | None:
    """Returns the value as the typed class, without what is wrong in it; None when that leaves too little."""
    typed = _convert(kind, value)
    if typed is not None and not any(_beyond(value, cast("Json", msgspec.to_builtins(typed)))):
        return typed
    found = list(schema_problems.problems(dict(value), schema.of_type(kind), prefix=prefix))
    problems.extend(found)
    return _convert(kind, _without(value, [problem.key.removeprefix(f"{prefix}.") for problem in found]))


def _convert(kind: type[T], value: Tree) -> T | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def _beyond(value: Json | Tree, typed: Json) -> Iterable[str]:
    """Yields the keys of `value` that typing it dropped, which are those that the class does not have."""
    if isinstance(value, Mapping) and isinstance(typed, dict):
        for key, item in value.items():
            if key not in typed:
                yield key
            else:
                yield from _beyond(item, typed[key])


def _without(value: Tree, paths: Iterable[str]) -> Tree:
    result: Tree = value
    for path in paths:
        result = cast(Tree, _drop(cast(Json, result), path.split(".")))
    return result


def _drop(value: Json, path: list[str]) -> Json:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: item for key, item in value.items() if key != path[0]}
    return {**value, path[0]: _drop(value[path[0]], path[1:])}

"""Validate: `Composed` → `Run`; every section against its typed class, all problems at once.

The typed class decides whether a section is good, which is quick; the JSON Schema generated from it finds the words
when it is not. Bad keys are set aside and the rest is typed, so that later passes can add what they find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    problems: list[Problem] = list(_unknown_roots(tree, registry))
    roots = {key: value for key, value in tree.items() if key in _setting_names()}
    settings = _typed(sections.Settings, roots, "", problems) or sections.Settings()
    problems.extend(_said_twice(settings))
    typed = {name: _section(kind, tree, name, problems) for name, kind in SECTION_TYPES}
    backend = _selected(tree, "backend", registry, registry.backends, problems)
    trainer = _selected(tree, "trainer", registry, registry.trainers, problems)
    own = {name: _own_section(tree, name, registry, problems) for name in registry.sections if tree.get(name)}
    run = None
    if backend and trainer and all(section is not None for section in (*typed.values(), *own.values())):
        run = replace(_run(settings, backend, trainer, typed), sections=own)
    execution = Execution(
        attempt=settings.attempt,
        resume=settings.resume,
        runs_dir=settings.runs_dir,
        objective=settings.objective,
    )
    return Validated(run=run, execution=execution, problems=tuple(problems))


def validate_section(composed: Composed, name: str, registry: Registry) -> tuple[object | None, tuple[Problem, ...]]:
    """Types one section that a plugin's command brings, and leaves the rest of the configuration unread.

    Returns:
      The section, None when too much of it is wrong, and what is wrong.
    """
    problems = list(_unknown_roots(composed.tree, registry))
    return _own_section(composed.tree, name, registry, problems), tuple(problems)


def _own_section(tree: Tree, name: str, registry: Registry, problems: list[Problem]) -> object | None:
    spec = registry.sections[name]
    kind = registry.options_type(spec)
    with registry.blaming(spec):
        return _section(kind, {name: tree.get(name) or {}}, name, problems)


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
        env={name: str(value) for name, value in settings.env.items()},
        secrets=settings.secrets,
    )


def _setting_names() -> frozenset[str]:
    return frozenset(sections.Settings.__dataclass_fields__)


def _unknown_roots(tree: Tree, registry: Registry) -> Iterator[Problem]:
    known = {*_setting_names(), *schema.SECTIONS, *schema.PLUGIN_SECTIONS, *registry.sections}
    for key in sorted(set(tree) - known):
        hint = did_you_mean(key, known)
        fix = hint if "mean" in hint else f"{hint}\nA name of your own, for interpolations, goes under `vars`."
        yield Problem(key=key, what="Unknown key.", fix=fix)


def _said_twice(settings: sections.Settings) -> Iterator[Problem]:
    for name in sorted(set(settings.env) & set(settings.secrets)):
        what = f"`{name}` is set under `env` as well."
        yield Problem(key=f"secrets.{name}", what=what, fix="Leave one of them out.")


def _section(kind: type[T], tree: Tree, name: str, problems: list[Problem]) -> T | None:
    value = _mapping(tree, name, problems)
    return None if value is None else _typed(kind, value, name, problems)


def _mapping(tree: Tree, name: str, problems: list[Problem]) -> Tree | None:
    value = tree.get(name, {})
    if isinstance(value, dict):
        return value
    shown = "null" if value is None else value
    fix = f"Choose an option of the group (`{name}=…`, as written in a defaults list), or set keys: {name}.KEY=…"
    problems.append(Problem(key=name, what=f"`{shown}` is no mapping, and no option of the group `{name}`.", fix=fix))
    return None


def _selected(
    tree: Tree,
    section: str,
    registry: Registry,
    specs: Mapping[str, TrainerSpec] | Mapping[str, BackendSpec],
    problems: list[Problem],
) -> Selected | None:
    given = _mapping(tree, section, problems)
    if given is None:
        return None
    value = dict(given)
    name = value.pop("name", None)
    if not isinstance(name, str) or name not in specs:
        what = "A name is required." if name in (None, "???") else f"No plugin offers a {section} called `{name}`."
        code = ExitCode.BROKEN_PLUGIN if registry.broken else ExitCode.BAD_CONFIG
        problems.append(Problem(key=f"{section}.name", what=what, fix=did_you_mean(str(name), specs), code=code))
        return None
    spec = specs[name]
    kind = registry.options_type(spec)
    with registry.blaming(spec):  # whose class may have types that cannot be checked
        found: list[Problem] = []
        options = _typed(kind, value, section, found)
    problems.extend(_said_to_another(problem, spec, section, specs, registry) for problem in found)
    return Selected(name=name, options=options) if options is not None else None


def _said_to_another(
    problem: Problem,
    spec: TrainerSpec | BackendSpec,
    section: str,
    specs: Mapping[str, TrainerSpec] | Mapping[str, BackendSpec],
    registry: Registry,
) -> Problem:
    """Returns the problem, naming the plugin whose key it is, where another one has it."""
    name = problem.key.removeprefix(f"{section}.")
    if problem.what != schema_problems.UNKNOWN or "." in name:
        return problem
    for other in specs.values():
        if other is not spec and name in getattr(registry.options_type(other), "__dataclass_fields__", ()):
            fix = f"`{name}` is a key of {section}={other.name}, and this run has {section}={spec.name}."
            return replace(problem, fix=fix)
    return problem


def _typed(kind: type[T], given: Tree, prefix: str, problems: list[Problem]) -> T | None:
    """Returns the value as the typed class, without what is wrong in it; None when that leaves too little."""
    missing = tuple(_missing(given, ()))
    problems.extend(_absent(".".join((prefix, *path) if prefix else path)) for path in missing)
    value = _without(given, missing)
    try:
        typed = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        typed, reason = None, str(error)
    if typed is not None and not any(_beyond(value, cast("Json", msgspec.to_builtins(typed)))):
        return typed
    found = list(schema_problems.problems(dict(value), schema.of_type(kind), prefix=prefix))
    if typed is None and not found and not missing:
        found.append(Problem(key=prefix, what=f"{reason}."))
    problems.extend(found)
    return _convert(kind, _without(value, [problem.key.removeprefix(f"{prefix}.").split(".") for problem in found]))


def _absent(key: str) -> Problem:
    return Problem(key=key, what="A value is required.", fix=f"Set it: {key}=…")


def _missing(value: Tree, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yields the paths of the values that a config leaves to its user, with OmegaConf's sign for that."""
    for name, item in value.items():
        if item == "???":
            yield (*path, name)
        elif isinstance(item, dict):
            yield from _missing(item, (*path, name))


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


def _without(value: Tree, paths: Iterable[Sequence[str]]) -> Tree:
    result: Tree = value
    for path in paths:
        result = cast(Tree, _drop(cast(Json, result), path))
    return result


def _drop(value: Json, path: Sequence[str]) -> Json:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: item for key, item in value.items() if key != path[0]}
    return {**value, path[0]: _drop(value[path[0]], path[1:])}

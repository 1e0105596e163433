"""Compose: overrides → one plain tree, and where each of its values was said. The one place that composes with Hydra.

Hydra's own loader does the composing, one level below `hydra.compose`: that is where the defaults list is to be had,
which the origins need, and it spares composing Hydra's own node. A `key=value` for a key that no file mentions is let
through, since the next pass knows every legal key and answers better than "key is not in struct".
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from smtrain.credentials import hidden_override
from smtrain.errors import Origin, Problem
from smtrain.hydra_errors import DoubledError, explain, interpolation_problem, key_of, missing_search_paths, shown
from smtrain.origins import ConfigFile, Origins
from smtrain.spec import Json

MAIN_CONFIG = "pkg://smtrain_conf"
PRIMARY = "config"
HYDRAS_RESOLVERS = ("now", "hydra", "python_version")
"""Registered by hydra.core.utils.setup_globals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to compose.

    Attributes:
      overrides: as typed, in Hydra's syntax.
      config_dirs: folders searched before the built-in configs.
      search_paths: further entries of Hydra's search path, those of the plugins.
      config_name: the primary config.
    """

    overrides: tuple[str, ...] = ()
    config_dirs: tuple[str, ...] = ()
    search_paths: tuple[str, ...] = ()
    config_name: str = PRIMARY


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A composed configuration.

    Attributes:
      tree: every value, interpolations resolved.
      unresolved: key → interpolation as written, for keys whose value came from one.
      origins: where each key was said.
      choices: config group → chosen option.
      problems: what kept parts of it from composing; the tree holds the rest.
    """

    tree: Mapping[str, Json]
    unresolved: Mapping[str, str]
    origins: Origins
    choices: Mapping[str, str]
    problems: tuple[Problem, ...] = ()


def compose(request: Request) -> Composed:
    """Composes the configuration, going on past each mistake that can be set aside, so that all are found at once."""
    problems = [*_missing_dirs(request.config_dirs)]
    loader = _loader(request)
    overrides = request.overrides
    for _ in range(len(overrides) + 1):
        try:
            composed = _compose_once(loader, request.config_name, overrides)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError) as error:
            problem, culprit = explain(error, overrides, loader.repository)
            problems.append(problem)
            if culprit is None:
                break
            overrides = tuple(text for text in overrides if text != culprit)
        else:
            return replace(composed, problems=(*problems, *composed.problems))
    return Composed(tree={}, unresolved={}, origins=Origins(), choices={}, problems=tuple(problems))


def forced(overrides: Iterable[str], is_group: Callable[[str], bool]) -> tuple[str, ...]:
    """Returns the overrides with `++` before each that sets a value, so that Hydra adds keys that no file mentions.

    Args:
      overrides: as typed.
      is_group: function telling whether a name is a config group.
    """
    return tuple(_forced(text, is_group) for text in overrides)


def as_typed(text: str) -> str:
    """Returns an override without the `++` that `forced` put before it."""
    return text.removeprefix("++")


def group_test(request: Request) -> Callable[[str], bool]:
    """Returns a function telling whether a name is a config group on this request's search path."""
    return cast("Callable[[str], bool]", _loader(request).repository.group_exists)


def with_group(request: Request, group: str) -> Request:
    """Returns the request, adding the choice of a group to the defaults list where the primary config has it not."""
    repository = _loader(request).repository
    primary = repository.load_config(request.config_name)
    if primary is None or any(getattr(default, "group", None) == group for default in primary.defaults_list or ()):
        return request
    chosen = f"{group}="
    overrides = (f"+{text}" if text.startswith(chosen) else text for text in request.overrides)
    return replace(request, overrides=tuple(overrides))


def _forced(text: str, is_group: Callable[[str], bool]) -> str:
    key, equals, _ = text.partition("=")
    if not equals or key[:1] in "+~" or "@" in key or "/" in key or key.startswith("hydra."):
        return text
    if "." not in key and is_group(key):
        return text
    return f"++{text}"


def search_path(request: Request) -> ConfigSearchPathImpl:
    """Returns where configs are looked for: the user's folders first, then the built-in ones, then the plugins'."""
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    for folder in request.config_dirs:
        path.append("command-line", f"file://{Path(folder).absolute()}")
    path.append("main", MAIN_CONFIG)
    for entry in request.search_paths:
        path.append("plugin", entry)
    path.append("schema", "structured://")
    return path


def _loader(request: Request) -> ConfigLoaderImpl:
    """Returns Hydra's loader over our search path, with Hydra's own kinds of source and without its plugin scan."""
    for source in (FileConfigSource, ImportlibResourcesConfigSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
    return ConfigLoaderImpl(search_path(request))


def _missing_dirs(folders: Iterable[str]) -> Iterable[Problem]:
    for folder in folders:
        if not Path(folder).is_dir():
            yield Problem(
                key="",
                what=f"The config directory `{folder}` does not exist.",
                fix="Name an existing folder, relative to the current one, or leave --config-dir out.",
                where=Origin(source="--config-dir"),
            )


def _compose_once(loader: ConfigLoaderImpl, config_name: str, overrides: tuple[str, ...]) -> Composed:
    ours = [text for text in overrides if not _is_hydras(text)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        parsed, repo = loader._parse_overrides_and_create_caching_repo(  # noqa: SLF001  # see the module docstring
            config_name, list(forced(ours, loader.repository.group_exists))
        )
    ConfigLoaderImpl.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
    _reject_doubles(parsed, repo)
    defaults = create_defaults_list(
        repo=repo, config_name=config_name, overrides_list=parsed, prepend_hydra=False, skip_missing=False
    )
    config = loader._compose_config_from_defaults_list(defaults.defaults, repo)  # noqa: SLF001  # as above
    ConfigLoaderImpl._apply_overrides_to_config(defaults.config_overrides, config)  # noqa: SLF001  # as above
    config.pop("hydra", None)
    with _without_hydras_resolvers():
        tree, unresolved, problems = _resolve(config)
    typed = {key_of(text): hidden_override(text) for text in ours}
    values = {override.key_or_group: typed[override.key_or_group] for override in defaults.config_overrides}
    return Composed(
        tree=tree,
        unresolved=unresolved,
        origins=Origins(files=tuple(_files(defaults.defaults, repo)), overrides=values),
        choices={key: value for key, value in defaults.overrides.known_choices.items() if value is not None},
        problems=(*missing_search_paths(str(warning.message) for warning in warned), *problems),
    )


@contextlib.contextmanager
def _without_hydras_resolvers() -> Iterator[None]:
    """Hides what Hydra registers in a process that sweeps: with `now` the clock would enter a compile."""
    known = BaseContainer._resolvers  # noqa: SLF001  # there is no public way to get one back
    held = {name: known.pop(name) for name in HYDRAS_RESOLVERS if name in known}
    try:
        yield
    finally:
        known.update(held)


def _is_hydras(text: str) -> bool:
    key = text.lstrip("+~")
    return key.startswith(("hydra.", "hydra/")) and not key.startswith("hydra.searchpath")


def _reject_doubles(parsed: Iterable[Override], repo: IConfigRepository) -> None:
    """Raises when one group is chosen twice: Hydra would silently take the last, and one of the two is a mistake."""
    chosen: dict[str, Override] = {}
    for override in parsed:
        key = override.get_key_element()
        if override.package is None and "." not in key and repo.group_exists(override.key_or_group):
            first = chosen.setdefault(key, override)
            if first is not override:
                raise DoubledError(override, (str(first.value()), str(override.value())))


def _files(defaults: Iterable[ResultDefault], repo: IConfigRepository) -> Iterable[ConfigFile]:
    for default in defaults:
        loaded = repo.load_config(default.config_path) if default.config_path else None
        if loaded is None or default.config_path is None:
            continue
        package = default.package if default.package is not None else loaded.header.get("package")
        path = _path_of(loaded.path, default.config_path)
        if path is not None:
            yield ConfigFile(source=shown(path), package=package or "", text=path.read_text(encoding="utf-8"))


def _path_of(source: str, config_path: str) -> Path | None:
    scheme, _, place = source.partition("://")
    name = config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml"
    if scheme == "file":
        folder: Path | None = Path(place)
    elif scheme == "pkg":
        spec = importlib.util.find_spec(place)
        origin = next(iter(spec.submodule_search_locations or ()), None) if spec else None
        folder = Path(origin) if origin else None
    else:
        folder = None
    return folder / name if folder is not None and (folder / name).is_file() else None


def _resolve(config: DictConfig) -> tuple[Mapping[str, Json], Mapping[str, str], tuple[Problem, ...]]:
    """Returns the tree with interpolations resolved, the interpolations, and those that do not resolve."""
    raw = cast("dict[str, Json]", OmegaConf.to_container(config, resolve=False))
    written = {key: value for key, value in _leaves(raw, ()) if isinstance(value, str) and "${" in value}
    problems: list[Problem] = []
    for key, text in written.items():
        try:
            OmegaConf.select(config, key, throw_on_resolution_failure=True)
        except OmegaConfBaseException as error:
            problems.append(interpolation_problem(key, text, error))
            OmegaConf.update(config, key, None, force_add=True)
    tree = cast("dict[str, Json]", _with_text_keys(OmegaConf.to_container(config, resolve=True)))
    return tree, written, tuple(problems)


def _with_text_keys(value: object) -> object:
    """Returns the value with every key of a mapping as text: YAML also has numbers and booleans there."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def _leaves(value: Json, path: tuple[str, ...]) -> Iterable[tuple[str, Json]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, str(name)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, str(index)))
    else:
        yield ".".join(path), value

"""What Hydra does itself: sweeps, --cfg, --info, --hydra-help and tab completion, over our search path and plugins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import version as hydra_version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from smtrain.command_line import CommandLine
from smtrain.completion import ZSH_PRELUDE, typed_line
from smtrain.console import Console
from smtrain.errors import ExitCode, Problem, SmtrainError, fail
from smtrain.passes.compose import Request, as_typed, forced, group_test, search_path
from smtrain.pipeline import compile_run
from smtrain.registry import Registry
from smtrain.verbs.sweep import Point

if TYPE_CHECKING:
    from argparse import Namespace


def dispatch(line: CommandLine, console: Console) -> ExitCode:
    """Does what the Hydra flags of the command line ask for."""
    flags = line.options
    request = replace(line.composable, search_paths=Registry().config_paths)
    if flags.shell_completion:
        return _complete(request)
    with _hydra(request) as hydra:
        try:
            return _do(hydra, flags, request, console)
        except HydraException as error:
            if not flags.multirun:
                compile_run(request, Registry())  # finds better words for what is wrong with the same overrides
            raise fail(" ".join(str(error.__cause__ or error).split()), "See smtrain --hydra-help.") from error


def _do(hydra: Hydra, flags: Namespace, request: Request, console: Console) -> ExitCode:
    name = request.config_name
    overrides = list(forced(request.overrides, group_test(request)))
    if flags.multirun:
        return _sweep(hydra, request, overrides, console)
    if flags.cfg:
        hydra.show_cfg(name, overrides, cfg_type=flags.cfg, package=flags.package, resolve=flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, config_name=name, overrides=overrides)
    else:
        flags.overrides = overrides
        hydra.hydra_help(config_name=name, args_parser=get_args_parser(), args=flags)
    return ExitCode.DONE


def _complete(request: Request) -> ExitCode:
    if any(text.startswith("query=") for text in request.overrides):
        _propose(request)
        return ExitCode.DONE
    if "install=zsh" in request.overrides:
        sys.stdout.write(ZSH_PRELUDE)
    with _hydra(request) as hydra:
        try:
            hydra.shell_completion(config_name=request.config_name, overrides=list(request.overrides))
        except ValueError as error:
            raise fail(" ".join(str(error).split()), "For example: smtrain -sc install=bash") from error
    return ExitCode.DONE


def _propose(request: Request) -> None:
    """Prints what could complete the line; whatever is wrong with the line, nobody wants to read it now."""
    line = typed_line(os.environ.get("COMP_LINE", ""))
    sys.stdout.write("".join(f"{verb}\n" for verb in line.verbs))
    if not line.takes_overrides:
        return
    request = replace(request, config_dirs=tuple(folder for folder in line.config_dirs if Path(folder).is_dir()))
    with (
        _hydra(request) as hydra,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.suppress(HydraException, OmegaConfBaseException, YAMLError, SystemExit),
    ):
        is_group = group_test(request)
        os.environ["COMP_LINE"] = line.for_hydra(lambda words: forced(words, is_group))
        hydra.shell_completion(config_name=request.config_name, overrides=list(request.overrides))


@contextlib.contextmanager
def _hydra(request: Request) -> Iterator[Hydra]:
    hydra_version.setbase("1.3")
    Plugins.instance()  # finds launchers, sweepers, shells, and the kinds of source that a search path may name
    try:
        yield Hydra.create_main_hydra2(task_name="smtrain", config_search_path=search_path(request))
    finally:
        GlobalHydra.instance().clear()


def _sweep(hydra: Hydra, request: Request, overrides: list[str], console: Console) -> ExitCode:
    """Runs a sweep; the points of a grid are all compiled before the first is launched."""
    problems: list[Problem] = []
    for point in _grid(hydra, request, overrides):
        try:
            compile_run(replace(request, overrides=point.overrides), Registry())
        except SmtrainError as error:
            problems += [point.named(problem) for problem in error.problems if problem.is_error]
    if problems:
        raise SmtrainError(problems)
    hydra.multirun(
        config_name=request.config_name, task_function=Point(request, as_json=console.as_json), overrides=overrides
    )
    return ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _GridPoint:
    overrides: tuple[str, ...]
    varied: tuple[str, ...]

    def named(self, problem: Problem) -> Problem:
        """Returns the problem, saying at which point of the sweep it is."""
        return replace(problem, what=f"{problem.what} (At {', '.join(self.varied)}.)")


def _grid(hydra: Hydra, request: Request, overrides: list[str]) -> list[_GridPoint]:
    """Returns the points of a grid sweep; none where an optimising sweeper chooses them as it goes."""
    config = hydra.compose_config(
        config_name=request.config_name, overrides=overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return []
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = parser.parse_overrides([*fixed, *config.hydra.overrides.task])
    varied = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    return [
        _GridPoint(
            overrides=tuple(map(as_typed, point)),
            varied=tuple(as_typed(text) for text in point if text.partition("=")[0] in varied),
        )
        for batch in BasicSweeper.split_arguments(parsed, None)
        for point in batch
    ]

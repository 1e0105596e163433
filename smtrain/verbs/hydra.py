"""What Hydra does itself: sweeps, --cfg, --info, --hydra-help and tab completion, over our search path and plugins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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

from smtrain import plan as plan_facts
from smtrain.command_line import CommandLine
from smtrain.completion import ZSH_PRELUDE, typed_line
from smtrain.console import Console
from smtrain.errors import ExitCode, Problem, SmtrainError, fail
from smtrain.passes.compose import Request, as_typed, forced, group_test, search_path
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry
from smtrain.verbs.sweep import Point


def dispatch(line: CommandLine, console: Console) -> ExitCode:
    """Does what the Hydra flags of the command line ask for."""
    flags = line.options
    request = replace(line.composable, search_paths=Registry().config_paths)
    if flags.shell_completion:
        return _complete(request)
    with _hydra(request) as hydra:
        try:
            return _do(hydra, line, request, console)
        except RecursionError as error:
            raise fail(what="A defaults list includes itself.", fix="Look through the chosen options'.") from error
        except (HydraException, OmegaConfBaseException) as error:
            if not flags.multirun:
                compile_run(request, Registry())  # finds better words for what is wrong with the same overrides
            raise fail(" ".join(str(error.__cause__ or error).split()), "See smtrain --hydra-help.") from error


def _do(hydra: Hydra, line: CommandLine, request: Request, console: Console) -> ExitCode:
    flags, name = line.options, request.config_name
    overrides = list(forced(request.overrides, group_test(request)))
    if flags.multirun and not (flags.cfg or flags.info or flags.hydra_help):
        match line.verb:
            case "explain":
                raise fail(what="A sweep has many configurations, and explain tells of one.", fix="Leave -m out.")
            case "plan":
                return _plan_sweep(hydra, request, overrides, console)
            case _:
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
    _compile_all(_grid(hydra, request, overrides), request)
    hydra.multirun(
        config_name=request.config_name, task_function=Point(request, as_json=console.as_json), overrides=overrides
    )
    return ExitCode.DONE


def _plan_sweep(hydra: Hydra, request: Request, overrides: list[str], console: Console) -> ExitCode:
    """Writes the bundles of a grid's points, and launches none."""
    points = _grid(hydra, request, overrides)
    if not points:
        raise fail(what="The sweeper chooses its points as it goes.", fix="Plan one point, without -m.")
    compiled = _compile_all(points, request)
    for point, each in zip(points, compiled, strict=True):
        folder = write(each)
        console.say(f"{each.run_id}  {' '.join(point.varied)}".rstrip())
        console.say(f"  {folder}")
    console.result([{**plan_facts.as_json(each), "bundle": str(each.run_dir / "bundle")} for each in compiled])
    return ExitCode.DONE


def _compile_all(points: list[_GridPoint], request: Request) -> list[Compiled]:
    """Compiles every point; a problem that all of them have is told once.

    Raises:
      SmtrainError: with the errors of every point.
    """
    compiled: list[Compiled] = []
    found: dict[Problem, list[_GridPoint]] = {}
    for point in points:
        try:
            compiled.append(compile_run(replace(request, overrides=point.overrides), Registry()))
        except SmtrainError as error:
            for problem in error.problems:
                if problem.is_error:
                    found.setdefault(problem, []).append(point)
    if found:
        everywhere = len(points)
        raise SmtrainError(
            problem if len(where) == everywhere and everywhere > 1 else where[0].named(problem)
            for problem, where in found.items()
        )
    return compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class _GridPoint:
    overrides: tuple[str, ...]
    varied: tuple[str, ...]

    def named(self, problem: Problem) -> Problem:
        """Returns the problem, saying at which point of the sweep it is."""
        return replace(problem, what=f"{problem.what} (At {', '.join(self.varied)}.)")


def _grid(hydra: Hydra, request: Request, overrides: list[str]) -> list[_GridPoint]:
    """Returns the points of a grid sweep; none where an optimising sweeper chooses them as it goes."""
    try:
        config = hydra.compose_config(
            config_name=request.config_name,
            overrides=overrides,
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
    except (AttributeError, AssertionError) as error:
        # What Hydra 1.3.8 raises for `hydra.sweeper.params=…` on the command line, where that is null at first.
        what = f"Hydra cannot compose the sweep: {str(error).partition(chr(10))[0]}."
        raise fail(what, "Set hydra.sweeper.params in a config file, or sweep on the command line.") from error
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

"""What Hydra does itself: sweeps, --cfg, --info, --hydra-help and tab completion, over our search path and plugins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hydra import version as hydra_version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from smtrain import plan as plan_facts
from smtrain import receipts
from smtrain.command_line import CommandLine
from smtrain.completion import ZSH_PRELUDE, typed_line
from smtrain.console import Console
from smtrain.errors import ExitCode, fail
from smtrain.passes.compose import Request, forced, group_test, search_path
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry
from smtrain.spec import State
from smtrain.verbs import confirm, together
from smtrain.verbs.grid import compile_all, points_of
from smtrain.verbs.sweep import Point


def dispatch(line: CommandLine, console: Console) -> ExitCode:
    """Does what the Hydra flags of the command line ask for."""
    flags = line.options
    registry = Registry()
    request = replace(line.composable, search_paths=registry.config_paths)
    if flags.shell_completion:
        return _complete(request, registry.commands)
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
            case "plan":
                return _plan_sweep(hydra, request, overrides, console)
            case "run":
                return _sweep(hydra, line, request, overrides, console)
            case verb:
                raise fail(what=f"A sweep has many configurations, and {verb} takes one.", fix="Leave -m out.")
    if flags.cfg:
        hydra.show_cfg(name, overrides, cfg_type=flags.cfg, package=flags.package, resolve=flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, config_name=name, overrides=overrides)
    else:
        flags.overrides = overrides
        hydra.hydra_help(config_name=name, args_parser=get_args_parser(), args=flags)
    return ExitCode.DONE


def _complete(request: Request, commands: Iterable[str]) -> ExitCode:
    if any(text.startswith("query=") for text in request.overrides):
        _propose(request, commands)
        return ExitCode.DONE
    if "install=zsh" in request.overrides:
        sys.stdout.write(ZSH_PRELUDE)
    with _hydra(request) as hydra:
        try:
            hydra.shell_completion(config_name=request.config_name, overrides=list(request.overrides))
        except ValueError as error:
            raise fail(" ".join(str(error).split()), "For example: smtrain -sc install=bash") from error
    return ExitCode.DONE


def _propose(request: Request, commands: Iterable[str]) -> None:
    """Prints what could complete the line; whatever is wrong with the line, nobody wants to read it now."""
    line = typed_line(os.environ.get("COMP_LINE", ""), commands)
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


def _sweep(hydra: Hydra, line: CommandLine, request: Request, overrides: list[str], console: Console) -> ExitCode:
    """Runs a sweep; the points of a grid are all compiled, and paid for by one word, before the first is launched."""
    points = points_of(hydra, request, overrides)
    compiled = compile_all(points, request)
    ahead = [
        (f"{each.run_id}  {' '.join(point.varied)}".rstrip(), each.manifest.cost)
        for point, each in zip(points, compiled, strict=True)
        if not _is_done(each)
    ]
    spent = [cost for _, cost in ahead if cost is not None]
    if not confirm.may_launch(line.options, console, spent=spent, rows=(("runs", text) for text, _ in ahead)):
        return ExitCode.INTERRUPTED
    if together.can_be(compiled):
        together.submit(points, compiled, console)
        return ExitCode.DONE
    asked = bool(points) or not confirm.a_person_decides(line.options, console)
    hydra.multirun(
        config_name=request.config_name,
        task_function=Point(request, as_json=console.as_json, may_cost=asked),
        overrides=overrides,
    )
    return ExitCode.DONE


def _is_done(compiled: Compiled) -> bool:
    receipt = receipts.read(compiled.run_dir)
    return receipt is not None and receipt.state is State.SUCCEEDED


def _plan_sweep(hydra: Hydra, request: Request, overrides: list[str], console: Console) -> ExitCode:
    """Writes the bundles of a grid's points, and launches none."""
    points = points_of(hydra, request, overrides)
    if not points:
        raise fail(what="The sweeper chooses its points as it goes.", fix="Plan one point, without -m.")
    compiled = compile_all(points, request)
    for point, each in zip(points, compiled, strict=True):
        folder = write(each)
        console.say(f"{each.run_id}  {' '.join(point.varied)}".rstrip())
        console.say(f"  {folder}")
    console.result([{**plan_facts.as_json(each), "bundle": str(each.run_dir / "bundle")} for each in compiled])
    return ExitCode.DONE

"""A plugin's command: compiles the run, or what it says of its own section, and hands it over."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, Problem, SmtrainError
from smtrain.interfaces import Command
from smtrain.origins import Origins
from smtrain.pipeline import compile_run
from smtrain.verbs.section import section_command


def command(line: CommandLine, console: Console) -> ExitCode:
    """Compiles the run, writing nothing, and does what the plugin's command is for."""
    if line.command is None:
        message = f"`{line.verb}` is no plugin's command"
        raise AssertionError(message)
    asked, registry = line.command, line.command.registry
    if asked.section:
        return section_command(line, asked, console)
    compiled = compile_run(line.composable, registry)
    console.problems(compiled.warnings)
    loaded = asked.loaded()
    try:
        with registry.blaming(asked.offers[0]):
            return ExitCode(cast("Command", loaded).run(compiled.job, compiled.program, line.options, console))
    except SmtrainError as error:
        raise SmtrainError(_located(problem, compiled.composed.origins) for problem in error.problems) from error


def _located(problem: Problem, origins: Origins) -> Problem:
    return replace(problem, where=problem.where or (origins.of(problem.key) if problem.key else None))

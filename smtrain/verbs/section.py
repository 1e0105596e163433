"""A plugin's command about a section of its own: what the passes do for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import cast

from smtrain import manifest as manifests
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import ExitCode, Problem, SmtrainError
from smtrain.hookspecs import CommandSpec
from smtrain.interfaces import SectionCommand
from smtrain.passes.check import check
from smtrain.passes.compose import Composed, compose, with_group
from smtrain.passes.emit import emit
from smtrain.passes.submit import submit
from smtrain.passes.validate import validate_section
from smtrain.pipeline import STORE
from smtrain.plugin_commands import PluginCommand
from smtrain.registry import Registry
from smtrain.spec import Action, Bundle, Receipt
from smtrain.verbs import confirm


def section_command(line: CommandLine, asked: PluginCommand, console: Console) -> ExitCode:
    """Does what a plugin's command about its section is for."""
    registry, spec = asked.registry, asked.offers[0]
    compiler = Compiler(line=line, spec=spec, registry=registry, console=console)
    console.problems(broken.problem() for broken in registry.broken)
    command = cast("SectionCommand[object]", asked.loaded())
    try:
        with registry.blaming(spec):
            return ExitCode(command.run(compiler, line.options, console))
    except SmtrainError as error:
        raise SmtrainError(compiler.located(error.problems)) from error


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """The passes, for one command: a `SectionCompiler`."""

    line: CommandLine
    spec: CommandSpec
    registry: Registry
    console: Console

    def section(self, check: Callable[[object], Iterable[Problem]] | None = None) -> object:
        """Composes the section, and returns it typed."""
        composed = self._composed
        section, problems = validate_section(composed, self.spec.section, self.registry)
        found = [*composed.problems, *problems]
        if section is not None and check is not None:
            found += check(section)
        self.report(found)
        if section is None:
            message = "validate_section returned neither a section nor an error"
            raise AssertionError(message)
        return section

    def report(self, problems: Iterable[Problem]) -> None:
        """Prints warnings, and raises errors, each where it was said."""
        located = self.located(_first_of_each(problems))
        if any(problem.is_error for problem in located):
            raise SmtrainError(located)
        self.console.problems(located)

    def write(self, bundle: Bundle, folder: Path) -> Path:
        """Checks the bundle and writes it into `folder/ID/bundle`."""
        bundle, run_id = manifests.identified(bundle)
        self.report(check(bundle))
        source = self.registry.source_of(self.spec)
        hands = {"smtrain": version("smtrain"), source.name: source.version}
        home = folder / run_id
        emit(bundle, manifests.manifest_of(bundle, run_id, hands), home / "bundle", store=folder / STORE)
        return home

    def actions(self, written: Path) -> tuple[Action, ...]:
        """Proves the bundle, and returns its actions."""
        return manifests.read(written / "bundle").actions

    def submit(self, written: Path) -> Receipt:
        """Proves the bundle, and does what its manifest says."""
        manifest = manifests.read(written / "bundle")
        with view(quiet=self.console.as_json) as shown:
            return submit(written, manifest, env=os.environ, observer=shown)

    def may(self, question: str, rows: Iterable[tuple[str, str]]) -> bool:
        """Asks whoever is there."""
        return confirm.may(question, self.line.options, self.console, rows=rows)

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Returns the problems, each with where its key was said, if the section was composed."""
        if "_composed" not in self.__dict__:
            return tuple(problems)
        origins = self._composed.origins
        return tuple(
            replace(problem, where=problem.where or (origins.of(problem.key) if problem.key else None))
            for problem in problems
        )

    @cached_property
    def _composed(self) -> Composed:
        request = replace(self.line.composable, search_paths=self.registry.config_paths)
        composed = compose(with_group(request, self.spec.section))
        if not composed.tree:
            raise SmtrainError(composed.problems)
        return composed


def _first_of_each(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yields the problems, other than what follows from an error found at the same key before."""
    blamed: set[str] = set()
    for problem in dict.fromkeys(problems):
        if problem.key not in blamed:
            yield problem
        if problem.is_error and problem.key:
            blamed.add(problem.key)

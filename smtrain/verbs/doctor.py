"""`smtrain doctor`: looks at the target before anything is launched there."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import cast

from smtrain.command_line import CommandLine
from smtrain.console import GREEN, RED, YELLOW, Console
from smtrain.errors import ExitCode, fail
from smtrain.pipeline import compile_run
from smtrain.registry import Registry
from smtrain.remote_interfaces import Diagnoses, Finding
from smtrain.spec import Json

_SIGNS = {True: ("✓", GREEN), False: ("✗", RED), None: ("?", YELLOW)}


def doctor(line: CommandLine, console: Console) -> ExitCode:
    """Compiles, looks at the target, and says what is not as it must be; then the exit code is 5."""
    registry = Registry()
    compiled = compile_run(line.composable, registry)
    run = compiled.job.run
    backend = registry.backend(run.backend.name)
    if not isinstance(backend, Diagnoses):
        what = f"The backend `{run.backend.name}` has nothing to be looked at from here."
        raise fail(what, "Choose another, e.g. backend=trainingjob.", key="backend.name")
    console.problems(compiled.warnings)
    found: list[Finding] = []
    for finding in backend.diagnose(compiled.job, compiled.bundle, run.backend.options):
        found.append(finding)
        _show(finding, console)
    bad = sum(finding.good is False for finding in found)
    unseen = sum(finding.good is None for finding in found)
    console.say(f"\n{bad} to be mended, {unseen} not seen, {len(found) - bad - unseen} as they must be")
    console.result([cast("Json", asdict(finding)) for finding in found])
    return ExitCode.REMOTE_REFUSED if bad else ExitCode.DONE


def _show(finding: Finding, console: Console) -> None:
    sign, colour = _SIGNS[finding.good]
    console.say(f"{console.paint(sign, colour, sys.stdout)} {finding.subject:<18} {finding.what}")
    for text in finding.fix.splitlines():
        console.say(f"  {'':<18} {text}")

"""`smtrain plan`: compile, write the bundle, and show what would be launched."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from smtrain import plan as plan_facts
from smtrain.command_line import CommandLine
from smtrain.console import DIM, Console
from smtrain.errors import ExitCode
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry


def plan(line: CommandLine, console: Console) -> ExitCode:
    """Compiles, writes the bundle, and shows what would be launched."""
    compiled = compile_run(line.composable, Registry())
    folder = write(compiled)
    console.problems(compiled.warnings)
    console.rows(plan_facts.facts(compiled))
    console.rows(_files(compiled, folder))
    console.rows(("then", " ".join(action.argv)) for action in compiled.bundle.actions)
    launch = f"smtrain submit {shlex.quote(str(compiled.run_dir))}"
    console.say(console.paint(f"\nLaunch it: {launch}", DIM, sys.stdout))
    console.result({**plan_facts.as_json(compiled), "bundle": str(folder)})
    return ExitCode.DONE


def _files(compiled: Compiled, folder: Path) -> Iterator[tuple[str, str]]:
    yield "bundle", str(folder)
    for path, (_, size, executable) in compiled.manifest.files.items():
        yield "files", f"{size:>10,}  {path}{' *' if executable else ''}"

"""`smtrain plan`: compile, write the bundle, and show what would be launched."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from smtrain import actions
from smtrain import plan as plan_facts
from smtrain.command_line import CommandLine
from smtrain.console import DIM, Console
from smtrain.errors import ExitCode
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry

MOST_SHOWN = 12
"""Files of one folder that are listed one by one."""


def plan(line: CommandLine, console: Console) -> ExitCode:
    """Compiles, writes the bundle, and shows what would be launched."""
    compiled = compile_run(line.composable, Registry())
    folder = write(compiled)
    console.problems(compiled.warnings)
    console.rows(plan_facts.facts(compiled))
    console.rows(_files(compiled, folder))
    console.rows(("then", actions.as_text(action)) for action in compiled.bundle.actions)
    launch = f"smtrain submit {shlex.quote(str(compiled.run_dir))}"
    console.say(console.paint(f"\nLaunch it: {launch}", DIM, sys.stdout))
    console.result({**plan_facts.as_json(compiled), "bundle": str(folder)})
    return ExitCode.DONE


def _files(compiled: Compiled, folder: Path) -> Iterator[tuple[str, str]]:
    yield "bundle", str(folder)
    for top, entries in groupby(compiled.manifest.files.items(), key=lambda entry: entry[0].partition("/")[0]):
        files = list(entries)
        if len(files) > MOST_SHOWN:
            yield "files", f"{sum(size for _, (_, size, _) in files):>10,}  {top}/, {len(files)} files"
            continue
        for path, (_, size, executable) in files:
            yield "files", f"{size:>10,}  {path}{' *' if executable else ''}"

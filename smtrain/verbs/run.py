"""`smtrain run` and `smtrain submit`: compile and launch, and launch what was compiled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from smtrain import runs
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import ExitCode
from smtrain.hookspecs import Event
from smtrain.manifest import Manifest, read
from smtrain.passes.compose import Request
from smtrain.passes.submit import submit as submit_bundle
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry
from smtrain.spec import Receipt, State


def run(line: CommandLine, console: Console) -> ExitCode:
    """Compiles and launches."""
    registry = Registry()
    compiled, receipt = compile_and_launch(line.composable, registry, console, detach=line.options.detach)
    return _ended(compiled.run_dir, receipt, console)


def compile_and_launch(
    request: Request, registry: Registry, console: Console, *, detach: bool = False
) -> tuple[Compiled, Receipt]:
    """Compiles a run, writes it, launches it, and returns its receipt; a run that succeeded before is not run again."""
    compiled = compile_run(request, registry)
    write(compiled)
    registry.announce(Event(kind="compiled", run_dir=str(compiled.run_dir)))
    done = _already_done(compiled.run_dir, console)
    if done is not None:
        return compiled, done
    console.problems(compiled.warnings)
    console.say(f"{compiled.run_id}: {compiled.job.run.trainer.name} on {compiled.job.run.backend.name}")
    receipt = _launch(
        compiled.run_dir, compiled.manifest, registry, console, resume=compiled.execution.resume, detach=detach
    )
    return compiled, receipt


def submit(line: CommandLine, console: Console) -> ExitCode:
    """Launches a bundle that plan wrote."""
    run_dir = _run_dir(Path(line.options.dir))
    manifest = read(run_dir / "bundle")
    done = _already_done(run_dir, console)
    receipt = done or _launch(run_dir, manifest, Registry(), console, resume="auto", detach=line.options.detach)
    return _ended(run_dir, receipt, console)


def _launch(
    run_dir: Path, manifest: Manifest, registry: Registry, console: Console, *, resume: str, detach: bool
) -> Receipt:
    registry.announce(Event(kind="started", run_dir=str(run_dir)))
    with view(quiet=console.as_json) as observer:
        receipt = submit_bundle(run_dir, manifest, env=_environment(run_dir, resume), observer=observer, detach=detach)
    registry.announce(Event(kind="ended", run_dir=str(run_dir), receipt=receipt))
    return receipt


def _environment(run_dir: Path, resume: str) -> dict[str, str]:
    """Returns this process's environment with what a launch script asks of whoever starts it."""
    return {
        **os.environ,
        "SMTRAIN_RUN_DIR": str(run_dir.absolute()),
        "SMTRAIN_BASE": str(Path.cwd()),
        "SMTRAIN_PYTHON": os.environ.get("SMTRAIN_PYTHON", sys.executable),
        "SMTRAIN_RESUME": resume,
    }


def _run_dir(folder: Path) -> Path:
    return folder.parent if folder.name == "bundle" and not (folder / "bundle").is_dir() else folder


def _already_done(run_dir: Path, console: Console) -> Receipt | None:
    receipt = runs.read_receipt(run_dir)
    if receipt is None or receipt.state is not State.SUCCEEDED:
        return None
    console.say(f"{run_dir.name} succeeded before; its results are kept. Ask for another run with attempt=2.")
    return receipt


def _ended(run_dir: Path, receipt: Receipt, console: Console) -> ExitCode:
    console.rows(_results(run_dir, receipt))
    console.result({**runs.as_json(receipt), "run_dir": str(run_dir), "outputs": dict(_outputs(run_dir))})
    match receipt.state:
        case State.SUCCEEDED | State.RUNNING:
            return ExitCode.DONE
        case State.STOPPED:
            return ExitCode.INTERRUPTED
        case _:
            # Before its first step a launch script ends for one reason: something that it needs is not there.
            return ExitCode.WORKLOAD_FAILED if receipt.step else ExitCode.MISSING_HERE


def _results(run_dir: Path, receipt: Receipt) -> Iterator[tuple[str, str]]:
    state = receipt.state.value
    if receipt.state is State.FAILED:
        step = f"step `{receipt.step}` ended" if receipt.step else "it ended before the first step,"
        state += f": {step} with exit code {receipt.exit_code}"
    yield "state", state
    yield from _outputs(run_dir)


def _outputs(run_dir: Path) -> Iterator[tuple[str, str]]:
    places = {"results": "output", "loss": "loss.png", "metrics": "metrics.jsonl", "log": "logs/workload.log"}
    for name, place in {**places, "bundle": "bundle"}.items():
        if (run_dir / place).exists():
            yield name, str(run_dir / place)

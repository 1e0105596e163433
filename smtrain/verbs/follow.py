"""The verbs that look after runs: ps, status, logs, stop."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path

from smtrain import runs
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, Severity, SmtrainError, fail
from smtrain.interfaces import Backend
from smtrain.registry import Registry
from smtrain.spec import Receipt, State


def ps(line: CommandLine, console: Console) -> ExitCode:
    """Lists the runs, the newest first; one that cannot be told of is warned of, and hides no other."""
    registry = Registry()
    folder = Path(line.options.runs_dir)
    known: list[tuple[Path, Receipt]] = []
    for run_dir in runs.all_runs(folder):
        try:
            receipt = runs.read_receipt(run_dir)
            if receipt is not None:
                known.append((run_dir, _now(run_dir, receipt, registry)))
        except SmtrainError as error:
            console.problems(replace(problem, severity=Severity.WARNING) for problem in error.problems)
    known.sort(key=lambda pair: pair[1].started, reverse=True)
    width = max((len(receipt.run_id) for _, receipt in known), default=0)
    for _, receipt in known:
        console.say(f"{receipt.run_id:<{width}}  {receipt.state.value:<10} {receipt.backend:<12} {_since(receipt)}")
    if not known:
        console.say(f"no runs in {folder}")
    console.result([{**runs.as_json(receipt), "run_dir": str(run_dir)} for run_dir, receipt in known])
    return ExitCode.DONE


def _now(run_dir: Path, receipt: Receipt, registry: Registry) -> Receipt:
    """Returns the receipt as it is now; as it was last known, where its backend is not installed."""
    if receipt.backend not in registry.backends:
        return receipt
    return registry.backend(receipt.backend).status(run_dir, receipt)


def status(line: CommandLine, console: Console) -> ExitCode:
    """Tells how a run is doing; a failed run makes the exit code 1."""
    run_dir, receipt, backend = _run(line)
    receipt = backend.status(run_dir, receipt)
    console.rows([("run", receipt.run_id), ("state", receipt.state.value), ("since", _since(receipt))])
    if receipt.exit_code:
        console.rows([("step", f"{receipt.step} ended with exit code {receipt.exit_code}")])
        console.rows(("log", text) for text in runs.tail(run_dir))
    console.result({**runs.as_json(receipt), "run_dir": str(run_dir)})
    return ExitCode.WORKLOAD_FAILED if receipt.state in (State.FAILED, State.LOST) else ExitCode.DONE


def logs(line: CommandLine, console: Console) -> ExitCode:
    """Prints a run's output."""
    run_dir, receipt, backend = _run(line)
    follow = bool(line.options.follow)
    for text in backend.logs(run_dir, receipt, follow=follow):
        console.say(text)
        console.result({"line": text})
    return ExitCode.DONE


def stop(line: CommandLine, console: Console) -> ExitCode:
    """Ends a run, giving it time to save."""
    run_dir, receipt, backend = _run(line)
    receipt = backend.stop(run_dir, receipt)
    console.say(f"{receipt.run_id}: {receipt.state.value}")
    console.result(runs.as_json(receipt))
    return ExitCode.DONE


def _run(line: CommandLine) -> tuple[Path, Receipt, Backend[object]]:
    options = line.options
    run_dir = runs.find(Path(options.runs_dir), options.id)
    receipt = runs.read_receipt(run_dir)
    if receipt is None:
        quoted = shlex.quote(str(run_dir))
        raise fail(what=f"`{run_dir.name}` was planned and never launched.", fix=f"Launch it: smtrain submit {quoted}")
    return run_dir, receipt, Registry().backend(receipt.backend)


def _since(receipt: Receipt) -> str:
    start = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(receipt.started))
    if receipt.ended is None:
        return start
    return f"{start}, {receipt.ended - receipt.started:,.0f} s"

"""The verbs that look after runs: ps, status, logs, stop."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smtrain import costs, receipts, run_folders
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, Problem, Severity, SmtrainError, fail
from smtrain.interfaces import Backend
from smtrain.registry import Registry
from smtrain.spec import Receipt, State

LAST_LINES = 20
"""Lines of the log of a run that failed, shown by `status`."""


def ps(line: CommandLine, console: Console) -> ExitCode:
    """Lists the runs, the newest first; one that cannot be told of is warned of, and hides no other."""
    registry = Registry()
    folder = Path(line.options.runs_dir)
    known: list[tuple[Path, Receipt]] = []
    doubts: dict[Problem, None] = {}
    for run_dir in run_folders.all_runs(folder):
        try:
            receipt = receipts.read(run_dir)
        except SmtrainError as error:
            doubts |= dict.fromkeys(error.problems)
            continue
        if receipt is not None:
            now, problems = _now(run_dir, receipt, registry)
            known.append((run_dir, now))
            doubts |= dict.fromkeys(problems)
    console.problems(replace(problem, severity=Severity.WARNING) for problem in doubts)
    known.sort(key=lambda pair: pair[1].started, reverse=True)
    width = max((len(receipt.run_id) for _, receipt in known), default=0)
    for _, receipt in known:
        row = f"{receipt.run_id:<{width}}  {receipt.state.value:<10} {receipt.backend:<12} {_since(receipt)}"
        hosts = f"{receipt.hosts} host{'s' if receipt.hosts > 1 else ''}" if receipt.hosts else ""
        console.say(f"{row}  {hosts}  {costs.so_far(receipt)}".rstrip())
    if not known:
        console.say(f"no runs in {folder}")
    console.result([{**receipts.as_json(receipt), "run_dir": str(run_dir)} for run_dir, receipt in known])
    return ExitCode.DONE


def _now(run_dir: Path, receipt: Receipt, registry: Registry) -> tuple[Receipt, tuple[Problem, ...]]:
    """Returns the receipt as it is now; as it was last known, where its backend is not installed or sees nothing."""
    if receipt.backend not in registry.backends:
        return receipt, ()
    try:
        return registry.backend(receipt.backend).status(run_dir, receipt), ()
    except SmtrainError as error:
        return receipt, error.problems


def status(line: CommandLine, console: Console) -> ExitCode:
    """Tells how a run is doing; a failed run makes the exit code 1."""
    run_dir, receipt, backend = known_run(line)
    receipt = backend.status(run_dir, receipt)
    failed = receipt.state in (State.FAILED, State.LOST)
    console.rows(_status(receipt))
    if (failed or receipt.exit_code) and not console.as_json:
        _show_last_lines(run_dir, receipt, backend, console)
    console.result({**receipts.as_json(receipt), "run_dir": str(run_dir)})
    return ExitCode.WORKLOAD_FAILED if failed else ExitCode.DONE


def _show_last_lines(run_dir: Path, receipt: Receipt, backend: Backend[object], console: Console) -> None:
    try:
        last = deque(backend.logs(run_dir, receipt, follow=False), maxlen=LAST_LINES)
    except SmtrainError as error:
        # The state was told; that its log may not be read is another matter.
        console.problems(replace(problem, severity=Severity.WARNING) for problem in error.problems)
        return
    console.rows(("log", console.shown(entry)) for entry in last)


def _status(receipt: Receipt) -> Iterator[tuple[str, str]]:
    yield "run", receipt.run_id
    yield "state", receipt.state.value
    if receipt.job:
        yield "job", receipt.job
    if receipt.state is State.RUNNING and receipt.step:
        yield "stage", receipt.step
    for text in receipt.reason.splitlines():
        yield "reason", text
    yield "since", _since(receipt)
    if receipt.usd is not None:
        yield "cost", costs.so_far(receipt)
    if receipt.url:
        yield "page", receipt.url
    # A job elsewhere has stages, and none of those is what failed; its reason names the step.
    if receipt.exit_code and not receipt.job:
        yield "step", f"{receipt.step} ended with exit code {receipt.exit_code}"


def logs(line: CommandLine, console: Console) -> ExitCode:
    """Prints a run's output."""
    run_dir, receipt, backend = known_run(line)
    follow = bool(line.options.follow)
    for entry in backend.logs(run_dir, receipt, follow=follow):
        console.entry(entry)
        console.result({"line": entry.text, **({"host": entry.host} if entry.host else {})})
    return ExitCode.DONE


def stop(line: CommandLine, console: Console) -> ExitCode:
    """Ends a run, giving it time to save."""
    run_dir, receipt, backend = known_run(line)
    receipt = backend.stop(run_dir, receipt)
    ending = receipt.state is State.RUNNING
    console.say(f"{receipt.run_id}: {'was asked to end, and is at it' if ending else receipt.state.value}")
    console.result(receipts.as_json(receipt))
    return ExitCode.DONE


def known_run(line: CommandLine) -> tuple[Path, Receipt, Backend[object]]:
    """Returns the folder, the receipt and the backend of the run that the command line names.

    Raises:
      SmtrainError: there is no such run, or it was never launched.
    """
    options = line.options
    run_dir = run_folders.find(Path(options.runs_dir), options.id)
    receipt = receipts.read(run_dir)
    if receipt is None:
        quoted = shlex.quote(str(run_dir))
        raise fail(what=f"`{run_dir.name}` was planned and never launched.", fix=f"Launch it: smtrain submit {quoted}")
    return run_dir, receipt, Registry().backend(receipt.backend)


def _since(receipt: Receipt) -> str:
    start = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(receipt.started))
    if receipt.ended is None:
        return start
    return f"{start}, {receipt.ended - receipt.started:,.0f} s"

"""`smtrain fetch ID`: the results of a run that went on elsewhere."""

from __future__ import annotations

from smtrain import run_folders, runs
from smtrain.command_line import FETCHABLE, CommandLine
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import ExitCode, fail
from smtrain.manifest import read
from smtrain.remote_interfaces import Fetches
from smtrain.verbs import remote
from smtrain.verbs.follow import known_run

BY_DEFAULT = ("model", "metrics")
"""Checkpoints are large, and hardly ever wanted here."""


def fetch(line: CommandLine, console: Console) -> ExitCode:
    """Brings results into the run's folder; what is there already is not fetched again."""
    run_dir, receipt, backend = known_run(line)
    if not isinstance(backend, Fetches):
        what = f"There is nothing to fetch: what a run of `{receipt.backend}` makes is in {run_dir} already."
        raise fail(what)
    parts = tuple(part for part in FETCHABLE if getattr(line.options, part)) or BY_DEFAULT
    receipt = backend.status(run_dir, receipt)
    with view(quiet=console.as_json) as observer:
        found = backend.fetch(run_dir, receipt, parts=parts, observer=observer)
    fields = read(run_dir / "bundle").progress
    if "metrics" in parts and fields is not None and runs.progress_file(run_dir, fields).exists():
        remote.keep_metrics(run_dir, fields)
    if not found:
        what = f"{receipt.run_id} has left nothing of that so far: {', '.join(parts)}."
        raise fail(what, f"See smtrain status {run_folders.spoken(run_dir)}", code=ExitCode.REMOTE_REFUSED)
    console.rows(("fetched", str(path)) for path in found)
    console.result({"run_id": receipt.run_id, "run_dir": str(run_dir), "fetched": [str(path) for path in found]})
    return ExitCode.DONE

"""A run that goes on elsewhere: followed until it ends, and its metrics brought here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from smtrain import loss_curve, run_folders, runs
from smtrain.console import Console
from smtrain.errors import SmtrainError
from smtrain.interfaces import Backend
from smtrain.progress import Observer
from smtrain.remote_interfaces import Fetches
from smtrain.spec import Progress, Receipt, State

_POLL_S = 2.0


def follow(run_dir: Path, receipt: Receipt, backend: Backend[object], console: Console, observer: Observer) -> Receipt:
    """Shows a run's lines until it ends, and returns its receipt.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      backend: looks after it.
      console: colours the hosts' names.
      observer: is shown the lines.

    Raises:
      SmtrainError: the target cannot be reached, or refuses; the run goes on.
    """
    if receipt.state is State.RUNNING:
        for entry in backend.logs(run_dir, receipt, follow=True):
            observer.line(console.shown(entry))
    while (receipt := backend.status(run_dir, receipt)).state is State.RUNNING:
        time.sleep(_POLL_S)
    return receipt


def bring_metrics(
    run_dir: Path, fields: Progress | None, receipt: Receipt, backend: Backend[object], observer: Observer
) -> Iterator[str]:
    """Fetches the metrics of a run, and yields why there are none, or no picture of the loss."""
    if fields is None or not isinstance(backend, Fetches):
        return
    try:
        backend.fetch(run_dir, receipt, parts=("metrics",), observer=observer)
    except SmtrainError as error:
        yield f"no metrics: {error.problems[0].what}"
        return
    if not runs.progress_file(run_dir, fields).exists():
        return
    reason = keep_metrics(run_dir, fields)
    if reason:
        yield f"no loss picture: {reason}"


def keep_metrics(run_dir: Path, fields: Progress) -> str | None:
    """Writes metrics.jsonl and loss.png from the progress that was fetched; returns why there is no picture."""
    runs.collect_metrics(run_dir, fields)
    return loss_curve.draw(run_dir / runs.METRICS, run_dir / "loss.png", title=run_dir.name)


def goes_on(run_dir: Path) -> str:
    """Returns how to come back to a run that nobody follows any more."""
    name = run_folders.spoken(run_dir)
    return (
        f"{run_dir.name} goes on without you.\n"
        f"  Follow it: smtrain logs {name} -f\n"
        f"  See it:    smtrain status {name}\n"
        f"  End it:    smtrain stop {name}"
    )


def state(receipt: Receipt) -> str:
    """Returns the state of a run and, where it did not end well, why."""
    words = receipt.state.value
    if receipt.state is State.RUNNING and receipt.step:
        return f"{words} ({receipt.step})"
    if receipt.exit_code:
        words += f" with exit code {receipt.exit_code}"
    return f"{words}: {receipt.reason}" if receipt.reason else words

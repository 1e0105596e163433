"""How a workload looks while it runs: its lines above a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from smtrain.progress import Observer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

SAY_PROGRESS_EVERY_S = 10.0


@contextlib.contextmanager
def view(*, quiet: bool = False, out: TextIO | None = None) -> Iterator[Observer]:
    """Opens the view that fits the output.

    Args:
      quiet: show nothing.
      out: where to; None takes standard output.
    """
    stream = out or sys.stdout
    if quiet:
        yield Silence()
    elif stream.isatty():
        yield from _on_terminal(stream)
    else:
        yield PlainLines(stream)


class Silence:
    """Shows nothing."""

    def line(self, text: str) -> None:
        """Drops the line."""

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Drops the progress."""


class PlainLines:
    """For a pipe or a file: the workload's lines, and now and then one that tells how far it is."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Opens the view.

        Args:
          stream: where to.
          clock: returns seconds.
        """
        self._stream = stream
        self._clock = clock
        self._remaining = Remaining(clock)
        self._said: float | None = None

    def line(self, text: str) -> None:
        """Writes the line; when nobody reads any more, that is all right."""
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except BrokenPipeError:
            _point_nowhere(self._stream)
            raise

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Says how far the run is, every `SAY_PROGRESS_EVERY_S` seconds and at the end."""
        left = self._remaining.after(step, total)
        if step < total and self._said is not None and self._clock() - self._said < SAY_PROGRESS_EVERY_S:
            return
        self._said = self._clock()
        self.line(f"smtrain: step {step}/{total}{_metrics(metrics)}  {left}")


class Remaining:
    """Estimates the time that a run still needs from the steps it did since it began, or went on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Starts without an estimate."""
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def after(self, step: int, total: int) -> str:
        """Returns the time left after this step, as text; "" while there is nothing to tell it from."""
        now = self._clock()
        if self._first is None or step < self._first[0]:
            self._first = (step, now)
        first, when = self._first
        if step <= first or step >= total:
            return ""
        seconds = round((now - when) / (step - first) * (total - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


class _Terminal:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._remaining = Remaining(time.monotonic)
        self._last: dict[str, float] = {}

    def line(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self._last |= {name: value for name, value in metrics.items() if name in {"loss", "eval_loss", "reward"}}
        self._bar.update(
            self._task,
            completed=step,
            total=total or None,
            visible=True,
            metrics=_metrics(self._last),
            left=self._remaining.after(step, total),
        )


def _on_terminal(stream: TextIO) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[metrics]}  {task.fields[left]}", markup=False),
    )
    # Nothing is redirected: the workload's lines come through `line`, and messages of smtrain through stderr.
    with Bar(*columns, console=Console(file=stream), redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=None, visible=False, metrics="", left="")
        yield _Terminal(bar, task)


def _metrics(metrics: Mapping[str, float]) -> str:
    return "".join(f"  {name} {value:.4g}" for name, value in metrics.items())


def _point_nowhere(stream: TextIO) -> None:
    """Lets later writes, the interpreter's last flush among them, go nowhere (docs.python.org, "Note on SIGPIPE")."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

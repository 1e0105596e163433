"""Showing a workload to an observer while it runs, and keeping its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtrain import runs
from smtrain.progress import Follower, Observer
from smtrain.spec import Progress
from smtrain.tail import Tail

_METRICS_EVERY_S = 5.0


class Careful:
    """An observer that may lose its reader, as in `smtrain … | head`; the run goes on without it."""

    def __init__(self, observer: Observer) -> None:
        """Wraps an observer."""
        self._observer = observer
        self._gone = False

    def line(self, text: str) -> None:
        """Passes the line on."""
        self._tell(lambda: self._observer.line(text))

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Passes the progress on."""
        self._tell(lambda: self._observer.progress(step, total, metrics))

    def _tell(self, what: Callable[[], None]) -> None:
        if self._gone:
            return
        try:
            what()
        except OSError:
            self._gone = True


@dataclass(slots=True)
class View:
    """Shows a workload's lines and progress to an observer, and keeps the metrics.

    Attributes:
      run_dir: the run's folder.
      observer: whom to show them.
      fields: where the program reports its progress, when it does.
    """

    run_dir: Path
    observer: Observer
    fields: Progress | None
    _tail: Tail = field(init=False)
    _follower: Follower | None = field(init=False, default=None)
    _written: float = field(init=False, default=0.0)
    _dirty: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._tail = Tail(self.run_dir / runs.LOG)
        if self.fields is not None:
            self._follower = Follower(runs.progress_file(self.run_dir, self.fields), self.fields)
            # What an earlier try recorded counts as metrics, not as progress.
            self._follower.poll()

    def poll(self) -> None:
        """Shows what is new."""
        for line in self._tail.poll():
            self.observer.line(line)
        if self._follower is None:
            return
        for record in self._follower.poll():
            self.observer.progress(record.step, record.total, record.metrics)
            self._dirty = True
        if self._dirty and time.monotonic() - self._written >= _METRICS_EVERY_S:
            self._write()

    def close(self) -> None:
        """Shows the rest, once the workload has ended."""
        self.poll()
        for line in self._tail.close():
            self.observer.line(line)
        self._write()

    def _write(self) -> None:
        if self._follower is not None:
            self._follower.metrics.write(self.run_dir / runs.METRICS)
        self._written, self._dirty = time.monotonic(), False

"""What a training tells, and to whom: printed lines, metrics.jsonl, trackers, a progress bar. First process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from smtrain_native.runtime import line_format, settings
from smtrain_native.runtime.metrics import MetricsFile
from smtrain_native.runtime.progress_bar import ProgressBar
from smtrain_native.runtime.throughput import Throughput
from smtrain_native.runtime.trackers import OPENERS, Start, Tracker
from smtrain_native.runtime.tracking import Tracking
from smtrain_native.runtime.window import Window, Work


class Reporter:
    """Takes every step and tells every `log_every`-th, with the means of the steps between."""

    def __init__(
        self,
        output_dir: Path,
        reports: settings.Reports,
        total_steps: int,
        *,
        start_step: int,
        config: Mapping[str, object],
        out: TextIO,
        log_every: int = 1,
        throughput: Throughput | None = None,
        openers: Mapping[settings.Reporter, Callable[[Start], Tracker]] = OPENERS,
    ) -> None:
        """Opens the record and the trackers.

        Args:
          output_dir: folder of the record.
          reports: which trackers there are.
          total_steps: optimizer steps of the whole training.
          start_step: steps done before, by a run that this one goes on from.
          config: the settings, plain data, for the trackers.
          out: where lines are printed.
          log_every: steps between two lines.
          throughput: turns work into rates; None tells none.
          openers: how each tracker is opened.

        Raises:
          TrackerError: a tracker that was asked for cannot be opened.
        """
        self._total = total_steps
        self._log_every = max(log_every, 1)
        self._throughput = throughput
        self._window = Window()
        output_dir.mkdir(parents=True, exist_ok=True)
        start = Start(
            folder=output_dir, project=reports.project, name=reports.name, start_step=start_step, config=config
        )
        self._bar: ProgressBar | None = None
        self._out = out
        self._tracking = Tracking(reports, start, warn=self._say, openers=openers)
        self._record = MetricsFile(output_dir / line_format.METRICS_FILE, start_step=start_step, warn=self._say)
        # Last: whatever goes wrong before must not be printed across a bar.
        self._bar = ProgressBar(total_steps, start=start_step, out=out)

    def step(self, step: int, values: Mapping[str, float], work: Work | None = None) -> None:
        """Takes one optimizer step.

        Args:
          step: steps done, this one included.
          values: loss, learning_rate, epoch and so on, see `line_format.COLUMNS`; averaged over all processes.
          work: what was computed in it, by all processes.
        """
        self._window.add(values, work or Work())
        if step % self._log_every == 0 or step >= self._total:
            self._tell(step, self._averages())
            self._window = Window()
        if self._bar is not None:
            self._bar.advance(step)

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Tells the result of an evaluation at once.

        Args:
          step: steps done before it.
          values: by `line_format.evaluation_field`.
        """
        self._tell(step, values)

    def state(self) -> dict[str, object]:
        """Returns plain data for a checkpoint: the steps that are not told yet."""
        return self._window.state()

    def restore(self, state: Mapping[str, object]) -> None:
        """Takes what `state` returned when the checkpoint was saved that the run goes on from."""
        self._window.restore(state)

    def close(self, *, failed: bool = False) -> None:
        """Closes everything.

        Args:
          failed: whether the training ended before its end; trackers show it.
        """
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._tracking.close(failed=failed)
        self._record.close()

    def _averages(self) -> dict[str, float]:
        means = self._window.means()
        if self._throughput is None:
            return means
        return {**means, **self._throughput.values(self._window.work, self._window.steps)}

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        self._record.write(step, self._total, values)
        self._tracking.log(step, values)
        self._say(line_format.line(step, self._total, values))

    def _say(self, line: str) -> None:
        if self._bar is None:
            print(line, file=self._out, flush=True)
        else:
            self._bar.say(line)

"""A training told to end after a few steps, and to need no GPU: the overrides of a rehearsal."""

from __future__ import annotations

import math

from smtrain.plugin import Job
from smtrain_native.options import NativeOptions

FEWEST_ROWS = 64
"""Rows of each data set that are kept in any case: some are dropped, as too long for instance."""


def shortened(job: Job, options: NativeOptions, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
    """Returns the overrides.

    Args:
      job: the job.
      options: of the trainer.
      steps: optimizer steps.
      on_cpu: whether GPUs are replaced by CPUs.
    """
    count = min(steps, options.max_steps or steps)
    rows = max(FEWEST_ROWS, 2 * job.batch.global_size * count)
    # Once before the last step where that can be, so that there is a checkpoint to go on from.
    interval = math.ceil(count / 2)
    short: dict[str, object] = {
        "max_steps": count,
        "max_samples": min(rows, options.max_samples or rows),
        "log_every": 1,
        "reports.to": "[]",
    }
    if options.checkpoints.every is not None:
        short["checkpoints.every"] = interval
    if options.evaluation.every is not None:
        short["evaluation.every"] = interval
    if on_cpu:
        short["precision"] = "fp32"
        if options.attention == "flash":
            short["attention"] = "auto"
    return tuple(f"++trainer.{name}={value}" for name, value in short.items())

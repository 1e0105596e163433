"""Rules about how long the training is, and what comes after how many steps."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Problem, warning
from smtrain_native.options import NativeOptions


def warm_up_has_an_end(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Below 1 it is a share of all steps, from 1 on a number of them."""
    del job
    warmup, steps, key = options.optimizer.warmup, options.max_steps, "trainer.optimizer.warmup"
    if warmup >= 1 and not warmup.is_integer():
        what = f"{warmup:g} is neither a share below 1 nor a whole number of steps."
        yield Problem(key=key, what=what, fix=f"Say {int(warmup)}, or a share such as 0.1.")
    elif steps is not None and warmup >= 1 and warmup >= steps:
        what = f"The warm-up takes {warmup:g} steps of {steps}, so that the learning rate never falls."
        yield warning(key, what, "Lower it, or raise trainer.max_steps.")


def intervals_come_round(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """What happens every so many steps never happens in a training of fewer."""
    del job
    steps = options.max_steps
    if steps is None:
        return
    if options.checkpoints.every is not None and options.checkpoints.every > steps:
        what = f"Every {options.checkpoints.every} steps, in a training of {steps}: no checkpoint is saved on the way."
        yield warning("trainer.checkpoints.every", what, "Lower it, if an interrupted run is to go on.")
    if options.evaluation.every is not None and options.evaluation.every > steps:
        what = f"Every {options.evaluation.every} steps, in a training of {steps}: evaluated is at the end alone."
        yield warning("trainer.evaluation.every", what, "Lower it, or say null.")


RULES = (warm_up_has_an_end, intervals_come_round)

"""What keeps a native training from working, or surprises in it, said before launch; all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smtrain.plugin import Job, Problem
from smtrain_native import (
    rules_data,
    rules_length,
    rules_loss,
    rules_model,
    rules_schedule,
    rules_strategy,
    rules_values,
)
from smtrain_native.options import NativeOptions

Rule = Callable[[Job, NativeOptions], Iterator[Problem]]
"""Yields a problem for each way in which a job breaks it."""

ALL: tuple[Rule, ...] = (
    *rules_values.RULES,
    *rules_data.RULES,
    *rules_length.RULES,
    *rules_loss.RULES,
    *rules_model.RULES,
    *rules_schedule.RULES,
    *rules_strategy.RULES,
)


def check(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Yields every problem; errors for what fails, warnings for what surprises."""
    for rule in ALL:
        yield from rule(job, options)

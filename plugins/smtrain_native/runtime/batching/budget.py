"""Which token budget gives a wanted batch size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy.typing as npt

from smtrain_native.runtime.batching.error import GRANULE, PlanError, rounded_up
from smtrain_native.runtime.batching.least_cap import least_cap
from smtrain_native.runtime.batching.plan import PlanReport
from smtrain_native.runtime.batching.planning import plan, require_positive
from smtrain_native.runtime.batching.samples import Samples, read_samples

_SCANNED = 20_000
"""Samples × budgets up to which every budget below the one found by bisection is tried, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A token budget, and what its plan amounts to.

    Attributes:
      max_tokens_per_device: the budget, a multiple of 32.
      report: of the plan of the epoch that was asked about.
    """

    max_tokens_per_device: int
    report: PlanReport


def find_budget(
    tokens_N: npt.ArrayLike,
    work_N: npt.ArrayLike,
    *,
    batch_size: int,
    world_size: int,
    accumulation: int,
    seed: int = 0,
    epoch: int = 0,
) -> Budget:
    """Returns the smallest budget whose plan has at least `batch_size` samples in every step.

    From a lower bound, which is nearly tight, the search goes up in growing strides, then halves the last one; for a
    small data set it also tries every budget below the one found.

    Args:
      tokens_N: what a sample counts against the budget, > 0; shape (N,).
      work_N: what it costs to compute; shape (N,).
      batch_size: samples of a step at least, over all ranks.
      world_size: ranks.
      accumulation: micro-batches of each rank and step.
      seed: of the order.
      epoch: of the order.

    Raises:
      PlanError: no budget does.
    """
    require_positive(batch_size=batch_size, world_size=world_size, accumulation=accumulation)
    samples = read_samples(tokens_N, work_N)
    _refuse(samples.count, batch_size, world_size, accumulation)

    def report(cap: int) -> PlanReport | None:
        try:
            return plan(
                samples.tokens_N,
                work_N,
                cap=cap,
                batch_size=batch_size,
                world_size=world_size,
                accumulation=accumulation,
                seed=seed,
                epoch=epoch,
            ).report()
        except PlanError:
            return None

    search = _Search(report, batch_size)
    low = _least(samples, batch_size, world_size * accumulation)
    cap = search.bisect(low)
    if samples.count * (cap - low) // GRANULE <= _SCANNED:
        cap = search.scan(low)
    return Budget(max_tokens_per_device=cap, report=search.found[cap])


def _refuse(count: int, batch_size: int, world_size: int, accumulation: int) -> None:
    if count < batch_size:
        message = f"There are {count} samples, fewer than the batch size {batch_size}. Lower batch_size to {count}."
        raise PlanError(message)
    if world_size * accumulation > batch_size:
        message = (
            f"{world_size} ranks × accumulation {accumulation} = {world_size * accumulation} micro-batches, more than "
            f"the {batch_size} samples of a step: some would be empty. {_way_out(batch_size, world_size)}"
        )
        raise PlanError(message)


def _way_out(batch_size: int, world_size: int) -> str:
    if world_size > batch_size:
        return f"Train on at most {batch_size} ranks, or raise batch_size to at least {world_size}."
    return f"Lower accumulation to {batch_size // world_size}, or raise batch_size."


def _least(samples: Samples, batch_size: int, bins: int) -> int:
    """Returns a budget below which none is enough: a batch of B leaves N / B steps, and they must hold all tokens."""
    steps = samples.count // batch_size
    total, longest = int(samples.tokens_N.sum()), int(samples.tokens_N.max())
    return rounded_up(max(longest, -(-total // (steps * bins))))


class _Search:
    """Looks for the least budget that gives the batch size.

    Attributes:
      found: budget → the report of its plan, of those that do.
    """

    def __init__(self, report: Callable[[int], PlanReport | None], batch_size: int) -> None:
        self._report, self._batch_size = report, batch_size
        self.found: dict[int, PlanReport] = {}

    def enough(self, cap: int) -> bool:
        """Returns whether a budget gives the batch size."""
        report = self._report(cap)
        if report is None or report.samples_min < self._batch_size:
            return False
        self.found[cap] = report
        return True

    def scan(self, low: int) -> int:
        """Returns the least, trying all from the lowest."""
        return next(cap for cap in itertools.count(low, GRANULE) if self.enough(cap))

    def bisect(self, low: int) -> int:
        """Returns one whose next lower multiple is not enough."""
        below, cap, stride = low - GRANULE, low, GRANULE
        while not self.enough(cap):
            below, cap, stride = cap, cap + stride, stride * 2
        return least_cap(lambda tokens: tokens in self.found or self.enough(tokens), low=below + 1, high=cap)

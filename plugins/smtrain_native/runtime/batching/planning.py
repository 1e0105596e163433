"""Planning an epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from smtrain_native.runtime.batching.draw import Draw
from smtrain_native.runtime.batching.error import PlanError, rounded_up
from smtrain_native.runtime.batching.filled import filled
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.plan import Plan
from smtrain_native.runtime.batching.ranks import ranked
from smtrain_native.runtime.batching.samples import Samples, read_samples
from smtrain_native.runtime.batching.sized import sized


def plan(
    tokens_N: npt.ArrayLike,
    work_N: npt.ArrayLike,
    *,
    cap: int,
    batch_size: int,
    world_size: int,
    accumulation: int | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> Plan:
    """Returns the plan of an epoch: every sample once, no micro-batch above the cap, none empty.

    Without `accumulation`, a step has `batch_size` samples or a little less, all steps within one of each other and the
    same for any number of ranks, in as few micro-batches as are found to hold them. With it, a step has accumulation ×
    world_size micro-batches, filled.

    Args:
      tokens_N: what a sample counts against the cap, > 0; shape (N,).
      work_N: what it costs to compute, in any unit, ≥ 0; shape (N,). `work` gives it.
      cap: tokens of a micro-batch at most.
      batch_size: samples of a step over all ranks; with `accumulation` it follows from the cap, and this is not used.
      world_size: ranks.
      accumulation: micro-batches of each rank and step; None takes as many as a step needs.
      seed: of the order.
      epoch: another order for each.

    Raises:
      PlanError: there is no such plan.
    """
    require_positive(max_tokens_per_device=cap, batch_size=batch_size, world_size=world_size, accumulation=accumulation)
    samples = read_samples(tokens_N, work_N)

    def layout(tokens: int) -> Layout:
        if accumulation is None:
            chance = Draw(seed, epoch)
            return sized(samples, cap=tokens, batch_size=batch_size, world_size=world_size, draw=chance)
        bins = world_size * accumulation
        return filled(samples, cap=tokens, bins=bins, draw=lambda attempt: Draw(seed, epoch, attempt))

    if samples.tokens_N.max() > cap:
        raise _too_long(samples, cap, layout)
    return ranked(layout(cap), samples, np.asarray(work_N, dtype=np.float64), world_size=world_size, cap=cap)


def require_positive(**settings: int | None) -> None:
    """Checks settings that are counts.

    Raises:
      PlanError: one is below 1.
    """
    for name, value in settings.items():
        if value is not None and value < 1:
            message = f"{name} is {value}. Set it to 1 or more."
            raise PlanError(message)


def _too_long(samples: Samples, cap: int, layout: Callable[[int], Layout]) -> PlanError:
    longest = int(samples.tokens_N.argmax())
    tokens, others = int(samples.tokens_N[longest]), int((samples.tokens_N > cap).sum()) - 1
    least = rounded_up(tokens)
    try:
        layout(least)
    except PlanError as error:
        if error.least_cap is None:
            return error
        least = error.least_cap
    message = (
        f"Sample {longest} has {tokens} tokens{f' ({others} others are too long, too)' if others else ''}, and "
        f"max_tokens_per_device is {cap}. Set it to at least {least}, or bound the samples' lengths."
    )
    return PlanError(message, sample=longest, least_cap=least)

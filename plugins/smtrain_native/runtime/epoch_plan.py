"""The plan of one pass over the data, as a run's settings ask for it."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime import batching
from smtrain_native.runtime.settings import Batching
from smtrain_native.runtime.uneven import UnevenPlan

AnyPlan = batching.Plan | UnevenPlan


def epoch_plan(
    told: Batching, tokens_N: np.ndarray, work_N: np.ndarray, *, world_size: int, seed: int, epoch: int
) -> AnyPlan:
    """Returns the plan.

    Args:
      told: budget, batch size and accumulation.
      tokens_N: what each sample counts against the budget.
      work_N: what it costs to compute.
      world_size: processes.
      seed: of the order.
      epoch: of the order.

    Raises:
      PlanError: there is none.
    """

    def planned(cap: int, processes: int) -> batching.Plan:
        return batching.plan(
            tokens_N,
            work_N,
            cap=cap,
            batch_size=told.batch_size,
            world_size=processes,
            accumulation=told.accumulation,
            seed=seed,
            epoch=epoch,
        )

    try:
        return planned(told.max_tokens_per_device, world_size)
    except batching.PlanError:
        longest = int(tokens_N.max()) if tokens_N.size else 0
        if told.accumulation is not None or not 0 < longest <= told.max_tokens_per_device:
            raise
        # Few samples for many processes: small micro-batches, so that few are idle.
        return UnevenPlan(planned(longest, 1), world_size)

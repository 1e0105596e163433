"""Steps that do not come out even over the processes: some have nothing to do for a micro-batch."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime import batching


class UnevenPlan:
    """A plan for one process, dealt to several: where micro-batches run out, a process is idle for one."""

    def __init__(self, alone: batching.Plan, world_size: int) -> None:
        """Deals a plan.

        Args:
          alone: made for a world size of 1.
          world_size: number of processes.
        """
        self._alone = alone
        self._world_size = world_size

    @property
    def num_steps(self) -> int:
        """Steps of the pass."""
        return self._alone.num_steps

    def step_samples(self, step: int) -> np.ndarray:
        """Returns the samples of a step."""
        samples: np.ndarray = self._alone.step_samples(step)
        return samples

    def micro_batches(self, step: int, rank: int) -> tuple[np.ndarray, ...]:
        """Returns the micro-batches of a process, as many as any other's; an empty one is idle."""
        all_of_them = self._alone.micro_batches(step, 0)
        rounds = -(-len(all_of_them) // self._world_size)
        own = all_of_them[rank :: self._world_size]
        return (*own, *(np.empty(0, np.int64),) * (rounds - len(own)))

    def report(self) -> batching.PlanReport:
        """Returns the report of the plan as it was before it was dealt."""
        return self._alone.report()

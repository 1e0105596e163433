"""The plan of an epoch: which samples every rank computes in every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smtrain_native.runtime.batching.draw import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What a plan amounts to.

    Attributes:
      steps: optimizer steps of the epoch.
      fill: tokens of a micro-batch as a share of the cap, on average.
      samples_min: samples of the smallest step, over all ranks.
      samples_max: of the largest.
      imbalance: work of the busiest rank over that of the average rank, averaged over the steps; 1 is perfect.
      micro_batches: of all steps and ranks.
      tokens: of all samples, as they count against the cap.
    """

    steps: int
    fill: float
    samples_min: int
    samples_max: int
    imbalance: float
    micro_batches: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """An epoch. To go on in the middle of one, plan it again and start at the step wanted.

    Micro-batches are numbered through steps, in a step through ranks, in a rank through the order of computation; the
    j-th of all ranks are about equally long, since ranks wait for each other there.

    Attributes:
      sample_N: indices of the samples, micro-batch after micro-batch, ascending within each.
      start_M1: where each micro-batch starts in `sample_N`, and where the last one ends.
      first_S1: number of each step's first micro-batch, and that of the step after the last.
      tokens_M: tokens of every micro-batch.
      work_M: its work.
      world_size: ranks.
      cap: tokens of a micro-batch at most.
    """

    sample_N: Ints
    start_M1: Ints
    first_S1: Ints
    tokens_M: Ints
    work_M: npt.NDArray[np.float64]
    world_size: int
    cap: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the epoch."""
        return int(self.first_S1.size) - 1

    def micro_batches(self, step: int, rank: int) -> tuple[Ints, ...]:
        """Returns the sample indices of each micro-batch of a rank; every rank has as many."""
        first, last = self._step(step)
        if not 0 <= rank < self.world_size:
            message = f"rank {rank} of {self.world_size}"
            raise IndexError(message)
        each = (last - first) // self.world_size
        mine = range(first + rank * each, first + (rank + 1) * each)
        return tuple(self.sample_N[self.start_M1[number] : self.start_M1[number + 1]] for number in mine)

    def step_samples(self, step: int) -> Ints:
        """Returns the indices of all samples of a step, ascending: the same for any number of ranks."""
        first, last = self._step(step)
        return np.sort(self.sample_N[self.start_M1[first] : self.start_M1[last]])

    def _step(self, step: int) -> tuple[int, int]:
        if not 0 <= step < self.num_steps:
            message = f"step {step} of {self.num_steps}"
            raise IndexError(message)
        return int(self.first_S1[step]), int(self.first_S1[step + 1])

    def report(self) -> PlanReport:
        """Returns what the plan amounts to."""
        samples_S = np.diff(self.start_M1[self.first_S1])
        tokens = int(self.tokens_M.sum())
        return PlanReport(
            steps=self.num_steps,
            fill=tokens / (self.tokens_M.size * self.cap),
            samples_min=int(samples_S.min()),
            samples_max=int(samples_S.max()),
            imbalance=self._imbalance(),
            micro_batches=self.tokens_M.size,
            tokens=tokens,
        )

    def _imbalance(self) -> float:
        each_S = np.diff(self.first_S1) // self.world_size
        first_SW = self.first_S1[:-1, None] + np.arange(self.world_size) * each_S[:, None]
        work_SW = np.add.reduceat(self.work_M, first_SW.ravel()).reshape(first_SW.shape)
        mean_S = work_SW.mean(axis=1)
        return float(np.divide(work_SW.max(axis=1), mean_S, out=np.ones_like(mean_S), where=mean_S > 0).mean())

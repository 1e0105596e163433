"""Grouping micro-batches into steps of nearly equally many samples."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime.batching.deal import deal
from smtrain_native.runtime.batching.draw import Draw, Ints

_COST_BITS = 31
"""More than all costs together need, so that a count in front of them is what is compared first."""

_DETOURS = 300
_STRIDE = 7919
"""Visits steps all over the epoch; prime."""


def even_out(count_M: Ints, cost_M: Ints, steps: int, draw: Draw) -> Ints:
    """Returns the step of every micro-batch: as many of them in each, with sample counts as equal as can be found.

    Args:
      count_M: samples of every micro-batch.
      cost_M: its cost; decides among equal counts.
      steps: how many; divides the micro-batches.
      draw: breaks ties, and orders the steps.
    """
    order_M = draw.shuffled(count_M.size)
    order_M = order_M[np.argsort(-count_M[order_M], kind="stable")]
    weight_M = (count_M << _COST_BITS) + cost_M
    step_M = np.empty_like(count_M)
    step_M[order_M] = draw.shuffled(steps)[deal(weight_M[order_M][None], steps)[0]]
    member_SB = np.argsort(step_M, kind="stable").reshape(steps, -1)
    if count_M.size > steps:
        _Swaps(member_SB, count_M).run()
    step_M[member_SB] = np.arange(steps)[:, None]
    return step_M


class _Swaps:
    """Swaps micro-batches between the largest and the smallest step until they differ by one sample or none."""

    def __init__(self, member_SB: Ints, count_M: Ints) -> None:
        self.member_SB, self.count_M = member_SB, count_M
        self.total_S = count_M[member_SB].sum(axis=1)

    def run(self) -> None:
        """Ends when no swap helps, either, and neither do detours: handing the surplus on to a step in between."""
        detours = 0
        while True:
            large, small = int(self.total_S.argmax()), int(self.total_S.argmin())
            gap = int(self.total_S[large] - self.total_S[small])
            if gap <= 1:
                return
            if self._swap(large, small, gap):
                continue
            between = detours * _STRIDE % self.total_S.size
            detours += 1
            if detours > _DETOURS:
                return
            if self.total_S[small] < self.total_S[between] < self.total_S[large]:
                self._swap(large, between, int(self.total_S[large] - self.total_S[between]) + 1)

    def _swap(self, large: int, small: int, gap: int) -> bool:
        """Narrows a gap as far as one swap does, and returns whether there was one."""
        counts_B, others_B = self.count_M[self.member_SB[large]], self.count_M[self.member_SB[small]]
        given, taken = np.unique(counts_B), np.unique(others_B)
        moved_GT = given[:, None] - taken
        waste_GT = np.where((moved_GT > 0) & (moved_GT < gap), abs(2 * moved_GT - gap), gap)
        at_given, at_taken = np.unravel_index(int(waste_GT.argmin()), waste_GT.shape)
        if waste_GT[at_given, at_taken] == gap:
            return False
        here = large, int(np.argmax(counts_B == given[at_given]))
        there = small, int(np.argmax(others_B == taken[at_taken]))
        self.member_SB[here], self.member_SB[there] = self.member_SB[there], self.member_SB[here]
        self.total_S[large] -= moved_GT[at_given, at_taken]
        self.total_S[small] += moved_GT[at_given, at_taken]
        return True

"""Making steps more even by moving single samples into room that is left."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime.batching.draw import Ints
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.spread import Bools


def move_singles(layout: Layout, tokens_N: Ints, cap: int) -> Layout:
    """Returns the layout with samples moved from the largest step, and to the smallest, as long as the cap lets it.

    Takes time for every move, so it is for small numbers of samples.

    Args:
      layout: all its steps have the same number of micro-batches.
      tokens_N: of the samples.
      cap: tokens of a micro-batch at most.
    """
    bins = int(layout.bins_S[0])
    moves = _Moves(layout.step_N * bins + layout.bin_N, tokens_N, layout.bins_S.size, bins, cap)
    while moves.gap > 1 and (moves.shrink_largest() or moves.grow_smallest()):
        pass
    return Layout(step_N=moves.at_N // bins, bin_N=moves.at_N % bins, bins_S=layout.bins_S)


class _Moves:
    """Every move brings the counts of two steps nearer to each other, so there is a last one."""

    def __init__(self, at_N: Ints, tokens_N: Ints, steps: int, bins: int, cap: int) -> None:
        self.at_N, self.tokens_N, self.bins = at_N.copy(), tokens_N, bins
        self.count_M = np.bincount(at_N, minlength=steps * bins)
        self.room_M = cap - np.bincount(at_N, weights=tokens_N, minlength=steps * bins).astype(np.int64)
        self.total_S = self.count_M.reshape(steps, bins).sum(axis=1)

    @property
    def gap(self) -> int:
        return int(np.ptp(self.total_S))

    def shrink_largest(self) -> bool:
        largest = self.total_S == self.total_S.max()
        return self._move(largest, self.total_S <= self.total_S.max() - 2)

    def grow_smallest(self) -> bool:
        smallest = self.total_S == self.total_S.min()
        return self._move(self.total_S >= self.total_S.min() + 2, smallest)

    def _move(self, from_S: Bools, to_S: Bools) -> bool:
        """Moves the smallest sample that some of the steps can spare to the emptiest micro-batch of the others."""
        spare_N = from_S[self.at_N // self.bins] & (self.count_M[self.at_N] > 1)
        if not spare_N.any() or not to_S.any():
            return False
        sample = int(np.where(spare_N, self.tokens_N, np.iinfo(np.int64).max).argmin())
        target = int(np.where(np.repeat(to_S, self.bins), self.room_M, -1).argmax())
        tokens, source = self.tokens_N[sample], self.at_N[sample]
        if self.room_M[target] < tokens:
            return False
        self.at_N[sample] = target
        for place, sign in ((source, -1), (target, 1)):
            self.count_M[place] += sign
            self.room_M[place] -= sign * tokens
            self.total_S[place // self.bins] += sign
        return True

"""Spreading items over a fixed number of bins: each to the least loaded bin that has room for it.

Source: LPT, Graham 1969 (SIAM J. Appl. Math. 17); with a capacity it is worst-fit decreasing.
"""

from __future__ import annotations

import heapq
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from smtrain_native.runtime.batching.draw import Ints

Bools: TypeAlias = npt.NDArray[np.bool_]

_CLOSED = np.iinfo(np.int64).max // 2
_WORTH_A_ROUND = 40
"""Items that a round must place to be faster than a heap; measured."""
_PATIENCE = 64
"""Full bins that the heap looks past for one item."""


def spread(cost_GK: Ints, tokens_GK: Ints, size_G: Ints, *, bins: int, cap: int) -> tuple[Ints, Bools]:
    """Returns the bin of every item, shape (G, K), and which rows found room for all of theirs, shape (G,).

    Args:
      cost_GK: what is balanced, > 0, in the order in which it is placed; a row for each independent problem.
      tokens_GK: what counts against the cap.
      size_G: how many items a row has; the rest of it is padding.
      bins: of each row.
      cap: tokens that a bin holds at most.
    """
    state = _Spread(cost_GK, tokens_GK, size_G, bins, cap)
    while state.left_G.size:
        if state.play_round() < _WORTH_A_ROUND:
            for row in state.left_G:
                state.finish(int(row))
            break
    return state.bin_GK, state.fits_G


class _Spread:
    def __init__(self, cost_GK: Ints, tokens_GK: Ints, size_G: Ints, bins: int, cap: int) -> None:
        self.cost_GK, self.tokens_GK, self.size_G = cost_GK, tokens_GK, size_G
        self.bin_GK = np.zeros(cost_GK.shape, dtype=np.int64)
        self.load_GM = np.zeros((cost_GK.shape[0], bins), dtype=np.int64)
        self.room_GM = np.full((cost_GK.shape[0], bins), cap, dtype=np.int64)
        self.next_G = np.zeros(cost_GK.shape[0], dtype=np.int64)
        self.fits_G = np.ones(cost_GK.shape[0], dtype=np.bool_)
        self.left_G = np.flatnonzero(size_G > 0)

    def play_round(self) -> int:
        """Places, in every unfinished row, as many items as may go to different bins, and returns how many.

        One at a time, item i would go to the i-th lightest bin until a bin that has just received one is lighter: so
        far all of them can be placed at once.
        """
        rows_R1 = self.left_G[:, None]
        column_RM = self.next_G[rows_R1] + np.arange(self.load_GM.shape[1])
        real_RM = column_RM < self.size_G[rows_R1]
        column_RM = np.minimum(column_RM, self.cost_GK.shape[1] - 1)
        cost_RM, tokens_RM = self.cost_GK[rows_R1, column_RM], self.tokens_GK[rows_R1, column_RM]
        open_RM = self.room_GM[self.left_G] >= tokens_RM[:, :1]
        key_RM = np.where(open_RM, self.load_GM[self.left_G], _CLOSED)
        bin_RM = np.argsort(key_RM, axis=1, kind="stable")
        load_RM = np.take_along_axis(key_RM, bin_RM, axis=1)
        lightest_RM = np.minimum.accumulate(load_RM + cost_RM, axis=1)
        go_RM = real_RM & (load_RM < _CLOSED) & (self.room_GM[rows_R1, bin_RM] >= tokens_RM)
        go_RM[:, 1:] &= load_RM[:, 1:] <= lightest_RM[:, :-1]
        return self._place(np.logical_and.accumulate(go_RM, axis=1), column_RM, bin_RM, cost_RM, tokens_RM)

    def _place(self, go_RM: Bools, column_RM: Ints, bin_RM: Ints, cost_RM: Ints, tokens_RM: Ints) -> int:
        row, place = np.nonzero(go_RM)
        group, chosen = self.left_G[row], bin_RM[row, place]
        self.bin_GK[group, column_RM[row, place]] = chosen
        self.load_GM[group, chosen] += cost_RM[row, place]
        self.room_GM[group, chosen] -= tokens_RM[row, place]
        self.next_G[self.left_G] += go_RM.sum(axis=1)
        self.fits_G[self.left_G[~go_RM[:, 0]]] = False
        self.left_G = self.left_G[go_RM[:, 0] & (self.next_G[self.left_G] < self.size_G[self.left_G])]
        return int(row.size)

    def finish(self, row: int) -> None:
        """Places the rest of a row one item at a time."""
        start, end = int(self.next_G[row]), int(self.size_G[row])
        room = self.room_GM[row].tolist()
        heap = [(load, index) for index, load in enumerate(self.load_GM[row].tolist())]
        heapq.heapify(heap)
        chosen: list[int] = []
        items = zip(self.cost_GK[row, start:end].tolist(), self.tokens_GK[row, start:end].tolist(), strict=True)
        for cost, tokens in items:
            full: list[tuple[int, int]] = []
            while heap and room[heap[0][1]] < tokens and len(full) < _PATIENCE:
                full.append(heapq.heappop(heap))
            if not heap or room[heap[0][1]] < tokens:
                self.fits_G[row] = False
                return
            load, index = heap[0]
            room[index] -= tokens
            heapq.heapreplace(heap, (load + cost, index))
            chosen.append(index)
            for each in full:
                heapq.heappush(heap, each)
        self.bin_GK[row, start:end] = chosen

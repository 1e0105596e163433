"""Best-fit decreasing: each item, from the largest, to the fullest bin that has room for it.

Source: Johnson et al. 1974 (SIAM J. Comput. 3): at most 11/9 of the least number of bins, and 4.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from smtrain_native.runtime.batching.draw import Ints
from smtrain_native.runtime.batching.spread import Bools

_CELLS = 1 << 17
"""Bins looked at together: what a core's cache holds."""
_WORTH_A_MATRIX = 64
"""Rows below which, and …"""
_WIDE = 512
"""… bins above which one row after another is faster; measured."""


def best_fit(tokens_K: Sequence[int], cap: int) -> tuple[list[int], int]:
    """Returns the bin of every item, and the number of bins.

    Items of one size are placed together, and so are the bins with the same room: the time depends on the number of
    different sizes more than on the number of items.

    Args:
      tokens_K: sizes, descending, none above the cap.
      cap: what a bin holds.
    """
    rooms: list[int] = []
    bins: dict[int, deque[int]] = {}
    chosen: list[int] = []
    opened = 0
    for size, run in groupby(tokens_K):
        left = sum(1 for _ in run)
        while left:
            at = bisect_left(rooms, size)
            if at == len(rooms):
                fresh = -(-left // (cap // size))
                _put(rooms, bins, cap, range(opened, opened + fresh))
                opened += fresh
                continue
            room = rooms[at]
            each = min(room // size, left)
            here = bins[room]
            taken = [here.popleft() for _ in range(min(len(here), left // each))]
            if not here:
                del rooms[at], bins[room]
            chosen += [index for index in taken for _ in range(each)]
            left -= each * len(taken)
            _put(rooms, bins, room - each * size, taken)
    return chosen, opened


def _put(rooms: list[int], bins: dict[int, deque[int]], room: int, indices: Sequence[int]) -> None:
    if room not in bins:
        bins[room] = deque()
        insort(rooms, room)
    bins[room].extend(indices)


def best_fit_rows(tokens_GK: Ints, size_G: Ints, *, bins: int, cap: int) -> tuple[Ints, Bools]:
    """Returns the bin of every item of independent rows, and which rows need no more than `bins`.

    Args:
      tokens_GK: sizes, descending, none above the cap; padded with zeros.
      size_G: how many items a row has.
      bins: of each row.
      cap: what a bin holds.
    """
    bin_GK = np.zeros(tokens_GK.shape, dtype=np.int64)
    fits_G = np.zeros(size_G.size, dtype=np.bool_)
    if size_G.size >= _WORTH_A_MATRIX and bins <= _WIDE:
        for group_R in np.array_split(np.arange(size_G.size), max(1, size_G.size * bins // _CELLS)):
            bin_GK[group_R], fits_G[group_R] = _side_by_side(tokens_GK[group_R], bins, cap)
        return bin_GK, fits_G
    for row, size in enumerate(size_G.tolist()):
        chosen, opened = best_fit(tokens_GK[row, :size].tolist(), cap)
        bin_GK[row, :size], fits_G[row] = chosen, opened <= bins
    return bin_GK, fits_G


def _side_by_side(tokens_GK: Ints, bins: int, cap: int) -> tuple[Ints, Bools]:
    row_G: Ints = np.arange(tokens_GK.shape[0])
    room_GM: Ints = np.full((row_G.size, bins), cap, dtype=np.int64)
    bin_GK = np.zeros(tokens_GK.shape, dtype=np.int64)
    fits_G: Bools = np.ones(row_G.size, dtype=np.bool_)
    for column, tokens_G in enumerate(tokens_GK.T):
        best_G = np.where(room_GM < tokens_G[:, None], cap + 1, room_GM).argmin(axis=1)
        bin_GK[:, column] = best_G
        room_GM[row_G, best_G] -= tokens_G
        fits_G &= room_GM[row_G, best_G] >= 0
    return bin_GK, fits_G

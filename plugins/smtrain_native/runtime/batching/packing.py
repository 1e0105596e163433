"""Packing independent sets of samples, each into its number of micro-batches."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from smtrain_native.runtime.batching.best_fit import best_fit_rows
from smtrain_native.runtime.batching.draw import Ints
from smtrain_native.runtime.batching.search import Search
from smtrain_native.runtime.batching.spread import Bools, spread

_SEARCHABLE = 48
"""Items above which a search has no hope."""
_NODES = 100_000
"""A second of search, at most, for one call."""
_CELLS = 1 << 17
"""Bins looked at together: what a core's cache holds."""


class Effort(enum.Enum):
    """What is done about rows that cannot be balanced: nothing; all that can be; the same until one resists."""

    BALANCE = enum.auto()
    EVERY_ROW = enum.auto()
    ALL_OR_NONE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Independent sets of samples, a row for each.

    Attributes:
      sample_GK: indices of the samples in the order in which they are placed; behind `size_G` of them, padding.
      size_G: how many samples a row has.
    """

    sample_GK: Ints
    size_G: Ints

    @classmethod
    def of(cls, group_N: Ints, order_N: Ints) -> Rows:
        """Returns the rows of samples that were given numbers of groups.

        Args:
          group_N: group of every sample, from 0.
          order_N: indices of the samples, in the order that they shall have within their rows.
        """
        size_G = np.bincount(group_N)
        by_group_N = order_N[np.argsort(group_N[order_N], kind="stable")]
        sample_GK = np.zeros((size_G.size, int(size_G.max())), dtype=np.int64)
        sample_GK[np.arange(sample_GK.shape[1]) < size_G[:, None]] = by_group_N
        return cls(sample_GK=sample_GK, size_G=size_G)

    def __getitem__(self, group_R: Ints) -> Rows:
        size_R = self.size_G[group_R]
        return Rows(sample_GK=self.sample_GK[group_R, : int(size_R.max(initial=0))], size_G=size_R)

    @property
    def real_GK(self) -> Bools:
        """Which places hold a sample."""
        return np.arange(self.sample_GK.shape[1]) < self.size_G[:, None]

    def values(self, value_N: Ints) -> Ints:
        """Returns something about every sample, 0 where there is none."""
        return np.where(self.real_GK, value_N[self.sample_GK], 0)


def pack(
    rows: Rows,
    tokens_N: Ints,
    cost_N: Ints,
    *,
    bins: int,
    cap: int,
    effort: Effort = Effort.EVERY_ROW,
) -> tuple[Ints, Bools]:
    """Returns the bin of every sample, shaped as the rows are, and which rows could be packed.

    Balances the cost where the cap lets it, else the tokens, else fills bins one after another, else searches.

    Args:
      rows: of at least `bins` samples each; no bin stays empty.
      tokens_N: > 0, none above the cap.
      cost_N: > 0.
      bins: of each row.
      cap: tokens that a bin holds at most.
      effort: what is done about rows that cannot be balanced.
    """
    bin_GK = np.zeros(rows.sample_GK.shape, dtype=np.int64)
    fits_G = np.zeros(rows.size_G.size, dtype=np.bool_)
    for group_R in np.array_split(np.arange(rows.size_G.size), max(1, rows.size_G.size * bins // _CELLS)):
        part = rows[group_R]
        tokens_GK = part.values(tokens_N)
        bin_RK, fits_G[group_R] = _balanced(tokens_GK, part.values(cost_N), part.size_G, bins, cap)
        bin_GK[group_R, : bin_RK.shape[1]] = bin_RK
    if effort is not Effort.BALANCE:
        row_R = np.flatnonzero(~fits_G)
        part, last = rows[row_R], effort is Effort.ALL_OR_NONE
        bin_RK, fits_G[row_R] = _tight(part.values(tokens_N), part.size_G, bins=bins, cap=cap, all_or_none=last)
        bin_GK[row_R, : bin_RK.shape[1]] = bin_RK
    return bin_GK, fits_G


def _balanced(tokens_GK: Ints, cost_GK: Ints, size_G: Ints, bins: int, cap: int) -> tuple[Ints, Bools]:
    bin_GK, fits_G = spread(cost_GK, tokens_GK, size_G, bins=bins, cap=cap)
    row_R = np.flatnonzero(~fits_G)
    tokens_RK = tokens_GK[row_R]
    bin_GK[row_R], fits_G[row_R] = spread(tokens_RK, tokens_RK, size_G[row_R], bins=bins, cap=cap)
    return bin_GK, fits_G


def _tight(tokens_GK: Ints, size_G: Ints, *, bins: int, cap: int, all_or_none: bool) -> tuple[Ints, Bools]:
    bin_GK: Ints = np.zeros(tokens_GK.shape, dtype=np.int64)
    order_GK = np.argsort(-tokens_GK, axis=1, kind="stable")
    sorted_GK = np.take_along_axis(tokens_GK, order_GK, axis=1)
    best_GK, fits_G = best_fit_rows(sorted_GK, size_G, bins=bins, cap=cap)
    search = Search(_NODES)
    for row, size in enumerate(size_G.tolist()):
        chosen = best_GK[row, :size] if fits_G[row] else _searched(sorted_GK[row, :size], bins, cap, search)
        fits_G[row] = chosen is not None
        if chosen is not None:
            bin_GK[row, order_GK[row, :size]] = none_empty(chosen, bins)
        elif all_or_none:
            fits_G[row:] = False
            break
    return bin_GK, fits_G


def _searched(tokens_K: Ints, bins: int, cap: int, search: Search) -> Ints | None:
    found = search.pack(tokens_K.tolist(), bins, cap) if tokens_K.size <= _SEARCHABLE else None
    return None if found is None else np.array(found, dtype=np.int64)


def none_empty(bin_K: Ints, bins: int) -> Ints:
    """Returns the bins, those that had no sample with half of what was in one of the fullest.

    Args:
      bin_K: bin of every sample; at least as many samples as bins.
      bins: how many there are.
    """
    while True:
        count_M = np.bincount(bin_K, minlength=bins)
        empty_E = np.flatnonzero(count_M == 0)
        if not empty_E.size:
            return bin_K
        donor_E = np.argsort(-count_M, kind="stable")[: empty_E.size]
        donor_E = donor_E[count_M[donor_E] > 1]
        target_M = np.full(bins, -1)
        target_M[donor_E] = empty_E[: donor_E.size]
        order_K = np.argsort(bin_K, kind="stable")
        place_K = np.arange(bin_K.size) - (np.cumsum(count_M) - count_M)[bin_K[order_K]]
        moved_K = order_K[(place_K % 2 == 1) & (target_M[bin_K[order_K]] >= 0)]
        bin_K = bin_K.copy()
        bin_K[moved_K] = target_M[bin_K[moved_K]]

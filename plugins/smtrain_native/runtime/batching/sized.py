"""Steps of a given number of samples, each packed into as few micro-batches as hold it."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime.batching.deal import deal
from smtrain_native.runtime.batching.draw import Draw, Ints
from smtrain_native.runtime.batching.error import PlanError
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.least_cap import least_cap
from smtrain_native.runtime.batching.packing import Rows, pack
from smtrain_native.runtime.batching.samples import Samples
from smtrain_native.runtime.batching.spread import Bools


def compose(weight_N: Ints, steps: int, draw: Draw) -> Ints:
    """Returns the step of every sample: counts differ by at most one, weights by little.

    Args:
      weight_N: of every sample.
      steps: how many.
      draw: makes the composition, and the steps' order, another one for another epoch.
    """
    order_N = draw.descending(weight_N)
    step_N = np.empty_like(weight_N)
    step_N[order_N] = draw.shuffled(steps)[deal(weight_N[order_N][None], steps)[0]]
    return step_N


def sized(samples: Samples, *, cap: int, batch_size: int, world_size: int, draw: Draw) -> Layout:
    """Returns steps of `batch_size` samples, or one less.

    What is in a step depends on the samples, the batch size and the draw: not on the ranks, and not on the cap.

    Raises:
      PlanError: a step cannot give every rank equally many micro-batches with at least one sample in each.
    """
    steps = -(-samples.count // batch_size)
    _enough(samples.count, steps, batch_size, world_size)
    step_N = compose(samples.cost_N, steps, draw)
    rows = Rows.of(step_N, np.argsort(-samples.cost_N, kind="stable"))
    ranks = _Ranks(rows, samples, world_size, cap)
    ranks.settle()
    bin_N = np.empty_like(step_N)
    bin_N[rows.sample_GK[rows.real_GK]] = ranks.bin_GK[rows.real_GK]
    return Layout(step_N=step_N, bin_N=bin_N, bins_S=ranks.found_G * world_size)


def _enough(count: int, steps: int, batch_size: int, world_size: int) -> None:
    fewest = count // steps
    if fewest >= world_size:
        return
    message = f"{count} samples in steps of {batch_size} leave {fewest} to a step, fewer than the {world_size} ranks: "
    message += "a rank would have none. "
    if count < world_size:
        message += f"Train on at most {count} ranks."
    else:
        most = count // world_size
        message += f"Set batch_size to at least {-(-count // most)}, or train on at most {fewest} ranks."
    raise PlanError(message)


class _Ranks:
    """Looks for the fewest micro-batches a rank that hold a step, for all steps at once.

    Attributes:
      found_G: micro-batches of each rank for every step; 0 where there is no way.
      bin_GK: the micro-batch of every sample.
    """

    def __init__(self, rows: Rows, samples: Samples, world_size: int, cap: int) -> None:
        self.rows, self.samples, self.world_size, self.cap = rows, samples, world_size, cap
        self.found_G = np.zeros(rows.size_G.size, dtype=np.int64)
        self.bin_GK = np.zeros(rows.sample_GK.shape, dtype=np.int64)
        self.most_G = rows.size_G // world_size

    def settle(self) -> None:
        """Tries the lower bound, which nearly always works, then halves what is left."""
        low_G, high_G = self._bounds()
        probe_G = low_G.copy()
        while (row_R := np.flatnonzero(low_G < high_G)).size:
            fits_R = self._try(row_R, probe_G[row_R], self.cap)
            high_G[row_R[fits_R]] = probe_G[row_R[fits_R]]
            low_G[row_R[~fits_R]] = probe_G[row_R[~fits_R]] + 1
            probe_G = (low_G + high_G) // 2
        row_R = np.flatnonzero((self.found_G != high_G) & (high_G <= self.most_G))
        self._try(row_R, high_G[row_R], self.cap)
        if not self.found_G.all():
            raise self._error(np.flatnonzero(self.found_G == 0))

    def _bounds(self) -> tuple[Ints, Ints]:
        tokens_GK = self.rows.values(self.samples.tokens_N)
        total_G, large_G = tokens_GK.sum(axis=1), (2 * tokens_GK > self.cap).sum(axis=1)
        low_G = -(-np.maximum(-(-total_G // self.cap), large_G) // self.world_size)
        # Best fit leaves no two bins that one could hold, so it never needs more than this.
        high_G = -(-(2 * total_G // self.cap + 1) // self.world_size)
        return low_G, np.minimum(high_G, self.most_G + 1)

    def _try(self, row_R: Ints, each_R: Ints, cap: int) -> Bools:
        fits_R = np.zeros(row_R.size, dtype=np.bool_)
        for each in np.unique(each_R):
            here = np.flatnonzero(each_R == each)
            rows, samples = self.rows[row_R[here]], self.samples
            bins = int(each) * self.world_size
            bin_RK, fits_R[here] = pack(rows, samples.tokens_N, samples.cost_N, bins=bins, cap=cap)
            kept = np.flatnonzero(fits_R[here])
            self.found_G[row_R[here[kept]]] = each
            self.bin_GK[row_R[here[kept]], : bin_RK.shape[1]] = bin_RK[kept]
        return fits_R

    def _error(self, row_R: Ints) -> PlanError:
        most_R, tokens_RK = self.most_G[row_R], self.rows[row_R].values(self.samples.tokens_N)
        least = least_cap(
            lambda cap: bool(self._try(row_R, most_R, cap).all()),
            low=int(tokens_RK.max()),
            high=int(tokens_RK.sum(axis=1).max()),
        )
        size, most = self.rows.size_G[row_R[0]], most_R[0]
        message = (
            f"A step of {size} samples does not fit into {most * self.world_size} micro-batches of "
            f"{self.cap} tokens, and more cannot be given to {self.world_size} ranks, equally many to each and none "
            f"empty. Set max_tokens_per_device to at least {least}."
        )
        return PlanError(message, least_cap=least)

"""Steps of a given number of micro-batches, as full as they go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from smtrain_native.runtime.batching.best_fit import best_fit
from smtrain_native.runtime.batching.draw import Draw, Ints
from smtrain_native.runtime.batching.error import PlanError
from smtrain_native.runtime.batching.evening import even_out
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.least_cap import least_cap
from smtrain_native.runtime.batching.moving import move_singles
from smtrain_native.runtime.batching.packing import Effort, Rows, none_empty, pack
from smtrain_native.runtime.batching.samples import Samples
from smtrain_native.runtime.batching.sized import compose
from smtrain_native.runtime.batching.worst_fit import worst_fit

_MORE = 50
"""One step in so many may be added for evenness: 2 %, which is what the fill may fall short by."""
_STRIDE = 500
_FEW = 1000
"""Samples up to which further attempts cost nothing."""
_ATTEMPTS = 4


def filled(samples: Samples, *, cap: int, bins: int, draw: Callable[[int], Draw]) -> Layout:
    """Returns steps of exactly `bins` micro-batches.

    They are as few as all samples fit into. Where those cannot be made even (counts that differ by at most one), up to
    2 % more are tried, at least one more; and beyond, while worst fit is more even with more steps. There is no rest:
    what would be left over is shared among all steps.

    Args:
      samples: all of an epoch.
      cap: tokens of a micro-batch at most.
      bins: ranks × accumulation; the layout depends on nothing else about them.
      draw: attempt → chance.

    Raises:
      PlanError: micro-batches would be empty.
    """
    if samples.count < bins:
        message = (
            f"{samples.count} samples cannot fill the {bins} micro-batches of a step (ranks × accumulation): some "
            "would be empty. Lower accumulation, or train on fewer ranks."
        )
        raise PlanError(message)
    filler = _Filler(samples, cap, bins, draw)
    best: Layout | None = None
    for steps in filler.candidates():
        if best is not None and not filler.worth(steps, best):
            break
        for found in filler.layouts(steps):
            best = found if best is None or found.width < best.width else best
            if best.width <= 1:
                return best
    if best is None:
        raise filler.too_many()
    return best


class _Filler:
    """Looks for layouts with some number of steps."""

    def __init__(self, samples: Samples, cap: int, bins: int, draw: Callable[[int], Draw]) -> None:
        self.samples, self.cap, self.bins, self.draw = samples, cap, bins, draw
        self.most = samples.count // bins
        self.fewest = 0
        self._orders: dict[int, Ints] = {}

    def worth(self, steps: int, best: Layout) -> bool:
        """Returns whether so many steps may be taken for a layout that is more even than the best so far."""
        self.fewest = self.fewest or best.bins_S.size
        if self._uneven_anyway():
            return False
        if steps <= max(self.fewest + 1, self.fewest + self.fewest // _MORE):
            return True
        wanted, most = self.rival
        return steps <= most and best.width > wanted

    @functools.cached_property
    def best(self) -> tuple[Ints, int]:
        """The bin of every sample by best fit, samples sorted by size, and the number of steps with so many bins."""
        chosen, needed = best_fit(np.sort(self.samples.tokens_N)[::-1].tolist(), self.cap)
        return np.array(chosen, dtype=np.int64), -(-needed // self.bins)

    def _uneven_anyway(self) -> bool:
        """Returns whether, of many samples, the longest leaves no room in its step for as many as others must have."""
        sorted_N = np.sort(self.samples.tokens_N)
        room = self.bins * self.cap - int(sorted_N[-1])
        beside = int(np.searchsorted(np.cumsum(sorted_N[:-1]), room, side="right"))
        return self.samples.count > _FEW and self.samples.count // self.fewest - 1 > beside + 1

    @functools.cached_property
    def rival(self) -> tuple[int, int]:
        """How even worst fit is over all steps but its last, and how many it needs.

        On a few samples chance makes it more even, or less: there it is taken to be even.
        """
        order_N = self.draw(0).shuffled(self.samples.count)
        counts = worst_fit(self.samples.tokens_N[order_N].tolist(), self.cap, self.bins)
        full = counts[:-1] or counts
        return (1 if self.samples.count <= _FEW else max(full) - min(full)), len(counts)

    def candidates(self) -> Iterator[int]:
        """Yields numbers of steps, ascending: sparsely up to what is surely enough."""
        tokens_N = self.samples.tokens_N
        needed = max(-(-int(tokens_N.sum()) // self.cap), int((2 * tokens_N > self.cap).sum()))
        fewest = -(-needed // self.bins)
        if fewest <= self.most:
            yield fewest
        _, enough = self.best
        steps, stride = fewest, max(1, fewest // _STRIDE)
        while steps + stride < min(enough, self.most + 1):
            steps, stride = steps + stride, stride * 2
            yield steps
        steps = start = max(enough, fewest + 1)
        while steps <= self.most:
            yield steps
            steps += max(1, start // _STRIDE, (steps - start) // 3)

    def layouts(self, steps: int) -> Iterator[Layout]:
        """Yields those that are found: of the epoch as a whole, then of one step after another."""
        few = self.samples.count <= _FEW
        for attempt in range(_ATTEMPTS if few else 1):
            whole = self._as_one(steps, attempt)
            if whole is not None:
                yield move_singles(whole, self.samples.tokens_N, self.cap) if few else whole
            single = self._step_by_step(steps, attempt) if few or whole is not None else None
            if single is not None:
                yield single

    def _order(self, attempt: int) -> Ints:
        if attempt not in self._orders:
            self._orders[attempt] = self.draw(attempt).descending(self.samples.cost_N)
        return self._orders[attempt]

    def _as_one(self, steps: int, attempt: int) -> Layout | None:
        samples, bins, order_N = self.samples, steps * self.bins, self._order(attempt)
        rows = Rows(sample_GK=order_N[None], size_G=np.array([samples.count]))
        effort = Effort.EVERY_ROW if samples.count <= _FEW else Effort.BALANCE
        bin_GK, fits_G = pack(rows, samples.tokens_N, samples.cost_N, bins=bins, cap=self.cap, effort=effort)
        chosen_N = bin_GK[0]
        if not fits_G[0]:
            chosen_N, enough = self.best
            if steps < enough:
                return None
            chosen_N = none_empty(chosen_N, bins)
            order_N = order_N[np.argsort(-samples.tokens_N[order_N], kind="stable")]
        of_all_N = np.empty_like(samples.tokens_N)
        of_all_N[order_N] = chosen_N
        return self._grouped(of_all_N, steps, self.draw(attempt + _ATTEMPTS))

    def _grouped(self, of_all_N: Ints, steps: int, draw: Draw) -> Layout:
        cost_M = np.bincount(of_all_N, weights=self.samples.cost_N).astype(np.int64)
        step_M = even_out(np.bincount(of_all_N), cost_M, steps, draw)
        of_step_M = np.empty_like(step_M)
        of_step_M[np.argsort(step_M, kind="stable")] = np.arange(step_M.size) % self.bins
        return Layout(step_N=step_M[of_all_N], bin_N=of_step_M[of_all_N], bins_S=np.full(steps, self.bins))

    def _step_by_step(self, steps: int, attempt: int) -> Layout | None:
        samples = self.samples
        step_N = compose(samples.tokens_N, steps, self.draw(attempt))
        rows = Rows.of(step_N, np.argsort(-samples.cost_N, kind="stable"))
        bin_GK, fits_G = pack(
            rows, samples.tokens_N, samples.cost_N, bins=self.bins, cap=self.cap, effort=Effort.ALL_OR_NONE
        )
        if not fits_G.all():
            return None
        bin_N = np.empty_like(step_N)
        bin_N[rows.sample_GK[rows.real_GK]] = bin_GK[rows.real_GK]
        return Layout(step_N=step_N, bin_N=bin_N, bins_S=np.full(steps, self.bins))

    def too_many(self) -> PlanError:
        """Returns the error for samples that no number of steps holds."""
        tokens_N, bins = self.samples.tokens_N, self.most * self.bins
        rows = Rows(sample_GK=np.argsort(-tokens_N, kind="stable")[None], size_G=np.array([tokens_N.size]))
        least = least_cap(
            lambda cap: bool(pack(rows, tokens_N, tokens_N, bins=bins, cap=cap)[1][0]),
            low=int(tokens_N.max()),
            high=int(tokens_N.sum()),
        )
        message = (
            f"{tokens_N.size} samples do not fit into {bins} micro-batches of {self.cap} tokens, and in more steps of "
            f"{self.bins} micro-batches (ranks × accumulation) some would be empty. "
            f"Set max_tokens_per_device to at least {least}, or lower accumulation."
        )
        return PlanError(message, least_cap=least)

"""The plan to beat: shuffled samples, one after another, to the emptiest micro-batch of the step that is filled."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def worst_fit(tokens_N: Sequence[int], cap: int, bins: int) -> list[int]:
    """Returns the samples of every step; a step ends with the first sample that fits nowhere in it.

    Args:
      tokens_N: of the samples, shuffled; none above the cap.
      cap: tokens of a micro-batch at most.
      bins: micro-batches of a step.
    """
    loads: list[int] = []
    counts: list[int] = []
    for tokens in tokens_N:
        if not loads or loads[0] + tokens > cap:
            loads = [0] * bins
            counts.append(0)
        heapq.heapreplace(loads, loads[0] + tokens)
        counts[-1] += 1
    return counts

"""The least budget under which something works."""

from __future__ import annotations

from collections.abc import Callable

from smtrain_native.runtime.batching.error import GRANULE, rounded_up


def least_cap(works: Callable[[int], bool], *, low: int, high: int) -> int:
    """Returns the least budget, in tokens and a multiple of the granule, by bisection.

    Args:
      works: whether a budget is enough; more is taken to be enough, too.
      low: no budget below it works.
      high: works.
    """
    below, enough = rounded_up(low) // GRANULE - 1, rounded_up(high) // GRANULE
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if works(middle * GRANULE) else (middle, enough)
    return enough * GRANULE

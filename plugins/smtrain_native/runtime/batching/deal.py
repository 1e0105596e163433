"""Dealing weighted items to parts of equal count and nearly equal weight."""

from __future__ import annotations

import numpy as np

from smtrain_native.runtime.batching.draw import Ints


def deal(weight_GK: Ints, parts: int) -> Ints:
    """Returns the part of every item, shape (G, K).

    Every block of `parts` items gives each part one, the heaviest to the part that is the lightest so far. Counts
    differ by at most one; where the items come in descending order, weights differ by little more than the last
    blocks' do.

    Args:
      weight_GK: weights, a row for each independent deal, in the order in which they are dealt.
      parts: how many parts a row has.

    Source: LPT (Graham 1969, SIAM J. Appl. Math. 17) restricted to one item a machine and round, which is RLPT of
    Coffman, Frederickson and Lueker 1984 (Math. Oper. Res. 9) for more than two machines. Differencing under the same
    constraint (BLDM, Michiels et al. 2003, STACS) was measured too: on long tails its heaviest part was heavier.
    """
    groups, items = weight_GK.shape
    part_GK = np.zeros((groups, items), dtype=np.int64)
    if parts == 1:
        return part_GK
    load_GP = np.zeros((groups, parts), dtype=np.int64)
    for start in range(0, items, parts):
        block_GB = weight_GK[:, start : start + parts]
        heaviest_GB = np.argsort(-block_GB, axis=1, kind="stable")
        lightest_GB = np.argsort(load_GP, axis=1, kind="stable")[:, : block_GB.shape[1]]
        np.put_along_axis(part_GK[:, start : start + parts], heaviest_GB, lightest_GB, axis=1)
        load_GB = np.take_along_axis(load_GP, lightest_GB, axis=1) + np.take_along_axis(block_GB, heaviest_GB, axis=1)
        np.put_along_axis(load_GP, lightest_GB, load_GB, axis=1)
    return part_GK

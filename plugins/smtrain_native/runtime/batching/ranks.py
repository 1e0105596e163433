"""Giving the micro-batches of a step to ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smtrain_native.runtime.batching.deal import deal
from smtrain_native.runtime.batching.draw import Ints
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.plan import Plan
from smtrain_native.runtime.batching.samples import Samples


def ranked(
    layout: Layout,
    samples: Samples,
    work_N: npt.NDArray[np.float64],
    *,
    world_size: int,
    cap: int,
) -> Plan:
    """Returns the plan of a layout whose steps have a multiple of `world_size` micro-batches.

    The heaviest micro-batches are dealt first, one to a rank: so all ranks compute similar ones at the same time, and
    have as much to do in the whole step.
    """
    first_S1 = np.concatenate(([0], np.cumsum(layout.bins_S)))
    number_N = first_S1[layout.step_N] + layout.bin_N
    number_N = _numbers(first_S1, _sums(number_N, samples.cost_N), world_size)[number_N]
    return Plan(
        sample_N=np.argsort(number_N, kind="stable"),
        start_M1=np.concatenate(([0], np.cumsum(np.bincount(number_N)))),
        first_S1=first_S1,
        tokens_M=_sums(number_N, samples.tokens_N),
        work_M=np.bincount(number_N, weights=work_N),
        world_size=world_size,
        cap=cap,
    )


def _numbers(first_S1: Ints, cost_M: Ints, world_size: int) -> Ints:
    """Returns the new number of every micro-batch: step by step, rank by rank, heaviest first."""
    number_M = np.empty_like(cost_M)
    each_S = np.diff(first_S1) // world_size
    for each in np.unique(each_S):
        first_G1 = first_S1[:-1][each_S == each][:, None]
        place_K = np.arange(each * world_size)
        order_GK = np.argsort(-cost_M[first_G1 + place_K], axis=1, kind="stable")
        rank_GK = deal(cost_M[first_G1 + order_GK], world_size)
        number_M[first_G1 + order_GK] = first_G1 + rank_GK * each + place_K // world_size
    return number_M


def _sums(group_N: Ints, value_N: Ints) -> Ints:
    # Whole numbers far below 2⁵³, which floats add exactly.
    return np.bincount(group_N, weights=value_N).astype(np.int64)

"""The samples, as the planner sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smtrain_native.runtime.batching.draw import Ints
from smtrain_native.runtime.batching.error import PlanError

_COST_TOTAL = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What the planner knows of the samples, as whole numbers, whose sums are the same on every machine.

    Attributes:
      tokens_N: what counts against the cap, > 0.
      cost_N: what it takes to compute them, > 0; all together about 2³⁰.
    """

    tokens_N: Ints
    cost_N: Ints

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.tokens_N.size)


def read_samples(tokens_N: npt.ArrayLike, work_N: npt.ArrayLike) -> Samples:
    """Returns the samples.

    Args:
      tokens_N: what a sample counts against the cap, shape (N,).
      work_N: what it costs to compute, shape (N,).

    Raises:
      PlanError: there are none, or one of the figures cannot be.
    """
    tokens_N, work_N = np.asarray(tokens_N), np.asarray(work_N, dtype=np.float64)
    if tokens_N.ndim != 1 or tokens_N.shape != work_N.shape:
        message = f"Tokens of shape {tokens_N.shape} and work of shape {work_N.shape}: give one of each to a sample."
        raise PlanError(message)
    if not tokens_N.size:
        message = "There are no samples. Look at what the data's report says was dropped."
        raise PlanError(message)
    if not np.issubdtype(tokens_N.dtype, np.integer):
        message = f"Tokens of type {tokens_N.dtype}: give integers."
        raise PlanError(message)
    _refuse(tokens_N < 1, tokens_N, "tokens", "Drop it")
    _refuse(~np.isfinite(work_N) | (work_N < 0), work_N, "work", "Give a finite number, 0 or more")
    # Summed exactly, so that no machine's order of summation shows.
    scale = _COST_TOTAL / (math.fsum(work_N.tolist()) or 1.0)
    cost_N = np.maximum(np.rint(work_N * scale).astype(np.int64), 1)
    return Samples(tokens_N=tokens_N.astype(np.int64), cost_N=cost_N)


def _refuse(wrong_N: npt.NDArray[np.bool_], value_N: npt.NDArray[np.generic], what: str, remedy: str) -> None:
    if wrong_N.any():
        sample = int(wrong_N.argmax())
        message = f"Sample {sample} has {value_N[sample]} {what}. {remedy}."
        raise PlanError(message, sample=sample)

"""Chance: the same on every machine and with every numpy.

numpy promises stable raw streams of its bit generators and of SeedSequence, and not of Generator's methods (NEP 19): so
everything here is made from raw 64-bit words and stable sorts.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]

_WORD = 2**64
_WHOLE = 1024
_TIE_BITS = 20
_SPREAD = 205
"""Keys are scaled by 0.9 … 1.1: neighbours change places from epoch to epoch, long samples stay among the long."""


class Draw:
    """A stream of random words for one epoch."""

    def __init__(self, seed: int, epoch: int, attempt: int = 0) -> None:
        """Starts the stream; a negative seed counts as its two's complement."""
        self._bits = np.random.PCG64(np.random.SeedSequence((seed % _WORD, epoch % _WORD, attempt)))

    def shuffled(self, count: int) -> Ints:
        """Returns 0 … count − 1 in random order."""
        return np.argsort(self._bits.random_raw(count), kind="stable").astype(np.int64)

    def descending(self, size_N: Ints) -> Ints:
        """Returns the indices from the largest size to the smallest, equals in random order and near equals mixed.

        Args:
          size_N: below 2³², so that no key overflows.
        """
        words_N = self._bits.random_raw(size_N.size)
        scale_N = (words_N % np.uint64(_SPREAD)).astype(np.int64) + (_WHOLE - _SPREAD // 2)
        ties_N = (words_N >> np.uint64(64 - _TIE_BITS)).astype(np.int64)
        return np.argsort(-((size_N * scale_N << _TIE_BITS) + ties_N), kind="stable")

"""What a sample costs to compute."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def work(
    tokens_N: npt.ArrayLike,
    *lengths_N: npt.ArrayLike,
    hidden_size: int,
    shared_N: npt.ArrayLike = 0,
) -> npt.NDArray[np.float64]:
    """Returns the cost of every sample, in units of a token that attends to nothing.

    A layer spends 24 h² floating point operations on a token's matrices and 4 h on every token that it attends to, in
    the forward pass; under a causal mask a sequence of l tokens has l² / 2 such pairs. The backward pass doubles both.
    So the cost is tokens + pairs / (6 h), whatever the number of layers.

    Args:
      tokens_N: tokens that are computed, shape (N,).
      *lengths_N: length of each of a sample's sequences, shape (N,): one for a response, two for a preference pair.
      hidden_size: h, the width of the residual stream.
      shared_N: length of the prefix that the sequences share and that is computed once; 0 computes it in each.

    Source: Narayanan et al. 2021 (arXiv 2104.04473), appendix: 24 B s h² + 4 B s² h a layer, there without the mask's
    half.
    """
    shared = np.asarray(shared_N, dtype=np.float64)
    pairs = sum((np.asarray(each, dtype=np.float64) ** 2 / 2 for each in lengths_N), start=np.zeros(()))
    pairs = pairs - max(len(lengths_N) - 1, 0) * shared**2 / 2
    return np.asarray(tokens_N, dtype=np.float64) + pairs / (6 * hidden_size)

"""What samples count against a token budget, and what they cost to compute; numpy alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from smtrain_native.runtime import batching


class Lengths(Protocol):
    """Samples, as far as their lengths go."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the prompt and of each response; shape (N, 1 + responses)."""
        ...


def counted(samples: Lengths, *, share_prompts: bool) -> np.ndarray:
    """Returns the tokens that each sample counts; shape (N,)."""
    lengths = samples.lengths
    if lengths.shape[1] == 2:  # noqa: PLR2004  # a prompt and one response
        both: np.ndarray = lengths.sum(axis=1)
        return both
    prompts = lengths[:, 0] + 1 if share_prompts else lengths[:, 0] * (lengths.shape[1] - 1)
    total: np.ndarray = prompts + lengths[:, 1:].sum(axis=1)
    return total


def work(samples: Lengths, tokens_N: np.ndarray, hidden_size: int, *, share_prompts: bool) -> np.ndarray:
    """Returns what each sample costs to compute, see `batching.work`; shape (N,).

    Args:
      samples: all of them.
      tokens_N: what they count.
      hidden_size: of the model.
      share_prompts: whether a pair's prompt is computed once.
    """
    prompts_N, *responses = samples.lengths.T.astype(np.int64)
    whole = [prompts_N + each for each in responses]
    shared_N = prompts_N if share_prompts else 0
    found: np.ndarray = batching.work(tokens_N, *whole, hidden_size=hidden_size, shared_N=shared_N)
    return found

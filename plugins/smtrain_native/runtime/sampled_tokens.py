"""Which tokens of a response SamPO counts."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_KEY = np.dtype("<u8")


def positions(
    prompt_id: str, seed: int, *, chosen_tokens: int, rejected_tokens: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the counted positions within the chosen and within the rejected response, ascending.

    They are equally many in both, min(|y_w|, |y_l|), uniformly drawn without replacement: the shorter response counts
    whole. They follow from the arguments alone, on every machine and with every version of NumPy, so that a reference
    pass, a training and a resumed training sum over the same tokens.

    Args:
      prompt_id: of the pair.
      seed: of the run.
      chosen_tokens: |y_w|, tokens.
      rejected_tokens: |y_l|, tokens.

    Source: Lu et al. 2024, arXiv 2406.10957, who draw anew each time that they meet a pair.
    """
    count = min(chosen_tokens, rejected_tokens)
    return _draw(prompt_id, seed, chosen_tokens, count), _draw(prompt_id, seed, rejected_tokens, count)


def _draw(prompt_id: str, seed: int, tokens: int, count: int) -> npt.NDArray[np.int64]:
    # The positions with the smallest of random keys are a uniform sample. SHAKE-256 gives the keys: FIPS 202 fixes its
    # bytes for good, while NumPy's generators may change what they draw (NEP 19).
    text = f"{seed}\0{prompt_id}".encode("utf-8", "surrogatepass")
    keys = np.frombuffer(hashlib.shake_256(text).digest(_KEY.itemsize * tokens), dtype=_KEY)
    return np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64)

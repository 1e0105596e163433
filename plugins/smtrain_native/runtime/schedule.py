"""The learning rate over the training, as a share of the highest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from smtrain_native.runtime.settings import Optimizer, Schedule

_TIMESCALE = 10_000
"""Steps over which "inverse_sqrt" falls where there is no warm-up to measure them; transformers' number."""


def factor(step: int, total: int, settings: Optimizer) -> float:
    """Returns what the highest learning rate is multiplied with for one update.

    The definitions are those of transformers' `get_scheduler`, its zero for the first update of a warm-up included, so
    that runs can be compared step by step: "linear", "cosine" (with `min_ratio`, "cosine_with_min_lr"),
    "inverse_sqrt", and "constant_with_warmup". Beyond `total` the rate stays where it ended; transformers' cosine rises
    again.

    Args:
      step: updates done before this one; 0 for the first.
      total: updates of the whole training.
      settings: of the optimizer.
    """
    warmup = warmup_steps(total, settings)
    step = max(step, 0)
    if step < warmup:
        return step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return _AFTER_WARMUP[settings.schedule](step, warmup, progress, settings.min_ratio)


def warmup_steps(total: int, settings: Optimizer) -> int:
    """Returns the updates of the warm-up; a share is rounded up, and it ends before the last update in any case."""
    wanted = math.ceil(total * settings.warmup) if settings.warmup < 1 else int(settings.warmup)
    return max(min(wanted, total - 1), 0)


def _cosine(step: int, warmup: int, progress: float, min_ratio: float) -> float:
    # Loshchilov and Hutter 2017, SGDR, arXiv 1608.03983, eq. 5, without restarts
    del step, warmup
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def _linear(step: int, warmup: int, progress: float, min_ratio: float) -> float:
    del step, warmup
    return min_ratio + (1 - min_ratio) * (1 - progress)


def _inverse_sqrt(step: int, warmup: int, progress: float, min_ratio: float) -> float:
    # Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, eq. 3, scaled to 1 at the end of the warm-up
    del progress, min_ratio
    timescale = warmup or _TIMESCALE
    return math.sqrt(timescale / (step - warmup + timescale))


def _constant(step: int, warmup: int, progress: float, min_ratio: float) -> float:
    del step, warmup, progress, min_ratio
    return 1.0


_AFTER_WARMUP: Mapping[Schedule, Callable[[int, int, float, float], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "inverse_sqrt": _inverse_sqrt,
    "constant": _constant,
}

"""Every sample once, without gradients, over all processes: the reference pass and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch

from smtrain_native.runtime import attention
from smtrain_native.runtime.layout import Encoded, Layout, pack
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.sample_work import counted

Watch = Callable[[int, int], None]
"""Is told how many samples are done, and of how many."""


class Samples(Protocol):
    """Samples by number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the prompt and of each response; shape (N, 1 + responses)."""
        ...

    def sample(self, number: int) -> Encoded:
        """Returns one."""
        ...


def micro_batches(tokens_N: np.ndarray, cap: int) -> list[np.ndarray]:
    """Returns samples in groups of at most so many tokens, the longest first, so that what a group holds is alike."""
    order = np.argsort(-tokens_N, kind="stable")
    groups: list[list[int]] = []
    room = 0
    for number in order:
        if not groups or tokens_N[number] > room:
            groups.append([])
            room = cap
        groups[-1].append(int(number))
        room -= int(tokens_N[number])
    return [np.array(group) for group in groups]


def each(
    samples: Samples,
    compute: Callable[[Layout], torch.Tensor],
    *,
    cap: int,
    loaded: Loaded,
    processes: Processes,
    watch: Watch = lambda _done, _all: None,
) -> Iterator[tuple[np.ndarray, Layout, torch.Tensor]]:
    """Yields this process's groups of samples: their numbers, their layout and log p of every target.

    Every process computes equally often, since with ZeRO-3 each forward pass is a matter of all; one that has run out
    computes its last group once more, and yields it no second time.

    Args:
      samples: all of them, on every process.
      compute: the model.
      cap: tokens of a forward pass; the longest sample may have more.
      loaded: what computes, which decides how samples are laid out.
      processes: all.
      watch: is told of progress.
    """
    shares = loaded.shares_prompts
    tokens_N = counted(samples, share_prompts=shares)
    groups = micro_batches(tokens_N, max(cap, int(tokens_N.max())))
    done = 0
    for start in range(0, len(groups), processes.world_size):
        at = start + processes.rank
        group = groups[min(at, len(groups) - 1)]
        own = [samples.sample(int(number)) for number in group]
        layout = pack(own, share_prompts=shares, untrained=loaded.predicts_untrained).to(processes.device)
        with torch.no_grad(), attention.over(layout, loaded.kernel):
            logps_R = compute(layout)
        if at < len(groups):
            yield group, layout, logps_R
        done += sum(len(one) for one in groups[start : start + processes.world_size])
        watch(done, len(samples))

"""Planning long-tailed samples: the planner of `smtrain_native` against other ways to make micro-batches.

    python benchmarks/batching.py [--samples 1000000] [--cap 8192] [--ranks 8] [--accumulation 2] [--batch 0]

All have steps of ranks × accumulation micro-batches under the cap, but the one with a batch, whose steps have a given
number of samples. Seconds are CPU seconds of one core; fill is the tokens of a micro-batch as a share of the cap;
imbalance the work of the busiest rank over that of the average one, mean over the steps; samples the [min, max] of a
step. A last step that is incomplete is left out of the others' figures; ours has none.
"""

from __future__ import annotations

import sys

# In place of this folder, in which the standard library's own `import tokenize` would find the benchmark of that name.
sys.path[0] += "/../plugins"

import argparse
import heapq
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from smtrain_native.runtime.batching import PlanReport, find_budget, plan, work

T = TypeVar("T")
HIDDEN_SIZE = 2048


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--cap", type=int, default=8192, help="tokens of a micro-batch at most")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--accumulation", type=int, default=2, help="micro-batches of each rank and step")
    parser.add_argument("--batch", type=int, default=0, help="samples of a step; 0 takes what the micro-batches hold")
    options = parser.parse_args()
    tokens = long_tailed(options.samples, options.cap)
    cost = work(tokens, tokens, hidden_size=HIDDEN_SIZE)
    cap, ranks, bins = options.cap, options.ranks, options.ranks * options.accumulation
    batch = options.batch or max(ranks, int(0.95 * bins * cap / tokens.mean()))
    print(f"{tokens.size:,} samples, lognormal: median {np.median(tokens):.0f}, mean {tokens.mean():.0f}, ", end="")
    print(f"99 % {np.percentile(tokens, 99):.0f}, longest {tokens.max()} tokens; {ranks} ranks, cap {cap}")
    print(f"{'':<34}{'seconds':>8}{'fill':>9}{'imbalance':>11}{'steps':>9}  samples")

    def planned(accumulation: int | None) -> PlanReport:
        return plan(
            tokens, cost, cap=cap, batch_size=batch, world_size=ranks, accumulation=accumulation, seed=0, epoch=0
        ).report()

    others: dict[str, Callable[[], Filled]] = {
        "random order": lambda: random_order(tokens, cost, cap),
        "first-fit decreasing": lambda: first_fit_decreasing(tokens, cost, cap),
        "worst fit (system C)": lambda: worst_fit(tokens, cost, cap, bins=bins),
    }
    for title, pack in others.items():
        seconds, filled = timed(pack)
        show(title, seconds, figures(filled, cap, ranks, bins))
    for title, accumulation in ((f"ours, accumulation {bins // ranks}", bins // ranks), (f"ours, batch {batch}", None)):
        seconds, report = timed(lambda: planned(accumulation))  # noqa: B023
        show(title, seconds, row(report))
    seconds, found = timed(
        lambda: find_budget(tokens, cost, batch_size=batch, world_size=ranks, accumulation=bins // ranks)
    )
    title = f"find_budget({batch}): {found.max_tokens_per_device}"
    show(title, seconds, row(found.report))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def row(report: PlanReport) -> tuple[float, float, int, int, int]:
    """Returns what is shown of a plan."""
    return report.fill, report.imbalance, report.steps, report.samples_min, report.samples_max


def long_tailed(count: int, cap: int) -> np.ndarray:
    """Returns lognormal lengths, cut at the cap."""
    return np.clip(np.random.default_rng(0).lognormal(5.5, 1, count), 8, cap).astype(np.int64)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Returns CPU seconds and the answer."""
    start = time.process_time()
    answer = call()
    return time.process_time() - start, answer


def figures(filled: Filled, cap: int, ranks: int, bins: int) -> tuple[float, float, int, int, int]:
    """Returns fill, imbalance, steps, and the samples of the smallest and largest step, without a partial last one."""
    steps = filled.tokens.size // bins
    steps = steps - 1 if filled.last_is_part and steps > 1 else steps
    parts = (filled.samples, filled.tokens, filled.work)
    samples, tokens, cost = (each[: steps * bins].reshape(steps, bins) for each in parts)
    by_rank = cost.reshape(steps, ranks, -1).sum(axis=2)
    imbalance = (by_rank.max(axis=1) / by_rank.mean(axis=1)).mean()
    counts = samples.sum(axis=1)
    return tokens.mean() / cap, imbalance, steps, int(counts.min()), int(counts.max())


def show(title: str, seconds: float, row: tuple[float, float, int, int, int]) -> None:
    """Prints one line."""
    fill, imbalance, steps, least, most = row
    print(f"{title:<34}{seconds:>8.2f}{fill:>9.2%}{imbalance:>11.3f}{steps:>9}  [{least}, {most}]", flush=True)


@dataclass(frozen=True)
class Filled:
    """Bins in the order in which they are computed: (samples, tokens, work) of each."""

    samples: np.ndarray
    tokens: np.ndarray
    work: np.ndarray
    last_is_part: bool = False


def random_order(tokens: np.ndarray, work: np.ndarray, cap: int) -> Filled:
    """Fills one bin after another, in random order, until the next sample does not fit."""
    order = np.random.default_rng(0).permutation(tokens.size)
    bins, load, index = np.empty(tokens.size, dtype=np.int64), 0, 0
    for place, size in enumerate(tokens[order].tolist()):
        if load + size > cap:
            load, index = 0, index + 1
        load += size
        bins[place] = index
    return _summed(bins, tokens[order], work[order])


def first_fit_decreasing(tokens: np.ndarray, work: np.ndarray, cap: int) -> Filled:
    """Puts each sample, the longest first, into the first bin with room; then computes the bins in random order.

    A tree of the largest room below each node finds the bin (Johnson 1973).
    """
    order = np.argsort(-tokens, kind="stable")
    sizes = tokens[order].tolist()
    leaves = 1 << max(1, (2 * sum(sizes) // cap + 2).bit_length())
    room = [cap] * (2 * leaves)
    bins = np.empty(tokens.size, dtype=np.int64)
    for place, size in enumerate(sizes):
        node = 1
        while node < leaves:
            node *= 2
            if room[node] < size:
                node += 1
        room[node] -= size
        bins[place] = node - leaves
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    filled = _summed(bins, tokens[order], work[order])
    chance = np.random.default_rng(0).permutation(filled.tokens.size)
    return Filled(filled.samples[chance], filled.tokens[chance], filled.work[chance])


def worst_fit(tokens: np.ndarray, work: np.ndarray, cap: int, *, bins: int) -> Filled:
    """Puts each sample, in random order, into the emptiest bin of a step; a new step starts when it does not fit."""
    order = np.random.default_rng(0).permutation(tokens.size)
    chosen, loads, step = np.empty(tokens.size, dtype=np.int64), [(0, index) for index in range(bins)], 0
    for place, size in enumerate(tokens[order].tolist()):
        if loads[0][0] + size > cap:
            loads, step = [(0, index) for index in range(bins)], step + 1
        load, index = loads[0]
        heapq.heapreplace(loads, (load + size, index))
        chosen[place] = step * bins + index
    filled = _summed(chosen, tokens[order], work[order], (step + 1) * bins)
    return Filled(filled.samples, filled.tokens, filled.work, last_is_part=True)


def _summed(bins: np.ndarray, tokens: np.ndarray, work: np.ndarray, count: int = 0) -> Filled:
    return Filled(
        np.bincount(bins, minlength=count),
        np.bincount(bins, weights=tokens, minlength=count),
        np.bincount(bins, weights=work, minlength=count),
    )


if __name__ == "__main__":
    main()

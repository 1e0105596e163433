"""The reference pass: what the model says of each response before it is trained.

    python -m smtrain_native.runtime.reference native.json

Computed once for a model and a data set, by all processes, and found again by every run that needs the same, such as
the points of a sweep over β.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from smtrain_native.runtime import cache, ending, engine, reference_store, settings, spreading, token_store
from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.processes import Processes, joined
from smtrain_native.runtime.samples import Joined, TokenSet, seed_of_samples
from smtrain_native.runtime.settings import Settings


def main(argv: Sequence[str]) -> int:
    """Computes what is missing."""
    run = settings.read(Path(argv[0]))
    with joined(run.parallel.device, deepspeed=run.parallel.kind == "deepspeed") as processes:
        compute(run, processes)
    return 0


def compute(run: Settings, processes: Processes) -> None:
    """Computes and stores the values of every set that has none in the cache."""
    sets = [each for role in ("train", "eval") for each in token_store.open_sets(run, role)]
    sources = reference_store.sources(run, sets)
    paths = [reference_store.path_of(source, cache.folder(run)) for source in sources]
    # Each node has a cache of its own, or all share one: computed is what any of them lacks.
    missing = [number for number, path in enumerate(paths) if processes.any(flag=not path.is_file())]
    if not missing:
        _say(processes, f"reference: {len(sets)} set(s) found in {paths[0].parent}")
        return
    with engine.frozen(run, processes) as (model, loaded):
        for number in missing:
            values_N2 = _values(run, sets[number], model, loaded, processes)
            if processes.is_first_here:
                reference_store.write(paths[number], sources[number], sets[number], values_N2)
            _say(processes, f"reference: {len(values_N2)} pairs of `{sets[number].name}` → {paths[number]}")
    processes.wait()


def load(run: Settings, sets: Sequence[TokenSet]) -> np.ndarray:
    """Returns the values of some sets, one after the other; shape (N, 2).

    Raises:
      ReferenceStoreError: they are not there, or were computed from something else.
    """
    sources = reference_store.sources(run, sets)
    own = None if run.reference is None else Path(run.reference)
    found = []
    for source, rows in zip(sources, sets, strict=True):
        path = reference_store.path_of(source, cache.folder(run)) if own is None else own
        found.append(reference_store.read(path / f"{rows.name}.parquet" if path.is_dir() else path, source, rows))
    joined_N2: np.ndarray = np.concatenate(found)
    return joined_N2


def _values(run: Settings, rows: TokenSet, model: engine.Computes, loaded: Loaded, processes: Processes) -> np.ndarray:
    samples = Joined((rows,), sampled=seed_of_samples(run))
    values_N2 = torch.zeros(len(rows), 2, dtype=torch.float64)
    cap = run.batching.max_tokens_per_device
    for numbers, layout, logps_R in spreading.each(samples, model, cap=cap, loaded=loaded, processes=processes):
        values_N2[torch.from_numpy(numbers)] = _sums(layout, logps_R)
    found: np.ndarray = processes.added(values_N2).numpy()
    return found


def _sums(layout: Layout, logps_R: torch.Tensor) -> torch.Tensor:
    return layout.sums(logps_R).view(-1, 2).cpu()


def _say(processes: Processes, line: str) -> None:
    if processes.is_first:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(ending.told(main, sys.argv[1:]))

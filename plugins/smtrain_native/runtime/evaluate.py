"""Evaluation: loss and perplexity, for pairs accuracy and margins, of each set by itself.

python -m smtrain_native.runtime.evaluate native.json CHECKPOINT
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from smtrain_native.runtime import checkpoint, ending, engine, losses, reference, settings, spreading, token_store
from smtrain_native.runtime.line_format import evaluation_field
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.objective import Objective, objective
from smtrain_native.runtime.processes import Processes, joined
from smtrain_native.runtime.samples import Joined, TokenSet, seed_of_samples
from smtrain_native.runtime.settings import Settings

_TOLD = ("loss", "accuracy", "margin")


class Evaluation:
    """The evaluation sets of a run, ready to be looked at again and again."""

    def __init__(self, run: Settings) -> None:
        """Opens the sets, and the reference log-probabilities of their pairs."""
        wanted = run.evaluation.sets
        opened = token_store.open_sets(run, "eval") if any(each.role == "eval" for each in run.data.sets) else ()
        self._sets = tuple(each for each in opened if not wanted or each.name in wanted)
        self._objectives = [_objective(run, each) for each in self._sets]
        self._run = run

    @property
    def empty(self) -> bool:
        """Whether there is nothing to look at."""
        return not self._sets

    def values(self, compute: engine.Computes, loaded: Loaded, processes: Processes) -> Mapping[str, float]:
        """Returns the metrics of every set, by their fields of metrics.jsonl."""
        found: dict[str, float] = {}
        for rows, told in zip(self._sets, self._objectives, strict=True):
            for metric, value in self._of(rows, told, compute, loaded, processes).items():
                found[evaluation_field(rows.name, metric)] = value
        return found

    def _of(
        self, rows: TokenSet, told: Objective, compute: engine.Computes, loaded: Loaded, processes: Processes
    ) -> Mapping[str, float]:
        samples = Joined((rows,), sampled=seed_of_samples(self._run))
        sums_M, weight = torch.zeros(len(told.metrics), dtype=torch.float64), 0.0
        cap = self._run.batching.max_tokens_per_device
        for numbers, layout, logps_R in spreading.each(samples, compute, cap=cap, loaded=loaded, processes=processes):
            sums_M += told.share(layout, logps_R, numbers).sums_M.double().cpu()
            weight += told.weight(layout)
        *sums, weight = processes.sum(*sums_M.tolist(), weight)
        means = {name: value / weight for name, value in zip(told.metrics, sums, strict=True) if name in _TOLD}
        return {**means, "perplexity": _perplexity(means["loss"])} if told.metrics == ("loss",) else means


def _objective(run: Settings, rows: TokenSet) -> Objective:
    compared = run.kind == "preference" and losses.needs_reference(run.loss.kind)
    return objective(run, reference.load(run, (rows,)) if compared else None)


def _perplexity(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _of_sets(run: Settings, names: tuple[str, ...]) -> Settings:
    """Returns the settings with these evaluation sets chosen.

    Raises:
      UserError: there is no such set.
    """
    known = [each.name for each in run.data.sets if each.role == "eval"]
    unknown = [name for name in names if name not in known]
    if unknown:
        message = (
            f"--set {unknown[0]}: there is no evaluation set of this name. There are: {', '.join(known) or 'none'}."
        )
        raise ending.UserError(message)
    return dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, sets=names)) if names else run


def main(argv: Sequence[str]) -> int:
    """Evaluates a checkpoint, and prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m smtrain_native.runtime.evaluate")
    parser.add_argument("settings", type=Path, help="native.json")
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint's folder; none is the untrained model")
    parser.add_argument(
        "--set", action="append", default=[], help="an evaluation set by its name; unsaid: as in training"
    )
    asked = parser.parse_args(argv)
    run = _of_sets(settings.read(asked.settings), tuple(asked.set))
    with joined(run.parallel.device, deepspeed=run.parallel.kind == "deepspeed") as processes:
        looked_at = Evaluation(run)
        if looked_at.empty:
            message = "There are no evaluation sets: set data.eval_path, or a set of data.sets with role=eval."
            raise ending.UserError(message)
        made, loaded = engine.engine(run, processes)
        if asked.checkpoint is not None:
            checkpoint.load(made, asked.checkpoint, run, processes)
        loaded.packed.eval()
        values = looked_at.values(made.evaluated, loaded, processes)
        made.close()
        if processes.is_first:
            print(json.dumps(values))
    return 0


if __name__ == "__main__":
    sys.exit(ending.told(main, sys.argv[1:]))

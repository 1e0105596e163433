"""The training.

python -m smtrain_native.runtime.train native.json [--resume=CHECKPOINT]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from smtrain_native.runtime import (
    attention,
    checkpoint,
    ending,
    engine,
    losses,
    reference,
    saving,
    settings,
    token_store,
)
from smtrain_native.runtime.checkpoint import Position, Resumed
from smtrain_native.runtime.epochs import Epochs, StepBatch
from smtrain_native.runtime.evaluate import Evaluation
from smtrain_native.runtime.objective import objective
from smtrain_native.runtime.processes import Interruption, Processes, joined
from smtrain_native.runtime.reporter import Reporter
from smtrain_native.runtime.samples import Joined, seed_of_samples
from smtrain_native.runtime.schedule import factor
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.step import Done, Stepper
from smtrain_native.runtime.throughput import ModelShape, Throughput

TERMINATED = 128 + 15
"""Exit code of a training that was asked to end (SIGTERM), once it has saved."""


def main(argv: Sequence[str]) -> int:
    """Trains."""
    parser = argparse.ArgumentParser(prog="python -m smtrain_native.runtime.train")
    parser.add_argument("settings", type=Path, help="native.json")
    parser.add_argument("--resume", type=Path, help="a checkpoint's folder to go on from")
    asked = parser.parse_args(argv)
    run = settings.read(asked.settings)
    interruption = Interruption()
    with joined(run.parallel.device, deepspeed=run.parallel.kind == "deepspeed") as processes:
        return Training(run, processes.with_output(Path(run.output_dir)), interruption).run(asked.resume)


class Training:
    """A training from its first step to its saved model."""

    def __init__(self, run: Settings, processes: Processes, interruption: Interruption) -> None:
        """Opens the data and loads the model."""
        # The same everywhere: adapters must begin alike.
        torch.manual_seed(run.seed)
        self._run, self._processes, self._interruption = run, processes, interruption
        sets = token_store.open_sets(run, "train")
        compared = run.kind == "preference" and losses.needs_reference(run.loss.kind)
        told = objective(run, reference.load(run, sets) if compared else None)
        self._evaluation = Evaluation(run)
        self._engine, self._loaded = engine.engine(run, processes)
        self._epochs = Epochs(run, Joined(sets, sampled=seed_of_samples(run)), self._loaded, processes)
        self._stepper = Stepper(run, self._engine, told, self._loaded, processes)

    def run(self, resume: Path | None) -> int:
        """Trains to the end, or until it is asked to end; returns the exit code."""
        found = Resumed(position=Position())
        if resume is not None:
            found = checkpoint.load(self._engine, resume, self._run, self._processes)
        reporter = self._reporter(found)
        try:
            ended = self._steps(found.position, reporter)
        except BaseException:
            _close(reporter, failed=True)
            raise
        _close(reporter, failed=not ended)
        if ended:
            saving.save(self._engine, self._run, self._processes)
        self._engine.close()
        return 0 if ended else TERMINATED

    def _steps(self, position: Position, reporter: Reporter | None) -> bool:
        """Takes the steps that are left; returns whether all were."""
        total = self._epochs.total_steps
        for batch in self._epochs.steps(position):
            started = time.monotonic()
            rate = self._run.optimizer.learning_rate * factor(batch.position.step - 1, total, self._run.optimizer)
            done = self._stepper.step(batch, rate)
            if reporter is not None:
                work = dataclasses.replace(done.work, seconds=time.monotonic() - started)
                reporter.step(batch.position.step, _told(done, batch, rate), work)
            self._evaluate(batch.position.step, total, reporter)
            stops = self._processes.any(flag=self._interruption.asked)
            if stops or self._saves(batch.position.step):
                untold = None if reporter is None else reporter.state()
                checkpoint.save(self._engine, batch.position, self._run, self._processes, untold=untold)
            if stops:
                return batch.position.step == total
        return True

    def _saves(self, step: int) -> bool:
        every = self._run.checkpoints.every
        return every is not None and step % every == 0

    def _evaluate(self, step: int, total: int, reporter: Reporter | None) -> None:
        every = self._run.evaluation.every
        if self._evaluation.empty or not (step == total or (every is not None and step % every == 0)):
            return
        self._loaded.packed.eval()
        values = self._evaluation.values(self._engine.evaluated, self._loaded, self._processes)
        self._loaded.packed.train()
        if reporter is not None:
            reporter.evaluation(step, values)

    def _reporter(self, found: Resumed) -> Reporter | None:
        if not self._processes.is_first:
            return None
        plan = self._epochs.first.report()
        print(
            f"plan: {plan.steps} steps an epoch, {plan.samples_min} to {plan.samples_max} samples each; "
            f"micro-batches are {plan.fill:.1%} full, the busiest process has {plan.imbalance:.3f} × the mean work",
            flush=True,
        )
        print(f"attention: {attention.described(self._loaded.kernel, self._loaded.why)}", flush=True)
        reporter = Reporter(
            Path(self._run.output_dir),
            self._run.reports,
            self._epochs.total_steps,
            start_step=found.position.step,
            config=dataclasses.asdict(self._run),
            out=sys.stdout,
            log_every=self._run.training.log_every,
            throughput=Throughput(
                device=self._processes.device,
                shape=ModelShape.of(self._loaded.packed.causal),
                processes=self._processes.world_size,
            ),
        )
        if found.untold is not None:
            reporter.restore(found.untold)
        return reporter


def _told(done: Done, batch: StepBatch, rate: float) -> dict[str, float]:
    values = {"epoch": batch.epoch, **done.metrics, "learning_rate": rate}
    return {**values, "grad_norm": done.grad_norm} if not math.isnan(done.grad_norm) else values


def _close(reporter: Reporter | None, *, failed: bool) -> None:
    if reporter is not None:
        reporter.close(failed=failed)


if __name__ == "__main__":
    sys.exit(ending.told(main, sys.argv[1:]))

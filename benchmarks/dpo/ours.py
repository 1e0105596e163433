"""Our own training, as its two steps run it: `ours.py reference FOLDER RESULT`, then `ours.py train FOLDER RESULT`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import measured
import torch
import transformers
from job import NATIVE, Job
from measured import Measured, Stopwatch
from smtrain_native.runtime import metrics, reference, settings
from smtrain_native.runtime.checkpoint import Position
from smtrain_native.runtime.epochs import StepBatch
from smtrain_native.runtime.line_format import METRICS_FILE
from smtrain_native.runtime.processes import Interruption, Processes, joined
from smtrain_native.runtime.reporter import Reporter
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.step import Done
from smtrain_native.runtime.train import Training


class Watched(Training):
    """A training that knows how long its steps took, and how many tokens they computed."""

    def __init__(self, run: Settings, processes: Processes, interruption: Interruption) -> None:
        super().__init__(run, processes, interruption)
        self.watch = Stopwatch()
        self.computed = self.tokens = self.peak = 0
        step = self._stepper.step

        def counted(batch: StepBatch, learning_rate: float) -> Done:
            done = step(batch, learning_rate)
            self.computed += done.work.tokens
            self.tokens += sum(span.keys for micro in batch.micro_batches for span in micro.layout.spans)
            return done

        self._stepper.step = counted  # type: ignore[method-assign]

    def _steps(self, position: Position, reporter: Reporter | None) -> bool:
        with self.watch:
            ended = super()._steps(position, reporter)
        self.peak = measured.peak()
        return ended


def refer(run: Settings) -> Measured:
    """Computes the reference log-probabilities; the time includes loading the model."""
    shutil.rmtree(Path(str(run.data.cache_dir)) / "reference", ignore_errors=True)
    libraries, watch = measured.resident(), Stopwatch()
    with joined("cpu") as processes, watch:
        reference.compute(run, processes)
    return Measured(reference_s=watch.seconds, cpu_s=watch.cpu_s, peak=measured.peak(), libraries=libraries)


def train(run: Settings) -> Measured:
    """Trains; what is measured leaves saving the model out."""
    shutil.rmtree(run.output_dir, ignore_errors=True)
    libraries = measured.resident()
    with joined("cpu") as processes:
        training = Watched(run, processes, Interruption())
        training.run(None)
    rows = metrics.read(Path(run.output_dir) / METRICS_FILE)
    return Measured(
        training_s=training.watch.seconds,
        cpu_s=training.watch.cpu_s,
        losses=tuple(float(str(row["loss"])) for row in rows),
        tokens=training.tokens,
        computed=training.computed,
        peak=training.peak,
        libraries=libraries,
        versions=f"torch {torch.__version__}, transformers {transformers.__version__}",
    )


def main() -> None:
    """Does one of the two."""
    which, folder, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    job, run = Job.load(folder), settings.read(folder / NATIVE)
    torch.set_num_threads(job.threads)
    # Libraries, too, which would be imported while the model is loaded.
    transformers.AutoModelForCausalLM._model_mapping[type(transformers.AutoConfig.from_pretrained(job.model))]  # noqa: SLF001
    (refer(run) if which == "reference" else train(run)).save(result)


if __name__ == "__main__":
    main()

"""The native trainers: a job becomes `native.json`, the run time's own sources, and the steps that run them."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import (
    Demands,
    Input,
    Job,
    Output,
    OutputKind,
    Problem,
    Program,
    Resume,
    RowShape,
    Run,
    RuntimeVar,
    Saves,
    Scope,
    Step,
    TextFile,
    distributed,
)
from smtrain_native import document, footprint, metrics, places, requirements, rules, shortening, sources
from smtrain_native.options import NativeOptions, PreferenceOptions
from smtrain_native.rules_loss import needs_reference

COMPLETE = "complete.json"
"""Written into a checkpoint's folder last."""

_RUNTIME = "smtrain_native.runtime"


class NativeTrainer:
    """Trains without padding and without logits."""

    rows: RowShape

    def demands(self, run: Run, options: NativeOptions) -> Demands:
        """Returns what resolving the run must know: micro-batches are filled by tokens, so steps are not counted."""
        del run
        return Demands(
            rows=self.rows,
            epochs=options.epochs,
            max_steps=options.max_steps,
            max_samples=options.max_samples,
            packing=True,
            token_batches=True,
            rich_responses=True,
        )

    def check(self, job: Job, options: NativeOptions) -> Iterator[Problem]:
        """Yields every reason why this job cannot train."""
        return rules.check(job, options)

    def lower(self, job: Job, options: NativeOptions) -> Program:
        """Returns the program: rows to tokens, reference log-probabilities, the training, the merged model."""
        exports = options.export.enabled and options.tuning.kind == "lora"
        return Program(
            steps=tuple(_steps(job, options, exports=exports)),
            files=(document.render(job, options), *_strategy_files(job, options)),
            library=sources.library(),
            inputs=tuple(_inputs(job, options)),
            outputs=tuple(_outputs(exports=exports)),
            needs=requirements.needs(job, options),
            progress=metrics.progress(job, options),
            metric_patterns=metrics.patterns(job, options),
            footprint=footprint.footprint(job, options),
            # How many tokens a step has is known when the rows are tokenised.
            saves=Saves(every_steps=options.checkpoints.every, key="trainer.checkpoints.every", on_request=True),
        )

    def shortened(self, job: Job, options: NativeOptions, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
        """Returns the overrides of a rehearsal."""
        return shortening.shortened(job, options, steps=steps, on_cpu=on_cpu)


class SupervisedFineTuning(NativeTrainer):
    """Supervised fine-tuning."""

    rows = RowShape.PROMPT_RESPONSE


class PreferenceOptimization(NativeTrainer):
    """DPO and its relatives."""

    rows = RowShape.PREFERENCE


def _steps(job: Job, options: NativeOptions, *, exports: bool) -> Iterator[Step]:
    yield Step(name="tokenize", argv=(RuntimeVar.PYTHON, *_entry("tokenize")), scope=Scope.EVERY_NODE)
    if isinstance(options, PreferenceOptions) and needs_reference(options.loss.kind) and options.reference is None:
        yield _distributed(job, "reference")
    yield _distributed(job, "train", Resume("--resume="))
    if exports:
        yield Step(name="export", argv=(RuntimeVar.PYTHON, *_entry("export"), places.MERGED))


def _distributed(job: Job, name: str, *words: Resume) -> Step:
    argv = distributed.launch_command(job, (*_entry(name), *words))
    return Step(name=name, argv=argv, scope=Scope.EVERY_NODE, distributed=True)


def _entry(name: str) -> tuple[str, ...]:
    return ("-m", f"{_RUNTIME}.{name}", places.DOCUMENT)


def _strategy_files(job: Job, options: NativeOptions) -> tuple[TextFile, ...]:
    return distributed.documents(
        job,
        mixed_precision="bf16" if options.precision == "bf16" else "no",
        hf_auto=False,
        gradient_clipping=options.optimizer.max_grad_norm,
    )


def _inputs(job: Job, options: NativeOptions) -> Iterator[Input]:
    reference = places.reference(options.reference) if isinstance(options, PreferenceOptions) else None
    for placed in (places.model(job), places.adapter(job), *(found for _, found in places.data(job)), reference):
        if placed is not None and placed.input is not None:
            yield placed.input


def _outputs(*, exports: bool) -> Iterator[Output]:
    yield Output(
        name="train",
        path=places.OUTPUT,
        kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS, OutputKind.LOGS),
        checkpoint_glob="checkpoint-*",
        checkpoint_complete=COMPLETE,
    )
    if exports:
        yield Output(name="export", path=places.MERGED, kinds=(OutputKind.MODEL,))

"""A job and its trainer's options → `native.json`, what the run time is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Literal, TypeVar

from smtrain.plugin import Dataset, Job, TextFile, columns, distributed
from smtrain_native import places
from smtrain_native.options import NativeOptions, PreferenceOptions
from smtrain_native.runtime import settings
from smtrain_native.runtime.settings import Settings

T = TypeVar("T")


def render(job: Job, options: NativeOptions) -> TextFile:
    """Returns the document as a file of the program."""
    return TextFile(path=places.DOCUMENT, text=settings.text(settings_of(job, options)))


def settings_of(job: Job, options: NativeOptions) -> Settings:
    """Returns what the run time is told."""
    preference = options if isinstance(options, PreferenceOptions) else None
    reference = places.reference(preference.reference) if preference else None
    return Settings(
        kind="preference" if preference else "sft",
        model=_model(job, options),
        data=_data(job, options),
        tuning=_same(settings.Tuning, options.tuning),
        loss=_same(settings.Loss, preference.loss) if preference else settings.Loss(kind="sft"),
        batching=settings.Batching(
            max_tokens_per_device=options.max_tokens_per_device,
            batch_size=job.batch.global_size,
            accumulation=job.run.gradient_accumulation_steps,
            share_prompts=preference.share_prompts if preference else False,
        ),
        optimizer=_same(settings.Optimizer, options.optimizer),
        training=_same(settings.Training, options),
        parallel=_parallel(job),
        checkpoints=_same(settings.Checkpoints, options.checkpoints),
        evaluation=_same(settings.Evaluation, options.evaluation),
        reports=settings.Reports(
            to=tuple(dict.fromkeys(options.reports.to)),
            project=options.reports.project or settings.Reports().project,
            name=options.reports.name or job.run.name,
        ),
        reference=reference.paths[0] if reference else None,
        output_dir=places.OUTPUT,
        seed=job.run.seed,
    )


def _same(kind: type[T], options: object) -> T:
    """Returns a section of the document whose fields are those of the options, by name and by meaning."""
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})  # type: ignore[arg-type]  # a dataclass


def _model(job: Job, options: NativeOptions) -> settings.Model:
    adapter = places.adapter(job)
    return settings.Model(
        path=places.model(job).paths[0],
        revision=job.run.model.revision,
        adapter=adapter.paths[0] if adapter else None,
        trust_remote_code=job.run.model.trust_remote_code,
        attention=options.attention,
    )


def _data(job: Job, options: NativeOptions) -> settings.Data:
    return settings.Data(
        sets=tuple(_set(dataset, placed, options) for dataset, placed in places.data(job)),
        prompt_type=options.prompt_type,
        max_length=options.max_length,
        too_long=options.too_long,
        duplicates=options.duplicates,
        identical=options.identical if isinstance(options, PreferenceOptions) else settings.Data(sets=()).identical,
        append_eos=options.append_eos,
        workers=options.workers,
        cache_dir=options.cache_dir,
    )


def _set(dataset: Dataset, placed: places.Placed, options: NativeOptions) -> settings.DataSet:
    attributes = dataset.attributes
    return settings.DataSet(
        name=dataset.name,
        role="eval" if dataset.role == "eval" else "train",
        files=placed.paths,
        format=dataset.format,
        columns=dict(columns.effective_columns(dataset)),
        tags=dict(columns.effective_tags(dataset) if dataset.format != "alpaca" else dataset.tags),
        weight=options.weights.get(dataset.name, 1.0),
        num_samples=_drawn(dataset, options.max_samples),
        subset=_text(attributes.get("subset")),
        split=_text(attributes.get("split")),
    )


def _drawn(dataset: Dataset, most: int | None) -> int | None:
    """Returns how many rows to draw; the run time repeats rows of a set that has fewer than it is to draw."""
    own = dataset.attributes.get("num_samples")
    drawn = own if isinstance(own, int) else None
    if most is None or (drawn is None and dataset.rows is not None and dataset.rows <= most):
        return drawn
    return most if drawn is None else min(drawn, most)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


_DEVICES: Mapping[str, Literal["auto", "gpu", "cpu"]] = {"auto": "auto", "gpu": "gpu", "cpu": "cpu"}


def _parallel(job: Job) -> settings.Parallel:
    device = _DEVICES[job.topology.accelerator]
    if distributed.zero_stage(job) is not None:
        return settings.Parallel(kind="deepspeed", deepspeed=distributed.deepspeed_path(job), device=device)
    return settings.Parallel(kind="single" if job.run.strategy.kind == "single" else "ddp", device=device)

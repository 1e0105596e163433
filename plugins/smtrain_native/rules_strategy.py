"""Rules about how the training is spread, and about DeepSpeed documents of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from smtrain.plugin import Job, Problem, distributed, warning
from smtrain_native import places
from smtrain_native.options import NativeOptions

_FILLED_IN = frozenset(
    {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"}
)
"""Keys of a DeepSpeed document that runtime/zero_engine.py sets, whatever they say."""

_OWN = ("optimizer", "scheduler")
_OURS = (places.DOCUMENT, places.OUTPUT, places.MERGED, places.DATA, places.INPUTS, "smtrain_native")


def strategies_that_there_are(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """runtime/engine.py knows DDP and DeepSpeed."""
    del options
    if distributed.is_fsdp(job):
        what = "This trainer has no FSDP."
        fix = "Choose strategy=zero3, which shards weights, gradients and optimizer as well, or strategy=zero2."
        yield Problem(key="strategy.kind", what=what, fix=fix)


def documents_have_a_place(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A document of the user's lies in the working directory, beside what the program puts there."""
    del options
    own = job.run.strategy.document
    first = distributed.document_path(own).partition("/")[0] if own else ""
    if first in _OURS:
        what = f"`{first}` in the run's working directory is the trainer's own."
        yield Problem(key="strategy.document", what=what, fix="Rename the file.")


def documents_agree(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """The run time hands the document to DeepSpeed itself, which knows no "auto", with an optimizer of its own."""
    document, key = _document(job)
    bf16 = options.precision == "bf16"
    for path, value in _leaves("", document):
        if value == "auto" and path not in _FILLED_IN:
            what = f'{path} is "auto", which transformers\' Trainer fills in; DeepSpeed itself takes no such value.'
            yield Problem(key=key, what=what, fix="Write what it is to be, or remove it for DeepSpeed's default.")
        if path == "fp16.enabled" and value is True:
            what = "This trainer computes in bf16 or fp32, not in fp16."
            yield Problem(key=key, what=what, fix="Turn it off, and say trainer.precision=bf16 or fp32.")
        if path == "bf16.enabled" and isinstance(value, bool) and value is not bf16:
            what = f"bf16.enabled is {json.dumps(value)}, but trainer.precision is {options.precision}."
            yield Problem(key=key, what=what, fix=f"Say trainer.precision={'bf16' if value else 'fp32'}, or remove it.")
    for name in (name for name in _OWN if name in document):
        what = f"{name} is not used: the trainer makes its own from trainer.optimizer."
        yield warning(key, what, "Remove it.")


def _document(job: Job) -> tuple[Mapping[str, object], str]:
    """Returns the user's DeepSpeed document, or what is laid over ours, and the key to blame."""
    own = job.run.strategy.document
    if own is None:
        laid_over = job.run.strategy.overrides if distributed.deepspeed_path(job) is not None else {}
        return laid_over, "strategy.overrides"
    if job.strategy_document is None or distributed.is_accelerate_document(own):
        return {}, ""
    try:
        found = json.loads(job.strategy_document)
    except (ValueError, RecursionError):
        return {}, ""  # the core's own check says why
    return found if isinstance(found, dict) else {}, "strategy.document"


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yields every value with its dotted path; overrides may have dotted keys already."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), item)
    else:
        yield path, value


RULES = (strategies_that_there_are, documents_have_a_place, documents_agree)

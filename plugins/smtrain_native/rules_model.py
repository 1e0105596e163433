"""Rules about the model, its tokenizer, its adapter, and which of its weights are trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from smtrain.plugin import Job, Problem, warning
from smtrain_native.options import NativeOptions, Tuning

_HEADS = frozenset({"lm_head", "embed_out"})
"""Names of heads over the vocabulary (transformers, modeling_*.py)."""


def the_model_is_causal_and_whole(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """runtime/model.py loads an AutoModelForCausalLM in 16 or 32 bits."""
    del options
    config = job.model.config
    if config.get("quantization_config"):
        what = f"`{job.model.reference}` is quantised; this trainer takes weights in 16 or 32 bits."
        yield Problem(key="model.path", what=what, fix="Name the model that it was made from, or use lf_sft or lf_dpo.")
    if config.get("is_encoder_decoder") is True:
        what = f"`{job.model.reference}` has an encoder and a decoder; this trainer takes causal language models."
        yield Problem(key="model.path", what=what, fix="Choose a model that AutoModelForCausalLM loads.")


def the_tokenizer_has_a_template(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """prompt_type=chat lays the tokenizer's own chat template around each row."""
    if options.prompt_type == "chat" and job.model.chat_template is False:
        what = f"The tokenizer of `{job.model.reference}` has no chat template, which prompt_type=chat needs."
        fix = "Say trainer.prompt_type=completion, or put a chat_template.jinja into the model's folder."
        yield Problem(key="trainer.prompt_type", what=what, fix=fix)


def one_adapter(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """runtime/model.py goes on from one; with tuning=full it is merged first."""
    if len(job.adapters) > 1:
        what = f"{len(job.adapters)} adapters were given, and this trainer goes on from one."
        yield Problem(key="model.adapter", what=what, fix="Merge the others first: trainer=lf_export.")
    changed = [name for name in ("rank", "alpha", "dropout", "targets") if _is_changed(options.tuning, name)]
    if job.adapters and options.tuning.kind == "lora":
        for name in changed:
            what = "An adapter that is gone on from keeps its own."
            yield warning(f"trainer.tuning.{name}", what, "Leave it out, or leave model.adapter out.")


def tuning_is_one_of_two(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """LoRA's settings mean nothing where all weights are trained; nor does merging."""
    del job
    tuning = options.tuning
    if tuning.kind == "full":
        for name in (
            field.name for field in fields(Tuning) if field.name != "kind" and _is_changed(tuning, field.name)
        ):
            what = "This is a setting of LoRA, and trainer.tuning.kind is full."
            yield warning(f"trainer.tuning.{name}", what, "Leave it out, or say trainer.tuning.kind=lora.")
        if options.export.enabled:
            what = "trainer.tuning.kind=full trains no adapter; the model in `output` is whole, and nothing is merged."
            yield warning("trainer.export.enabled", what, "Leave it out.")
    elif heads := sorted(_HEADS.intersection(tuning.targets)):
        what = f"`{heads[0]}` is the head over the vocabulary, whose scores this trainer never has as a whole."
        yield Problem(key="trainer.tuning.targets", what=what, fix="Leave it out; [all] is every linear layer but it.")


def attention_can_be_had(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """runtime/attention.py: FlashAttention is a kernel of GPUs, in 16 bits."""
    if options.attention != "flash":
        return
    reason = "on CPUs" if job.topology.accelerator == "cpu" else "in fp32" if options.precision == "fp32" else ""
    if reason:
        what = f"FlashAttention does not compute {reason}."
        yield Problem(key="trainer.attention", what=what, fix="Say trainer.attention=auto, or segments.")


def _is_changed(tuning: Tuning, name: str) -> bool:
    return bool(getattr(tuning, name) != getattr(Tuning(), name))


RULES = (
    the_model_is_causal_and_whole,
    the_tokenizer_has_a_template,
    one_adapter,
    tuning_is_one_of_two,
    attention_can_be_had,
)

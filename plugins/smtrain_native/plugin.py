"""What this plugin adds to smtrain."""

from __future__ import annotations

from collections.abc import Iterable

from smtrain.plugin import CommandSpec, TrainerSpec, hookimpl


@hookimpl
def smtrain_trainers() -> Iterable[TrainerSpec]:
    """Returns the trainers of our own."""
    yield TrainerSpec(
        name="native_sft",
        load="smtrain_native.trainer:SupervisedFineTuning",
        options="smtrain_native.options:NativeOptions",
        summary="Our own trainer: supervised fine-tuning, without padding and without logits.",
    )
    yield TrainerSpec(
        name="native_dpo",
        load="smtrain_native.trainer:PreferenceOptimization",
        options="smtrain_native.options:PreferenceOptions",
        summary="Our own trainer: preference optimisation (DPO, IPO, ORPO, SimPO and others).",
    )


@hookimpl
def smtrain_commands() -> Iterable[CommandSpec]:
    """Returns what can be asked of a run's rows before it trains."""
    yield CommandSpec(
        name="data tokenize",
        load="smtrain_native.data_commands:Tokenize",
        summary="Turns the rows of a native_* run into tokens, in the cache that the run reads.",
    )
    yield CommandSpec(
        name="data plan-batches",
        load="smtrain_native.data_commands:PlanBatches",
        summary="Tells which token budget gives a native_* run which batch size.",
    )

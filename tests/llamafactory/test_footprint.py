from __future__ import annotations

from collections.abc import Mapping

import pytest
from llamafactory_jobs import job, rows
from smtrain_llamafactory.footprint import footprint
from smtrain_llamafactory.stages import STAGES

from smtrain.plugin import Footprint, Json

LORA = {"do_train": True, "bf16": True, "finetuning_type": "lora"}


def of(
    args: Mapping[str, object], stage: str = "sft", *, config: Mapping[str, Json] | None = None, micro: int = 2
) -> Footprint | None:
    return footprint(job(rows(), config=config, micro=micro, accelerator="gpu"), args, STAGES[stage])


def known(args: Mapping[str, object], stage: str = "sft") -> Footprint:
    found = of({**LORA, **args}, stage)
    assert found is not None
    return found


def test_lora_with_llamafactorys_defaults() -> None:
    assert of(LORA) == Footprint(
        tuning="lora",
        weight_bytes=2,
        optimizer="adamw_torch",
        sequence_length=2048,
        micro_batch_size=2,
        gradient_checkpointing=True,
        lora_rank=8,
        lora_targets=("all",),
    )


def test_what_the_user_set_counts() -> None:
    found = known(
        {
            "lora_rank": 64, "lora_target": "q_proj, v_proj", "optim": "adamw_8bit", "cutoff_len": 8192,
            "disable_gradient_checkpointing": True, "flash_attn": "disabled",
        }
    )  # fmt: skip
    assert (found.lora_rank, found.lora_targets) == (64, ("q_proj", "v_proj"))
    assert (found.optimizer, found.sequence_length) == ("adamw_8bit", 8192)
    assert (found.gradient_checkpointing, found.flash_attention) == (False, False)


@pytest.mark.parametrize(
    ("args", "tuning", "weight_bytes"),
    [
        ({}, "lora", 2),
        ({"quantization_bit": 4}, "qlora", 0.515869140625),  # 1/2 + 1/64 + 4/(64·256)
        ({"quantization_bit": 4, "double_quantization": False}, "qlora", 0.5625),  # 1/2 + 4/64
        ({"quantization_bit": 8}, "qlora", 1),
        ({"quantization_bit": 2, "quantization_method": "hqq"}, "qlora", 0.3125),  # 1/4 + 4/64
        ({"quantization_bit": 8, "quantization_method": "eetq"}, "qlora", 1),
        ({"quantization_bit": 4, "quantization_method": "gptq"}, "lora", 2),  # loaded as it is
        ({"finetuning_type": "full"}, "full", 2),
        ({"finetuning_type": "full", "bf16": False}, "full", 4),
        ({"finetuning_type": "full", "bf16": False, "fp16": True}, "full", 2),
        ({"finetuning_type": "freeze"}, "freeze", 2),
    ],
)
def test_bytes_of_the_weights(args: Mapping[str, object], tuning: str, weight_bytes: float) -> None:
    found = known(args)
    assert (found.tuning, found.weight_bytes) == (tuning, weight_bytes)


@pytest.mark.parametrize(
    ("args", "mixed"),
    [({}, True), ({"bf16": False, "fp16": True}, True), ({"bf16": False}, False), ({"pure_bf16": True}, False)],
)
def test_mixed_precision(args: Mapping[str, object], mixed: bool) -> None:
    assert known(args).mixed_precision is mixed


@pytest.mark.parametrize(
    ("stage", "args", "sequences", "reference"),
    [
        ("sft", {}, 1, False),
        ("pt", {}, 1, False),
        ("rm", {}, 2, False),
        ("rm", {"finetuning_type": "full"}, 2, False),
        ("dpo", {}, 2, False),  # without its adapter, the model is the reference
        ("dpo", {"finetuning_type": "full"}, 2, True),
        ("dpo", {"finetuning_type": "freeze"}, 2, True),
        ("dpo", {"ref_model": "org/ref"}, 2, True),
        ("dpo", {"finetuning_type": "full", "pref_loss": "simpo"}, 2, False),
        ("dpo", {"finetuning_type": "full", "pref_loss": "orpo", "ref_model": "org/ref"}, 2, False),
        ("kto", {}, 1, False),
        ("kto", {"finetuning_type": "full"}, 1, True),
    ],
)
def test_pairs_and_reference_models(stage: str, args: Mapping[str, object], sequences: int, reference: bool) -> None:
    found = known(args, stage)
    assert (found.sequences_per_sample, found.reference_model) == (sequences, reference)


def test_frozen_layers() -> None:
    found = known({"finetuning_type": "freeze", "freeze_trainable_layers": 4})
    assert (found.trainable_layers, found.lora_rank) == (4, None)


@pytest.mark.parametrize(
    "args",
    [
        {"finetuning_type": "oft"},
        {"use_galore": True},
        {"use_badam": True},
        {"use_unsloth": True},
        {"additional_target": "embed_tokens"},
        {"resize_vocab": True},
        {"finetuning_type": "freeze", "freeze_trainable_layers": -2},
        {"finetuning_type": "freeze", "use_llama_pro": True},
        {"finetuning_type": "freeze", "bf16": False},
        {"finetuning_type": "freeze", "freeze_trainable_modules": "mlp,self_attn"},
        {"finetuning_type": "freeze", "freeze_extra_modules": "embed_tokens"},
        {"do_train": False, "do_eval": True},
    ],
)
def test_what_is_not_known_is_not_guessed(args: Mapping[str, object]) -> None:
    assert of({**LORA, **args}) is None


def test_ppo_and_quantised_models_are_not_known() -> None:
    assert of(LORA, "ppo") is None
    assert of(LORA, config={"quantization_config": {"bits": 4}}) is None

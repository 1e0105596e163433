"""What a training of LLaMA-Factory keeps in memory, read off its arguments, for the estimate in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from smtrain.plugin import Footprint, Job
from smtrain_llamafactory import places
from smtrain_llamafactory.facts import Facts
from smtrain_llamafactory.stages import DPO, KTO, PPO, RM, Stage

_PAIRED = (RM, DPO)
_WITHOUT_REFERENCE = ("orpo", "simpo")

_UNKNOWN_WHEN_SET = (
    # They keep gradients or states of another size, in their own ways.
    *("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon", "use_unsloth", "use_kt", "fp8"),
    # They train matrices beside those that an adapter or a number of layers stands for.
    *("additional_target", "resize_vocab", "freeze_extra_modules", "mixture_of_depths", "use_dora"),
    # They spread one sequence over several GPUs, or the model over other machines.
    *("shift_attn", "use_hyper_parallel"),
)
"""Arguments with which the memory is not estimated."""

_QUANTISE_WHILE_LOADING = ("bnb", "hqq", "eetq")
_SIXTEEN_BITS = ("bf16", "fp16", "pure_bf16")
_BLOCK = 64
"""Weights that share a scale in bitsandbytes' and HQQ's formats."""


def footprint(job: Job, trained: Mapping[str, object], stage: Stage) -> Footprint | None:
    """Returns what the training keeps in memory; None when that is not known.

    Args:
      job: the job.
      trained: LLaMA-Factory's arguments, all of them.
      stage: of the training.
    """
    facts = _facts(job, trained, stage)
    tuning, weight_bytes = _tuning(facts), _weight_bytes(job, facts)
    if stage is PPO or not facts.flag("do_train") or any(trained.get(name) for name in _UNKNOWN_WHEN_SET):
        return None
    if tuning is None or weight_bytes is None or (tuning == "freeze" and not _trains_last_layers(facts)):
        return None
    lora, frozen = tuning in ("lora", "qlora"), tuning == "freeze"
    return Footprint(
        tuning=tuning,
        weight_bytes=weight_bytes,
        optimizer=facts.text("optim") or "adamw_torch",
        sequence_length=int(facts.number("cutoff_len") or 0),
        micro_batch_size=job.batch.micro_size,
        gradient_checkpointing=not facts.flag("disable_gradient_checkpointing"),
        lora_rank=int(facts.number("lora_rank") or 0) if lora else None,
        lora_targets=(places.split(trained.get("lora_target")) or ("all",)) if lora else ("all",),
        trainable_layers=int(facts.number("freeze_trainable_layers") or 0) if frozen else None,
        sequences_per_sample=2 if stage in _PAIRED else 1,
        reference_model=_has_reference(facts, stage),
        flash_attention=facts.text("flash_attn") != "disabled",
        mixed_precision=(facts.flag("bf16") or facts.flag("fp16")) and not facts.flag("pure_bf16"),
    )


def _facts(job: Job, trained: Mapping[str, object], stage: Stage) -> Facts:
    """Returns the arguments with LLaMA-Factory's defaults behind them."""
    return Facts(
        stage=stage.name,
        args=trained,  # type: ignore[arg-type]  # composed from YAML: JSON
        world_size=job.topology.world_size,
        zero_stage=None,
        fsdp=False,
        accelerator=job.topology.accelerator,
        datasets=job.datasets,
    )


def _tuning(facts: Facts) -> Literal["full", "lora", "qlora", "freeze"] | None:
    match facts.tuning:
        case "lora":
            return "qlora" if _is_quantised(facts) else "lora"
        case "full":
            return "full"
        case "freeze":
            return "freeze"
        case _:
            return None


def _weight_bytes(job: Job, facts: Facts) -> float | None:
    """Returns the bytes of a weight that is not trained: model/patcher.py, patch_config, and quantization.py."""
    if "quantization_config" in job.model.config:
        return None
    if _is_quantised(facts):
        return _quantised(facts.number("quantization_bit") or 0, facts)
    # A model is loaded in 16 bits for training on a GPU, asked for or not; what is trained is then cast to fp32, so
    # that without mixed precision a model of which all is trained is fp32 throughout.
    whole = facts.tuning == "full" and not any(map(facts.flag, _SIXTEEN_BITS))
    return 4 if whole else 2


def _is_quantised(facts: Facts) -> bool:
    return facts.given("quantization_bit") and facts.text("quantization_method") in _QUANTISE_WHILE_LOADING


def _quantised(bits: float, facts: Facts) -> float:
    """Returns the bytes of a quantised weight with its share of the scales (QLoRA, Dettmers et al. 2023, section 3)."""
    method = facts.text("quantization_method")
    if method == "bnb" and bits == 4:  # noqa: PLR2004  # fp32 scales, themselves quantised in blocks of 256
        return bits / 8 + (1 / _BLOCK + 4 / (_BLOCK * 256) if facts.flag("double_quantization") else 4 / _BLOCK)
    if method == "hqq":  # a scale and a zero in 16 bits
        return bits / 8 + 4 / _BLOCK
    return bits / 8  # a scale for each row


def _trains_last_layers(facts: Facts) -> bool:
    """model/adapter.py, _setup_freeze_tuning: a negative number stands for the first layers, LLaMA Pro's are new."""
    whole = (facts.names("freeze_trainable_modules") or ("all",)) == ("all",)
    # Without mixed precision the layers would be fp32, and the rest not.
    mixed = any(map(facts.flag, _SIXTEEN_BITS))
    return mixed and whole and (facts.number("freeze_trainable_layers") or 0) > 0 and not facts.flag("use_llama_pro")


def _has_reference(facts: Facts, stage: Stage) -> bool:
    """train/trainer_utils.py, create_ref_model: with LoRA, the model without its adapter is the reference."""
    compares = stage is KTO or (stage is DPO and facts.text("pref_loss") not in _WITHOUT_REFERENCE)
    return compares and (facts.given("ref_model") or facts.tuning != "lora")

"""Rules about the fine-tuning methods and their optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from smtrain.plugin import Problem
from smtrain_llamafactory.facts import Facts, Rule

_LORA_ONLY = ("loraplus_lr_ratio", "use_rslora", "use_dora", "pissa_init")
_MEMORY_SAVERS = ("use_galore", "use_apollo", "use_badam")
_PROJECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "galore": ("adamw_torch", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "adafactor"),
        "apollo": ("adamw_torch",),
    }
)
"""Projected-gradient method → the `optim` values that train/trainer_utils.py implements it for."""


def lora_only(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: FinetuningArguments.__post_init__."""
    for name in _LORA_ONLY:
        if facts.tuning != "lora" and (facts.flag(name) or facts.number(name) is not None):
            what = f"is for LoRA, and finetuning_type is {facts.tuning}."
            yield facts.error(name, what, "Leave it out, or set finetuning_type: lora.")


def memory_savers(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: FinetuningArguments.__post_init__."""
    chosen = [name for name in _MEMORY_SAVERS if facts.flag(name)]
    for name in chosen:
        if facts.tuning == "lora":
            yield facts.error(name, "does not go with LoRA.", "Set finetuning_type: full, or leave it out.")
    if len(chosen) > 1:
        yield facts.error(chosen[1], f"does not go with {chosen[0]}.", "Leave all but one of them out.")


def expanded_blocks(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: __post_init__; model/adapter.py: _setup_freeze_tuning divides by the layers."""
    if facts.flag("use_llama_pro") and facts.tuning == "full":
        yield facts.error("use_llama_pro", "is for freeze and LoRA tuning.", "Set finetuning_type: freeze.")
    if facts.number("freeze_trainable_layers") != 0:
        return
    if facts.flag("use_llama_pro") or (facts.tuning == "freeze" and not facts.given("freeze_extra_modules")):
        yield facts.error("freeze_trainable_layers", "is 0: nothing would be trained.", "Give a number of layers.")


def pissa(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: FinetuningArguments.__post_init__."""
    reference = facts.stage == "dpo" and facts.text("pref_loss") not in ("orpo", "simpo")
    if facts.flag("pissa_init") and (facts.stage in ("ppo", "kto") or reference):
        what = f"PiSSA changes the base model, which the stage {facts.stage} needs as its reference."
        yield facts.error("pissa_init", what, "Leave it out.")


def pissa_under_zero3(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.flag("pissa_init") and facts.zero3:
        what = "PiSSA cannot be set up under DeepSpeed ZeRO-3."
        yield facts.error("pissa_init", what, "Prepare the model with LLaMA-Factory's scripts/pissa_init.py.")


def orthogonal_blocks(facts: Facts) -> Iterator[Problem]:
    """OFTConfig.__post_init__ of peft: rank × block size is the layer's width, so one of the two follows."""
    rank, block = facts.number("oft_rank"), facts.number("oft_block_size")
    if facts.tuning == "oft" and facts.training and (not rank) == (not block):
        what = f"oft_rank is {rank or 0:g} and oft_block_size {block or 0:g}; exactly one of them must not be 0."
        yield facts.error("oft_rank", what, "Set the other one to 0.")


def projected_gradients(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args; train/trainer_utils.py: _create_galore_optimizer, _create_apollo_optimizer."""
    for method, optimizers in _PROJECTIONS.items():
        if not facts.flag(f"use_{method}"):
            continue
        if facts.deepspeed:
            yield facts.error(f"use_{method}", "does not work with DeepSpeed.", "Use strategy=single or ddp.")
        if facts.flag(f"{method}_layerwise") and facts.distributed:
            yield facts.error(f"{method}_layerwise", "does not work in distributed training.", "Leave it out.")
        if facts.flag(f"{method}_layerwise") and facts.number("gradient_accumulation_steps") != 1:
            what = "does not work with gradient accumulation."
            yield facts.error(f"{method}_layerwise", what, "Set gradient_accumulation_steps: 1.")
        if not facts.flag("pure_bf16"):
            yield facts.doubt(f"use_{method}", "needs much more memory in mixed precision.", "Set pure_bf16: true.")
        yield from _projected_optimizer(facts, method, optimizers)


def _projected_optimizer(facts: Facts, method: str, optimizers: tuple[str, ...]) -> Iterator[Problem]:
    chosen = facts.text("optim")
    if chosen is None:
        what = f"is not set, and with torch 2.8 or newer its default is adamw_torch_fused, which use_{method} refuses."
        yield facts.doubt("optim", what, "Set optim: adamw_torch.")
    elif chosen not in optimizers:
        yield facts.error("optim", f"use_{method} does not work with {chosen}.", f"Use {', '.join(optimizers)}.")


def block_coordinates(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if not (facts.flag("use_badam") and facts.distributed):
        return
    if facts.text("badam_mode") == "ratio":
        yield facts.error("badam_mode", "ratio does not work in distributed training.", "Use layer.")
    elif not facts.zero3:
        what = "in distributed training BAdam works under DeepSpeed ZeRO-3 alone."
        yield facts.error("use_badam", what, "Use strategy=zero3, or one process.")


def pure_bfloat16(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.flag("pure_bf16") and facts.zero3:
        yield facts.error("pure_bf16", "does not work under DeepSpeed ZeRO-3.", "Use bf16: true.")
    if facts.flag("pure_bf16") and facts.accelerator == "cpu":
        yield facts.error("pure_bf16", "needs a GPU.", "Use bf16: true.")


ALWAYS: tuple[Rule, ...] = (lora_only, memory_savers, expanded_blocks, pissa, orthogonal_blocks)
TRAINING: tuple[Rule, ...] = (pissa_under_zero3, projected_gradients, block_coordinates, pure_bfloat16)

"""Rules about loading the model: adapters, quantisation, tokens, engines, export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from smtrain.plugin import Problem
from smtrain_llamafactory.facts import Facts, Rule

_BITS: Mapping[str, tuple[int, ...]] = MappingProxyType({"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)})
_BNB_SHARDED_BITS = 4


def adapters(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: _verify_model_args; model/adapter.py: _setup_lora_tuning."""
    count = len(facts.names("adapter_name_or_path"))
    if count and facts.tuning != "lora":
        what = f"an adapter does not go with finetuning_type: {facts.tuning}."
        yield facts.error("adapter_name_or_path", what, "Set finetuning_type: lora, or leave the adapter out.")
    reasons = {
        "a quantised model": facts.given("quantization_bit"),
        "DeepSpeed ZeRO-3": facts.zero3,
        "KTransformers": facts.flag("use_kt"),
        "Unsloth": facts.flag("use_unsloth"),
        "vLLM": not facts.training and facts.text("infer_backend") == "vllm",
    }
    for reason in (name for name, holds in reasons.items() if holds and count > 1):
        what = f"{count} adapters were given, and {reason} takes one."
        yield facts.error("adapter_name_or_path", what, "Merge them first.")


def quantised_tuning(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: _verify_model_args."""
    if not facts.given("quantization_bit"):
        return
    if facts.tuning not in ("lora", "oft"):
        what = f"a quantised model cannot be trained with finetuning_type: {facts.tuning}."
        yield facts.error("quantization_bit", what, "Use finetuning_type: lora or oft, or leave quantization_bit out.")
    if facts.flag("pissa_init"):
        what = "PiSSA cannot be set up on a quantised model."
        yield facts.error("pissa_init", what, "Prepare the model with LLaMA-Factory's scripts/pissa_init.py.")
    if facts.flag("resize_vocab"):
        yield facts.error("resize_vocab", "a quantised model cannot be resized.", "Leave one of them out.")
    if facts.given("adapter_name_or_path") and facts.flag("create_new_adapter"):
        yield facts.error("create_new_adapter", "is impossible upon a quantised model.", "Merge the adapter first.")
    for name in ("add_tokens", "add_special_tokens", "new_special_tokens_config"):
        if facts.given(name):
            what = "new tokens resize the model, which a quantised one refuses."
            yield facts.doubt(name, what, "Leave it out unless the tokenizer has these tokens already.")


def quantisation_bits(facts: Facts) -> Iterator[Problem]:
    """model/model_utils/quantization.py: configure_quantization."""
    bits, method = facts.number("quantization_bit"), facts.text("quantization_method") or "bnb"
    if bits is None:
        return
    allowed = _BITS.get(method)
    if allowed is None:
        what = f"{method} cannot quantise while loading; the model is loaded as it is."
        yield facts.doubt("quantization_method", what, "Use bnb, hqq or eetq, or leave quantization_bit out.")
        return
    if bits not in allowed:
        what = f"found {bits:g}, and {method} takes {', '.join(map(str, allowed))}."
        yield facts.error("quantization_bit", what, "Choose one of these.")
    if method != "bnb" and facts.sharded:
        yield facts.error("quantization_method", f"{method} does not work under {facts.sharded}.", "Use bnb.")
    auto_map = "auto device map" if facts.text("quantization_device_map") == "auto" else ""
    if method == "bnb" and bits != _BNB_SHARDED_BITS and (facts.sharded or auto_map):
        what = f"{bits:g}-bit quantisation does not work under {facts.sharded or auto_map}."
        yield facts.error("quantization_bit", what, "Use 4.")


def quantised_training(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.flag("do_train") and facts.text("quantization_device_map") == "auto":
        yield facts.error("quantization_device_map", "auto is for inference.", "Leave it out in training.")
    if facts.flag("fp8") and facts.given("quantization_bit"):
        yield facts.error("fp8", "does not go with quantization_bit.", "Leave one of them out.")
    if not facts.flag("do_train") and facts.given("quantization_bit"):
        yield facts.doubt("quantization_bit", "lowers the scores of an evaluation.", "Evaluate without quantisation.")


def unsloth(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args; model/adapter.py: _setup_lora_tuning."""
    if facts.flag("use_unsloth") and facts.zero3:
        yield facts.error("use_unsloth", "does not work under DeepSpeed ZeRO-3.", "Use another strategy.")
    if facts.flag("use_unsloth") and facts.tuning == "oft":
        yield facts.error("use_unsloth", "does not support OFT.", "Set finetuning_type: lora.")


def ktransformers(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args; model/adapter.py: _setup_lora_tuning."""
    if facts.flag("use_kt") and facts.zero3:
        yield facts.error("use_kt", "does not work under DeepSpeed ZeRO-3.", "Use strategy=fsdp.")
    if facts.flag("use_kt") and facts.tuning == "oft":
        yield facts.error("use_kt", "trains LoRA alone.", "Set finetuning_type: lora.")


def training_engine(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    engine = facts.text("infer_backend")
    if engine != "huggingface":
        yield facts.error("infer_backend", f"{engine} cannot train.", "Leave it out.")


def inference_engine(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_infer_args."""
    if facts.text("infer_backend") != "vllm":
        return
    if facts.stage != "sft":
        yield facts.error("infer_backend", f"vLLM cannot serve a model of the stage {facts.stage}.", "Use huggingface.")
    for name in ("quantization_bit", "rope_scaling"):
        if facts.given(name):
            yield facts.error(name, "is not supported by vLLM.", "Leave it out, or set infer_backend: huggingface.")


def new_tokens(facts: Facts) -> Iterator[Problem]:
    """hparams/model_args.py: BaseModelArguments.__post_init__; hparams/parser.py: get_train_args."""
    described = facts.given("new_special_tokens_config")
    if described and facts.given("add_special_tokens"):
        yield facts.doubt("add_special_tokens", "is ignored beside new_special_tokens_config.", "Leave one out.")
    if not described and str(facts.text("init_special_tokens")).startswith("desc_init"):
        what = "is ignored without new_special_tokens_config."
        yield facts.doubt("init_special_tokens", what, "Set new_special_tokens_config.")
    plain_lora = facts.tuning == "lora" and not facts.given("quantization_bit")
    if facts.flag("do_train") and plain_lora and facts.flag("resize_vocab") and not facts.given("additional_target"):
        what = "the embeddings of new tokens are trained only when they are named."
        yield facts.doubt("additional_target", what, "Name the embedding layers.")


def pixels(facts: Facts) -> Iterator[Problem]:
    """hparams/model_args.py: ProcessorArguments.__post_init__."""
    for kind in ("image", "video"):
        most, least = facts.number(f"{kind}_max_pixels"), facts.number(f"{kind}_min_pixels")
        if most is not None and least is not None and most < least:
            what = f"is {most:g}, below {kind}_min_pixels, which is {least:g}."
            yield facts.error(f"{kind}_max_pixels", what, f"Raise it, or lower {kind}_min_pixels.")


def flash_attention_3(facts: Facts) -> Iterator[Problem]:
    """model/model_utils/attention.py: configure_attn_implementation raises for fa3, save for gpt_oss."""
    if facts.text("flash_attn") == "fa3":
        yield facts.doubt("flash_attn", "fa3 works with gpt_oss models alone; others fail.", "Use fa2, or auto.")


def export(facts: Facts) -> Iterator[Problem]:
    """hparams/model_args.py: ExportArguments.__post_init__; train/tuner.py: export_model."""
    if not facts.given("export_quantization_bit"):
        return
    if not facts.given("export_quantization_dataset"):
        yield facts.error("export_quantization_dataset", "is missing, and quantising needs one.", "Set it.")
    if facts.given("adapter_name_or_path"):
        what = "an adapter must be merged before the model is quantised."
        yield facts.error("export_quantization_bit", what, "Export twice: merge first, then quantise.")


def merging(facts: Facts) -> Iterator[Problem]:
    """train/tuner.py: export_model: "Cannot merge adapters to a quantized model."."""
    if facts.given("export_dir") and facts.given("adapter_name_or_path") and facts.given("quantization_bit"):
        yield facts.error("quantization_bit", "an adapter cannot be merged into a quantised model.", "Leave it out.")


ALWAYS: tuple[Rule, ...] = (
    adapters,
    quantised_tuning,
    quantisation_bits,
    new_tokens,
    pixels,
    flash_attention_3,
    export,
)
TRAINING: tuple[Rule, ...] = (quantised_training, unsloth, ktransformers, training_engine)
INFERENCE: tuple[Rule, ...] = (inference_engine, merging)

"""The YAML files of a program: LLaMA-Factory's arguments in the groups and the order that its users know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smtrain.plugin import Problem, TextFile
from smtrain_llamafactory import yaml_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of a file.

    Attributes:
      title: stands above it.
      first: arguments in the order in which they come.
      prefixes: beginnings of the names of others that belong to it, in alphabetical order after the first.
    """

    title: str
    first: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


GROUPS = (
    Group(
        title="model",
        first=(
            "model_name_or_path",
            "model_revision",
            "adapter_name_or_path",
            "quantization_bit",
            "quantization_method",
            "trust_remote_code",
            "flash_attn",
            "infer_backend",
        ),
        prefixes=(
            *("adapter_", "quantization_", "image_", "video_", "audio_", "rope_", "use_unsloth", "use_kt", "kt_"),
            *("enable_liger", "resize_vocab", "new_special", "infer_", "vllm_", "sglang_", "cache_dir", "double_quant"),
            *("mixture_of_depths", "upcast_", "use_v1", "use_kv_cache", "add_", "init_special", "hf_hub", "om_hub"),
            *("ms_hub", "shift_attn", "offload_folder", "disable_gradient", "use_reentrant", "low_cpu_mem"),
        ),
    ),
    Group(
        title="method",
        first=(
            *("stage", "do_train", "do_eval", "do_predict", "finetuning_type", "lora_rank", "lora_alpha"),
            *("lora_dropout", "lora_target", "pref_beta", "pref_loss", "deepspeed", "fsdp", "fsdp_config"),
        ),
        prefixes=(
            *("lora", "oft_", "freeze_", "galore_", "apollo_", "badam_", "pissa_", "pref_", "dpo_", "kto_", "ppo_"),
            *("simpo_", "ld_alpha", "ref_model", "reward_model", "use_", "asft_", "eaft_", "additional_target"),
            *("create_new_adapter", "module_dropout", "swanlab_", "fp8", "hyper_parallel", "fsdp_"),
        ),
    ),
    Group(
        title="dataset",
        first=(
            *("dataset", "eval_dataset", "dataset_dir", "media_dir", "template", "cutoff_len", "max_samples"),
            *("packing", "overwrite_cache", "preprocessing_num_workers", "dataloader_num_workers", "tokenized_path"),
        ),
        prefixes=(
            *("preprocessing_", "dataloader_", "mix_strategy", "interleave_", "streaming", "buffer_size", "neat_"),
            *("train_on_prompt", "mask_history", "tool_format", "default_system", "enable_thinking", "data_"),
            *("preserve_thinking", "ignore_pad"),
        ),
    ),
    Group(
        title="output",
        first=(
            *("output_dir", "logging_steps", "save_steps", "plot_loss", "overwrite_output_dir", "save_only_model"),
            *("report_to", "run_name"),
        ),
        prefixes=("logging_", "save_", "log_", "push_to", "hub_", "profile"),
    ),
    Group(
        title="train",
        first=(
            *("per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "num_train_epochs"),
            *("max_steps", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "bf16", "fp16", "pure_bf16", "use_cpu"),
            *("seed", "ddp_timeout", "resume_from_checkpoint"),
        ),
    ),
    Group(
        title="eval",
        first=("val_size", "per_device_eval_batch_size", "eval_strategy", "eval_steps", "predict_with_generate"),
        prefixes=(
            *("eval_", "compute_accuracy", "metric_for", "load_best", "greater_is", "early_stopping", "generation_"),
            *("do_sample", "temperature", "top_", "num_beams", "max_length", "max_new", "repetition_"),
            *("length_penalty", "skip_special"),
        ),
    ),
    Group(title="export", first=("export_dir", "export_size", "export_device"), prefixes=("export_",)),
)
"""Every group, in the order of a file. What belongs to none of them stands at the end of `train`."""

_REST = "train"
_TITLES = {name: group.title for group in GROUPS for name in group.first}


def render(path: str, args: Mapping[str, object]) -> TextFile:
    """Returns the file with these arguments."""
    blocks = [
        "\n".join([f"### {title}", *(yaml_text.line(key, args[key]) for key in keys)]) for title, keys in grouped(args)
    ]
    return TextFile(path=path, text="\n\n".join(blocks) + "\n")


def check(args: Mapping[str, object], key_of: Mapping[str, str]) -> Iterator[Problem]:
    """Yields the arguments whose strings LLaMA-Factory would not get as they are.

    Args:
      args: the arguments.
      key_of: argument → configuration key that sets it; `trainer.args.NAME` where it is missing.
    """
    for name, value in args.items():
        for text in yaml_text.strings(value):
            if not yaml_text.arrives_intact(text):
                yield Problem(
                    key=key_of.get(name, f"trainer.args.{name}"),
                    what=f"{text!r} would not reach LLaMA-Factory: it loads its file with OmegaConf, for which `${{` "
                    "begins an interpolation, and this is not a well-formed one.",
                    fix="Use a value without `${`.",
                )


def group_of(name: str) -> str:
    """Returns the title of the group that an argument belongs to; its name decides, or the longest beginning."""
    if name in _TITLES:
        return _TITLES[name]
    fitting = [(len(prefix), group.title) for group in GROUPS for prefix in group.prefixes if name.startswith(prefix)]
    return max(fitting, default=(0, _REST))[1]


def grouped(args: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    """Yields each group that has members, by its title, and its arguments in order."""
    titles = {name: group_of(name) for name in args}
    for group in GROUPS:
        order = {name: number for number, name in enumerate(group.first)}
        members = [name for name, title in titles.items() if title == group.title]
        if members:
            yield group.title, sorted(members, key=lambda name: (order.get(name, len(order)), name))

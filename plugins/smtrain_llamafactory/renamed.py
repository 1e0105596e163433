"""Names that LLaMA-Factory's arguments once had, and names from other trainers that people type.

Sources: the argument dataclasses at LLaMA-Factory's tags v0.1 to v0.9.5, and `TrainingArguments` of transformers
4.0.1, 4.30.2, 4.41.2, 4.57.6 and 5.6.0. The table is asked only about names that the installed schema lacks, so a name
which an older transformers still takes is no error there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        # LLaMA-Factory, oldest first.
        "dev_ratio": "val_size",
        "prompt_template": "template",
        "source_prefix": "default_system",
        "system_prompt": "default_system",
        "max_source_length": "cutoff_len",
        "max_target_length": "cutoff_len",
        "use_auth_token": "hf_hub_token",
        "hf_auth_token": "hf_hub_token",
        "neft_alpha": "neftune_noise_alpha",
        "checkpoint_dir": "adapter_name_or_path",
        "ref_model_checkpoint": "ref_model_adapters",
        "reward_model_checkpoint": "reward_model_adapters",
        "sft_packing": "packing",
        "lora_bf16_mode": "pure_bf16",
        "ppo_logger": "report_to",
        "cache_path": "tokenized_path",
        "badam_switch_block_every": "badam_switch_interval",
        "name_module_trainable": "freeze_trainable_modules",
        "num_layer_trainable": "freeze_trainable_layers",
        "num_hidden_layers": "freeze_trainable_layers",
        "dpo_beta": "pref_beta",
        "dpo_ftx": "pref_ftx",
        "dpo_loss": "pref_loss",
        "orpo_beta": "pref_beta",
        "vllm_dtype": "infer_dtype",
        "image_dir": "media_dir",
        "image_resolution": "image_max_pixels",
        "video_resolution": "video_max_pixels",
        "new_special_tokens": "add_special_tokens",
        # transformers.
        "evaluation_strategy": "eval_strategy",
        "per_gpu_train_batch_size": "per_device_train_batch_size",
        "per_gpu_eval_batch_size": "per_device_eval_batch_size",
        "no_cuda": "use_cpu",
        "push_to_hub_token": "hub_token",
        "push_to_hub_model_id": "hub_model_id",
        "torchdynamo": "torch_compile_backend",
        "include_inputs_for_metrics": "include_for_metrics",
        "xpu_backend": "ddp_backend",
        "sharded_ddp": "fsdp",
        # Other trainers' words.
        "lora_r": "lora_rank",
        "lora_target_modules": "lora_target",
        "target_modules": "lora_target",
        "modules_to_save": "additional_target",
        "max_seq_length": "cutoff_len",
        "max_seq_len": "cutoff_len",
        "model_max_length": "cutoff_len",
        "model": "model_name_or_path",
        "model_path": "model_name_or_path",
        "adapter_path": "adapter_name_or_path",
        "lr": "learning_rate",
        "batch_size": "per_device_train_batch_size",
        "train_batch_size": "per_device_train_batch_size",
        "eval_batch_size": "per_device_eval_batch_size",
        "epochs": "num_train_epochs",
        "num_epochs": "num_train_epochs",
        "grad_accum": "gradient_accumulation_steps",
        "beta": "pref_beta",
        "loss_type": "pref_loss",
        "use_flash_attn": "flash_attn",
        "attn_implementation": "flash_attn",
        "quantization": "quantization_bit",
        "quantization_bits": "quantization_bit",
    }
)
"""Old name → the argument that does the same now."""

_UNNEEDED = "Leave it out: it is gone, and nothing takes its place."
_KT = "Leave it out: since 0.9.5 KTransformers is configured by its accelerate YAML and the kt_* arguments."
_RAY = "Leave it out: 0.9.5 places Ray workers itself; `ray_num_workers` and `ray_init_kwargs` remain."

REMOVED: Mapping[str, str] = MappingProxyType(
    {
        # LLaMA-Factory.
        "resume_lora_training": "Use `create_new_adapter`, which says the opposite.",
        "padding_side": _UNNEEDED,
        "disable_version_checking": "Set the environment variable DISABLE_VERSION_CHECK=1 instead.",
        "reserved_label_len": _UNNEEDED,
        "split": "The split belongs to the data set: set `split` in the `data` section.",
        "visual_inputs": "Leave it out: a multimodal model is recognised by itself.",
        "train_mm_proj_only": "Use `freeze_vision_tower: true`, `freeze_multi_modal_projector: false` and "
        "`freeze_language_model: true`.",
        "chunk_size": _KT,
        "cpu_infer": _KT,
        "kt_force_think": _KT,
        "kt_maxlen": _KT,
        "kt_mode": _KT,
        "kt_optimize_rule": _KT,
        "kt_use_cuda_graph": _KT,
        "placement_strategy": _RAY,
        "ray_run_name": _RAY,
        "ray_storage_filesystem": _RAY,
        "ray_storage_path": _RAY,
        "resources_per_worker": _RAY,
        # transformers.
        "adafactor": "Use `optim: adafactor`.",
        "dispatch_batches": "Use `accelerator_config: {dispatch_batches: …}`.",
        "split_batches": "Use `accelerator_config: {split_batches: …}`.",
        "fp16_backend": "Leave it out: `fp16` is torch's own mixed precision.",
        "half_precision_backend": "Leave it out: `fp16` is torch's own mixed precision.",
        "fp16_opt_level": "Leave it out: `fp16` is torch's own mixed precision, without apex and its levels.",
        "fsdp_min_num_params": "Use `fsdp_config: {min_num_params: …}`.",
        "fsdp_transformer_layer_cls_to_wrap": "Use `fsdp_config: {transformer_layer_cls_to_wrap: …}`.",
        "group_by_length": "Use `train_sampling_strategy: group_by_length`.",
        "include_tokens_per_second": "Use `include_num_input_tokens_seen`, or LLaMA-Factory's own "
        "`include_effective_tokens_per_second`.",
        "jit_mode_eval": _UNNEEDED,
        "mp_parameters": _UNNEEDED,
        "past_index": _UNNEEDED,
        "push_to_hub_organization": "Use `hub_model_id: ORGANIZATION/NAME`.",
        "ray_scope": _UNNEEDED,
        "save_safetensors": "Leave it out: transformers 5 always writes safetensors.",
        "tpu_metrics_debug": "Use `debug: tpu_metrics_debug`.",
        "tpu_num_cores": _UNNEEDED,
        "use_ipex": _UNNEEDED,
        "use_legacy_prediction_loop": _UNNEEDED,
        "use_mps_device": "Leave it out: an mps device is used when there is one.",
        # Other trainers' words.
        "load_in_4bit": "Use `quantization_bit: 4`.",
        "load_in_8bit": "Use `quantization_bit: 8`.",
        "tokenizer": "Leave it out: the tokenizer comes with the model.",
        "tokenizer_name_or_path": "Leave it out: the tokenizer comes with the model.",
    }
)
"""Name that no argument has any more → what to do instead."""

MEANT: Mapping[tuple[str, bool | str], str] = MappingProxyType(
    {
        ("flash_attn", True): "fa2",
        ("flash_attn", False): "disabled",
        ("flash_attn", "flash_attention_2"): "fa2",
        ("flash_attn", "eager"): "disabled",
        ("optim", "adamw"): "adamw_torch",
        ("optim", "adamw_hf"): "adamw_torch",
        ("quantization_method", "bitsandbytes"): "bnb",
        ("infer_backend", "hf"): "huggingface",
    }
)
"""Argument and a value that it once took, or takes elsewhere → the word it takes now."""

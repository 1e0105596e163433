"""Prints the JSON Schema of LLaMA-Factory's arguments, read off its own dataclasses.

Run it where LLaMA-Factory is installed, once per version that smtrain knows:

    python plugins/smtrain_llamafactory/generate_arguments.py > plugins/smtrain_llamafactory/arguments_0_9_5.json

The schema says what ends in a working run, which is not what `HfArgumentParser.parse_dict` accepts: that checks no
type at all. Where the code behind an argument takes more or less than its annotation says, `_shapes` states it; where
only some numbers can work, `BOUNDS` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import sys
import types
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Shape = dict[str, Json]

GROUPS = ("ModelArguments", "DataArguments", "TrainingArguments", "FinetuningArguments", "GeneratingArguments")
"""What `HfArgumentParser` is given for training, in llamafactory/hparams/parser.py."""

MACHINE_DEPENDENT = frozenset({"optim"})
"""Arguments whose default follows from what is installed: transformers picks `optim` by torch's version."""

PLAIN: Mapping[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
    dict: "object",
    list: "array",
    type(None): "null",
}


def _at_least(low: int, *names: str) -> dict[str, Shape]:
    return {name: {"minimum": low} for name in names}


BOUNDS: Mapping[str, Shape] = {
    **_at_least(
        0,
        # torch's optimizers raise on a negative value.
        *("learning_rate", "weight_decay", "adam_epsilon"),
        # transformers' TrainingArguments._validate_args.
        *("warmup_steps", "warmup_ratio"),
        *("num_train_epochs", "dataloader_num_workers", "label_smoothing_factor", "val_size", "pref_beta", "pref_ftx"),
        *("loraplus_lr_ratio", "loraplus_lr_embedding", "oft_rank", "oft_block_size", "temperature", "badam_verbose"),
        # torch.profiler.schedule asserts these.
        *("profiler_wait_steps", "profiler_warmup_steps", "profiler_repeat"),
    ),
    **_at_least(
        1,
        *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
        *("torch_empty_cache_steps", "dataloader_prefetch_factor", "eval_accumulation_steps", "ddp_timeout"),
        # Dataset.map: "num_proc must be an integer > 0".
        "preprocessing_num_workers",
        *("cutoff_len", "max_samples", "buffer_size"),
        *("eval_num_beams", "num_beams", "generation_num_beams", "generation_max_length"),
        # peft's LoraLayer: "`r` should be a positive integer value".
        *("lora_rank", "galore_rank", "galore_update_interval", "apollo_rank", "apollo_update_interval"),
        *("ppo_buffer_size", "ppo_epochs", "ray_num_workers", "profiler_active_steps", "audio_sampling_rate"),
        *("image_max_pixels", "video_max_pixels", "video_maxlen"),
        *("export_size", "export_quantization_nsamples", "export_quantization_maxlen"),
    ),
    # torch.optim.Adam: 0 ≤ β < 1.
    "adam_beta1": {"minimum": 0, "exclusiveMaximum": 1},
    "adam_beta2": {"minimum": 0, "exclusiveMaximum": 1},
    "lora_dropout": {"minimum": 0, "exclusiveMaximum": 1},
    "module_dropout": {"minimum": 0, "exclusiveMaximum": 1},
    "dpo_label_smoothing": {"minimum": 0, "maximum": 0.5},
    # train/trainer_utils.py: assert badam_update_ratio > 1e-6.
    "badam_update_ratio": {"exclusiveMinimum": 1e-6, "maximum": 1},
    # transformers' TopPLogitsWarper and RepetitionPenaltyLogitsProcessor.
    "top_p": {"minimum": 0, "maximum": 1},
    "repetition_penalty": {"exclusiveMinimum": 0},
    "vllm_gpu_util": {"exclusiveMinimum": 0, "maximum": 1},
    "sglang_mem_fraction": {"exclusiveMinimum": 0, "maximum": 1},
    "video_fps": {"exclusiveMinimum": 0},
    # numpy.random.seed, called by transformers.set_seed.
    "seed": {"minimum": 0, "maximum": 2**32 - 1},
}


def _words(values: Iterable[str], *other_types: str) -> Shape:
    """Returns the shape of options given as a list or as one string of words, e.g. "full_shard auto_wrap"."""
    words = sorted(values)
    return {
        "type": [*sorted(("array", "string", *other_types))],
        "items": {"enum": [*words]},
        "pattern": rf"^\s*(?:(?:{'|'.join(words)})(?:\s+|$))*$",
        "x-words": [*words],
    }


def _shapes() -> dict[str, Shape]:
    """Returns the arguments whose annotation is not what the code behind it takes."""
    reporters = sorted(import_module("transformers.integrations.integration_utils").INTEGRATION_TO_CALLBACK)
    names: Shape = {"type": ["array", "string"], "items": {"type": "string"}}
    optional_names: Shape = {**names, "type": ["array", "null", "string"]}
    return {
        # Split at commas unless they are lists already (split_arg in data_args.py and finetuning_args.py).
        "dataset": optional_names,
        "eval_dataset": optional_names,
        "interleave_probs": {"type": ["array", "null", "string"], "items": {"type": ["number", "string"]}},
        "additional_target": optional_names,
        "freeze_extra_modules": optional_names,
        "freeze_trainable_modules": names,
        "lora_target": names,
        "oft_target": names,
        "galore_target": names,
        "apollo_target": names,
        # data/parser.py takes the content of a dataset_info.json in place of its folder.
        "dataset_dir": {"type": ["object", "string"]},
        "template": _choice([*sorted(import_module("llamafactory.data.template").TEMPLATES), None]),
        "tool_format": _choice([*sorted(import_module("llamafactory.data.tool_utils").TOOLS), None]),
        # train/tuner.py turns it into a string itself.
        "master_port": {"type": ["integer", "null", "string"]},
        # A fraction only scales; peft divides it by the rank.
        "lora_alpha": {"type": ["null", "number"]},
        # apply_default_kernels splits a string of kernel names.
        "use_v1_kernels": {"type": ["boolean", "null", "string"]},
        # The asserts in FinetuningArguments.__post_init__ and in model/model_utils/quantization.py.
        "ref_model_quantization_bit": _choice([4, 8, None]),
        "reward_model_quantization_bit": _choice([4, 8, None]),
        "export_quantization_bit": _choice([2, 3, 4, 8, None]),
        "fp8_backend": _choice(["auto", "msamp", "te", "torchao"]),
        # Trainer.train takes True for "the last checkpoint of output_dir".
        "resume_from_checkpoint": {"type": ["boolean", "null", "string"]},
        # TrainingArguments.__post_init__ and _process_fsdp_args.
        "fsdp": _words(_values("transformers.trainer_utils", "FSDPOption"), "boolean", "null"),
        "debug": {
            **_words(_values("transformers.debug_utils", "DebugOption")),
            "type": ["array", "null", "string"],
        },
        "include_num_input_tokens_seen": _choice(["all", "no", "non_padding", False, True]),
        # A null becomes [null], which the Trainer refuses.
        "report_to": {"anyOf": [_choice(["all", "none", *reporters]), _list_of(["all", "none", *reporters])]},
        "trackio_static_space_id": {"anyOf": [{"type": ["null", "string"]}, {"enum": [False]}]},
        # Objects that no YAML can spell.
        "parallelism_config": {"type": "null"},
        "generation_config": {"type": ["null", "string"]},
    }


def _choice(values: list[Json]) -> Shape:
    return {"enum": values}


def _list_of(values: list[Json]) -> Shape:
    return {"type": "array", "items": {"enum": values}}


def _values(module: str, name: str) -> list[str]:
    return [str(member.value) for member in getattr(import_module(module), name)]


def shape_of(annotation: object) -> Shape:
    """Returns the JSON Schema of a type annotation.

    Args:
      annotation: a plain type, an enum, a Literal, a list or a union of such.

    Raises:
      TypeError: the annotation is of a kind that no argument had so far.
    """
    origin = get_origin(annotation)
    if origin is Literal:
        return _choice(list(get_args(annotation)))
    if origin in (Union, types.UnionType):
        return _union(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice([member.value for member in annotation])
    plain = PLAIN.get(origin or annotation)
    if plain is None:
        message = f"no JSON Schema is known for {annotation!r}"
        raise TypeError(message)
    items = [shape_of(item) for item in get_args(annotation)] if origin is list else []
    return {"type": plain, **({"items": items[0]} if items else {})}


def _union(members: Iterable[object]) -> Shape:
    """Returns one shape for several: the enum if there is one, else the types together.

    transformers annotates an enum as `SchedulerType | str`, and then converts the string to the enum.
    """
    shapes = [shape_of(member) for member in members]
    choices = [shape["enum"] for shape in shapes if "enum" in shape]
    nullable = {"type": "null"} in shapes
    if choices and isinstance(choices[0], list):
        return _choice([*choices[0], *([None] if nullable else [])])
    merged: Shape = {}
    for shape in shapes:
        merged |= shape
    return {**merged, "type": [*sorted(str(shape["type"]) for shape in shapes)]}


def _default(field: dataclasses.Field[object]) -> Shape:
    made = field.default_factory
    value = field.default if made is dataclasses.MISSING else made()
    if value is dataclasses.MISSING or field.name in MACHINE_DEPENDENT:
        return {}
    plain = value.value if isinstance(value, enum.Enum) else value
    return {"default": json.loads(json.dumps(plain))}


def _property(field: dataclasses.Field[object], annotation: object, group: str, shapes: Mapping[str, Shape]) -> Shape:
    if field.name in shapes:
        shape = shapes[field.name]
    elif "choices" in field.metadata:
        nullable = type(None) in get_args(annotation)
        shape = _choice([*sorted(field.metadata["choices"]), *([None] if nullable else [])])
    else:
        shape = shape_of(annotation)
    # argparse wants a percent sign doubled.
    text = " ".join(str(field.metadata.get("help", "")).replace("%%", "%").split())
    return {**shape, **BOUNDS.get(field.name, {}), **_default(field), "description": text, "x-group": group}


def _properties(shapes: Mapping[str, Shape]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for group in GROUPS:
        owner = getattr(import_module("llamafactory.hparams"), group)
        hints = get_type_hints(owner)
        for field in dataclasses.fields(owner):
            if field.init:  # what is not, LLaMA-Factory derives itself
                found.setdefault(field.name, _property(field, hints[field.name], group, shapes))
    unknown = sorted({*BOUNDS, *shapes} - set(found))
    if unknown:
        message = f"no such arguments: {', '.join(unknown)}; mend BOUNDS and _shapes"
        raise LookupError(message)
    return found


def generate() -> dict[str, Json]:
    """Returns the JSON Schema of the installed LLaMA-Factory's training arguments."""
    templates = import_module("llamafactory.data.template").TEMPLATES
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Arguments of LLaMA-Factory {version('llamafactory')}",
        "type": "object",
        "additionalProperties": False,
        "properties": _properties(_shapes()),
        "x-versions": {name: version(name) for name in ("llamafactory", "transformers")},
        "x-efficient-eos-templates": [name for name in sorted(templates) if templates[name].efficient_eos],
    }


def main() -> None:
    """Prints the schema; whatever the libraries print while they load goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        schema = generate()
    sys.stdout.write(json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

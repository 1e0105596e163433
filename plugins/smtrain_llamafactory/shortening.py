"""A training told to end after a few steps, and to need no GPU: the overrides of a rehearsal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smtrain.plugin import Job
from smtrain_llamafactory.options import Arguments, LlamaFactoryOptions
from smtrain_llamafactory.stages import PPO, Stage

FEWEST_ROWS = 64
"""Rows of each data set that are kept in any case: some are dropped as too long, or held back for evaluation."""

FEWEST_ROWS_TO_PACK = 10_000
"""The same where rows are joined: pre-training drops what does not fill `cutoff_len` (data/processor/pretrain.py)."""

MOST_NEW_TOKENS = 8
"""Of each answer that is generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replacement:
    """An argument that needs a GPU.

    Attributes:
      name: of the argument.
      to: what it becomes on a CPU, as Hydra spells it.
      of: the values that need a GPU; none stands for all that are on.
    """

    name: str
    to: str
    of: tuple[str, ...] = ()


_WITHOUT_GPU = (
    *(_Replacement(name=name, to="false") for name in ("fp16", "pure_bf16", "fp16_full_eval", "tf32", "fp8")),
    *(_Replacement(name=name, to="false") for name in ("enable_liger_kernel", "use_liger_kernel", "torch_compile")),
    *(_Replacement(name=name, to="false") for name in ("use_unsloth", "use_unsloth_gc", "use_kt", "use_v1_kernels")),
    *(_Replacement(name=name, to="null") for name in ("quantization_bit", "export_quantization_bit")),
    *(_Replacement(name=name, to="null") for name in ("ref_model_quantization_bit", "reward_model_quantization_bit")),
    # What strategy=fsdp would say by itself; it does not work on a CPU.
    *(_Replacement(name=name, to="null") for name in ("fsdp", "fsdp_config")),
    _Replacement(name="flash_attn", to="auto", of=("fa2", "fa3")),
    _Replacement(name="ddp_backend", to="gloo", of=("nccl", "cncl", "hccl", "mccl", "xccl")),
    _Replacement(name="infer_backend", to="huggingface", of=("vllm", "sglang")),
    _Replacement(name="infer_dtype", to="auto", of=("float16",)),
    _Replacement(name="export_device", to="cpu", of=("auto",)),
)

_HALF = ("fp16", "pure_bf16")
"""Sixteen bits that a CPU has not; bf16 in mixed precision, which it has, keeps the model as small."""

_OPTIMIZERS_OF_GPUS = ("8bit", "4bit", "bnb", "paged", "apex", "npu", "xla", "lion_", "ademamix")
"""Parts of the names of optimizers of bitsandbytes, apex and other accelerators (transformers, OptimizerNames)."""


def shortened(
    job: Job, stage: Stage, options: LlamaFactoryOptions, *, steps: int, on_cpu: bool, packs: bool
) -> tuple[str, ...]:
    """Returns the overrides.

    Args:
      job: the job.
      stage: of the training.
      options: of the trainer.
      steps: optimizer steps.
      on_cpu: whether GPUs are replaced by CPUs.
      packs: whether rows are joined.
    """
    asked = [count for count in (job.steps, options.args.get("max_steps")) if isinstance(count, int) and count > 0]
    count = min([steps, *asked])
    short: dict[str, object]
    if options.engine == "v1":
        short = {"max_steps": count, "logging_steps": 1, "save_steps": _interval(count)}
    else:
        short = {**_schedule(options.args, count), **_less_data(job, options.args, count, packs=packs)}
        short |= _quiet(options.args) | _short_answers(options.args, always=stage is PPO)
    overrides = [f"++trainer.args.{name}={value}" for name, value in short.items()]
    if options.predict.enabled:
        answers = _short_answers(options.predict.args, always=True)
        overrides += [f"++trainer.predict.args.{name}={value}" for name, value in answers.items()]
    if on_cpu:
        overrides += without_gpu("trainer.args", options.args)
        for name in ("export", "evaluate", "predict"):
            overrides += without_gpu(f"trainer.{name}.args", getattr(options, name).args)
    return tuple(overrides)


def without_gpu(prefix: str, args: Arguments) -> Iterator[str]:
    """Yields the overrides that take from some arguments what needs a GPU.

    Args:
      prefix: key of the arguments.
      args: as the user set them.
    """
    replaced = {item.name: item.to for item in _WITHOUT_GPU if _needs_gpu(item, args.get(item.name))}
    if any(args.get(name) is True for name in _HALF):
        replaced["bf16"] = "true"
    if any(part in str(args.get("optim", "")) for part in _OPTIMIZERS_OF_GPUS):
        replaced["optim"] = "adamw_torch"
    if args.get("use_cpu") is False:
        replaced["use_cpu"] = "true"
    yield from (f"++{prefix}.{name}={value}" for name, value in replaced.items())


def _needs_gpu(item: _Replacement, value: object) -> bool:
    return value in item.of if item.of else bool(value)


def _interval(steps: int) -> int:
    """Returns an interval that comes once before the last step where it can, so that one checkpoint can be resumed."""
    return math.ceil(steps / 2)


def _schedule(args: Arguments, steps: int) -> dict[str, object]:
    """Returns how long to train, and when to report, evaluate and save, if at all."""
    interval = _interval(steps)
    found: dict[str, object] = {"max_steps": steps, "logging_strategy": "steps", "logging_steps": 1}
    if args.get("save_strategy", "steps") in ("steps", "epoch"):
        found |= {"save_strategy": "steps", "save_steps": interval}
    if args.get("eval_strategy", "no") != "no":
        # The same interval as for saving: load_best_model_at_end needs it.
        found |= {"eval_strategy": "steps", "eval_steps": interval, "eval_delay": 0}
    return found


def _less_data(job: Job, args: Arguments, steps: int, *, packs: bool) -> dict[str, object]:
    """Returns a bound of the rows that are prepared; streamed rows are prepared as they are needed."""
    if args.get("streaming") is True:
        return {}
    rows = max(FEWEST_ROWS_TO_PACK if packs else FEWEST_ROWS, job.batch.global_size * steps)
    held_back = args.get("val_size")
    if isinstance(held_back, int | float):
        rows = math.ceil(rows / (1 - held_back)) if held_back < 1 else rows + math.ceil(held_back)
    own = args.get("max_samples")
    return {"max_samples": min(rows, own) if isinstance(own, int) else rows}


def _quiet(args: Arguments) -> dict[str, object]:
    """Returns what keeps a rehearsal out of the records of the real runs."""
    switches: Mapping[str, object] = {"use_swanlab": "false", "push_to_hub": "false"}
    return {"report_to": "none", **{name: off for name, off in switches.items() if args.get(name) is True}}


def _short_answers(args: Arguments, *, always: bool) -> dict[str, object]:
    """Returns a bound of what is generated for a row; `max_new_tokens` goes before `max_length`."""
    if not always and args.get("predict_with_generate") is not True:
        return {}
    own = args.get("max_new_tokens")
    return {"max_new_tokens": min(MOST_NEW_TOKENS, own) if isinstance(own, int) and own > 0 else MOST_NEW_TOKENS}

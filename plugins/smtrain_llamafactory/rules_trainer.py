"""Rules of transformers' TrainingArguments and Trainer (5.6.0): precision, strategies, checkpoints, reporting."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_llamafactory.facts import Facts, Rule

_SCALE = 1_000_000  # the Trainer compares fractions of the steps as integers


def precision(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments._validate_args."""
    for suffix in ("", "_full_eval"):
        if facts.flag(f"fp16{suffix}") and facts.flag(f"bf16{suffix}"):
            yield facts.error(f"fp16{suffix}", f"does not go with bf16{suffix}.", "Leave one of them out.")


def precision_on_a_cpu(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments._validate_args and __post_init__; accelerate leaves fp16 out on a CPU, DeepSpeed fails."""
    if facts.accelerator != "cpu":
        return
    for name in ("bf16", "bf16_full_eval"):
        if facts.flag(name) and not facts.flag("use_cpu"):
            yield facts.error(name, "needs use_cpu: true where there is no GPU.", "Set use_cpu: true.")
    if facts.flag("fp16") and facts.deepspeed:
        yield facts.error("fp16", "does not work with DeepSpeed on a CPU.", "Use bf16: true.")
    elif facts.flag("fp16"):
        yield facts.doubt("fp16", "has no effect on a CPU: the training runs in fp32.", "Use bf16: true.")
    for name in ("tf32", "fp8"):
        if facts.flag(name):
            yield facts.error(name, "needs a GPU.", "Leave it out.")
    if facts.text("ddp_backend") == "nccl":
        yield facts.error("ddp_backend", "nccl needs GPUs.", "Use gloo, or leave it out.")


def precision_on_a_gpu(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments puts everything on the CPU; hparams/parser.py recommends mixed precision."""
    if facts.accelerator != "gpu":
        return
    if facts.flag("use_cpu"):
        yield facts.error("use_cpu", "contradicts compute.accelerator: gpu.", "Leave it out.")
    elif facts.flag("do_train") and not any(facts.flag(name) for name in ("bf16", "fp16", "pure_bf16")):
        yield facts.doubt(
            "bf16", "is off: the training runs in fp32, slower and in twice the memory.", "Set bf16: true."
        )


def intervals(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments.__post_init__ and _validate_args."""
    for event in ("logging", "eval", "save"):
        if facts.text(f"{event}_strategy") != "steps":
            continue
        steps = _steps(facts, event)
        if steps > 1 and steps != int(steps):
            what = f"is {steps:g}; above 1 it must be an integer, below 1 it is a share of all steps."
            yield facts.error(f"{event}_steps", what, "Round it.")
        if steps == 0 and event != "save":
            yield facts.error(f"{event}_steps", f"is 0 with {event}_strategy: steps.", "Set logging_steps.")


def _steps(facts: Facts, event: str) -> float:
    """Returns the interval; that of evaluations falls back on that of logging."""
    steps = facts.number(f"{event}_steps")
    if event == "eval" and not steps:
        return facts.number("logging_steps") or 0
    return steps or 0


def best_model(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments._validate_args; Trainer.__init__."""
    save, evaluate = facts.text("save_strategy"), facts.text("eval_strategy")
    best = facts.flag("load_best_model_at_end")
    if save == "best" and not best and not facts.given("metric_for_best_model") and not _plateau(facts):
        what = "best needs metric_for_best_model."
        yield facts.error("save_strategy", what, "Set metric_for_best_model: loss, for instance.")
    if not best or save == "best":
        return
    if save != evaluate:
        what = f"needs equal strategies, but eval_strategy is {evaluate} and save_strategy {save}."
        yield facts.error("load_best_model_at_end", what, "Set both to steps, or both to epoch.")
    elif save == "steps" and not _is_multiple(_steps(facts, "save"), _steps(facts, "eval")):
        what = (
            f"is {_steps(facts, 'save'):g}, no multiple of eval_steps ({_steps(facts, 'eval'):g}), "
            "which load_best_model_at_end needs."
        )
        yield facts.error("save_steps", what, "Make it a multiple.")


def _plateau(facts: Facts) -> bool:
    return facts.text("lr_scheduler_type") in ("reduce_lr_on_plateau", "greedy")


def _is_multiple(save: float, evaluate: float) -> bool:
    if evaluate == 0:
        return True  # reported as an interval of 0
    if save % evaluate == 0:
        return True
    return save < 1 and evaluate < 1 and (save * _SCALE) % (evaluate * _SCALE) == 0


def early_stopping(facts: Facts) -> Iterator[Problem]:
    """EarlyStoppingCallback.on_train_begin asserts both; train/tuner.py adds it."""
    if not facts.given("early_stopping_steps"):
        return
    if facts.text("eval_strategy") == "no":
        yield facts.error("early_stopping_steps", "needs evaluations.", "Set eval_strategy: steps, and eval_steps.")
    defined = facts.given("metric_for_best_model") or facts.flag("load_best_model_at_end") or _plateau(facts)
    if not defined:
        what = "needs a metric to watch."
        yield facts.error("early_stopping_steps", what, "Set load_best_model_at_end: true, or metric_for_best_model.")


def schedule(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments._validate_args and __post_init__."""
    if _plateau(facts) and facts.text("eval_strategy") == "no":
        what = f"{facts.text('lr_scheduler_type')} needs evaluations."
        yield facts.error("lr_scheduler_type", what, "Set eval_strategy.")
    ratio = facts.number("warmup_ratio")
    if ratio is not None and ratio >= 1:
        what = f"is {ratio:g}, which transformers 5 takes for a number of steps, not for a share."
        yield facts.doubt("warmup_ratio", what, "Write warmup_steps for steps, or a share below 1.")


def data_loading(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments._validate_args; torch's DataLoader."""
    if facts.number("dataloader_num_workers"):
        return
    for name in ("dataloader_prefetch_factor", "dataloader_persistent_workers"):
        if facts.number(name) is not None or facts.flag(name):
            yield facts.error(name, "needs worker processes.", "Set dataloader_num_workers to 1 or more.")


def sharding(facts: Facts) -> Iterator[Problem]:
    """Trainer.__init__ and create_accelerator_and_postprocess; TrainingArguments._process_fsdp_args."""
    if facts.any_fsdp and facts.deepspeed:
        yield facts.error("fsdp", "does not go with DeepSpeed.", "Use one strategy.")
    if facts.any_fsdp and not facts.distributed:
        yield facts.error("fsdp", "needs distributed training.", "Use two processes or more.")
    fsdp = facts.args.get("fsdp")
    options = set(fsdp.split() if isinstance(fsdp, str) else facts.names("fsdp"))
    if options == {"offload"}:
        yield facts.error("fsdp", "offload cannot stand alone.", "Write full_shard offload.")
    if {"full_shard", "shard_grad_op"} <= options:
        yield facts.error("fsdp", "full_shard does not go with shard_grad_op.", "Leave one of them out.")
    if facts.zero3 and facts.flag("auto_find_batch_size"):
        yield facts.error("auto_find_batch_size", "does not work under DeepSpeed ZeRO-3.", "Use strategy=zero2.")
    wrapped = "DeepSpeed" if facts.deepspeed else "FSDP" if facts.any_fsdp else ""
    if wrapped and facts.flag("save_only_model") and facts.flag("load_best_model_at_end"):
        what = f"does not go with load_best_model_at_end under {wrapped}."
        yield facts.error("save_only_model", what, "Leave one of them out.")


def documents_in_files(facts: Facts) -> Iterator[Problem]:
    """TrainingArguments opens a file named here, relative to the working directory, where only the run's files lie."""
    for name in ("fsdp_config", "accelerator_config"):
        value = facts.args.get(name)
        if isinstance(value, str) and value and not value.startswith("{"):
            what = f"`{value}` is a file, which does not travel with the run."
            yield facts.error(name, what, "Write its content here, as a mapping.")


def eight_bit_floats(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args says it turns fp8 on, and does not."""
    if facts.flag("fp8_enable_fsdp_float8_all_gather") and not facts.flag("fp8"):
        yield facts.doubt("fp8_enable_fsdp_float8_all_gather", "has no effect without fp8.", "Set fp8: true.")


def reporting(facts: Facts) -> Iterator[Problem]:
    """get_reporting_integration_callbacks; hparams/parser.py: _verify_trackio_args; TensorBoardCallback."""
    loggers = facts.names("report_to")
    for word in ("all", "none"):
        if word in loggers and len(loggers) > 1:
            yield facts.error("report_to", f"{word} cannot stand beside others.", "Name the others alone.")
    if "trackio" in loggers and not facts.text("project"):
        yield facts.error("project", "is missing, and trackio needs one.", "Set project.")
    if facts.given("logging_dir"):
        what = "is ignored by transformers 5."
        yield facts.doubt("logging_dir", what, "Set env.TENSORBOARD_LOGGING_DIR instead.")


TRAINING: tuple[Rule, ...] = (
    precision,
    precision_on_a_cpu,
    precision_on_a_gpu,
    intervals,
    best_model,
    early_stopping,
    schedule,
    data_loading,
    sharding,
    documents_in_files,
    eight_bit_floats,
    reporting,
)

"""The steps after a training: merging, evaluating, predicting, on the very model that was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from smtrain.plugin import Job, Json, Problem, warning
from smtrain_llamafactory import arguments, dataset_info, document, places, rules
from smtrain_llamafactory.options import Arguments, LlamaFactoryOptions
from smtrain_llamafactory.stages import Stage

_MODEL = ("model_name_or_path", "model_revision", "adapter_name_or_path", "template", "trust_remote_code")
_FIXED = (*_MODEL, "stage", "finetuning_type", "do_train", "do_eval", "do_predict", "dataset", "eval_dataset")

_PRECISION = ("bf16", "fp16", "pure_bf16", "use_cpu", "seed", "ddp_timeout", "report_to", "run_name")
"""Arguments of a training outside the model, method, dataset and eval groups that evaluation shares."""

_OF_TRAINING_ALONE = frozenset(
    {"do_train", "do_eval", "do_predict", "deepspeed", "fsdp", "fsdp_config", "create_new_adapter", "tokenized_path"}
    | {"pissa_init", "pissa_iter", "pissa_convert", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start"}
    | {"load_best_model_at_end", "metric_for_best_model", "greater_is_better", "early_stopping_steps"}
    | {"packing", "neat_packing", "streaming", "predict_with_generate"}
)

_OF_THE_MODEL = (
    *("resize_vocab", "add_tokens", "add_special_tokens", "new_special_tokens_config", "init_special_tokens"),
    *("rope_scaling", "use_fast_tokenizer", "split_special_tokens", "cache_dir", "mixture_of_depths"),
)
"""Arguments that decide the model's shape or tokenizer, which merging must share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterStep:
    """One step after the training.

    Attributes:
      name: of the step, of its file, and of the section of `trainer` that asks for it.
      args: LLaMA-Factory's arguments.
      output_dir: where its results go.
      keeps_model: whether the result is a model; otherwise figures and answers.
    """

    name: str
    args: Mapping[str, object]
    output_dir: str
    keeps_model: bool = False

    @property
    def path(self) -> str:
        """The file with its arguments."""
        return f"{self.name}.yaml"


def steps(job: Job, stage: Stage, options: LlamaFactoryOptions, trained: Mapping[str, object]) -> tuple[LaterStep, ...]:
    """Returns the steps that the options ask for, in order.

    Args:
      job: the job.
      stage: of the training.
      options: of the trainer.
      trained: the arguments of the training, all of them.
    """
    found = []
    if options.export.enabled:
        found.append(_export(job, stage, options.export.args, trained))
    if options.evaluate.enabled:
        base = {"do_eval": True, **_reference_model(stage, trained)}
        found.append(_with_data("evaluate", base, options.evaluate.args, job, trained))
    if options.predict.enabled:
        # LLaMA-Factory computes accuracy from logits, or generates; not both.
        answers = {"predict_with_generate": True, "compute_accuracy": False} if stage.name == "sft" else {}
        found.append(_with_data("predict", {"do_predict": True, **answers}, options.predict.args, job, trained))
    return tuple(found)


def check(job: Job, stage: Stage, options: LlamaFactoryOptions, trained: Mapping[str, object]) -> Iterator[Problem]:
    """Yields what stands in the way of the later steps."""
    later = steps(job, stage, options, trained)
    taken = {places.output_dir(trained): "the training"}
    for step in later:
        own = getattr(options, step.name).args
        yield from _own_arguments(step, own, options.version)
        yield from _own_rules(job, stage, step, own, options.version)
        clash = next((who for folder, who in taken.items() if places.overlap(folder, step.output_dir)), None)
        if clash:
            what = f"The results of `{step.name}` and of {clash} would lie in the same folder, `{step.output_dir}`."
            yield Problem(key=f"trainer.{step.name}.args", what=what, fix="Give it a folder of its own.")
        taken[step.output_dir] = f"`{step.name}`"
    if options.export.enabled:
        yield from _unmergeable(job, trained)
    if options.evaluate.enabled or options.predict.enabled:
        yield from _not_computable(job, stage, options, trained)
    if later:
        yield from _unreadable_adapter(later, trained)


def _export(job: Job, stage: Stage, own: Arguments, trained: Mapping[str, object]) -> LaterStep:
    folder = str(own["export_dir"]) if places.is_relative(own.get("export_dir")) else "export"
    shared = {name: trained[name] for name in (*_MODEL, *_OF_THE_MODEL) if name in trained}
    args: dict[str, object] = {
        **shared,
        **_result(job, trained),
        "finetuning_type": trained.get("finetuning_type", "lora"),
        # The value head of a reward model is copied only when the stage is known (train/tuner.py, export_model).
        **({"stage": stage.name} if stage.name == "rm" else {}),
        "export_size": 5,
        "export_device": "cpu",
        **own,
        "export_dir": folder,
    }
    return LaterStep(name="export", args=args, output_dir=folder, keeps_model=True)


def _with_data(
    name: str, base: Mapping[str, object], own: Arguments, job: Job, trained: Mapping[str, object]
) -> LaterStep:
    folder = str(own["output_dir"]) if places.is_relative(own.get("output_dir")) else name
    groups = ("model", "method", "dataset", "eval")
    shared = {
        key: value
        for key, value in trained.items()
        if key not in _OF_TRAINING_ALONE and (document.group_of(key) in groups or key in _PRECISION)
    }
    if dataset_info.names(job, "eval"):
        shared.pop("dataset", None)
    args = {**shared, **_result(job, trained), **base, **own, "output_dir": folder}
    return LaterStep(name=name, args=args, output_dir=folder)


def _result(job: Job, trained: Mapping[str, object]) -> dict[str, object]:
    """Returns the arguments that name the trained model.

    Training goes on in the last adapter that it was given, after merging the others into the model, or with
    `create_new_adapter` in a new one on top of all of them (model/adapter.py, _setup_lora_tuning).
    """
    folder = places.output_dir(trained)
    if trained.get("finetuning_type", "lora") != "lora":
        return {"model_name_or_path": folder}
    before = tuple(adapter.spelled for adapter in places.adapters(job, trained))
    before = before if trained.get("create_new_adapter") else before[:-1]
    adapter = f"{folder}/pissa_converted" if trained.get("pissa_convert") else folder
    return {"adapter_name_or_path": ",".join((*before, adapter))}


def _reference_model(stage: Stage, trained: Mapping[str, object]) -> dict[str, object]:
    """Returns the arguments that name DPO's reference: without one, the trained model is compared with itself."""
    if stage.name != "dpo" or "ref_model" in trained or trained.get("pref_loss") in ("orpo", "simpo"):
        return {}
    found = {"ref_model": trained.get("model_name_or_path")}
    if trained.get("adapter_name_or_path"):
        found["ref_model_adapters"] = trained["adapter_name_or_path"]
    if trained.get("quantization_bit") in (4, 8):
        found["ref_model_quantization_bit"] = trained["quantization_bit"]
    return found


def _own_arguments(step: LaterStep, own: Arguments, version: str) -> Iterator[Problem]:
    prefix = f"trainer.{step.name}.args"
    yield from arguments.check(own, version, prefix=prefix)  # type: ignore[arg-type]  # composed from YAML: JSON
    for name in _FIXED:
        if name in own:
            what = f"`{step.name}` works on the model and the data of this very run."
            yield Problem(key=f"{prefix}.{name}", what=what, fix="Leave it out.")
    for name in ("output_dir", "export_dir"):
        if name in own and not places.is_relative(own[name]):
            what = f"`{own[name]}` is not a path inside the run's folder."
            yield Problem(
                key=f"{prefix}.{name}", what=what, fix="Use a relative path; storage.output moves all results."
            )


def _own_rules(job: Job, stage: Stage, step: LaterStep, own: Arguments, version: str) -> Iterator[Problem]:
    """Yields the rules that the step's own arguments break; those of the training are told at the training."""
    prefix = f"trainer.{step.name}.args"
    facts = rules.Facts(
        stage=stage.name,
        args=cast("Mapping[str, Json]", step.args),
        world_size=job.topology.processes_per_node,
        zero_stage=None,
        fsdp=False,
        accelerator=job.topology.accelerator,
        datasets=job.datasets,
        training=not step.keeps_model,
        prefix=prefix,
        version=version,
    )
    yield from (problem for problem in rules.check(facts) if problem.key.removeprefix(f"{prefix}.") in own)


def _unmergeable(job: Job, trained: Mapping[str, object]) -> Iterator[Problem]:
    tuning, key = trained.get("finetuning_type", "lora"), "trainer.export.enabled"
    if tuning in ("full", "freeze"):
        what = f"There is nothing to merge after finetuning_type `{tuning}`: the training's output is a whole model."
        yield Problem(key=key, what=what, fix="Leave the export out.")
    if "quantization_config" in job.model.config:
        what = f"`{job.model.reference}` is a quantised model; LLaMA-Factory cannot merge an adapter into one."
        yield Problem(key=key, what=what, fix="Serve model and adapter together, or train on the unquantised model.")


def _unreadable_adapter(later: tuple[LaterStep, ...], trained: Mapping[str, object]) -> Iterator[Problem]:
    key = f"trainer.{later[0].name}.enabled"
    tuning = trained.get("finetuning_type", "lora")
    if tuning == "oft":
        what = "LLaMA-Factory trains OFT adapters but loads none: `adapter_name_or_path` is for LoRA only."
        yield Problem(key=key, what=what, fix="Merge it with PEFT, or tune with LoRA.")
    if trained.get("pissa_init") and not trained.get("pissa_convert"):
        what = "A PiSSA adapter fits the residual model that the training makes, not the model it started from."
        yield Problem(key=key, what=what, fix="Set trainer.args.pissa_convert=true; the converted adapter is used.")


def _not_computable(
    job: Job, stage: Stage, options: LlamaFactoryOptions, trained: Mapping[str, object]
) -> Iterator[Problem]:
    if options.evaluate.enabled and not stage.evaluates:
        what = f"Stage `{stage.name}` has no evaluation."
        yield Problem(key="trainer.evaluate.enabled", what=what, fix="Evaluate the result with trainer=lf_sft.")
    if options.predict.enabled and not stage.predicts:
        what = f"Stage `{stage.name}` cannot predict on the rows that it trains with; only sft and rm can."
        yield Problem(key="trainer.predict.enabled", what=what, fix="Predict with the result in a run of lf_sft.")
    if not dataset_info.names(job, "eval") and not trained.get("val_size"):
        step = "evaluate" if options.evaluate.enabled else "predict"
        what = "There are no rows to evaluate on."
        fix = "Set data.eval_path=FILE, or trainer.args.val_size=0.1 to hold some of the training rows back."
        yield Problem(key=f"trainer.{step}.enabled", what=what, fix=fix)
    if job.topology.nodes > 1:
        yield warning("compute.nodes", "Evaluation and prediction after the training run on the first node alone.")

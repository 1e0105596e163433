"""The arguments that follow from the run, so that nobody needs to set them under `trainer.args`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from smtrain.plugin import Job, Problem, distributed
from smtrain_llamafactory import arguments, dataset_info, places

SETTING_OF: Mapping[str, str] = {
    "stage": "choose the trainer, e.g. trainer=lf_dpo",
    "model_name_or_path": "set model.path",
    "model_revision": "set model.revision",
    "adapter_name_or_path": "set model.adapter",
    "template": "set model.template",
    "trust_remote_code": "set model.trust_remote_code",
    "dataset": "set data.path, data.sets or data.names",
    "eval_dataset": "set data.eval_path, data.sets or data.eval_names",
    "dataset_dir": "set data.dataset_info to the dataset_info.json of that folder",
    "output_dir": "set storage.output; a relative output_dir may stay",
    "deepspeed": "choose strategy=zero2, zero3, …; set strategy.document to use your own file",
    "fsdp": "choose strategy=fsdp",
    "fsdp_config": "choose strategy=fsdp",
    "per_device_train_batch_size": "set micro_batch_size",
    "gradient_accumulation_steps": "set gradient_accumulation_steps or global_batch_size",
    "seed": "set seed",
    "resume_from_checkpoint": "leave it out; resume=auto goes on from the newest checkpoint of the run",
    "use_cpu": "choose compute=cpu",
}
"""Argument that smtrain derives → what to set instead of it."""

KEY_OF: Mapping[str, str] = {
    "model_name_or_path": "model.path",
    "model_revision": "model.revision",
    "adapter_name_or_path": "model.adapter",
    "template": "model.template",
    "dataset": "data",
    "eval_dataset": "data",
    "dataset_dir": "data.dataset_info",
}
"""Argument with text of the user's → configuration key that it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What an argument must mean, and how the YAML spells it.

    Attributes:
      means: the value as the user's settings say it; the user's own argument is compared with it.
      spelled: the value for the YAML.
      written: whether the YAML needs it when the user did not write it.
    """

    means: object
    spelled: object
    written: bool = True


def check_model(job: Job, version: str) -> Iterator[Problem]:
    """Yields what LLaMA-Factory would refuse of the model's settings that it has a list for: the chat template."""
    for problem in arguments.check({"template": job.run.model.template}, version, prefix="model"):
        yield replace(problem, key="model.template")


def model_arguments(job: Job, args: Mapping[str, object]) -> dict[str, Meaning]:
    """Returns the arguments about the model, which training, merging and serving share."""
    model = job.run.model
    adapters = places.adapters(job, args)
    return {
        "model_name_or_path": Meaning(
            means=places.same_place(args.get("model_name_or_path"), model.path), spelled=places.model(job, args).spelled
        ),
        "model_revision": Meaning(
            means=model.revision or "main", spelled=model.revision or "main", written=bool(model.revision)
        ),
        "adapter_name_or_path": Meaning(
            means=_same_places(args.get("adapter_name_or_path"), places.split(model.adapter)) or None,
            spelled=_joined(tuple(adapter.spelled for adapter in adapters), args.get("adapter_name_or_path")),
            written=bool(adapters),
        ),
        "template": _plain(model.template),
        "trust_remote_code": Meaning(
            means=model.trust_remote_code, spelled=model.trust_remote_code, written=model.trust_remote_code
        ),
    }


def training_arguments(job: Job, stage: str, args: Mapping[str, object]) -> dict[str, Meaning]:
    """Returns every argument of a training that follows from the run."""
    cpu = job.topology.accelerator == "cpu"
    return {
        **model_arguments(job, args),
        "stage": _plain(stage),
        "dataset": _names(job, "train", args.get("dataset")),
        "eval_dataset": _names(job, "eval", args.get("eval_dataset")),
        "dataset_dir": _dataset_dir(job, args),
        "output_dir": Meaning(means=places.output_dir(args), spelled=places.output_dir(args)),
        **_strategy_arguments(job, args),
        "per_device_train_batch_size": _plain(job.batch.micro_size),
        "gradient_accumulation_steps": _plain(job.batch.accumulation),
        "seed": _plain(job.run.seed),
        "resume_from_checkpoint": Meaning(means=None, spelled=None, written=False),
        "use_cpu": Meaning(means=cpu, spelled=cpu, written=cpu),
    }


def spelled(
    meanings: Mapping[str, Meaning], args: Mapping[str, object], *, omit: tuple[str, ...] = (), version: str
) -> dict[str, object]:
    """Returns the arguments of the YAML: the user's, and the derived ones.

    Args:
      meanings: the derived arguments.
      args: the user's.
      omit: derived arguments to leave out while they equal LLaMA-Factory's default.
      version: of LLaMA-Factory.
    """
    derived = {
        name: meaning.spelled
        for name, meaning in meanings.items()
        if (meaning.written or name in args)
        and (name in args or name not in omit or meaning.spelled != _default(name, version))
    }
    return {**args, **derived, **{name: placed.spelled for name, placed in places.others(args)}}


def _strategy_arguments(job: Job, args: Mapping[str, object]) -> dict[str, Meaning]:
    document = distributed.deepspeed_path(job)
    literal, own = args.get("deepspeed"), job.run.strategy.document
    # accelerate's YAML names the document as well, so only other launchers leave its place to the user.
    movable = own is not None and document is not None and job.run.launcher.kind != "accelerate"
    spelled: object = literal if movable and places.same_place(literal, str(own)) == literal else document
    fsdp = {} if "fsdp" in args and distributed.is_fsdp(job) else dict(distributed.hf_fsdp_arguments(job))
    return {
        "deepspeed": _switched("deepspeed", spelled, args),
        **{name: _switched(name, _own_or(name, fsdp, job, args), args) for name in ("fsdp", "fsdp_config")},
    }


def _own_or(name: str, generated: Mapping[str, object], job: Job, args: Mapping[str, object]) -> object:
    """Returns an FSDP argument: the user's own where the strategy is FSDP."""
    return args[name] if name in args and distributed.is_fsdp(job) else generated.get(name)


def _switched(name: str, value: object, args: Mapping[str, object]) -> Meaning:
    """Returns an argument that is off in several spellings: null, the empty string, false, an empty list."""
    off = value is None and not args.get(name)
    spelled = args.get(name) if off else value
    return Meaning(means=spelled, spelled=spelled, written=value is not None)


def _dataset_dir(job: Job, args: Mapping[str, object]) -> Meaning:
    if dataset_info.is_remote(job):
        return _plain(job.run.data.dataset_info)
    here = places.data_dir(job, args)
    return Meaning(means=here, spelled=here, written=here != places.DATA_DIR)


def _names(job: Job, role: str, literal: object) -> Meaning:
    names = dataset_info.names(job, role)
    return Meaning(means=names or None, spelled=_joined(names, literal), written=bool(names))


def _joined(items: tuple[str, ...], literal: object) -> object:
    """Returns a comma-separated list; the user's own spelling of it where that says the same."""
    if literal is not None and places.split(literal) == items:
        return literal
    return ",".join(items) or None


def _same_places(literal: object, references: tuple[str, ...]) -> tuple[str, ...]:
    literals = places.split(literal)
    if len(literals) != len(references):
        return references
    return tuple(str(places.same_place(one, other)) for one, other in zip(literals, references, strict=True))


def _plain(value: object) -> Meaning:
    return Meaning(means=value, spelled=value, written=value is not None)


def _default(name: str, version: str) -> object:
    return arguments.properties(version)[name].get("default")

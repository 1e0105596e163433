"""An accelerate YAML becomes an experiment that uses it as the strategy's document."""

from __future__ import annotations

from smtrain.plugin import Json, SmtrainError
from smtrain_llamafactory.experiment import Experiment
from smtrain_llamafactory.omegaconf_yaml import Document

KINDS = {"FSDP": "fsdp", "MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "NO": "single"}
"""accelerate's distributed_type → strategy."""


def convert(document: Document) -> Experiment:
    """Returns the experiment: strategy, launcher and number of processes; any trainer goes with it.

    Raises:
      SmtrainError: a kind of distribution that smtrain has no strategy for, or processes that do not divide.
    """
    values = document.values
    kind = KINDS.get(str(values["distributed_type"]).upper()) or _deepspeed(document)
    nodes, processes = _whole(values, "num_machines"), _whole(values, "num_processes")
    if processes % nodes:
        what = f"{processes} processes cannot be spread evenly over {nodes} machines."
        raise SmtrainError([document.problem("num_processes", what, "Use a multiple of num_machines.")])
    compute: dict[str, Json] = {"nodes": nodes, "processes_per_node": processes // nodes}
    if values.get("use_cpu"):
        compute["accelerator"] = "cpu"
    return Experiment(
        source=document.source,
        choices={"launcher": "accelerate", "strategy": kind},
        settings={"strategy": {"document": document.source}, "compute": compute},
    )


def _deepspeed(document: Document) -> str:
    values = document.values
    config = values.get("deepspeed_config")
    if str(values["distributed_type"]).upper() != "DEEPSPEED" or not isinstance(config, dict):
        what = f"`{values['distributed_type']}` has no counterpart among the strategies."
        fix = f"One of {', '.join([*KINDS, 'DEEPSPEED'])} has."
        raise SmtrainError([document.problem("distributed_type", what, fix)])
    stage = config.get("zero_stage", 2)
    offload = str(config.get("offload_optimizer_device", "none")) != "none"
    return f"zero{stage}" + ("_offload" if offload and stage in (2, 3) else "")


def _whole(values: object, name: str) -> int:
    value = values.get(name, 1) if isinstance(values, dict) else 1
    return value if isinstance(value, int) and value > 0 else 1

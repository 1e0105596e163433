"""A YAML of LLaMA-Factory's experimental engine v1 becomes an experiment that passes its arguments on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smtrain.plugin import Json
from smtrain_llamafactory import places
from smtrain_llamafactory.experiment import Experiment
from smtrain_llamafactory.omegaconf_yaml import Document

_SIGNS = frozenset({"model_class", "peft_config", "kernel_config", "dist_config", "train_dataset"})


def recognises(document: Document) -> bool:
    """Whether the document is one of engine v1."""
    values = document.values
    return "model" in values and "model_name_or_path" not in values and bool(_SIGNS & values.keys())


def convert(document: Document, root: Path) -> Experiment:
    """Returns the experiment."""
    values = dict(document.values)
    peft = values.get("peft_config")
    merges = isinstance(peft, Mapping) and "export_dir" in peft
    model: dict[str, Json] = {"path": _below(root, values["model"])}
    settings: dict[str, Json] = {"model": model}
    if merges and isinstance(peft, Mapping) and peft.get("adapter_name_or_path"):
        model["adapter"] = _below(root, peft["adapter_name_or_path"])
    choices = {"trainer": "lf_export" if merges else "lf_sft", "model": "custom"}
    if not merges:
        # Its launcher wants the variables of torchrun, also for one process.
        choices |= {"tuning": "none", "data": "custom", "strategy": "ddp"}
        if places.is_relative(values.get("train_dataset")):
            settings["data"] = {"path": _below(root, values["train_dataset"])}
        settings["micro_batch_size"] = values.get("micro_batch_size", 1)
    return Experiment(
        source=document.source,
        choices=choices,
        settings=settings,
        trainer={"engine": "v1", "args": values},
    )


def _below(root: Path, reference: Json) -> Json:
    local = places.is_relative(reference) and (root / str(reference)).exists()
    return (root / str(reference)).as_posix() if local else reference

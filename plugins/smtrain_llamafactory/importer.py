"""`smtrain import llamafactory`: an existing YAML of LLaMA-Factory becomes an experiment of smtrain.

Compiling the experiment gives the same arguments back. What smtrain derives is set where smtrain's users set it, and
repeated under `trainer.args` only where the YAML spells it in a way of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import cast

from smtrain.plugin import Json, Problem, SmtrainError
from smtrain_llamafactory import (
    accelerate_import,
    arguments,
    derived,
    experiment,
    omegaconf_yaml,
    places,
    stages,
    v1_import,
)
from smtrain_llamafactory.dataset_info import FILE_NAME, RESOLVED_ON_TARGET
from smtrain_llamafactory.experiment import Experiment
from smtrain_llamafactory.omegaconf_yaml import Document
from smtrain_llamafactory.options import LlamaFactoryOptions

VERSION = LlamaFactoryOptions().version
_ACTIONS = ("do_train", "do_eval", "do_predict")
_OF_TRAINING = frozenset({"stage", "finetuning_type", "dataset", "eval_dataset", "output_dir", *_ACTIONS})
_MODEL_SETTINGS = {
    "model_name_or_path": "path",
    "model_revision": "revision",
    "template": "template",
    "adapter_name_or_path": "adapter",
    "trust_remote_code": "trust_remote_code",
}
_DEFAULTS: Mapping[str, Json] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "seed": 42}
"""LLaMA-Factory's defaults of what smtrain always sets."""

_MCORE_SIGNS = frozenset({"tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size"})
"""Arguments that only the Megatron engine (USE_MCA) has."""

_WRAPPED = "fsdp_transformer_layer_cls_to_wrap"
_SETTING_OF = {"per_device_train_batch_size": "micro_batch_size"}


class Importer:
    """Converts training, export, inference and accelerate YAMLs."""

    def convert(self, text: str, *, source: str, root: Path) -> str:
        """Returns an experiment, as YAML.

        Args:
          text: the YAML.
          source: its path, for messages.
          root: the folder that LLaMA-Factory would have been started in.

        Raises:
          SmtrainError: it is no configuration of LLaMA-Factory, or not one of this version.
        """
        document = _translated(omegaconf_yaml.read(text, source))
        if "distributed_type" in document.values:
            return experiment.render(accelerate_import.convert(document))
        if v1_import.recognises(document):
            return experiment.render(v1_import.convert(document, root))
        engine = "mcore" if _MCORE_SIGNS & document.values.keys() else "hf"
        _refuse_strangers(document, checked=engine == "hf")
        found = _Import(document=document, root=root, engine=engine)
        if "export_dir" in document.values:
            return experiment.render(found.without_training("lf_export"))
        if not _OF_TRAINING & document.values.keys():
            return experiment.render(found.without_training("lf_api"))
        return experiment.render(found.training())


def _translated(document: Document) -> Document:
    """Returns the document with what transformers 5 spells otherwise, and LLaMA-Factory's own examples still have."""
    values = dict(document.values)
    wrapped = values.pop(_WRAPPED, None)
    if wrapped is None or "fsdp_config" in values:
        return document
    values["fsdp_config"] = {_WRAPPED.removeprefix("fsdp_"): list(places.split(wrapped))}
    return replace(document, values=values)


def _refuse_strangers(document: Document, *, checked: bool) -> None:
    """Raises when the document is not LLaMA-Factory's, or has arguments that its version does not know."""
    values = document.values
    if "model_name_or_path" not in values:
        what = "This is no configuration of LLaMA-Factory: it has no `model_name_or_path`."
        fix = "Training, export, inference and accelerate YAMLs can be imported."
        raise SmtrainError([document.problem("", what, fix)])
    found = arguments.check(values, VERSION, prefix="") if checked else ()
    located = [document.problem(problem.key.lstrip("."), problem.what, problem.fix) for problem in found]
    escapes = [
        document.problem(name, f"{value!r} is OmegaConf's sign for a missing value.", "Give the value.")
        for name, value in values.items()
        if value == "???"
    ]
    if located or escapes:
        raise SmtrainError([*located, *escapes])


@dataclass(slots=True)
class _Import:
    """One YAML on its way; `args` is what stays under `trainer.args`."""

    document: Document
    root: Path
    engine: str
    args: dict[str, Json] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def without_training(self, trainer: str) -> Experiment:
        """Returns the experiment of an export or inference YAML."""
        model = self._model()
        self._rest()
        return Experiment(
            source=self.document.source,
            choices={"trainer": trainer, "model": "custom"},
            settings={"model": model},
            trainer={"args": self.args},
        )

    def training(self) -> Experiment:
        """Returns the experiment of a training YAML."""
        values = self.document.values
        stage = str(values.get("stage", "sft"))
        settings: dict[str, Json] = {"model": self._model()}
        data_choice, data = self._data()
        settings["data"] = data
        strategy = self._strategy()
        settings |= {"strategy": strategy} if strategy else {}
        for name, default in _DEFAULTS.items():
            settings[_SETTING_OF.get(name, name)] = values.get(name, default)
        if values.get("use_cpu"):
            settings["compute"] = {"accelerator": "cpu"}
        self._keep_own_spelling()
        if not any(name in values for name in _ACTIONS):
            self.args["do_train"] = False  # smtrain's trainers train unless told otherwise; LLaMA-Factory does not
        self._rest()
        if self.problems:
            raise SmtrainError(self.problems)
        absent = [name for name in ("stage", "output_dir", *_DEFAULTS) if name not in values]
        return Experiment(
            source=self.document.source,
            choices={
                "trainer": f"lf_{stages.STAGES[stage].name}",
                "tuning": "none",
                "model": "custom",
                "data": data_choice,
            },
            settings=settings,
            trainer={
                **({"engine": self.engine} if self.engine != "hf" else {}),
                **({"omit_defaults": cast("Json", absent)} if absent else {}),
                "args": self.args,
            },
        )

    def _model(self) -> dict[str, Json]:
        values = self.document.values
        model: dict[str, Json] = {
            ours: values[theirs] for theirs, ours in _MODEL_SETTINGS.items() if values.get(theirs) is not None
        }
        for name in ("path", "adapter"):
            if name in model:
                model[name] = ",".join(map(self._below_root, places.split(model[name])))
        for name in ("model_name_or_path", "adapter_name_or_path"):
            if any(self._is_folder(item) for item in places.split(values.get(name))):
                self.args[name] = values[name]
        for name in _MODEL_SETTINGS:
            default = {"trust_remote_code": False, "model_revision": "main"}.get(name)
            if name in values and values[name] == default:
                self.args[name] = values[name]
        return model

    def _data(self) -> tuple[str, dict[str, Json]]:
        values = self.document.values
        names, eval_names = places.split(values.get("dataset")), places.split(values.get("eval_dataset"))
        for name, items in (("dataset", names), ("eval_dataset", eval_names)):
            if name in values and values[name] != (",".join(items) or 0):
                self.args[name] = values[name]
        if not names and not eval_names:
            return "custom", {}
        folder = str(values.get("dataset_dir") or places.DATA_DIR)
        chosen: dict[str, Json] = {"names": list(names), "eval_names": list(eval_names)}
        if folder.startswith(RESOLVED_ON_TARGET):
            return "dataset_info", {"dataset_info": folder, **chosen}
        if "dataset_dir" in values and PurePosixPath(folder) == PurePosixPath(places.DATA_DIR):
            self.args["dataset_dir"] = values["dataset_dir"]
        elif "dataset_dir" in values and places.is_relative(folder):
            self.args["dataset_dir"] = folder
        file = self.root / folder / FILE_NAME
        if not file.is_file():
            what = f"There is no `{file}` that describes {', '.join(names + eval_names)}."
            key = "dataset_dir" if "dataset_dir" in values else "dataset" if names else "eval_dataset"
            fix = "Say with --root in which folder LLaMA-Factory would have been started."
            self.problems.append(self.document.problem(key, what, fix))
        return "dataset_info", {"dataset_info": self._below_root(f"{folder}/{FILE_NAME}"), **chosen}

    def _strategy(self) -> dict[str, Json]:
        values = self.document.values
        if values.get("deepspeed"):
            return self._deepspeed(values["deepspeed"])
        if values.get("fsdp"):
            self.args |= {name: values[name] for name in ("fsdp", "fsdp_config") if name in values}
            return {"kind": "fsdp"}
        return {}

    def _deepspeed(self, value: Json) -> dict[str, Json]:
        if not isinstance(value, str):
            what = "A DeepSpeed configuration inside the YAML cannot be imported."
            self.problems.append(self.document.problem("deepspeed", what, "Write it to a JSON file and name that."))
            return {}
        file = self.root / value
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            zero = config.get("zero_optimization", {})
            stage = zero.get("stage", 0)
        except (OSError, ValueError, AttributeError) as error:
            fix = "Say with --root in which folder LLaMA-Factory would have been started."
            self.problems.append(self.document.problem("deepspeed", f"`{file}` cannot be read: {error}.", fix))
            return {}
        if places.is_relative(value):
            self.args["deepspeed"] = value
        offloads = any(str(zero.get(name, {}).get("device", "none")) != "none" for name in ("offload_optimizer",))
        kinds = {0: "ddp", 1: "zero1", 2: "zero2", 3: "zero3"}
        kind = kinds.get(stage, "zero2") + ("_offload" if offloads and stage in (2, 3) else "")
        return {"kind": kind, "document": self._below_root(value)}

    def _keep_own_spelling(self) -> None:
        """Keeps what equals a default but was written, and what is null."""
        values = self.document.values
        if "output_dir" in values:
            self.args["output_dir"] = values["output_dir"]
            if not places.is_relative(values["output_dir"]):
                what = (
                    f"`{values['output_dir']}` is not a path inside the run's folder, where results are written first."
                )
                fix = "Take it out, and set storage.output in the experiment: results are copied to that folder."
                self.problems.append(self.document.problem("output_dir", what, fix))
        for name in ("resume_from_checkpoint", "use_cpu", "deepspeed", "fsdp", "fsdp_config"):
            if name in values and not values[name]:
                self.args[name] = values[name]
        if values.get("resume_from_checkpoint"):
            what = "A checkpoint to resume from is a matter of the run, not of its configuration."
            fix = "Take it out; resume=auto goes on from the newest checkpoint."
            self.problems.append(self.document.problem("resume_from_checkpoint", what, fix))

    def _rest(self) -> None:
        """Puts every other argument under `trainer.args`, in the order of the YAML."""
        values = self.document.values
        owned = derived.SETTING_OF
        self.args = {
            name: self.args.get(name, value) for name, value in values.items() if name in self.args or name not in owned
        } | {name: value for name, value in self.args.items() if name not in values}

    def _is_folder(self, reference: str) -> bool:
        return places.is_relative(reference) and (places.folder_like(reference) or (self.root / reference).is_dir())

    def _below_root(self, reference: str) -> str:
        """Returns a path with the root before it, when it is one; a repository's name as it is."""
        local = places.is_relative(reference) and (places.folder_like(reference) or (self.root / reference).exists())
        return (self.root / reference).as_posix() if local else reference

"""LLaMA-Factory's experimental engine v1: its arguments are passed on as they are, under other names than the old ones.

It reads `model`, `train_dataset`, `output_dir`, `peft_config`, `dist_config` and so on (src/llamafactory/v1/config).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from smtrain.plugin import (
    EnvVar,
    Input,
    Job,
    ModelSource,
    Output,
    OutputKind,
    Problem,
    Program,
    Resume,
    RuntimeVar,
    Scope,
    Staging,
    Step,
    distributed,
)
from smtrain_llamafactory import document, metrics, places, requirements
from smtrain_llamafactory.options import Arguments

SWITCH = EnvVar(name="USE_V1", value="1")
TRAIN_FILE = "train.yaml"
MERGE_FILE = "export.yaml"

_COMMANDS = {"sft": "sft", "rm": "rm"}
"""Stage → command; the others raise NotImplementedError (v1/launcher.py)."""


def check(stage: str, args: Arguments) -> Iterator[Problem]:
    """Yields what engine v1 cannot do, or could not read."""
    if stage not in _COMMANDS:
        what = f"Engine v1 has no stage `{stage}` yet; it has {' and '.join(_COMMANDS)}."
        yield Problem(key="trainer.engine", what=what, fix="Set trainer.engine=hf.")
    output = args.get("output_dir")
    if output is not None and not places.is_relative(output):
        what = f"`{output}` is not a path inside the run's folder."
        yield Problem(key="trainer.args.output_dir", what=what, fix="Leave it out and set storage.output.")
    yield from document.check(args, {})


def train(job: Job, stage: str, version: str, own: Arguments) -> Program:
    """Returns the program of a training."""
    model, data = _model(job, own), _data(job, own)
    args = {"model": model.spelled, "output_dir": places.OUTPUT_DIR, **own}
    args["model"] = model.spelled
    if data is not None:
        args["train_dataset"] = own.get("train_dataset", f"{data.path}/{PurePosixPath(job.run.data.path or '').name}")
    entry = ("-m", "llamafactory.v1.launcher", _COMMANDS[stage], TRAIN_FILE, Resume("resume_from_checkpoint="))
    folder = places.normal(str(args["output_dir"]))
    return Program(
        steps=(
            Step(name="train", argv=distributed.launch_command(job, entry), scope=Scope.EVERY_NODE, distributed=True),
        ),
        files=(document.render(TRAIN_FILE, args), *distributed.worker_files(job)),
        env=(SWITCH,),
        inputs=tuple(item for item in (model.input, data) if item is not None),
        outputs=(Output(name="train", path=folder, kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS, OutputKind.LOGS)),),
        needs=requirements.needs(job, version, {}),
        metric_patterns=metrics.PATTERNS,
    )


def merge(job: Job, version: str, own: Arguments) -> Program:
    """Returns the program that merges an adapter; where to is said in `peft_config`."""
    model = _model(job, own)
    peft = own.get("peft_config")
    peft = dict(peft) if isinstance(peft, Mapping) else {}
    folder = peft["export_dir"] if places.is_relative(peft.get("export_dir")) else "export"
    adapter = peft.get("adapter_name_or_path", job.run.model.adapter)
    reference = job.run.model.adapter or str(adapter)
    placed = places.place("adapter", reference, places.source_of(reference), literal=adapter)
    args = {
        **own,
        "model": model.spelled,
        "peft_config": {**peft, "adapter_name_or_path": placed.spelled, "export_dir": folder},
    }
    return Program(
        steps=(Step(name="export", argv=(RuntimeVar.PYTHON, "-m", "llamafactory.cli", "merge", MERGE_FILE)),),
        files=(document.render(MERGE_FILE, args),),
        env=(SWITCH,),
        inputs=tuple(item for item in (model.input, placed.input) if item is not None),
        outputs=(Output(name="export", path=places.normal(str(folder)), kinds=(OutputKind.MODEL,)),),
        needs=requirements.needs(job, version, {}),
    )


def _model(job: Job, own: Arguments) -> places.Placed:
    found = job.model
    return places.place("model", found.reference, found.source, literal=own.get("model"), fingerprint=found.fingerprint)


def _data(job: Job, own: Arguments) -> Input | None:
    """Returns the folder of the data sets' description, `data.path`, linked where `train_dataset` looks for it."""
    where = job.run.data.path
    if not where or where.startswith(("hub:", "pkg:")):
        return None
    literal = own.get("train_dataset")
    path = str(PurePosixPath(str(literal)).parent) if places.is_relative(literal) else "inputs/data"
    if places.source_of(where) is ModelSource.S3:
        return Input(name="data", uri=f"{where.rpartition('/')[0]}/", staging=Staging.COPY, path=path)
    return Input(name="data", uri=str(PurePosixPath(where).parent), staging=Staging.IN_PLACE, path=path)

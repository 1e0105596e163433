"""Jobs built by hand, for the tests of lowering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smtrain_llamafactory import trainer
from smtrain_llamafactory.options import LlamaFactoryOptions
from smtrain_llamafactory.stages import STAGES
from smtrain_llamafactory.trainer import StageTrainer

from smtrain.plugin import (
    Batch,
    Compute,
    Data,
    Dataset,
    Job,
    Json,
    Launcher,
    LocalFile,
    Model,
    ModelSource,
    ResolvedModel,
    Run,
    Selected,
    Storage,
    Strategy,
    Topology,
)

TRAINERS: Mapping[str, type[StageTrainer]] = {
    "pt": trainer.Pretraining,
    "sft": trainer.SupervisedFineTuning,
    "rm": trainer.RewardModeling,
    "ppo": trainer.ProximalPolicyOptimization,
    "dpo": trainer.DirectPreferenceOptimization,
    "kto": trainer.KahnemanTverskyOptimization,
}
assert TRAINERS.keys() == STAGES.keys()

HUB_MODEL = Model(path="org/model", template="llama3")


def file(name: str) -> LocalFile:
    return LocalFile(path=Path("/somewhere") / name, sha256="0" * 64, size=1)


def rows(name: str = "train", *, file_name: str = "rows.jsonl", **fields: object) -> Dataset:
    given = {"role": "train", "key": "data", "source": "file", "location": file_name, "files": (file(file_name),)}
    return Dataset(name=name, **{**given, **fields})  # type: ignore[arg-type]


def preferences() -> Dataset:
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    return rows(ranking=True, columns=columns)


def feedback() -> Dataset:
    return rows(columns={"prompt": "instruction", "response": "output", "kto_tag": "good"})


DATASETS: Mapping[str, Dataset] = {
    "pt": rows(columns={"prompt": "text"}),
    "sft": rows(),
    "rm": preferences(),
    "ppo": rows(),
    "dpo": preferences(),
    "kto": feedback(),
}


def adapter(reference: str) -> ResolvedModel:
    source = ModelSource.S3 if "://" in reference else ModelSource.HUB if "org/" in reference else ModelSource.FOLDER
    return ResolvedModel(reference=reference.strip(), source=source)


def job(
    *datasets: Dataset,
    model: Model = HUB_MODEL,
    source: ModelSource = ModelSource.HUB,
    config: Mapping[str, Json] | None = None,
    data: Data | None = None,
    dataset_info: bytes | None = None,
    strategy: Strategy | None = None,
    document: bytes | None = None,
    launcher: str = "torchrun",
    nodes: int = 1,
    processes: int = 1,
    accelerator: str = "auto",
    micro: int = 1,
    accumulation: int = 1,
    seed: int = 42,
) -> Job:
    topology = Topology(nodes=nodes, processes_per_node=processes, accelerator=accelerator)
    run = Run(
        name="test",
        backend=Selected(name="local", options=None),
        trainer=Selected(name="lf_sft", options=None),
        model=model,
        data=data or Data(),
        strategy=strategy or Strategy(),
        launcher=Launcher(kind=launcher),  # type: ignore[arg-type]
        compute=Compute(),
        storage=Storage(),
        global_batch_size=None,
        micro_batch_size=None,
        gradient_accumulation_steps=None,
        seed=seed,
        env={},
        secrets={},
    )
    return Job(
        run=run,
        adapters=tuple(map(adapter, (model.adapter or "").split(","))) if model.adapter else (),
        topology=topology,
        batch=Batch(
            global_size=micro * accumulation * topology.world_size, micro_size=micro, accumulation=accumulation
        ),
        model=ResolvedModel(reference=model.path, source=source, config=config or {}),
        datasets=datasets,
        dataset_info=dataset_info,
        strategy_document=document,
    )


def options(args: Mapping[str, object] | None = None, **others: object) -> LlamaFactoryOptions:
    return replace(LlamaFactoryOptions(args=args or {}), **others)  # type: ignore[arg-type]

"""Jobs for the tests of strategies and launchers."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.sections import Compute, Data, Launcher, Model, Storage, Strategy
from smtrain.spec import Batch, Job, ModelSource, ResolvedModel, Run, Selected, Topology


def make_job(
    kind: str = "zero2",
    launcher: str = "torchrun",
    *,
    nodes: int = 1,
    per_node: int = 2,
    accelerator: str = "cpu",
    micro: int = 1,
    accumulation: int = 1,
    document: str | None = None,
    content: bytes | None = None,
    overrides: Mapping[str, object] | None = None,
    max_restarts: int = 0,
) -> Job:
    strategy = Strategy(kind=kind, document=document, overrides=overrides or {})  # type: ignore[arg-type]
    run = Run(
        name="t",
        backend=Selected(name="b", options=None),
        trainer=Selected(name="t", options=None),
        model=Model(path="m"),
        data=Data(),
        strategy=strategy,
        launcher=Launcher(kind=launcher, max_restarts=max_restarts),  # type: ignore[arg-type]
        compute=Compute(),
        storage=Storage(),
        global_batch_size=None,
        micro_batch_size=None,
        gradient_accumulation_steps=None,
        seed=0,
        env={},
        secrets={},
    )
    world = nodes * per_node
    return Job(
        run=run,
        topology=Topology(nodes=nodes, processes_per_node=per_node, accelerator=accelerator),
        batch=Batch(global_size=micro * accumulation * world, micro_size=micro, accumulation=accumulation),
        model=ResolvedModel(reference="m", source=ModelSource.HUB),
        datasets=(),
        strategy_document=content,
    )

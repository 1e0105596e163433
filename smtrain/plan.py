"""What a plan says: the facts of a compiled run, in the order in which a person asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from smtrain import actions, costs
from smtrain.manifest import DIGEST_LENGTH
from smtrain.memory import plan as memory_plan
from smtrain.rows import read_files
from smtrain.spec import Batch, Dataset, Json, Step
from smtrain.token_count import estimate, texts

if TYPE_CHECKING:
    from smtrain.pipeline import Compiled

TOKEN_ROWS = 1000
"""Rows of each data set that are tokenised for the estimate."""


def facts(compiled: Compiled) -> Iterator[tuple[str, str]]:
    """Yields (title, text) pairs, in plain language."""
    job, run = compiled.job, compiled.job.run
    yield "run", f"{compiled.run_id} · {run.trainer.name} on {run.backend.name}"
    yield "model", f"{job.model.reference} ({job.model.source.value})"
    for dataset in job.datasets:
        yield dataset.role, _data(dataset)
    yield "compute", _compute(compiled)
    if job.datasets:
        yield "batch", _batch(job.batch, job.topology.world_size)
        yield "steps", str(job.steps) if job.steps is not None else "unknown before the data is read"
    tokens = _tokens(compiled)
    if tokens:
        yield "tokens", tokens
    for step in compiled.program.steps:
        yield "step", _step(step)
    yield from compiled.bundle.facts
    needed = memory_plan.memory(job, compiled.program)
    if needed is not None:
        yield "memory", memory_plan.summary(needed)
    if compiled.bundle.cost is not None:
        yield "cost", costs.text([compiled.bundle.cost])


def as_json(compiled: Compiled) -> dict[str, Json]:
    """Returns the plan as plain data."""
    job = compiled.job
    return {
        "run_id": compiled.run_id,
        "run_dir": str(compiled.run_dir),
        "digest": compiled.run_id.removeprefix(f"{job.run.name}-")[:DIGEST_LENGTH],
        "trainer": job.run.trainer.name,
        "backend": job.run.backend.name,
        "model": job.model.reference,
        "datasets": [
            {"name": dataset.name, "role": dataset.role, "location": dataset.location, "rows": dataset.rows}
            for dataset in job.datasets
        ],
        "batch": {
            "global_size": job.batch.global_size,
            "micro_size": job.batch.micro_size,
            "accumulation": job.batch.accumulation,
            "world_size": job.topology.world_size,
        },
        "steps": job.steps,
        "facts": [{"title": title, "text": text} for title, text in compiled.bundle.facts],
        "memory": asdict(needed) if (needed := memory_plan.memory(job, compiled.program)) else None,
        "cost": asdict(compiled.bundle.cost) if compiled.bundle.cost else None,
        "files": [
            {"path": path, "sha256": sha256, "size": size}
            for path, (sha256, size, _) in compiled.manifest.files.items()
        ],
        "actions": [actions.as_json(action) for action in compiled.bundle.actions],
        "warnings": [str(problem) for problem in compiled.warnings],
    }


def _data(dataset: Dataset) -> str:
    rows = f"{dataset.rows:,} rows" if dataset.rows is not None else "rows not counted"
    kind = f"{dataset.format}{', ranking' if dataset.ranking else ''}"
    return f"{dataset.name}: {rows} of {dataset.location} ({kind})"


def _compute(compiled: Compiled) -> str:
    topology, run = compiled.job.topology, compiled.job.run
    nodes = f"{topology.nodes} node{'s' if topology.nodes > 1 else ''}"
    processes = f"{topology.processes_per_node} process{'es' if topology.processes_per_node > 1 else ''}"
    return f"{nodes} × {processes} ({topology.accelerator}), {run.strategy.kind}, {run.launcher.kind}"


def _batch(batch: Batch, world_size: int) -> str:
    if batch.by_tokens:
        return f"about {batch.global_size} sample{'s' if batch.global_size > 1 else ''} a step, micro-batches by tokens"
    factors = (
        f"{batch.micro_size} a process",
        f"{batch.accumulation} accumulated",
        f"{world_size} process{'es' if world_size > 1 else ''}",
    )
    return f"{batch.global_size} sample{'s' if batch.global_size > 1 else ''} a step = {' × '.join(factors)}"


def _step(step: Step) -> str:
    return f"{step.name} ({step.scope.value.replace('-', ' ')}{', distributed' if step.distributed else ''})"


def _tokens(compiled: Compiled) -> str | None:
    """Estimates the tokens of one epoch, where the model's tokenizer is at hand."""
    folder = Path(compiled.job.model.reference).expanduser()
    if not folder.is_dir():
        return None
    total = 0.0
    for dataset in compiled.job.datasets:
        if dataset.role == "train":
            counted = _mean_tokens(folder, dataset)
            if counted is None or dataset.rows is None:
                return None
            total += counted * dataset.rows
    return f"about {total:,.0f} in an epoch" if total else None


def _mean_tokens(folder: Path, dataset: Dataset) -> float | None:
    if not dataset.files:
        return None
    sample = read_files([file.path for file in dataset.files], limit=TOKEN_ROWS)
    found = estimate(folder, texts(dataset, sample))
    return found.mean if found else None

"""Resolve: `Run` → `Job`; derives every value once, and looks at the model folder and at the rows of local files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from smtrain import batch, columns, datasets, models, rows
from smtrain.errors import Problem, warning
from smtrain.interfaces import Demands
from smtrain.machines import check as machine_check
from smtrain.machines import instances
from smtrain.sections import Compute
from smtrain.spec import Batch, Dataset, Job, Run, Topology

FIRST_ROWS = 1000
"""Rows of each file looked at when data.check is "first"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The job as far as it could be derived, and what stood in the way."""

    job: Job
    problems: tuple[Problem, ...]


def resolve(run: Run, demands: Demands) -> Resolved:
    """Derives the job of a run.

    Args:
      run: what the user said.
      demands: what its trainer asks for.
    """
    topology, topology_problems = _topology(run.compute)
    machine_problems = machine_check.check(run.compute, topology)
    sizes, batch_problems = _batch(run, demands, topology)
    model, model_problems = models.resolve(run.model)
    adapters, adapter_problems = models.resolve_adapters(run.model)
    found = datasets.find(run.data) if demands.rows is not None else datasets.Found()
    seen, row_problems = _look(run, demands, found.datasets)
    document, document_problems = _document(run)
    job = Job(
        run=run,
        topology=topology,
        batch=sizes,
        model=model,
        adapters=adapters,
        datasets=seen,
        dataset_info=found.dataset_info,
        strategy_document=document,
        steps=_steps(demands, seen, sizes),
    )
    problems = (
        *topology_problems,
        *machine_problems,
        *batch_problems,
        *model_problems,
        *adapter_problems,
        *found.problems,
        *row_problems,
        *document_problems,
    )
    return Resolved(job=job, problems=(*problems, *_absent_data(run, demands, found)))


def _topology(compute: Compute) -> tuple[Topology, tuple[Problem, ...]]:
    """Takes the processes from whichever setting says them, which must not disagree; or from the instance type."""
    gpus, processes = compute.gpus_per_node, compute.processes_per_node
    if gpus is None and processes is None and compute.accelerator != "cpu" and compute.instance_type:
        machine = instances.find(compute.instance_type)
        gpus = machine.gpus or None if machine else None
    problems: list[Problem] = []
    if gpus is not None and compute.accelerator == "cpu":
        what = f"{gpus} GPUs a node, but compute.accelerator is cpu."
        fix = "Set compute.processes_per_node for processes on CPUs, or choose compute=gpu."
        problems.append(Problem(key="compute.gpus_per_node", what=what, fix=fix))
    elif gpus is not None and processes not in (None, gpus):
        what = f"{processes} processes, but compute.gpus_per_node is {gpus}; each GPU has one process."
        fix = f"Say compute.gpus_per_node={processes}, and leave processes_per_node out."
        problems.append(Problem(key="compute.processes_per_node", what=what, fix=fix))
    return Topology(
        nodes=compute.nodes,
        processes_per_node=processes or gpus or 1,
        accelerator="gpu" if gpus is not None else compute.accelerator,
    ), tuple(problems)


def _batch(run: Run, demands: Demands, topology: Topology) -> tuple[Batch, tuple[Problem, ...]]:
    """Adds the batch up from the run's settings and the trainer's own spelling of them, which must not disagree."""
    micro, micro_key, clash = _agreed(
        "micro_batch_size", run.micro_batch_size, demands.micro_batch_size, demands.micro_batch_key
    )
    steps, steps_key, clash_too = _agreed(
        "gradient_accumulation_steps",
        run.gradient_accumulation_steps,
        demands.gradient_accumulation_steps,
        demands.gradient_accumulation_key,
    )
    clashes = (*clash, *clash_too)
    sizes = batch.resolve(
        global_size=run.global_batch_size,
        micro_size=micro,
        accumulation=steps,
        world_size=topology.world_size,
        micro_key="" if demands.token_batches else micro_key,
        accumulation_key=steps_key,
    )
    if isinstance(sizes, Problem):
        return Batch(global_size=topology.world_size, micro_size=1, accumulation=1), (*clashes, sizes)
    return replace(sizes, by_tokens=demands.token_batches), clashes


def _agreed(
    key: str, ours: int | None, theirs: int | None, their_key: str
) -> tuple[int | None, str, tuple[Problem, ...]]:
    if ours is None or theirs is None or ours == theirs:
        return (theirs, their_key, ()) if ours is None and theirs is not None else (ours, key, ())
    what = f"{theirs}, but {key} is {ours}; they are the same setting."
    return ours, key, (Problem(key=their_key, what=what, fix=f"Set one of them only, {key} say."),)


def _look(run: Run, demands: Demands, sets: tuple[Dataset, ...]) -> tuple[tuple[Dataset, ...], tuple[Problem, ...]]:
    """Reads rows of the local files; returns the data sets with their row counts, and what is wrong with the rows."""
    if run.data.check == "none" or demands.rows is None:
        return sets, ()
    limit = FIRST_ROWS if run.data.check == "first" else None
    problems: list[Problem] = []
    seen: list[Dataset] = []
    for dataset in sets:
        sample = rows.read_files([file.path for file in dataset.files], limit=limit) if dataset.files else None
        seen.append(dataset if sample is None else _seen(dataset, sample))
        if sample is not None:
            found = [problem.problem(dataset.key) for problem in sample.problems]
            fatal = any(problem.is_error for problem in found)
            rich = demands.rich_responses
            problems += found if fatal else (*found, *columns.check(dataset, sample, demands.rows, rich=rich))
    return tuple(seen), tuple(problems)


def _seen(dataset: Dataset, sample: rows.Sample) -> Dataset:
    """Returns the data set with what its rows tell."""
    return replace(columns.drop_absent_optional(dataset, sample), rows=sample.total)


def _steps(demands: Demands, sets: tuple[Dataset, ...], sizes: Batch) -> int | None:
    """Counts optimizer steps; unknown when rows are, or when packing joins them."""
    if demands.max_steps is not None:
        return demands.max_steps
    counts = [_used(dataset, demands) for dataset in sets if dataset.role == "train"]
    if demands.packing or demands.epochs is None or not counts or None in counts:
        return None
    rows_left = sum(count for count in counts if count is not None)
    held_out = demands.eval_fraction if demands.eval_fraction >= 1 else rows_left * demands.eval_fraction
    per_epoch = max(1, math.ceil((rows_left - math.ceil(held_out)) / sizes.global_size))
    return math.ceil(per_epoch * demands.epochs)


def _used(dataset: Dataset, demands: Demands) -> int | None:
    count = dataset.attributes.get("num_samples", dataset.rows)
    if not isinstance(count, int):
        return None
    return count if demands.max_samples is None else min(count, demands.max_samples)


def _document(run: Run) -> tuple[bytes | None, tuple[Problem, ...]]:
    name = run.strategy.document
    if name is None:
        return None, ()
    path = Path(name).expanduser()
    if not path.is_file():
        what = f"There is no file `{name}`."
        fix = "Relative paths start at the current folder; document=null lets smtrain write the document."
        return None, (Problem(key="strategy.document", what=what, fix=fix),)
    return path.read_bytes(), ()


def _absent_data(run: Run, demands: Demands, found: datasets.Found) -> Iterator[Problem]:
    if demands.rows is None:
        return
    if not found.datasets and not found.problems:
        fix = "Set data.path=FILE with the group that fits its rows, e.g. `data=alpaca data.path=rows.jsonl`."
        yield Problem(key="data.path", what="There are no rows to train on.", fix=fix)
    elif (run.data.path or "").startswith("pkg://smtrain/example_data/"):
        yield warning("data.path", "Training on the example rows that come with smtrain.", "Set data.path=FILE.")

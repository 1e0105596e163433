"""What the plan says of a job of Slurm."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Program, Staging
from smtrain_hyperpod.slurm import job_script, parts
from smtrain_hyperpod.slurm.options import SlurmOptions


def facts(job: Job, program: Program, options: SlurmOptions) -> Iterator[tuple[str, str]]:
    """Yields (title, text) pairs."""
    at = job_script.places(job, options)
    yield "cluster", f"{_login(options)}, {at.run}"
    yield "nodes", ", ".join(_nodes(job, options))
    for part in parts.parts(job, program, options)[1:]:
        own = ", ".join(f"{name} {value}" for name, value in parts.said(options.steps[part.name]).items())
        nodes = f"{part.nodes} node{'s' if part.nodes > 1 else ''}"
        yield "then", f"step {part.name}, {nodes}{', ' if own else ''}{own}: a job that waits for the one before"
    yield "software", _environment(options)
    for item in program.inputs:
        if item.staging is Staging.COPY:
            yield "inputs", f"{item.name}: copied from {item.uri} to each node"
        elif item.staging is Staging.IN_PLACE:
            yield "inputs", f"{item.name}: {item.uri}, as the nodes have it"
    yield "results", at.output or at.output_uri
    yield "ends", ", ".join(_ends(options))


def hand_over(options: SlurmOptions) -> str:
    """Returns what submitting does, in one line."""
    handed = f"copy the bundle to {_login(options)} and run submit.sh there, which gives job.sbatch to Slurm"
    return f"{handed}; the runs of a sweep as one job array" if options.array else handed


def _login(options: SlurmOptions) -> str:
    return options.login or "this machine"


def _nodes(job: Job, options: SlurmOptions) -> Iterator[str]:
    nodes = job.topology.nodes
    yield f"{nodes} node{'s' if nodes > 1 else ''}{' of its own' if options.exclusive else ''}"
    gpus = job_script.gpu_count(job)
    if gpus:
        yield f"{gpus} GPU{'s' if gpus > 1 else ''} each"
    yield f"partition {options.partition}" if options.partition else "the cluster's default partition"
    for name in ("account", "qos", "constraint", "reservation"):
        value = getattr(options, name)
        if value is not None:
            yield f"{name} {value}"


def _environment(options: SlurmOptions) -> str:
    if options.container is not None:
        return f"{options.container.image} ({options.container.runtime})"
    if options.conda is not None:
        return f"conda environment {options.conda}"
    if options.venv is not None:
        return f"virtual environment {options.venv}"
    return options.python or "python3 of the nodes"


def _ends(options: SlurmOptions) -> Iterator[str]:
    limit = f"{options.time} min" if (options.time or "").isdigit() else options.time
    yield f"after {limit}" if limit else "at the partition's time limit"
    if options.requeue.on_time_limit:
        yield f"saves {options.requeue.lead_s} s before, and is requeued"
    if options.requeue.on_failed_node:
        yield "is requeued when a node fails"

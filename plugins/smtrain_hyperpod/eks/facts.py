"""What the plan says of a job on Kubernetes, in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import RUN_ID, Job, Program, Staging
from smtrain_hyperpod.eks import launch, machine, operators
from smtrain_hyperpod.eks.contents import Contents
from smtrain_hyperpod.eks.options import EksOptions


def facts(job: Job, program: Program, options: EksOptions, found: Contents) -> Iterator[tuple[str, str]]:
    """Yields (title, text) pairs."""
    yield "job", f"{operators.of(options).kind} in {_where(options)}"
    yield "pods", ", ".join(_pods(job, options))
    yield "image", options.image
    queue = options.kueue.queue
    if queue:
        yield "queue", f"{queue}, priority {options.kueue.priority}" if options.kueue.priority else queue
    for name, volume in options.volumes.items():
        source = f"claim {volume.claim}" if volume.claim else f"the node's {volume.host_path}"
        yield "volumes", f"{volume.path}: {name}, {source}{', read-only' if volume.read_only else ''}"
    scratch = options.scratch
    yield (
        "volumes",
        f"{scratch.path}: scratch, {f'the node’s {scratch.host_path}' if scratch.host_path else 'an emptyDir'}",
    )
    for item in program.inputs:
        if item.staging is Staging.COPY:
            yield "inputs", f"{item.name}: copied from {item.uri} to each pod"
    yield "files", f"in {len(found.maps)} ConfigMaps"
    kept = launch.output_folder(job)
    yield "results", f"{kept or (job.run.storage.output or '').rstrip('/')}/{RUN_ID}"
    if options.restarts.max:
        yield "restarts", f"at most {options.restarts.max}, from the newest checkpoint"
    if options.elastic:
        yield "nodes", f"{options.elastic.min_nodes} to {options.elastic.max_nodes}"


def _where(options: EksOptions) -> str:
    namespace = f"namespace {options.namespace}" if options.namespace else "the context's namespace"
    return f"{namespace}, context {options.context}" if options.context else f"{namespace}, current context"


def _pods(job: Job, options: EksOptions) -> Iterator[str]:
    yield f"{job.topology.nodes} × {job.run.compute.instance_type or 'any node'}"
    if gpus := machine.gpus(job):
        yield f"{gpus} GPUs"
    if efa := machine.efa(job, options):
        yield f"{efa} EFA devices"

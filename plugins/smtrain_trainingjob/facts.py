"""What the plan says of a job: the request, in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import RUN_ID, Job, Program
from smtrain_trainingjob import inputs, machine, request
from smtrain_trainingjob.contents import Contents
from smtrain_trainingjob.options import TrainingJobOptions
from smtrain_trainingjob.rules import job_rules


def facts(job: Job, program: Program, options: TrainingJobOptions, found: Contents) -> Iterator[tuple[str, str]]:
    """Yields (title, text) pairs."""
    yield "hosts", ", ".join(f"{count} × {name}" for name, count in machine.types(job, options))
    yield "hosts", ", ".join(_terms(options))
    yield "image", machine.image(job, options)[0]
    yield "role", options.role
    network = ", ".join(_network(options))
    if network:
        yield "network", network
    for item in inputs.copied(program, options):
        yield "inputs", f"{item.name}: copied from {item.uri} to each host"
    for name, channel in {**inputs.in_channels(program, options), **options.channels}.items():
        yield "inputs", f"{name}: channel from {channel.uri} ({channel.mode or 'File'})"
    for name, system in options.file_systems.items():
        yield "inputs", f"{name}: {system.type} {system.id}:{system.path} ({system.access})"
    yield "channels", ", ".join(each.channel for each in found.sets)
    yield "results", request.output_uri(options, job_rules.output(job)) or "SageMaker's model.tar.gz alone"
    if options.checkpoints.upload and any(output.checkpoint_glob for output in program.outputs):
        yield (
            "results",
            f"checkpoints while it runs, the newest {options.checkpoints.keep} of them; the model after success",
        )
    if options.model_dir:
        yield "results", f"model.tar.gz in {job_rules.output(job)}/{RUN_ID}/output/"


def _terms(options: TrainingJobOptions) -> Iterator[str]:
    yield options.region
    if options.spot:
        yield f"spot, at most {(request.max_wait_s(options) or 0) / 3600:g} h with waiting"
    yield f"at most {options.max_run_s / 3600:g} h"
    if options.keep_alive_s:
        yield f"kept warm for {options.keep_alive_s / 60:g} min"
    if options.retries:
        yield f"{options.retries} restarts after an internal error"


def _network(options: TrainingJobOptions) -> Iterator[str]:
    if options.subnets:
        yield f"VPC {' '.join(options.subnets)}"
    if options.network_isolation:
        yield "none inside the container"
    if options.encrypt_traffic:
        yield "encrypted between the hosts"

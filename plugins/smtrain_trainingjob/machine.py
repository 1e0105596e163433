"""The hosts of a job: how many, of what type, with which disk, in which image, at what price."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtrain.plugin import Cost, Job, Problem, Program, instances, warning
from smtrain_trainingjob.images import images
from smtrain_trainingjob.images.images import Image
from smtrain_trainingjob.options import TrainingJobOptions

VOLUME_GIB = 200
LARGEST_VOLUME_GIB = 16_384
"""Of gp2, which SageMaker's volumes are: ebs/latest/userguide/general-purpose."""


def types(job: Job, options: TrainingJobOptions) -> tuple[tuple[str, int], ...]:
    """Returns instance type and count of each group of hosts."""
    if options.instance_groups:
        return tuple((group.instance_type, group.count) for group in options.instance_groups.values())
    name = job.run.compute.instance_type
    return ((name, job.topology.nodes),) if name else ()


def problems(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields what is wrong with the choice of hosts."""
    single = job.run.compute.instance_type
    if options.instance_groups:
        yield from _groups(job, options)
    elif single is None:
        yield Problem(key="compute.instance_type", what="No instance type is set.", fix="E.g. ml.g5.12xlarge.")
    elif not single.startswith(instances.PREFIX):
        if instances.is_known_name(single):
            what = f"SageMaker's names begin with `{instances.PREFIX}`."
            yield Problem(key="compute.instance_type", what=what, fix=f"Write {instances.PREFIX}{single}.")
    else:
        yield from _neuron(single, "compute.instance_type", options)


def volume_problems(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields when a volume is asked for that is larger than there are; the service's model has no limit."""
    on_ebs = any((known := instances.find(name)) and not known.nvme_gib for name, _ in types(job, options))
    if on_ebs and (options.volume_gib or 0) > LARGEST_VOLUME_GIB:
        what = f"{options.volume_gib} GiB are asked for; the largest volume has {LARGEST_VOLUME_GIB}."
        yield Problem(key="backend.volume_gib", what=what, fix="Lower it.")


def volume_gib(job: Job, options: TrainingJobOptions) -> int:
    """Returns the size of each host's volume."""
    if options.volume_gib is not None:
        return options.volume_gib
    disks = [machine.nvme_gib for name, _ in types(job, options) if (machine := instances.find(name))]
    return min([VOLUME_GIB, *(size for size in disks if size)])


def image(job: Job, options: TrainingJobOptions) -> tuple[str, Image | None, tuple[Problem, ...]]:
    """Returns the image's URI, what is known of it, and what is wrong with the choice."""
    if options.image is not None:
        return options.image, images.recognise(options.image), ()
    chosen = options.framework
    found = images.look_up(
        framework=chosen.name,
        version=chosen.version,
        python=chosen.python,
        transformers=chosen.transformers,
        region=options.region,
        gpu=any(machine.gpus for name, _ in types(job, options) if (machine := instances.find(name))),
    )
    return ("", None, (found,)) if isinstance(found, Problem) else (found.uri, found, ())


def image_problems(program: Program, uri: str, known: Image | None, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields why the image would not do for a program."""
    if known is not None:
        yield from images.problems(known, program.needs, key="backend.image" if options.image else "backend.framework")
    elif uri:
        what = f"Nothing is known of the image `{uri}`, so whether it has what the program needs is not checked."
        yield warning("backend.image", what, f"It needs bash and Python {program.needs.python}.")


def image_region(options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields when the image is of another region than the job, which SageMaker refuses.

    "Cross region ECR image pulls are not allowed": github.com/ed-donner/alex/issues/30.
    """
    registry = _REGISTRY.match(options.image or "")
    if registry and registry["region"] != options.region:
        what = f"The image is in {registry['region']}, and the job in {options.region}: it must be in the job's region."
        same = (options.image or "").replace(f".{registry['region']}.", f".{options.region}.", 1)
        yield Problem(key="backend.image", what=what, fix=f"Copy it there, if it is not: {same}")


def partition(region: str) -> str:
    """Returns the partition of AWS that a region belongs to, as ARNs have it."""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


_REGISTRY = re.compile(r"\d{12}\.(?:dkr\.ecr|dkr-ecr)(?:-fips)?\.(?P<region>[a-z0-9-]+)\.")
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def cost(job: Job, options: TrainingJobOptions) -> Cost | None:
    """Returns what the hosts cost; None when a price is not known."""
    total, bases = 0.0, set()
    for name, count in types(job, options):
        if options.usd_per_hour is not None:
            total += options.usd_per_hour * count
            bases.add("backend.usd_per_hour")
            continue
        machine = instances.find(name)
        price = instances.price(machine, options.region) if machine else None
        if price is None:
            return None
        total += price.usd_per_hour * count
        bases.add(f"list price of {price.region} on {price.as_of}{', as an estimate' if price.estimated else ''}")
    if options.spot:
        bases.add("spot is billed at less")
    return Cost(usd_per_hour=total, max_hours=options.max_run_s / 3600, basis="; ".join(sorted(bases)))


def _groups(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    if job.run.compute.instance_type is not None:
        what = "An instance type and backend.instance_groups both say what the hosts are."
        yield Problem(key="compute.instance_type", what=what, fix="Set compute.instance_type=null.")
    total = sum(group.count for group in options.instance_groups.values())
    if total != job.topology.nodes:
        what = f"{job.topology.nodes}, but the instance groups have {total} hosts, all of which take part."
        yield Problem(key="compute.nodes", what=what, fix=f"Set compute.nodes={total}.")
    machines = [machine for name, _ in types(job, options) if (machine := instances.find(name))]
    if job.topology.accelerator == "auto" and any(machine.gpus for machine in machines):
        # A single type tells how many GPUs a host has; of several, no one says how many processes each is to have.
        least = min(machine.gpus for machine in machines)
        what = "The instance groups have GPUs, and nothing says how many processes a host is to have."
        fix = f"Set compute.gpus_per_node={least}." if least else "Give every group GPUs: all hosts run the same."
        yield Problem(key="compute.gpus_per_node", what=what, fix=fix)
    for name, group in options.instance_groups.items():
        key = f"backend.instance_groups.{name}.instance_type"
        yield from _neuron(group.instance_type, key, options)
        machine = instances.find(group.instance_type)
        if machine is None and not instances.is_known_name(group.instance_type):
            what = f"There is no instance type `{group.instance_type}`."
            yield Problem(key=key, what=what, fix=instances.suggestion(group.instance_type))
        elif machine and job.topology.accelerator == "gpu" and machine.gpus < job.topology.processes_per_node:
            what = f"{machine.gpus} GPUs, and every host is to have {job.topology.processes_per_node} processes."
            yield Problem(key=key, what=what, fix="Lower compute.gpus_per_node, or choose another type.")


def _neuron(name: str, key: str, options: TrainingJobOptions) -> Iterator[Problem]:
    machine = instances.find(name)
    if machine is not None and machine.accelerator == "neuron" and options.image is None:
        what = f"`{name}` has AWS's Neuron accelerators in the place of GPUs, and no image for them is known."
        yield Problem(key=key, what=what, fix="Choose a type with GPUs, or name an image for Neuron: backend.image.")

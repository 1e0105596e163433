"""The hosts of a job: how many, of what type, with which disk, in which image, at what price."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Cost, Job, Problem, Program, instances, warning
from smtrain_trainingjob import images
from smtrain_trainingjob.images import Image
from smtrain_trainingjob.options import TrainingJobOptions

VOLUME_GIB = 200


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
        what = f"SageMaker's names begin with `{instances.PREFIX}`."
        yield Problem(key="compute.instance_type", what=what, fix=f"Write {instances.PREFIX}{single}.")


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
    for name, group in options.instance_groups.items():
        key = f"backend.instance_groups.{name}.instance_type"
        machine = instances.find(group.instance_type)
        if machine is None and not instances.is_known_name(group.instance_type):
            what = f"There is no instance type `{group.instance_type}`."
            yield Problem(key=key, what=what, fix=instances.suggestion(group.instance_type))
        elif machine and job.topology.accelerator == "gpu" and machine.gpus < job.topology.processes_per_node:
            what = f"{machine.gpus} GPUs, and every host is to have {job.topology.processes_per_node} processes."
            yield Problem(key=key, what=what, fix="Lower compute.gpus_per_node, or choose another type.")

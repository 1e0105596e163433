"""The nodes of a job: their type, what each pod takes of one, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Cost, Job, Problem, instances, warning
from smtrain_hyperpod.eks.options import EksOptions

KEY = "compute.instance_type"


def gpus(job: Job) -> int:
    """Returns the GPUs of each pod, one a process."""
    return job.topology.processes_per_node if job.topology.accelerator == "gpu" else 0


def efa(job: Job, options: EksOptions) -> int:
    """Returns the EFA devices of each pod: all of a node, where there are several and the pod has all of its GPUs."""
    if options.efa is not None:
        return options.efa
    several = job.topology.nodes > 1 or options.elastic is not None
    known = _known(job)
    return known.efa_interfaces if several and known is not None and gpus(job) == known.gpus else 0


def problems(job: Job, options: EksOptions) -> Iterator[Problem]:
    """Yields what is wrong with the choice of nodes; that a type exists, and has the GPUs, is seen elsewhere."""
    name = job.run.compute.instance_type
    if options.hyperpod and name is None:
        yield Problem(
            key=KEY, what="No instance type is set.", fix="E.g. ml.p5.48xlarge, as the cluster's group has it."
        )
    elif name is not None and instances.is_known_name(name):
        yield from _prefix(name, options)
    if not gpus(job) and job.topology.accelerator == "auto" and (name is None or _known(job) is None):
        what = "Nothing says how many GPUs a pod is to have, so it asks for none and computes on the CPU."
        yield warning("compute.gpus_per_node", what, "Set it, or compute.accelerator=cpu.")
    yield from _efa(job, options)


def cost(job: Job, options: EksOptions) -> Cost | None:
    """Returns what the nodes cost while the job has them; None when that is not known."""
    known = _known(job)
    max_hours = options.max_run_s / 3600 if options.max_run_s else None
    if options.usd_per_hour is not None:
        price, basis = options.usd_per_hour, "backend.usd_per_hour"
    else:
        found = instances.price(known, options.region or instances.HOME_REGION) if known and options.hyperpod else None
        if found is None:
            return None
        price = found.usd_per_hour
        basis = f"list price of training in {found.region} on {found.as_of}, as an estimate"
    basis += "; the cluster's nodes are paid whether they work or not"
    return Cost(usd_per_hour=price * job.topology.nodes, max_hours=max_hours, basis=basis)


def label(job: Job) -> str | None:
    """Returns the value of the nodes' instance type label."""
    return job.run.compute.instance_type


def _known(job: Job) -> instances.InstanceType | None:
    name = job.run.compute.instance_type
    return instances.find(name) if name else None


def _prefix(name: str, options: EksOptions) -> Iterator[Problem]:
    prefixed = name.startswith(instances.PREFIX)
    if options.hyperpod and not prefixed:
        what = f"HyperPod's nodes are labelled with names that begin with `{instances.PREFIX}`."
        yield Problem(
            key=KEY, what=what, fix=f"Write {instances.PREFIX}{name}; for another Kubernetes, backend.hyperpod=false."
        )
    elif not options.hyperpod and prefixed:
        bare = name.removeprefix(instances.PREFIX)
        what = f"Only HyperPod's nodes are labelled `{name}`; other nodes of EC2 are labelled `{bare}`."
        yield Problem(key=KEY, what=what, fix=f"Write {bare}, or backend.hyperpod=true.")


def _efa(job: Job, options: EksOptions) -> Iterator[Problem]:
    wanted, known = options.efa or 0, _known(job)
    if wanted < 0:
        yield Problem(key="backend.efa", what=f"{wanted} devices cannot be.", fix="Set 0 for none.")
    elif known is not None and wanted > known.efa_interfaces:
        has = f"{known.efa_interfaces}" if known.efa_interfaces else "none"
        what = f"{wanted} EFA devices are asked for; {known.name} has {has}, so no node would ever do."
        yield Problem(key="backend.efa", what=what, fix=f"Set at most {known.efa_interfaces}.")

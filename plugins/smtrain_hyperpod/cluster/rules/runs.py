"""Rules of a run that says which cluster it is for (`cluster=…` beside `backend=hyperpod_*`): it must fit there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.plugin import Job, Problem, instances, suggest, warning
from smtrain_hyperpod.cluster import topology
from smtrain_hyperpod.cluster.options import ClusterOptions, Group

_ORCHESTRATORS: Mapping[str, str] = {"hyperpod_slurm": "slurm", "hyperpod_eks": "eks"}


def problems(job: Job, cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields why the cluster could not run a job; nothing for runs of other backends."""
    wanted = _ORCHESTRATORS.get(job.run.backend.name)
    if wanted is None:
        return
    if cluster.orchestrator != wanted:
        what = f"The cluster `{cluster.name}` is orchestrated by {cluster.orchestrator}."
        yield Problem(key="backend.name", what=what, fix=f"Choose backend=hyperpod_{cluster.orchestrator}.")
        return
    said = getattr(job.run.backend.options, "partition", None)
    groups = dict(_groups(cluster, said))
    if not groups and said is None:
        yield Problem(
            key="cluster.groups", what="No group is of kind compute: the cluster can run no job.", fix="Add one."
        )
    elif not groups:
        known = sorted({topology.partition(group) for group in _compute(cluster).values()})
        what = f"The cluster `{cluster.name}` has no partition `{said}`."
        yield Problem(key="backend.partition", what=what, fix=suggest.did_you_mean(str(said), known))
    if not groups:
        return
    yield from _nodes(job, groups, said)
    yield from _gpus(job, groups)


def _compute(cluster: ClusterOptions) -> dict[str, Group]:
    return {name: group for name, group in cluster.groups.items() if group.kind == "compute"}


def _groups(cluster: ClusterOptions, partition: str | None) -> Iterator[tuple[str, Group]]:
    """Yields the groups whose nodes a job may get; HyperPod's partition `dev` has those of all groups."""
    for name, group in _compute(cluster).items():
        if partition in (None, topology.DEFAULT_PARTITION, topology.partition(group)):
            yield name, group


def _nodes(job: Job, groups: Mapping[str, Group], partition: str | None) -> Iterator[Problem]:
    kind = job.run.compute.instance_type
    fitting = {name: group for name, group in groups.items() if kind in (None, *_types(group))}
    if not fitting:
        known = sorted({name for group in groups.values() for name in _types(group)})
        what = f"None of the groups {', '.join(f'`{name}`' for name in groups)} has instances of {kind}."
        yield Problem(key="compute.instance_type", what=what, fix=suggest.did_you_mean(str(kind), known))
        return
    total = sum(group.count for group in fitting.values())
    if job.topology.nodes > total:
        place = f"partition `{partition}`" if partition else "the cluster"
        what = f"{job.topology.nodes} nodes are asked for, and {place} has {total}."
        fix = f"Set compute.nodes={total}, or scale the cluster: smtrain cluster scale"
        yield Problem(key="compute.nodes", what=what, fix=fix if total else "Scale it: smtrain cluster scale")


def _gpus(job: Job, groups: Mapping[str, Group]) -> Iterator[Problem]:
    machines = [instances.find(name) for group in groups.values() for name in _types(group)]
    if not machines or any(machine is None for machine in machines):
        return  # of a type without figures nothing is known
    most = max(machine.gpus for machine in machines if machine is not None)
    where = ", ".join(f"`{name}` ({' or '.join(_types(group))})" for name, group in groups.items())
    wanted = job.topology.processes_per_node
    if job.topology.accelerator == "gpu" and most == 0:
        what = f"The run needs GPUs, and {where} has none."
        fix = "Choose another partition, or train on CPUs: compute=cpu"
        yield Problem(key="compute.gpus_per_node", what=what, fix=fix)
    elif job.topology.accelerator == "gpu" and wanted > most:
        what = f"{wanted} GPUs of each node are asked for, and those of {where} have {most} at most."
        yield Problem(key="compute.gpus_per_node", what=what, fix=f"Set compute.gpus_per_node={most}.")
    elif job.topology.accelerator == "auto" and most == 0:
        yield warning("compute.accelerator", f"{where} has no GPUs: the run trains on CPUs.", "To say so: compute=cpu")


def _types(group: Group) -> tuple[str, ...]:
    return (group.instance_type,) if group.instance_type else group.instance_types

"""What a plan says of a cluster, in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import instances
from smtrain_hyperpod.cluster import topology, users
from smtrain_hyperpod.cluster.lifecycle import Scripts
from smtrain_hyperpod.cluster.options import ClusterOptions, Group


def facts(cluster: ClusterOptions, scripts: Scripts) -> Iterator[tuple[str, str]]:
    """Yields (title, text) pairs."""
    yield "cluster", f"{cluster.name} in {cluster.region}, under {_orchestrator(cluster)}"
    for name, group in cluster.groups.items():
        yield "groups", f"{name}: {', '.join(_group(cluster, group))}"
    yield "role", cluster.role
    yield "network", " ".join(cluster.vpc.subnets) or "HyperPod's own VPC"
    for kind, system in (("FSx for Lustre", cluster.fsx.lustre), ("FSx for OpenZFS", cluster.fsx.openzfs)):
        if system is not None:
            yield "storage", f"{kind} {system.dns_name} at {system.mount_path}"
    for mount in cluster.mounts.values():
        yield "storage", f"{mount.uri} at {mount.path}{'' if mount.writable else ', read only'}"
    for name, user in cluster.users.items():
        yield "users", f"{name} ({user.uid}), at home in {users.home(cluster, name, user)}"
    yield "nodes", ", ".join(_terms(cluster, scripts))


def _orchestrator(cluster: ClusterOptions) -> str:
    if cluster.orchestrator == "eks":
        return f"EKS ({cluster.eks.cluster_arn})"
    return f"Slurm ({topology.PARAMETERS if topology.has_file(cluster) else 'topology in the request'})"


def _group(cluster: ClusterOptions, group: Group) -> Iterator[str]:
    yield f"{group.count} × {group.instance_type or ' or '.join(group.instance_types)}"
    if cluster.orchestrator == "slurm":
        yield f"partition {topology.partition(group)}" if group.kind == "compute" else group.kind
    machine = instances.find(group.instance_type or "")
    if machine is not None and machine.gpus:
        yield f"{machine.gpus} {machine.gpu} each"
    if group.volume_gib is not None:
        yield f"{group.volume_gib} GiB at /opt/sagemaker"
    if group.training_plan is not None:
        yield "of a training plan"
    if group.spot:
        yield "spot"


def _terms(cluster: ClusterOptions, scripts: Scripts) -> Iterator[str]:
    if scripts.entry:
        yield f"each new one runs {scripts.entry} of {len(scripts.files)} files"
    yield "faulty ones are replaced" if cluster.node_recovery == "automatic" else "faulty ones are left to you"
    if cluster.continuous:
        yield "provisioned continuously"

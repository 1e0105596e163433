"""Rules of clusters under Slurm.

Sources: sagemaker/latest/dg, pages sagemaker-hyperpod-slurm-api-config-migration (one controller group, partitions of
compute groups alone, no file beside the API), sagemaker-hyperpod-scaling-slurm (continuous provisioning needs the
topology in the request and takes no strategy), sagemaker-hyperpod-multihead-slurm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtrain.plugin import Problem, instances, warning
from smtrain_hyperpod.cluster import topology
from smtrain_hyperpod.cluster.options import ClusterOptions, Group

_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields what is wrong with a cluster under Slurm; nothing for others."""
    if cluster.orchestrator != "slurm":
        return
    yield from _modes(cluster)
    yield from _controllers(cluster)
    yield from _logins(cluster)
    if cluster.groups and not topology.groups_of(cluster, "compute"):
        yield warning("cluster.groups", "No group is of kind compute: the cluster can run no job.")
    for name, group in cluster.groups.items():
        yield from _group(cluster, group, f"cluster.groups.{name}")
    yield from _foreign(cluster)


def _controllers(cluster: ClusterOptions) -> Iterator[Problem]:
    controllers = topology.groups_of(cluster, "controller")
    if not controllers and cluster.groups:
        what = "No instance group is the controller, without which there is no Slurm."
        fix = "Say which: cluster.groups.NAME.kind=controller"
        yield Problem(key="cluster.groups", what=what, fix=fix)
    for name in controllers[1:]:
        what = f"`{controllers[0]}` is the controller already, and a cluster has one such group."
        yield Problem(key=f"cluster.groups.{name}.kind", what=what, fix="Make it compute or login.")
    for name in controllers[:1]:
        yield from _controller(cluster, cluster.groups[name], f"cluster.groups.{name}")


def _controller(cluster: ClusterOptions, group: Group, here: str) -> Iterator[Problem]:
    shared = cluster.slurm.multi_head
    if group.count == 0:
        yield Problem(key=f"{here}.count", what="The controller group has no instance.", fix=f"Set {here}.count=1.")
    elif group.count > 1 and shared is None:
        what = f"{group.count} controllers need an accounting database and a folder that they share."
        yield Problem(key=f"{here}.count", what=what, fix="Set it to 1, or set cluster.slurm.multi_head.")
    elif group.count == 1 and shared is not None:
        what = "There is one controller, and nothing to share."
        yield Problem(key="cluster.slurm.multi_head", what=what, fix=f"Set {here}.count=2, or leave it out.")
    machine = instances.find(group.instance_type) if group.instance_type else None
    if machine is not None and machine.gpus:
        what = (
            f"The controller runs no job, and {machine.name} has {machine.gpus} GPU{'s' if machine.gpus > 1 else ''}."
        )
        yield warning(f"{here}.instance_type", what, "A machine without GPUs will do, e.g. ml.m5.12xlarge.")


def _logins(cluster: ClusterOptions) -> Iterator[Problem]:
    logins = topology.groups_of(cluster, "login")
    for name in logins[1:] if topology.has_file(cluster) else ():
        what = f"`{logins[0]}` is the login group already, and {topology.PARAMETERS} has room for one."
        fix = "Make it compute, or set cluster.slurm.topology=api."
        yield Problem(key=f"cluster.groups.{name}.kind", what=what, fix=fix)


def _group(cluster: ClusterOptions, group: Group, here: str) -> Iterator[Problem]:
    if group.partition is not None and group.kind != "compute":
        what = f"Partitions have nodes of compute groups, and this group is of kind {group.kind}."
        yield Problem(key=f"{here}.partition", what=what, fix="Leave it out.")
    elif group.partition is not None and topology.has_file(cluster) and not _PARTITION.fullmatch(group.partition):
        what = f"`{group.partition}` cannot be the name of a partition."
        yield Problem(key=f"{here}.partition", what=what, fix="Take letters, digits, `-`, `_` and `.`.")
    for key in ("labels", "taints"):
        if getattr(group, key):
            what = "Nodes of Slurm have none; Kubernetes' have."
            yield Problem(key=f"{here}.{key}", what=what, fix="Leave it out, or set cluster.orchestrator=eks.")


def _modes(cluster: ClusterOptions) -> Iterator[Problem]:
    slurm = cluster.slurm
    if cluster.continuous and slurm.topology == "file":
        what = f"Continuous provisioning needs the topology in the request, and not in {topology.PARAMETERS}."
        yield Problem(key="cluster.continuous", what=what, fix="Set cluster.slurm.topology=api, or leave it out.")
    if slurm.strategy is not None and slurm.topology == "file":
        what = f"A strategy is for a topology in the request, and this one is in {topology.PARAMETERS}."
        yield Problem(key="cluster.slurm.strategy", what=what, fix="Set cluster.slurm.topology=api, or leave it out.")
    elif slurm.strategy is not None and cluster.continuous:
        what = "With continuous provisioning HyperPod always merges, and refuses to be told."
        yield Problem(key="cluster.slurm.strategy", what=what, fix="Leave it out.")
    if slurm.multi_head is not None and slurm.topology == "api":
        what = f"Several controllers are a matter of {topology.PARAMETERS}; the request has no room for them."
        yield Problem(key="cluster.slurm.multi_head", what=what, fix="Set cluster.slurm.topology=file.")
    elif slurm.multi_head is not None and cluster.fsx.lustre is None:
        what = "Controllers share their state on FSx for Lustre, and there is none."
        yield Problem(key="cluster.slurm.multi_head.shared_directory", what=what, fix="Set cluster.fsx.lustre.")


def _foreign(cluster: ClusterOptions) -> Iterator[Problem]:
    for key in ("cluster_arn", "autoscaling_role"):
        if getattr(cluster.eks, key) is not None:
            what = "This cluster is Slurm's, which knows no EKS."
            fix = "Leave it out, or set cluster.orchestrator=eks."
            yield Problem(key=f"cluster.eks.{key}", what=what, fix=fix)
    if cluster.tiered_storage_percent is not None:
        what = "Tiered checkpoints are a matter of clusters under EKS."
        yield Problem(key="cluster.tiered_storage_percent", what=what, fix="Leave it out.")

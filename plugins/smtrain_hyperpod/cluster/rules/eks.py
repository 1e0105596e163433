"""Rules of clusters under EKS.

Sources: sagemaker/latest/dg, pages sagemaker-hyperpod-eks-prerequisites (the VPC is that of the EKS cluster) and
sagemaker-hyperpod-eks-autoscaling (Karpenter needs continuous provisioning).
"""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_hyperpod.cluster.options import ClusterOptions

_REGION_IN_ARN = 3


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields what is wrong with a cluster under EKS; nothing for others."""
    if cluster.orchestrator != "eks":
        return
    yield from _eks_cluster(cluster)
    if not cluster.vpc.subnets:
        what = "Nodes join an EKS cluster over its network, and none is said."
        fix = "Name subnets and security groups of the EKS cluster's VPC: cluster.vpc.subnets=[subnet-…]"
        yield Problem(key="cluster.vpc.subnets", what=what, fix=fix)
    if cluster.eks.autoscaling_role is not None and not cluster.continuous:
        what = "Autoscaling needs continuous provisioning."
        yield Problem(key="cluster.eks.autoscaling_role", what=what, fix="Set cluster.continuous=true.")
    yield from _groups(cluster)
    yield from _foreign(cluster)


def _eks_cluster(cluster: ClusterOptions) -> Iterator[Problem]:
    arn = cluster.eks.cluster_arn
    if arn is None:
        fix = "Set it: cluster.eks.cluster_arn=arn:aws:eks:REGION:ACCOUNT:cluster/NAME"
        yield Problem(key="cluster.eks.cluster_arn", what="A value is required.", fix=fix)
        return
    parts = arn.split(":")
    region = parts[_REGION_IN_ARN] if len(parts) > _REGION_IN_ARN else ""
    if region and region != cluster.region:
        what = f"The EKS cluster is in {region}, and the HyperPod cluster is to be in {cluster.region}."
        yield Problem(key="cluster.eks.cluster_arn", what=what, fix="They must be in one region.")


def _groups(cluster: ClusterOptions) -> Iterator[Problem]:
    for name, group in cluster.groups.items():
        here = f"cluster.groups.{name}"
        if group.kind != "compute":
            what = f"Under EKS all nodes do work, and `{group.kind}` is a kind of Slurm's."
            yield Problem(key=f"{here}.kind", what=what, fix="Leave it out, or set cluster.orchestrator=slurm.")
        if group.partition is not None:
            what = "Partitions are Slurm's."
            yield Problem(key=f"{here}.partition", what=what, fix=f"Leave it out; {here}.labels tells nodes apart.")


def _foreign(cluster: ClusterOptions) -> Iterator[Problem]:
    slurm = cluster.slurm
    if slurm.strategy is not None or slurm.multi_head is not None:
        what = "This cluster is orchestrated by EKS, and has no Slurm to be configured."
        fix = "Leave it out, or set cluster.orchestrator=slurm."
        key = "cluster.slurm.strategy" if slurm.strategy is not None else "cluster.slurm.multi_head"
        yield Problem(key=key, what=what, fix=fix)
    pods = {
        "fsx": (cluster.fsx.lustre or cluster.fsx.openzfs, "Pods mount FSx through its CSI driver, as a volume claim."),
        "users": (cluster.users, "Users of an EKS cluster are those of Kubernetes and IAM, not of its nodes."),
        "mounts": (cluster.mounts, "Pods mount S3 through the CSI driver of Mountpoint, as a volume claim."),
    }
    for key, (said, what) in pods.items():
        if said:
            yield Problem(key=f"cluster.{key}", what=what, fix="Leave it out.")

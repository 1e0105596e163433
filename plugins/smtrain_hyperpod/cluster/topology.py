"""Which group is what in Slurm, said as `provisioning_parameters.json` or in the request.

Sources: sagemaker/latest/dg/sagemaker-hyperpod-slurm-api-config-migration (the fields, and how they map to the API),
sagemaker-hyperpod-multihead-slurm (slurm_configurations); the base configuration's lifecycle_script.py reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.plugin import Json
from smtrain_hyperpod.cluster.options import ClusterOptions, Group, MultiHead, NodeKind

PARAMETERS = "provisioning_parameters.json"
DEFAULT_PARTITION = "dev"
"""The partition that HyperPod has in any case, with every compute node."""

_NODE_TYPES: Mapping[NodeKind, str] = {"controller": "Controller", "login": "Login", "compute": "Compute"}


def has_file(cluster: ClusterOptions) -> bool:
    """Whether the topology stands in provisioning_parameters.json."""
    return cluster.orchestrator == "slurm" and cluster.slurm.topology == "file"


def groups_of(cluster: ClusterOptions, kind: NodeKind) -> tuple[str, ...]:
    """Returns the names of the groups of a kind."""
    return tuple(name for name, group in cluster.groups.items() if group.kind == kind)


def partition(group: Group) -> str:
    """Returns the partition of a compute group."""
    return group.partition or DEFAULT_PARTITION


def parameters(cluster: ClusterOptions) -> dict[str, Json]:
    """Returns provisioning_parameters.json."""
    login = groups_of(cluster, "login")
    lustre, zfs = cluster.fsx.lustre, cluster.fsx.openzfs
    document: dict[str, Json] = {
        "version": "1.0.0",
        "workload_manager": "slurm",
        "controller_group": next(iter(groups_of(cluster, "controller")), ""),
        **({"login_group": login[0]} if login else {}),
        "worker_groups": [
            {"instance_group_name": name, "partition_name": partition(cluster.groups[name])}
            for name in groups_of(cluster, "compute")
        ],
    }
    if lustre is not None:
        document |= {"fsx_dns_name": lustre.dns_name, "fsx_mountname": lustre.mount_name}
    if zfs is not None:
        document["fsx_openzfs_dns_name"] = zfs.dns_name
    if cluster.slurm.multi_head is not None:
        document["slurm_configurations"] = _multi_head(cluster.slurm.multi_head)
    return document


def slurm_config(group: Group) -> dict[str, Json]:
    """Returns `SlurmConfig` of an instance group."""
    names: list[Json] = [partition(group)] if group.kind == "compute" else []
    return {"NodeType": _NODE_TYPES[group.kind], **({"PartitionNames": names} if names else {})}


def _multi_head(shared: MultiHead) -> dict[str, Json]:
    return {
        "slurm_database_secret_arn": shared.database_secret_arn,
        "slurm_database_endpoint": shared.database_endpoint,
        "slurm_shared_directory": shared.shared_directory,
        "slurm_database_user": shared.database_user,
        **({"slurm_sns_arn": shared.sns_topic_arn} if shared.sns_topic_arn else {}),
    }

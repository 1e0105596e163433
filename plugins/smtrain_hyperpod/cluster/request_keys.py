"""The configuration key behind each member of a CreateCluster request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smtrain_hyperpod.cluster.options import ClusterOptions

Path = tuple[str | int, ...]

_EBS = "EbsVolumeConfig"
_KEYS: Mapping[tuple[str, ...], str] = {
    ("ClusterName",): "name",
    ("InstanceGroups",): "groups",
    ("VpcConfig", "Subnets"): "vpc.subnets",
    ("VpcConfig", "SecurityGroupIds"): "vpc.security_groups",
    ("VpcConfig",): "vpc",
    ("Orchestrator", "Eks"): "eks.cluster_arn",
    ("Orchestrator", "Slurm"): "slurm.strategy",
    ("NodeRecovery",): "node_recovery",
    ("NodeProvisioningMode",): "continuous",
    ("TieredStorageConfig",): "tiered_storage_percent",
    ("ClusterRole",): "eks.autoscaling_role",
    ("AutoScaling",): "eks.autoscaling_role",
    ("Tags",): "tags",
}
_GROUP_KEYS: Mapping[tuple[str, ...], str] = {
    ("InstanceGroupName",): "",
    ("InstanceType",): "instance_type",
    ("InstanceRequirements",): "instance_types",
    ("InstanceCount",): "count",
    ("MinInstanceCount",): "min_count",
    ("ThreadsPerCore",): "threads_per_core",
    ("OnStartDeepHealthChecks",): "deep_health_checks",
    ("TrainingPlanArn",): "training_plan",
    ("OverrideVpcConfig", "Subnets"): "vpc.subnets",
    ("OverrideVpcConfig", "SecurityGroupIds"): "vpc.security_groups",
    ("OverrideVpcConfig",): "vpc",
    ("ScheduledUpdateConfig",): "update_schedule",
    ("ImageId",): "image",
    ("ImageReleaseVersion",): "image_release",
    ("KubernetesConfig", "Labels"): "labels",
    ("KubernetesConfig", "Taints"): "taints",
    ("SlurmConfig", "PartitionNames"): "partition",
    ("SlurmConfig",): "kind",
    ("CapacityRequirements",): "spot",
    ("NetworkInterface",): "network_interface",
    ("InstanceStorageConfigs", _EBS, "VolumeSizeInGB"): "volume_gib",
    ("InstanceStorageConfigs", _EBS, "VolumeKmsKeyId"): "volume_kms_key",
    ("InstanceStorageConfigs",): "volume_gib",
}
_ELSEWHERE: Mapping[tuple[str, ...], str] = {
    ("LifeCycleConfig", "OnCreate"): "lifecycle.on_create",
    ("LifeCycleConfig",): "lifecycle.store",
    ("InstanceStorageConfigs", "FsxLustreConfig", "DnsName"): "fsx.lustre.dns_name",
    ("InstanceStorageConfigs", "FsxLustreConfig", "MountName"): "fsx.lustre.mount_name",
    ("InstanceStorageConfigs", "FsxLustreConfig", "MountPath"): "fsx.lustre.mount_path",
    ("InstanceStorageConfigs", "FsxOpenZfsConfig", "DnsName"): "fsx.openzfs.dns_name",
    ("InstanceStorageConfigs", "FsxOpenZfsConfig", "MountPath"): "fsx.openzfs.mount_path",
}
"""Members of a group that the cluster says for all of them."""


def member_keys() -> Mapping[str, str]:
    """Returns the members of a cluster that the section says by keys of its own: member → key."""
    return {path[0]: key.partition(".")[0] for path, key in _KEYS.items()}


def group_member_keys() -> Mapping[str, str]:
    """Returns the members of a group that the section says by keys of its own: member → key."""
    own = {path[0]: key.partition(".")[0] for path, key in _GROUP_KEYS.items()}
    return {
        **own,
        "InstanceGroupName": "the group's name",
        "ExecutionRole": "role",
        "LifeCycleConfig": "cluster.lifecycle",
    }


def keys_of(cluster: ClusterOptions) -> Callable[[Path], str]:
    """Returns what tells the configuration key that a path in this cluster's request comes from."""
    names = list(cluster.groups)

    def key_of(path: Path) -> str:
        words = tuple(part for part in path if isinstance(part, str))
        if words and words[0] in cluster.request:
            return f"cluster.request.{words[0]}"
        if words[:1] == ("InstanceGroups",) and len(path) > 1 and isinstance(path[1], int) and path[1] < len(names):
            return _group_key(cluster, names[path[1]], path[2:])
        found = _longest(_KEYS, words)
        inside = f".{words[1]}" if found == "tags" and len(words) > 1 and words[1] not in ("Key", "Value") else ""
        return f"cluster.{found}{inside}" if found is not None else "cluster"

    return key_of


def _group_key(cluster: ClusterOptions, name: str, path: Path) -> str:
    said = cluster.groups[name]
    here = f"cluster.groups.{name}"
    words = tuple(part for part in path if isinstance(part, str))
    if words[-1:] == ("VolumeKmsKeyId",):
        # The root volume's entry stands behind that of the other one, where there is one.
        return f"{here}.{'volume_kms_key' if said.volume_gib is not None and 0 in path else 'root_kms_key'}"
    if words and words[0] in said.request:
        return f"{here}.request.{words[0]}"
    if words[:1] == ("ExecutionRole",):
        return f"{here}.role" if said.role else "cluster.role"
    elsewhere = _longest(_ELSEWHERE, words)
    if elsewhere is not None:
        return f"cluster.{elsewhere}"
    found = _longest(_GROUP_KEYS, words)
    return f"{here}.{found}" if found else here


def _longest(keys: Mapping[tuple[str, ...], str], words: tuple[str, ...]) -> str | None:
    for length in range(len(words), 0, -1):
        if words[:length] in keys:
            return keys[words[:length]]
    return None

"""The CreateCluster request, member by member; `request_keys` knows the configuration key behind each.

Source: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateCluster.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtrain.plugin import Json
from smtrain_hyperpod.cluster import topology
from smtrain_hyperpod.cluster.options import ClusterOptions, Group, Vpc

RECOVERY: Mapping[str, str] = {"automatic": "Automatic", "none": "None"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCreate:
    """What a new node runs.

    Attributes:
      uri: s3:// URI of the scripts, without a slash at the end.
      script: which of them.
    """

    uri: str
    script: str


def build(cluster: ClusterOptions, on_create: OnCreate | None) -> dict[str, Json]:
    """Returns the request; members that say nothing are left out."""
    head: dict[str, Json] = {
        "ClusterName": cluster.name,
        "InstanceGroups": [group(cluster, name, on_create) for name in cluster.groups],
    }
    rest: dict[str, Json] = {
        "VpcConfig": _vpc(cluster.vpc),
        "Orchestrator": _orchestrator(cluster),
        "NodeRecovery": RECOVERY[cluster.node_recovery],
        "NodeProvisioningMode": "Continuous" if cluster.continuous else None,
        "TieredStorageConfig": _tiered(cluster.tiered_storage_percent),
        "ClusterRole": cluster.eks.autoscaling_role,
        "AutoScaling": {"Mode": "Enable", "AutoScalerType": "Karpenter"} if cluster.eks.autoscaling_role else None,
        "Tags": [{"Key": key, "Value": str(value)} for key, value in sorted(cluster.tags.items())],
    }
    return {**head, **_stated(rest), **plain(cluster.request)}


def group(cluster: ClusterOptions, name: str, on_create: OnCreate | None) -> dict[str, Json]:
    """Returns the specification of one instance group."""
    said = cluster.groups[name]
    specification: dict[str, Json] = {
        "InstanceGroupName": name,
        "InstanceType": said.instance_type,
        "InstanceRequirements": {"InstanceTypes": list(said.instance_types)} if said.instance_types else None,
        "InstanceCount": said.count,
        "MinInstanceCount": said.min_count,
        "ExecutionRole": said.role or cluster.role,
        "LifeCycleConfig": {"SourceS3Uri": on_create.uri, "OnCreate": on_create.script} if on_create else None,
        "ThreadsPerCore": said.threads_per_core,
        "InstanceStorageConfigs": _storage(cluster, said),
        "OnStartDeepHealthChecks": list(said.deep_health_checks),
        "TrainingPlanArn": said.training_plan,
        "OverrideVpcConfig": _vpc(said.vpc) if said.vpc else None,
        "ScheduledUpdateConfig": {"ScheduleExpression": said.update_schedule} if said.update_schedule else None,
        "ImageId": said.image,
        "ImageReleaseVersion": said.image_release,
        "KubernetesConfig": _kubernetes(said),
        "SlurmConfig": topology.slurm_config(said) if _topology_in_request(cluster) else None,
        "NetworkInterface": {"InterfaceType": said.network_interface} if said.network_interface else None,
    }
    stated = _stated(specification)
    # An empty structure is how the API spells it.
    capacity: dict[str, Json] = {"CapacityRequirements": {"Spot": {}}} if said.spot else {}
    return {**stated, **capacity, **plain(said.request)}


def plain(members: Mapping[str, object]) -> dict[str, Json]:
    """Returns members that the user wrote, as JSON."""
    return {str(name): _plain(value) for name, value in members.items()}


def _plain(value: object) -> Json:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _topology_in_request(cluster: ClusterOptions) -> bool:
    return cluster.orchestrator == "slurm" and cluster.slurm.topology == "api"


def _vpc(vpc: Vpc) -> dict[str, Json]:
    return {"SecurityGroupIds": list(vpc.security_groups), "Subnets": list(vpc.subnets)}


def _orchestrator(cluster: ClusterOptions) -> dict[str, Json] | None:
    if cluster.orchestrator == "eks":
        return {"Eks": {"ClusterArn": cluster.eks.cluster_arn}}
    # With the file, Slurm is what a cluster has that names no orchestrator.
    if cluster.slurm.strategy is None or not _topology_in_request(cluster):
        return None
    return {"Slurm": {"SlurmConfigStrategy": cluster.slurm.strategy.capitalize()}}


def _tiered(percent: int | None) -> dict[str, Json] | None:
    return None if percent is None else {"Mode": "Enable", "InstanceMemoryAllocationPercentage": percent}


def _storage(cluster: ClusterOptions, said: Group) -> list[Json]:
    found: list[Json] = []
    if said.volume_gib is not None:
        found.append({"EbsVolumeConfig": {"VolumeSizeInGB": said.volume_gib, "VolumeKmsKeyId": said.volume_kms_key}})
    if said.root_kms_key is not None:
        found.append({"EbsVolumeConfig": {"VolumeKmsKeyId": said.root_kms_key, "RootVolume": True}})
    lustre, zfs = cluster.fsx.lustre, cluster.fsx.openzfs
    if _topology_in_request(cluster) and lustre is not None:
        names = {"DnsName": lustre.dns_name, "MountName": lustre.mount_name, "MountPath": lustre.mount_path}
        found.append({"FsxLustreConfig": dict(names)})
    if _topology_in_request(cluster) and zfs is not None:
        found.append({"FsxOpenZfsConfig": {"DnsName": zfs.dns_name, "MountPath": zfs.mount_path}})
    return found


def _kubernetes(said: Group) -> dict[str, Json]:
    return {
        "Labels": dict(said.labels),
        "Taints": [{"Key": taint.key, "Value": taint.value, "Effect": taint.effect} for taint in said.taints],
    }


def _stated(members: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the members that say something: neither None nor empty."""
    stated = {name: _without_silence(value) for name, value in members.items()}
    return {name: value for name, value in stated.items() if value is not None and value not in ([], {})}


def _without_silence(value: Json) -> Json:
    match value:
        case dict():
            return _stated(value)
        case list():
            return [_without_silence(item) for item in value]
        case _:
            return value

"""The UpdateCluster request that makes a cluster what it is asked to be, or changes the number of its instances.

Sources: API_UpdateCluster, and dg/sagemaker-hyperpod-eks-operate-cli-command-update-cluster: what of a group can be
changed. A group that is named is given whole; one that is not named stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from smtrain.plugin import Json
from smtrain_hyperpod.cluster import account
from smtrain_hyperpod.cluster.differences import Difference

UPDATE = "sagemaker.UpdateCluster"

_COPIED = (
    *("InstanceGroupName", "InstanceType", "LifeCycleConfig", "ExecutionRole", "ThreadsPerCore"),
    *("InstanceStorageConfigs", "OnStartDeepHealthChecks", "TrainingPlanArn", "OverrideVpcConfig"),
    *("ScheduledUpdateConfig", "SlurmConfig", "CapacityRequirements", "NetworkInterface"),
)
"""Members of a group that its description spells as its specification does."""

_OF_CLUSTER = (
    *("NodeRecovery", "NodeProvisioningMode", "TieredStorageConfig", "ClusterRole", "AutoScaling", "Orchestrator"),
    *("RestrictedInstanceGroups", "RestrictedInstanceGroupsConfig"),
)
"""Members of CreateCluster that UpdateCluster takes as well."""


def scaled(described: Mapping[str, Json], counts: Mapping[str, int]) -> dict[str, Json]:
    """Returns the request that gives groups of a cluster other counts, and leaves everything else as it is.

    Args:
      described: DescribeCluster's answer.
      counts: group → instances; each is a group of the cluster.
    """
    specifications: list[Json] = [
        specification(group, counts[str(group["InstanceGroupName"])])
        for group in account.groups(described)
        if str(group["InstanceGroupName"]) in counts
    ]
    return {"ClusterName": described["ClusterName"], "InstanceGroups": specifications}


def specification(group: Mapping[str, Json], count: int) -> dict[str, Json]:
    """Returns the specification of a group as it is, but for the number of its instances."""
    copied = {name: group[name] for name in _COPIED if group.get(name) not in (None, [])}
    least: dict[str, Json] = {"MinInstanceCount": group["MinCount"]} if group.get("MinCount") else {}
    return {**copied, "InstanceCount": count, **least, **_desired(group)}


def _desired(group: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the members that a description tells both as they are and as they are to be."""
    found: dict[str, Json] = {}
    types, kubernetes = group.get("InstanceRequirements"), group.get("KubernetesConfig")
    if isinstance(types, dict):
        found["InstanceRequirements"] = {"InstanceTypes": types.get("DesiredInstanceTypes")}
    if isinstance(kubernetes, dict):
        told = {name: kubernetes.get(f"Desired{name}") for name in ("Labels", "Taints")}
        found["KubernetesConfig"] = {name: value for name, value in told.items() if value}
    return found


def updated(request: Mapping[str, Json], found: Iterable[Difference]) -> dict[str, Json]:
    """Returns the request that changes what differs.

    Args:
      request: CreateCluster's, as the cluster is to be.
      found: the differences; all can be changed.
    """
    different = tuple(found)
    asked = {str(group["InstanceGroupName"]): group for group in _groups(request)}
    changed = dict.fromkeys(each.group for each in different if each.group in asked)
    surplus = [each.group for each in different if each.group and each.group not in asked]
    members = dict.fromkeys(str(each.path[0]) for each in different if not each.group)
    update: dict[str, Json] = {"ClusterName": request["ClusterName"]}
    if changed:
        update["InstanceGroups"] = [cast("Json", asked[name]) for name in changed]
    if surplus:
        update["InstanceGroupsToDelete"] = cast("Json", surplus)
    return {**update, **{name: request[name] for name in members}}


def unchangeable(found: Iterable[Difference]) -> tuple[Difference, ...]:
    """Returns the differences that no update removes."""
    return tuple(each for each in found if not each.group and each.path[0] not in _OF_CLUSTER)


def _groups(request: Mapping[str, Json]) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", request.get("InstanceGroups") or [])

"""An endpoint on loopback whose HyperPod clusters live as moto 5.2.5 has them, and a little more like the service's.

moto creates, describes, lists and deletes clusters: they are in service at once. What it lacks is added to its backend
here: requests checked as strictly as the model allows, the scripts looked for in S3, the statuses that a cluster passes
through (one more at each look), the members that moto's description drops, ids in ARNs, and UpdateCluster.
"""

from __future__ import annotations

import copy

from sagemaker_jobs import ACCOUNT, REGION
from sagemaker_model import INVALID, ApiError, check
from sagemaker_service import IN_USE, SageMakerService

ABSENT = "ResourceNotFound"
STEPS = 2
"""Looks at a cluster that changes until it has changed."""


class ClusterService(SageMakerService):
    """The service; `capacity` bounds the instances of a group that there are, and `fail_next` fails the next change."""

    def __init__(self, folder):
        super().__init__(folder)
        self.capacity: dict[str, int] = {}
        self.fail_next = ""
        self._requests: dict[str, dict] = {}
        self._left: dict[str, int] = {}

    @property
    def _backend(self):
        from moto.sagemaker.models import sagemaker_backends

        return sagemaker_backends[ACCOUNT][REGION]

    def _create_cluster(self, request):
        check("CreateCluster", request)
        name = request["ClusterName"]
        if name in self._backend.clusters:
            raise ApiError(IN_USE, f"Resource Already Exists: Cluster with name {name} already exists.")
        self._check_scripts(request)
        self._backend.create_cluster(
            cluster_name=name,
            instance_groups=_for_moto(request["InstanceGroups"]),
            vpc_config=request.get("VpcConfig"),
            tags=request.get("Tags"),
        )
        self._requests[name] = copy.deepcopy(request)
        cluster = self._backend.clusters[name]
        cluster.arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:cluster/{_id(name)}"
        for number, node in enumerate(cluster.nodes.values()):
            node.instance_id = f"i-{number:017x}"
        self._begin(name, "Creating")
        return {"ClusterArn": cluster.arn}

    def _describe_cluster(self, request):
        name = request["ClusterName"]
        self._pass_time(name)
        answer = self._there(name).describe()
        asked = self._requests.get(name, {})
        kept = ("Orchestrator", "NodeRecovery", "NodeProvisioningMode", "TieredStorageConfig", "AutoScaling")
        answer = {**{key: asked[key] for key in kept if key in asked}, **answer}
        answer["CreationTime"] = answer["CreationTime"].timestamp()
        answer["InstanceGroups"] = [_described(group) for group in answer["InstanceGroups"]]
        return answer

    def _update_cluster(self, request):
        check("UpdateCluster", request)
        name = request["ClusterName"]
        self._check_scripts(request)
        cluster = self._there(name)
        there = {group["InstanceGroupName"]: group for group in cluster.instance_groups}
        for group in _for_moto(request.get("InstanceGroups", [])):
            kept = there.get(group["InstanceGroupName"], {"CurrentCount": 0})
            there[group["InstanceGroupName"]] = {
                **group,
                "CurrentCount": kept["CurrentCount"],
                "TargetCount": group.pop("InstanceCount"),
            }
        for group_name in request.get("InstanceGroupsToDelete", []):
            del there[group_name]
        for group in there.values():
            group.pop("InstanceCount", None)
        cluster.instance_groups = list(there.values())
        for member in ("NodeRecovery", "Orchestrator"):
            if member in request:
                self._requests[name][member] = request[member]
        self._begin(name, "Updating")
        return {"ClusterArn": cluster.arn}

    def _delete_cluster(self, request):
        name = request["ClusterName"]
        cluster = self._there(name)
        self._begin(name, "Deleting")
        return {"ClusterArn": cluster.arn}

    def _there(self, name):
        if name not in self._backend.clusters:
            raise ApiError(ABSENT, f"Could not find cluster '{name}'.")
        return self._backend.clusters[name]

    # ------------------------------------------------------------------------------------------------- statuses

    def _begin(self, name, status):
        cluster = self._backend.clusters[name]
        cluster.status, cluster.failure_message = status, ""
        self._left[name] = STEPS
        if status == "Creating":
            for group in cluster.instance_groups:
                group["CurrentCount"] = 0

    def _pass_time(self, name):
        if not self._left.get(name):
            return
        self._left[name] -= 1
        if self._left[name]:
            return
        cluster = self._backend.clusters[name]
        if cluster.status == "Deleting":
            self._backend.delete_cluster(name)
            return
        cluster.status = "Failed" if self.fail_next else "InService"
        cluster.failure_message, self.fail_next = self.fail_next, ""
        for group in cluster.instance_groups:
            most = self.capacity.get(group["InstanceGroupName"], group["TargetCount"])
            group["CurrentCount"] = min(group["TargetCount"], most)

    def _check_scripts(self, request):
        for group in request.get("InstanceGroups", []):
            found = group.get("LifeCycleConfig")
            if found and not self._around.objects.keys(f"{found['SourceS3Uri']}/{found['OnCreate']}", most=1):
                raise ApiError(INVALID, f"There is no {found['OnCreate']} in {found['SourceS3Uri']}.")


def _for_moto(groups):
    """Returns groups with the members that moto takes for given."""
    none = {"ThreadsPerCore": None, "LifeCycleConfig": {"SourceS3Uri": "s3://sagemaker-none", "OnCreate": ""}}
    return [{**none, "InstanceType": "ml.m5.large", **copy.deepcopy(group)} for group in groups]


def _described(group):
    told = {key: value for key, value in group.items() if value is not None}
    if told.get("LifeCycleConfig", {}).get("OnCreate") == "":
        del told["LifeCycleConfig"]
    if "MinInstanceCount" in told:
        told["MinCount"] = told.pop("MinInstanceCount")
    return {**told, "Status": "InService"}


def _id(name):
    """Returns an id like the service's, which a cluster's name is not: 12 lower-case letters and digits."""
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()[:12]

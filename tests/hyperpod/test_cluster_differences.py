"""What counts as a difference between a cluster and what is asked for, and the request that a group is changed by."""

from __future__ import annotations

import pytest
from sagemaker_model import check
from smtrain_hyperpod.cluster.differences import differences
from smtrain_hyperpod.cluster.updates import scaled

ROLE = "arn:aws:iam::123456789012:role/hyperpod"
WANTED = {
    "ClusterName": "ml",
    "InstanceGroups": [
        {
            "InstanceGroupName": "workers",
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 2,
            "MinInstanceCount": 1,
            "ExecutionRole": ROLE,
            "InstanceStorageConfigs": [{"EbsVolumeConfig": {"VolumeSizeInGB": 500}}],
            "OverrideVpcConfig": {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
        }
    ],
    "NodeRecovery": "Automatic",
    "Tags": [{"Key": "team", "Value": "speech"}],
}
FOUND = {
    "ClusterName": "ml",
    "ClusterArn": "arn:aws:sagemaker:us-west-2:123456789012:cluster/abc",
    "ClusterStatus": "InService",
    "NodeRecovery": "Automatic",
    "InstanceGroups": [
        {
            "InstanceGroupName": "workers",
            "InstanceType": "ml.g5.xlarge",
            "CurrentCount": 2,
            "TargetCount": 2,
            "MinCount": 1,
            "ExecutionRole": ROLE,
            "ThreadsPerCore": 2,
            "Status": "InService",
            "InstanceStorageConfigs": [
                {"EbsVolumeConfig": {"RootVolume": True, "VolumeKmsKeyId": "key"}},
                {"EbsVolumeConfig": {"VolumeSizeInGB": 500, "RootVolume": False}},
            ],
            "OverrideVpcConfig": {"Subnets": ["subnet-2", "subnet-1"], "SecurityGroupIds": ["sg-1"]},
        }
    ],
}


def changed(**members):
    return {**FOUND, "InstanceGroups": [{**FOUND["InstanceGroups"][0], **members}]}


def texts(found):
    return [str(each) for each in differences(WANTED, found)]


def test_what_the_service_fills_in_or_reorders_is_no_difference():
    assert texts(FOUND) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (changed(TargetCount=3), "group workers: InstanceCount: 3, asked for is 2"),
        (changed(MinCount=None), "group workers: MinInstanceCount: null, asked for is 1"),
        (
            changed(InstanceType="ml.g5.2xlarge"),
            'group workers: InstanceType: "ml.g5.2xlarge", asked for is "ml.g5.xlarge"',
        ),
        ({**FOUND, "NodeRecovery": "None"}, 'NodeRecovery: "None", asked for is "Automatic"'),
        ({**FOUND, "InstanceGroups": []}, "group workers: is not there"),
    ],
)
def test_a_difference_is_told_in_a_line(found, said):
    assert texts(found) == [said]


def test_another_volume_and_other_subnets_differ():
    small = [{"EbsVolumeConfig": {"VolumeSizeInGB": 100}}]
    assert texts(changed(InstanceStorageConfigs=small))[0].startswith("group workers: InstanceStorageConfigs: ")
    network = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert texts(changed(OverrideVpcConfig=network))[0].startswith("group workers: OverrideVpcConfig.Subnets: ")


def test_a_group_that_nobody_asked_for_is_told():
    more = {**FOUND["InstanceGroups"][0], "InstanceGroupName": "more"}
    (each,) = differences(WANTED, {**FOUND, "InstanceGroups": [*FOUND["InstanceGroups"], more]})
    assert each.is_surplus
    assert str(each) == "group more: is there, and not asked for"


def test_a_scaled_group_is_given_as_it_is_but_for_its_count():
    group = {
        **FOUND["InstanceGroups"][0],
        "InstanceType": None,
        "InstanceRequirements": {"CurrentInstanceTypes": ["ml.g5.xlarge"], "DesiredInstanceTypes": ["ml.g6.xlarge"]},
        "KubernetesConfig": {"CurrentLabels": {"a": "1"}, "DesiredLabels": {"a": "2"}, "DesiredTaints": []},
        "ActiveOperations": {"Scaling": 1},
    }
    request = scaled({**FOUND, "InstanceGroups": [group]}, {"workers": 5})
    check("UpdateCluster", request)
    (specification,) = request["InstanceGroups"]
    assert specification == {
        "InstanceGroupName": "workers",
        "InstanceRequirements": {"InstanceTypes": ["ml.g6.xlarge"]},
        "InstanceCount": 5,
        "MinInstanceCount": 1,
        "ExecutionRole": ROLE,
        "ThreadsPerCore": 2,
        "InstanceStorageConfigs": group["InstanceStorageConfigs"],
        "OverrideVpcConfig": group["OverrideVpcConfig"],
        "KubernetesConfig": {"Labels": {"a": "2"}},
    }

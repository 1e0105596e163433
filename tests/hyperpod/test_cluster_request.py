"""A cluster's request and provisioning parameters, and that botocore's model takes what ours does."""

from __future__ import annotations

import pytest
from cluster_compiling import EKS, base_configuration, errors, files, options, parameters, request_of
from sagemaker_model import check
from smtrain_hyperpod.cluster import compiled, lifecycle, price, request_keys
from smtrain_hyperpod.cluster.rules.groups import problems as _group_problems

LUSTRE = {"dns_name": "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com", "mount_name": "abcdefgh"}
ZFS = {"dns_name": "fs-0fedcba9876543210.fsx.us-west-2.amazonaws.com"}
VPC = {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]}
EVERYTHING = {
    "instance_type": "ml.p5.48xlarge",
    "count": 4,
    "min_count": 2,
    "partition": "gpu",
    "role": "arn:aws:iam::123456789012:role/workers",
    "threads_per_core": 1,
    "volume_gib": 500,
    "volume_kms_key": "arn:aws:kms:us-west-2:123456789012:key/1",
    "root_kms_key": "arn:aws:kms:us-west-2:123456789012:key/2",
    "training_plan": "arn:aws:sagemaker:us-west-2:123456789012:training-plan/mine",
    "deep_health_checks": ["InstanceStress", "InstanceConnectivity"],
    "vpc": {"subnets": ["subnet-0c2d"], "security_groups": ["sg-0c2d"]},
    "image": "ami-0123456789abcdef0",
    "update_schedule": "cron(00 14 ? * THU *)",
    "network_interface": "efa",
}


@pytest.fixture
def base(tmp_path):
    return base_configuration(tmp_path)


def test_a_small_cluster_is_the_request_that_one_would_write_by_hand(base):
    cluster = options(base)
    uri = lifecycle.scripts(cluster).uri(cluster)
    shared = {
        "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod",
        "LifeCycleConfig": {"SourceS3Uri": uri, "OnCreate": "on_create.sh"},
    }
    assert uri.startswith("s3://sagemaker-lifecycle/src/")
    assert request_of(cluster) == {
        "ClusterName": "ml",
        "InstanceGroups": [
            {"InstanceGroupName": "controller", "InstanceType": "ml.m5.12xlarge", "InstanceCount": 1, **shared},
            {"InstanceGroupName": "workers", "InstanceType": "ml.p5.48xlarge", "InstanceCount": 4, **shared},
        ],
        "NodeRecovery": "Automatic",
    }


def test_the_parameters_name_every_group_of_the_request(base):
    login = {"groups": {"door": {"kind": "login", "instance_type": "ml.m5.xlarge"}}}
    found = parameters(options(base, login, {"fsx": {"lustre": LUSTRE, "openzfs": ZFS}}, {"vpc": VPC}))
    assert found == {
        "version": "1.0.0",
        "workload_manager": "slurm",
        "controller_group": "controller",
        "login_group": "door",
        "worker_groups": [{"instance_group_name": "workers", "partition_name": "gpu"}],
        "fsx_dns_name": LUSTRE["dns_name"],
        "fsx_mountname": "abcdefgh",
        "fsx_openzfs_dns_name": ZFS["dns_name"],
    }


def test_without_fsx_the_parameters_say_nothing_of_it(base):
    assert {key for key in parameters(options(base)) if key.startswith("fsx")} == set()


def test_several_controllers_share_what_they_are_told(base):
    shared = {
        "database_secret_arn": "arn:aws:secretsmanager:us-west-2:123456789012:secret:db",
        "database_endpoint": "db.internal",
        "sns_topic_arn": "arn:aws:sns:us-west-2:123456789012:failover",
    }
    cluster = options(
        base,
        {"slurm": {"multi_head": shared}, "groups": {"controller": {"count": 2}}},
        {"fsx": {"lustre": LUSTRE}, "vpc": VPC},
    )
    assert errors(cluster) == {}
    assert parameters(cluster)["slurm_configurations"] == {
        "slurm_database_secret_arn": shared["database_secret_arn"],
        "slurm_database_endpoint": "db.internal",
        "slurm_shared_directory": "/fsx",
        "slurm_database_user": "admin",
        "slurm_sns_arn": shared["sns_topic_arn"],
    }


def test_with_the_topology_in_the_request_there_is_no_file(base):
    cluster = options(
        base, {"slurm": {"topology": "api", "strategy": "managed"}, "fsx": {"lustre": LUSTRE}, "vpc": VPC}
    )
    asked = request_of(cluster)
    assert "provisioning_parameters.json" not in files(cluster)
    assert asked["Orchestrator"] == {"Slurm": {"SlurmConfigStrategy": "Managed"}}
    controller, workers = asked["InstanceGroups"]
    assert controller["SlurmConfig"] == {"NodeType": "Controller"}
    assert workers["SlurmConfig"] == {"NodeType": "Compute", "PartitionNames": ["gpu"]}
    mounted = {"DnsName": LUSTRE["dns_name"], "MountName": "abcdefgh", "MountPath": "/fsx"}
    assert workers["InstanceStorageConfigs"] == [{"FsxLustreConfig": mounted}]


def test_a_cluster_under_eks_names_its_orchestrator():
    asked = request_of(options(None, EKS, {"groups": {"workers": {"partition": None}}}))
    assert asked["Orchestrator"] == {"Eks": {"ClusterArn": EKS["eks"]["cluster_arn"]}}
    assert "LifeCycleConfig" not in asked["InstanceGroups"][0]


@pytest.mark.parametrize("topology", ["file", "api"])
def test_everything_that_a_group_can_say_is_taken_by_the_service_s_own_model(topology, base):
    said = {**EVERYTHING, **({} if topology == "api" else {"min_count": None})}
    whole = {
        "slurm": {"topology": topology},
        "continuous": topology == "api",
        "groups": {"workers": said},
        "vpc": VPC,
        "fsx": {"lustre": LUSTRE, "openzfs": ZFS},
        "tags": {"team": "speech", "cost": 7},
    }
    cluster = options(base, whole)
    assert errors(cluster) == {}
    asked = request_of(cluster)
    check("CreateCluster", asked)
    roles = [group["ExecutionRole"].rpartition("/")[2] for group in asked["InstanceGroups"]]
    assert roles == ["hyperpod", "workers"]


def test_everything_that_eks_can_say_is_taken_by_the_service_s_own_model():
    said = {
        "eks": {"autoscaling_role": "arn:aws:iam::123456789012:role/scaler"},
        "continuous": True,
        "tiered_storage_percent": 20,
        "groups": {
            "workers": {
                "partition": None,
                "instance_type": None,
                "instance_types": ["ml.p5.48xlarge", "ml.p5en.48xlarge"],
                "spot": True,
                "labels": {"team": "speech"},
                "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                "image_release": "1.2.3",
            }
        },
    }
    cluster = options(None, EKS, said)
    assert errors(cluster) == {}
    asked = request_of(cluster)
    check("CreateCluster", asked)
    assert asked["InstanceGroups"][0]["CapacityRequirements"] == {"Spot": {}}


def test_further_members_are_laid_into_the_request_and_checked(base):
    patching = {"AutoPatchConfig": {"PatchingStrategy": "WhenIdle"}}
    cluster = options(base, {"groups": {"workers": {"request": patching}}})
    assert errors(cluster) == {}
    assert request_of(cluster)["InstanceGroups"][1]["AutoPatchConfig"] == {"PatchingStrategy": "WhenIdle"}
    wrong = options(base, {"groups": {"workers": {"request": {"AutoPatch": 1}}}})
    assert "not a member" in errors(wrong)["cluster.groups.workers.request.AutoPatch"]


def test_a_refused_member_is_blamed_on_the_key_that_said_it(base):
    key_of = request_keys.keys_of(options(base, {"groups": {"workers": {"role": "x"}}}))
    assert key_of(("InstanceGroups", 1, "ExecutionRole")) == "cluster.groups.workers.role"
    assert key_of(("InstanceGroups", 0, "ExecutionRole")) == "cluster.role"
    assert key_of(("InstanceGroups", 1, "InstanceCount")) == "cluster.groups.workers.count"
    assert key_of(("InstanceGroups", 1, "LifeCycleConfig", "OnCreate")) == "cluster.lifecycle.on_create"
    assert key_of(("VpcConfig", "Subnets", 0)) == "cluster.vpc.subnets"


def test_the_cost_is_that_of_every_instance():
    said = {
        "groups": {
            "controller": {"usd_per_hour": 2.0},
            "workers": {"usd_per_hour": 50.0, "count": 4},
            "idle": {"instance_type": "ml.c6g.medium", "count": 0},
        }
    }
    cost = price.cost(options(None, said))
    assert cost is not None
    assert (cost.usd_per_hour, cost.max_hours) == (202.0, None)


def test_a_price_that_nobody_knows_is_not_made_up():
    cluster = options(
        None, {"groups": {"controller": {"usd_per_hour": 2}, "workers": {"instance_type": "ml.c6g.medium"}}}
    )
    assert price.cost(cluster) is None
    assert price.unknown(cluster) == ("workers",)


def test_the_bundle_uploads_before_it_creates(base, tmp_path):
    cluster = options(base)
    bundle = compiled._bundle(cluster, lifecycle.scripts(cluster), request_of(cluster))
    upload, create = bundle.actions
    assert upload.uri.rstrip("/") == lifecycle.scripts(cluster).uri(cluster)
    assert (create.operation, create.region) == ("CreateCluster", "us-west-2")
    assert not any(_group_problems(cluster))

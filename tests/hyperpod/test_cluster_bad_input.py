"""One clear message for each mistake in a cluster, at its key."""

from __future__ import annotations

import pytest
from cluster_compiling import EKS, base_configuration, errors, options, warnings

LUSTRE = {"dns_name": "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com", "mount_name": "abcdefgh"}
VPC = {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]}
MULTI_HEAD = {"database_secret_arn": "arn:aws:secretsmanager:us-west-2:1:secret:a", "database_endpoint": "db"}


def workers(**said):
    return {"groups": {"workers": said}}


FILE = [
    ({"groups": {"controller": {"kind": "compute"}}}, "cluster.groups", "No instance group is the controller"),
    (workers(kind="controller"), "cluster.groups.workers.kind", "`controller` is the controller already"),
    ({"groups": {"controller": {"count": 0}}}, "cluster.groups.controller.count", "has no instance"),
    ({"groups": {"controller": {"count": 2}}}, "cluster.groups.controller.count", "cluster.slurm.multi_head"),
    ({"slurm": {"multi_head": MULTI_HEAD}}, "cluster.slurm.multi_head", "There is one controller"),
    (
        {"groups": {"a": {"kind": "login", "instance_type": "ml.m5.large"},
                    "b": {"kind": "login", "instance_type": "ml.m5.large"}}},
        "cluster.groups.b.kind",
        "`a` is the login group already",
    ),
    (workers(kind="login"), "cluster.groups.workers.partition", "Partitions have nodes of compute groups"),
    (workers(partition="two words"), "cluster.groups.workers.partition", "cannot be the name of a partition"),
    (workers(labels={"a": "b"}), "cluster.groups.workers.labels", "Nodes of Slurm have none"),
    ({"continuous": True}, "cluster.continuous", "cluster.slurm.topology=api"),
    ({"slurm": {"strategy": "merge"}}, "cluster.slurm.strategy", "cluster.slurm.topology=api"),
    ({"eks": {"cluster_arn": "arn:aws:eks:us-west-2:1:cluster/k"}}, "cluster.eks.cluster_arn", "knows no EKS"),
    ({"tiered_storage_percent": 10}, "cluster.tiered_storage_percent", "clusters under EKS"),
    (workers(instance_type=None), "cluster.groups.workers.instance_type", "A value is required."),
    (workers(instance_types=["ml.p4d.24xlarge"]), "cluster.groups.workers.instance_types", "One instance type and"),
    (workers(instance_type="p5.48xlarge"), "cluster.groups.workers.instance_type", "Write ml.p5.48xlarge."),
    (workers(instance_type="ml.p9.48xlarge"), "cluster.groups.workers.instance_type", "does not know"),
    (workers(min_count=1), "cluster.groups.workers.min_count", "cluster.continuous=true"),
    (workers(count=7000), "cluster.groups.workers.count", "at most 6758"),
    (workers(volume_kms_key="k"), "cluster.groups.workers.volume_kms_key", "no volume to be encrypted"),
    (workers(volume_gib=9, volume_kms_key="no key"), "cluster.groups.workers.volume_kms_key", "does not have the form"),
    (workers(volume_gib=9, root_kms_key="no key"), "cluster.groups.workers.root_kms_key", "does not have the form"),
    (workers(root_kms_key="no key"), "cluster.groups.workers.root_kms_key", "does not have the form"),
    (workers(volume_gib=99999), "cluster.groups.workers.volume_gib", "at most 16384"),
    (workers(training_plan="plan"), "cluster.groups.workers.training_plan", "at least 50"),
    ({"name": "under_score"}, "cluster.name", "does not have the form"),
    ({"name": "n" * 64}, "cluster.name", "at most 63"),
    ({"groups": {"-x": {"instance_type": "ml.m5.large"}}}, "cluster.groups.-x", "does not have the form"),
    ({"role": "hyperpod"}, "cluster.role", "at least 20"),
    ({"role": "arn:aws:iam::1234:role/hyperpod-x"}, "cluster.role", "does not have the form"),
    ({"tags": {"a" * 129: "b"}}, "cluster.tags", "at most 128"),
    ({"vpc": {"subnets": ["subnet-1"]}}, "cluster.vpc.security_groups", "a VPC takes both"),
    (workers(vpc={"security_groups": ["sg-1"]}), "cluster.groups.workers.vpc.subnets", "a VPC takes both"),
    ({"fsx": {"lustre": LUSTRE}}, "cluster.fsx.lustre", "over a VPC of yours"),
    ({"vpc": VPC, "fsx": {"lustre": {**LUSTRE, "dns_name": "fsx"}}}, "cluster.fsx.lustre.dns_name", "no DNS name"),
    (
        {"vpc": VPC, "fsx": {"lustre": {**LUSTRE, "dns_name": LUSTRE["dns_name"].replace("us-west-2", "eu-west-1")}}},
        "cluster.fsx.lustre.dns_name",
        "in eu-west-1, and the cluster in us-west-2",
    ),
    ({"vpc": VPC, "fsx": {"lustre": {**LUSTRE, "mount_path": "/data"}}}, "cluster.fsx.lustre.mount_path", "at /fsx"),
    ({"lifecycle": {"store": None}}, "cluster.lifecycle.store", "a place is required"),
    ({"lifecycle": {"store": "s3://No_Bucket/x"}}, "cluster.lifecycle.store", "cannot be the name of a bucket"),
    ({"lifecycle": {"on_create": "on_craete.sh"}}, "cluster.lifecycle.on_create", "Did you mean `on_create.sh`?"),
    ({"lifecycle": {"base": "nowhere"}}, "cluster.lifecycle.base", "`nowhere` is not there"),
    ({"lifecycle": {"base": None}}, "cluster.lifecycle.base", "awsome-distributed-ai"),
    ({"request": {"ClusterName": "other"}}, "cluster.request.ClusterName", "This is said by cluster.name"),
    (
        workers(request={"InstanceCount": 5}),
        "cluster.groups.workers.request.InstanceCount",
        "This is said by cluster.groups.workers.count",
    ),
    ({"request": {"Colour": "red"}}, "cluster.request.Colour", "is not a member of"),
    ({"users": {"Ada": {"uid": 2001}}}, "cluster.users.Ada", "cannot be the name of a user"),
    ({"users": {"ubuntu": {"uid": 2001}}}, "cluster.users.ubuntu", "Every node has a user `ubuntu`"),
    ({"users": {"ada": {"uid": 0}}}, "cluster.users.ada.uid", "no uid of a person"),
    ({"users": {"ada": {"uid": 2001}, "bob": {"uid": 2001}}}, "cluster.users.bob.uid", "the uid of `ada`"),
    ({"mounts": {"A b": {"uri": "s3://bucket", "path": "/mnt/a"}}}, "cluster.mounts.A b", "the name of a mount"),
    ({"mounts": {"a": {"uri": "s3://Bucket", "path": "/mnt/a"}}}, "cluster.mounts.a.uri", "the name of a bucket"),
    ({"mounts": {"a": {"uri": "s3://bucket/x$(id)", "path": "/mnt/a"}}}, "cluster.mounts.a.uri", "characters"),
    ({"mounts": {"a": {"uri": "s3://bucket", "path": "/etc"}}}, "cluster.mounts.a.path", "/etc is the system's"),
    ({"mounts": {"a": {"uri": "s3://bucket", "path": "/mnt/../etc"}}}, "cluster.mounts.a.path", "cannot be mounted at"),
    ({"mounts": {"a": {"uri": "s3://bucket", "path": "/mnt/%n"}}}, "cluster.mounts.a.path", "cannot be mounted at"),
    (
        {"mounts": {"a": {"uri": "s3://one", "path": "/mnt/a"}, "b": {"uri": "s3://two", "path": "/mnt/a/"}}},
        "cluster.mounts.b.path",
        "is where `a` is",
    ),
]  # fmt: skip
API = [
    ({"continuous": True, "slurm": {"strategy": "merge"}}, "cluster.slurm.strategy", "refuses to be told"),
    ({"slurm": {"multi_head": MULTI_HEAD}}, "cluster.slurm.multi_head", "no room for them"),
    ({"continuous": True, **workers(min_count=9)}, "cluster.groups.workers.min_count", "9 instances are needed"),
    (workers(partition="ml.p5"), "cluster.groups.workers.partition", "does not have the form"),
]
UNDER_EKS = [
    ({"eks": {"cluster_arn": None}}, "cluster.eks.cluster_arn", "A value is required."),
    ({"region": "us-east-1"}, "cluster.eks.cluster_arn", "is in us-west-2"),
    ({"vpc": {"subnets": [], "security_groups": []}}, "cluster.vpc.subnets", "over its network"),
    (
        {"eks": {"autoscaling_role": "arn:aws:iam::123456789012:role/s"}},
        "cluster.eks.autoscaling_role",
        "continuous=true",
    ),
    (workers(kind="controller"), "cluster.groups.workers.kind", "a kind of Slurm's"),
    (workers(partition="gpu"), "cluster.groups.workers.partition", "Partitions are Slurm's"),
    ({"slurm": {"strategy": "merge"}}, "cluster.slurm.strategy", "no Slurm to be configured"),
    ({"fsx": {"lustre": LUSTRE}}, "cluster.fsx", "CSI driver"),
    ({"users": {"ada": {"uid": 2001}}}, "cluster.users", "Kubernetes and IAM"),
    ({"mounts": {"a": {"uri": "s3://bucket", "path": "/mnt/a"}}}, "cluster.mounts", "CSI driver of Mountpoint"),
]


@pytest.mark.parametrize(("change", "key", "said"), FILE)
def test_a_mistake_is_told_once_at_its_key(change, key, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = errors(options(base_configuration(tmp_path), change))
    assert said in found[key]


@pytest.mark.parametrize(("change", "key", "said"), API)
def test_a_mistake_in_a_topology_of_the_request_is_told(change, key, said):
    assert said in errors(options(None, change))[key]


@pytest.mark.parametrize(("change", "key", "said"), UNDER_EKS)
def test_a_mistake_under_eks_is_told(change, key, said):
    no_partition = {"groups": {"workers": {"partition": None}}}
    assert said in errors(options(None, EKS, no_partition, change))[key]


def test_a_good_cluster_has_no_errors_and_no_warnings(tmp_path):
    for cluster in (
        options(base_configuration(tmp_path)),
        options(None),
        options(None, EKS, {"groups": {"workers": {"partition": None}}}),
    ):
        assert errors(cluster) == {}
        assert warnings(cluster) == {}


def test_a_cluster_without_groups_is_told_what_they_look_like(tmp_path):
    cluster = options(base_configuration(tmp_path), {"groups": {"controller": None, "workers": None}})
    assert "cluster.groups.workers.instance_type=" in errors(cluster)["cluster.groups"]


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"lifecycle": {"store": "s3://my-bucket/x"}}, "cluster.lifecycle.store", "begin with `sagemaker-`"),
        ({"groups": {"workers": None}}, "cluster.groups", "can run no job"),
        (
            {"groups": {"controller": {"instance_type": "ml.g5.xlarge"}}},
            "cluster.groups.controller.instance_type",
            "1 GPU",
        ),
    ],
)
def test_a_doubt_is_a_warning(change, key, said, tmp_path):
    cluster = options(base_configuration(tmp_path), change)
    assert errors(cluster) == {}
    assert said in warnings(cluster)[key]


def test_windows_line_ends_in_the_entry_are_an_error(tmp_path):
    base = base_configuration(tmp_path)
    (base / "on_create.sh").write_bytes(b"#!/bin/bash\r\nset -e\r\n")
    assert "line ends of Windows" in errors(options(base))["cluster.lifecycle.on_create"]


def test_an_entry_that_does_not_say_what_runs_it_is_an_error(tmp_path):
    base = base_configuration(tmp_path)
    (base / "on_create.sh").write_text("set -e\n")
    assert "does not begin with `#!`" in errors(options(base))["cluster.lifecycle.on_create"]


def test_a_base_that_reads_the_file_does_not_go_with_a_topology_of_the_request(tmp_path):
    base = base_configuration(tmp_path)
    (base / "on_create.sh").write_text("#!/bin/bash\npython3 lifecycle_script.py -pp provisioning_parameters.json\n")
    assert errors(options(base)) == {}
    found = errors(options(base, {"slurm": {"topology": "api"}}))
    assert "reads provisioning_parameters.json" in found["cluster.lifecycle.on_create"]


@pytest.mark.parametrize(("switch", "is_wrong"), [("False", True), ("True", False)])
def test_openzfs_is_asked_for_in_the_base_s_config_too(switch, is_wrong, tmp_path):
    base = base_configuration(tmp_path)
    (base / "config.py").write_text(f"class Config:\n    enable_fsx_openzfs = {switch}\n")
    zfs = {"dns_name": "fs-0fedcba9876543210.fsx.us-west-2.amazonaws.com"}
    found = errors(options(base, {"fsx": {"openzfs": zfs}, "vpc": VPC}))
    assert ("cluster.fsx.openzfs" in found) == is_wrong


@pytest.mark.parametrize("topology", ["file", "api"])
def test_an_overlay_does_not_say_again_what_the_section_says(topology, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "provisioning_parameters.json").write_text("{}")
    change = {"lifecycle": {"overlay": str(tmp_path / "mine")}, "slurm": {"topology": topology}}
    found = errors(options(base_configuration(tmp_path), change))
    assert "has a provisioning_parameters.json" in found["cluster.lifecycle.overlay"]


def test_a_folder_that_is_no_base_configuration_is_told(tmp_path):
    base = base_configuration(tmp_path)
    (base / "lifecycle_script.py").unlink()
    assert "is not AWS's base configuration" in errors(options(base))["cluster.lifecycle.base"]


def test_a_secret_among_the_scripts_is_not_sent(tmp_path):
    base = base_configuration(tmp_path)
    (base / "utils" / "id_rsa").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    assert "secret" in errors(options(base))["cluster.lifecycle.base"]

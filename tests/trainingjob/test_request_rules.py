"""What SageMaker refuses in a request beside its own service model: each rule broken, kept at the limit, and abused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtrain_trainingjob.rules import request_rules
from smtrain_trainingjob.rules.request_view import Machine, RequestView
from training_job_requests import IMAGE, changed, file_system_channel, maximal, minimal, s3_channel

from smtrain.errors import Problem, Severity

MACHINES = {
    "ml.g5.12xlarge": Machine(efa=False, nvme_gib=3500),
    "ml.p4d.24xlarge": Machine(efa=True, nvme_gib=7450),
    "ml.c5.xlarge": Machine(efa=False, nvme_gib=0),
}
VPC = {"Subnets": ["subnet-0a"], "SecurityGroupIds": ["sg-0a"]}


def problems(request: dict[str, Any], **known: Any) -> list[Problem]:
    def key_of(path: tuple[str | int, ...]) -> str:
        return ".".join(map(str, path))

    return list(request_rules.problems(RequestView(request=request, key_of=key_of, machines=MACHINES, **known)))


def only(request: dict[str, Any], **known: Any) -> Problem:
    (problem,) = problems(request, **known)
    return problem


def with_(*changes: tuple[Any, ...], base: dict[str, Any] | None = None) -> dict[str, Any]:
    request = minimal() if base is None else base
    for *path, value in changes:
        request = changed(request, *path, to=value)
    return request


def with_channels(*channels: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**minimal(), "InputDataConfig": list(channels), **more}


def spot(run: int | None = 3600, wait: int | None = 7200, **more: Any) -> dict[str, Any]:
    times = {"MaxRuntimeInSeconds": run, "MaxWaitTimeInSeconds": wait}
    return {
        **minimal(),
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {name: value for name, value in times.items() if value is not None},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
        **more,
    }


def groups(*names: str, **more: Any) -> dict[str, Any]:
    listed = [{"InstanceGroupName": name, "InstanceType": "ml.g5.12xlarge", "InstanceCount": 1} for name in names]
    return {**minimal(), "ResourceConfig": {"InstanceGroups": listed, "VolumeSizeInGB": 30, **more}}


def metrics(*regexes: str) -> dict[str, Any]:
    listed = [{"Name": f"m{index}", "Regex": regex} for index, regex in enumerate(regexes)]
    return with_(("AlgorithmSpecification", "MetricDefinitions", listed))


def image(name: str, **config: Any) -> dict[str, Any]:
    return with_(("AlgorithmSpecification", {"TrainingImage": name, "TrainingInputMode": "File", **config}))


PRIVATE = {"TrainingImageConfig": {"TrainingRepositoryAccessMode": "Vpc"}}
RESOURCES = "ResourceConfig"

BROKEN = {
    "warm pool of spot instances": (
        with_((RESOURCES, "KeepAlivePeriodInSeconds", 60), base=spot()),
        "ResourceConfig.KeepAlivePeriodInSeconds",
        "cannot be kept of spot",
    ),
    "warm pool of groups": (
        groups("a", KeepAlivePeriodInSeconds=60),
        "ResourceConfig.KeepAlivePeriodInSeconds",
        "cannot be kept of instance groups",
    ),
    "groups and a type": (
        groups("a", InstanceType="ml.g5.12xlarge"),
        "ResourceConfig.InstanceType",
        "does not go with `InstanceGroups`",
    ),
    "groups and a count": (groups("a", InstanceCount=1), "ResourceConfig.InstanceCount", "does not go with"),
    "preferences and a type": (
        with_(
            (RESOURCES, "InstancePreferences", [{"InstanceType": "ml.g5.12xlarge"}]), (RESOURCES, "InstanceCount", None)
        ),
        "ResourceConfig.InstanceType",
        "does not go with `InstancePreferences`",
    ),
    "no type": (with_((RESOURCES, "InstanceType", None)), "ResourceConfig.InstanceType", "is missing"),
    "no count": (with_((RESOURCES, "InstanceCount", None)), "ResourceConfig.InstanceCount", "is missing"),
    "count of 0": (with_((RESOURCES, "InstanceCount", 0)), "ResourceConfig.InstanceCount", "0 machines"),
    "count of 0 in a group": (
        with_((RESOURCES, "InstanceGroups", 0, "InstanceCount", 0), base=groups("a")),
        "ResourceConfig.InstanceGroups.0.InstanceCount",
        "0 machines",
    ),
    "preferences and groups": (
        groups("a", InstancePreferences=[{"InstanceType": "ml.g5.12xlarge"}]),
        "ResourceConfig.InstancePreferences",
        "does not go with `InstanceGroups`",
    ),
    "preferences and placement": (
        {
            **minimal(),
            RESOURCES: {
                "InstancePreferences": [{"InstanceType": "ml.g5.12xlarge"}],
                "InstancePlacementConfig": {"EnableMultipleJobs": True},
            },
        },
        "ResourceConfig.InstancePlacementConfig",
        "does not go with",
    ),
    "preferences and spot": (
        spot(ResourceConfig={"InstancePreferences": [{"InstanceType": "ml.g5.12xlarge"}]}),
        "EnableManagedSpotTraining",
        "does not go with spot",
    ),
    "selected type": (
        with_((RESOURCES, "SelectedInstanceType", "ml.g5.12xlarge")),
        "ResourceConfig.SelectedInstanceType",
        "for the service to tell",
    ),
    "two groups of one name": (
        groups("a", "a"),
        "ResourceConfig.InstanceGroups.1.InstanceGroupName",
        "two instance groups are named `a`",
    ),
    "channel for an unknown group": (
        {**groups("a"), "InputDataConfig": [s3_channel("c", InstanceGroupNames=["a", "b"])]},
        "InputDataConfig.0.DataSource.S3DataSource.InstanceGroupNames.1",
        "instance group `b`, of which there is none",
    ),
    "channel for a group without groups": (
        with_channels(s3_channel("c", InstanceGroupNames=["a"])),
        "InputDataConfig.0.DataSource.S3DataSource.InstanceGroupNames.0",
        "of which there is none",
    ),
    "spot without a time to wait": (spot(wait=None), "StoppingCondition.MaxWaitTimeInSeconds", "longest time"),
    "time to wait below the run": (
        spot(run=3600, wait=3599),
        "StoppingCondition.MaxWaitTimeInSeconds",
        "less than the longest run, 3600 s",
    ),
    "time to wait below the default run": (
        spot(run=None, wait=86399),
        "StoppingCondition.MaxWaitTimeInSeconds",
        "the default of 86400 s",
    ),
    "time to wait without spot": (
        with_(("StoppingCondition", "MaxWaitTimeInSeconds", 7200)),
        "StoppingCondition.MaxWaitTimeInSeconds",
        "spot instances only",
    ),
    "run of more than 28 days": (
        with_(("StoppingCondition", "MaxRuntimeInSeconds", 2_419_201)),
        "StoppingCondition.MaxRuntimeInSeconds",
        "more than 28 days",
    ),
    "no volume on a machine without a disk": (
        with_((RESOURCES, "InstanceType", "ml.c5.xlarge"), (RESOURCES, "VolumeSizeInGB", 0)),
        "ResourceConfig.VolumeSizeInGB",
        "no disk of its own",
    ),
    "key for local disks": (
        with_((RESOURCES, "VolumeKmsKeyId", "alias/key")),
        "ResourceConfig.VolumeKmsKeyId",
        "encrypted disks of its own",
    ),
    "EFA's provider without EFA": (
        with_(("Environment", "FI_PROVIDER", "efa")),
        "Environment.FI_PROVIDER",
        "which ml.g5.12xlarge lacks",
    ),
    "EFA's settings without EFA": (
        with_(("Environment", "FI_EFA_USE_DEVICE_RDMA", "1")),
        "Environment.FI_EFA_USE_DEVICE_RDMA",
        "is about EFA",
    ),
    "security group as a subnet": (
        {**minimal(), "VpcConfig": {**VPC, "Subnets": ["sg-0a"]}},
        "VpcConfig.Subnets.0",
        "is no subnet",
    ),
    "subnet as a security group": (
        {**minimal(), "VpcConfig": {**VPC, "SecurityGroupIds": ["subnet-0a"]}},
        "VpcConfig.SecurityGroupIds.0",
        "is no security group",
    ),
    "subnet twice": (
        {**minimal(), "VpcConfig": {**VPC, "Subnets": ["subnet-0a", "subnet-0a"]}},
        "VpcConfig.Subnets.1",
        "is there twice",
    ),
    "channel without a source": (
        with_channels({"ChannelName": "c", "DataSource": {}}),
        "InputDataConfig.0.DataSource",
        "has 0 sources",
    ),
    "channel with two sources": (
        with_channels(
            {
                "ChannelName": "c",
                "DataSource": {**s3_channel("c")["DataSource"], **file_system_channel("c")["DataSource"]},
            },
            VpcConfig=VPC,
        ),
        "InputDataConfig.0.DataSource",
        "has 2 sources",
    ),
    "two channels of one name": (
        with_channels(s3_channel("c"), s3_channel("c")),
        "InputDataConfig.1.ChannelName",
        "two channels are named `c`",
    ),
    "channel that leaves its folder": (
        with_channels(s3_channel("..")),
        "InputDataConfig.0.ChannelName",
        "cannot be the name of a folder",
    ),
    "file system without a VPC": (
        with_channels(file_system_channel("fsx")),
        "InputDataConfig.0.DataSource.FileSystemDataSource",
        "through a VPC only",
    ),
    "relative folder of a file system": (
        with_(
            ("InputDataConfig", 0, "DataSource", "FileSystemDataSource", "DirectoryPath", "mount/data"),
            base=with_channels(file_system_channel("fsx"), VpcConfig=VPC),
        ),
        "InputDataConfig.0.DataSource.FileSystemDataSource.DirectoryPath",
        "no full path",
    ),
    "compressed in File mode": (
        with_channels(s3_channel("c", CompressionType="Gzip")),
        "InputDataConfig.0.CompressionType",
        "cannot be Gzip in File mode",
    ),
    "compressed in FastFile mode": (
        with_channels(s3_channel("c", CompressionType="Gzip", InputMode="FastFile")),
        "InputDataConfig.0.CompressionType",
        "cannot be Gzip in FastFile mode",
    ),
    "records in File mode": (
        with_channels(s3_channel("c", RecordWrapperType="RecordIO")),
        "InputDataConfig.0.RecordWrapperType",
        "cannot be RecordIO",
    ),
    "manifest in FastFile mode": (
        with_channels(s3_channel("c", "s3://bucket/m", S3DataType="ManifestFile", InputMode="FastFile")),
        "InputDataConfig.0.DataSource.S3DataSource.S3DataType",
        "FastFile mode cannot read",
    ),
    "augmented manifest in File mode": (
        with_channels(s3_channel("c", "s3://bucket/m", S3DataType="AugmentedManifestFile")),
        "InputDataConfig.0.DataSource.S3DataSource.S3DataType",
        "only Pipe mode reads",
    ),
    "manifest that is a prefix": (
        with_channels(s3_channel("c", "s3://bucket/m/", S3DataType="ManifestFile")),
        "InputDataConfig.0.DataSource.S3DataSource.S3Uri",
        "no object's",
    ),
    "address with a line break": (
        with_(("OutputDataConfig", "S3OutputPath", "s3://bucket/a\nb")),
        "OutputDataConfig.S3OutputPath",
        "do not print",
    ),
    "address that is too long in bytes": (
        with_(("OutputDataConfig", "S3OutputPath", "s3://bucket/" + "é" * 513)),
        "OutputDataConfig.S3OutputPath",
        "longer than 1024 bytes",
    ),
    "checkpoints in the input's folder": (
        with_(("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/input/data/c"})),
        "CheckpointConfig.LocalPath",
        "overlaps with /opt/ml/input",
    ),
    "checkpoints around the model's folder": (
        with_(("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml"})),
        "CheckpointConfig.LocalPath",
        "overlaps with /opt/ml/input",
    ),
    "checkpoints by way of ..": (
        with_(("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/checkpoints/../model"})),
        "CheckpointConfig.LocalPath",
        "no plain full path",
    ),
    "relative folder of checkpoints": (
        with_(("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "checkpoints"})),
        "CheckpointConfig.LocalPath",
        "no plain full path",
    ),
    "TensorBoard in /opt/ml": (
        with_(("TensorBoardOutputConfig", {"S3OutputPath": "s3://bucket/t", "LocalPath": "/opt/ml/checkpoints/tb"})),
        "TensorBoardOutputConfig.LocalPath",
        "overlaps with /opt/ml",
    ),
    "no image": (image(""), "AlgorithmSpecification.TrainingImage", "no image is named"),
    "image and algorithm": (
        image(IMAGE, AlgorithmName="mine"),
        "AlgorithmSpecification.TrainingImage",
        "both an image and an algorithm",
    ),
    "private image without a VPC": (
        image("registry.example.com/x:1", **PRIVATE),
        "AlgorithmSpecification.TrainingImage",
        "needs the VPC",
    ),
    "metric that is no regular expression": (
        metrics("loss: ([0-9"),
        "AlgorithmSpecification.MetricDefinitions.0.Regex",
        "is none",
    ),
    "metric without a group": (
        metrics("(a)", "loss: [0-9.]+"),
        "AlgorithmSpecification.MetricDefinitions.1.Regex",
        "`m1` has no group",
    ),
    "two metrics of one name": (
        with_(("AlgorithmSpecification", "MetricDefinitions", [{"Name": "m", "Regex": "(a)"}] * 2)),
        "AlgorithmSpecification.MetricDefinitions.1.Name",
        "two metrics are named `m`",
    ),
    "NUL in the environment": (with_(("Environment", "A", "b\0c")), "Environment.A", "NUL"),
    "tag twice": (
        {**minimal(), "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]},
        "Tags.1.Key",
        "two tags are named `a`",
    ),
    "tag of AWS's own": ({**minimal(), "Tags": [{"Key": "AWS:a", "Value": ""}]}, "Tags.0.Key", "keeps for itself"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_one_error_at_its_place(name):
    request, key, what = BROKEN[name]
    problem = only(request)
    assert (problem.key, problem.severity) == (key, Severity.ERROR)
    assert what in problem.what
    assert problem.what.endswith(".")
    assert problem.fix


DOUBTFUL = {
    "spot without checkpoints": (
        changed(spot(), "CheckpointConfig", to=None),
        "EnableManagedSpotTraining",
        "throws all progress away",
    ),
    "more than the local disks hold": (
        with_((RESOURCES, "VolumeSizeInGB", 3501)),
        "ResourceConfig.VolumeSizeInGB",
        "has 3500 GiB of its own",
    ),
    "remote debugging in isolation": (
        with_(("EnableNetworkIsolation", True), ("RemoteDebugConfig", "EnableRemoteDebug", True)),
        "RemoteDebugConfig.EnableRemoteDebug",
        "SSM",
    ),
    "whole bucket as a channel": (
        with_channels(s3_channel("c", "s3://bucket")),
        "InputDataConfig.0.DataSource.S3DataSource.S3Uri",
        "all of the bucket `bucket`",
    ),
    "whole bucket for checkpoints": (
        with_(("CheckpointConfig", {"S3Uri": "s3://bucket/"})),
        "CheckpointConfig.S3Uri",
        "share a whole bucket",
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_doubtful_request_is_a_warning(name):
    request, key, what = DOUBTFUL[name]
    problem = only(request)
    assert (problem.key, problem.severity) == (key, Severity.WARNING)
    assert what in problem.what


KEPT = {
    "minimal": minimal(),
    "maximal": maximal(),
    "warm pool": with_((RESOURCES, "KeepAlivePeriodInSeconds", 21600)),
    "pool of 0 s with spot": with_((RESOURCES, "KeepAlivePeriodInSeconds", 0), base=spot()),
    "groups": {**groups("a", "b"), "InputDataConfig": [s3_channel("c", InstanceGroupNames=["b"])]},
    "preferences": {**minimal(), RESOURCES: {"InstancePreferences": [{"InstanceType": "ml.g5.12xlarge"}]}},
    "wait as long as the run": spot(run=3600, wait=3600),
    "wait as long as the default run": spot(run=None, wait=86400),
    "run of 28 days": with_(("StoppingCondition", "MaxRuntimeInSeconds", 2_419_200)),
    "as much as the local disks hold": with_((RESOURCES, "VolumeSizeInGB", 3500)),
    "unknown machine with a key": with_(
        (RESOURCES, "InstanceType", "ml.m5.xlarge"), (RESOURCES, "VolumeKmsKeyId", "k")
    ),
    "EFA where there is EFA": with_(
        (RESOURCES, "InstanceType", "ml.p4d.24xlarge"), ("Environment", "FI_PROVIDER", "efa")
    ),
    "EFA on an unknown machine": with_(
        (RESOURCES, "InstanceType", "ml.p9.24xlarge"), ("Environment", "FI_PROVIDER", "efa")
    ),
    "another provider without EFA": with_(("Environment", "FI_PROVIDER", "tcp")),
    "file system in a VPC": with_channels(file_system_channel("fsx"), VpcConfig=VPC),
    "compressed in Pipe mode": with_channels(s3_channel("c", CompressionType="Gzip", InputMode="Pipe")),
    "None in File mode": with_channels(s3_channel("c", CompressionType="None", RecordWrapperType="None")),
    "augmented manifest in Pipe mode": with_channels(
        s3_channel("c", "s3://bucket/m", S3DataType="AugmentedManifestFile", InputMode="Pipe", AttributeNames=["a"])
    ),
    "bucket by its access point": with_channels(
        s3_channel("c", "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/key")
    ),
    "checkpoints beside": with_(("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/inputs"})),
    "private image in a VPC": {**image("registry.example.com:5000/x", **PRIVATE), "VpcConfig": VPC},
    "isolation alone": with_(("EnableNetworkIsolation", True)),
    "tag with aws in the middle": {**minimal(), "Tags": [{"Key": "my-aws:a", "Value": "aws:b"}]},
    "serverless": {
        name: value
        for name, value in {**minimal(), "ServerlessJobConfig": {"BaseModelArn": "a"}}.items()
        if name not in ("AlgorithmSpecification", RESOURCES)
    },
}


@pytest.mark.parametrize("name", KEPT)
def test_request_at_the_limit_is_let_through(name):
    assert problems(KEPT[name]) == []


def test_every_rule_is_broken_by_some_case():
    requests = [request for request, *_ in (*BROKEN.values(), *DOUBTFUL.values())]
    views = [RequestView(request=request, key_of=str, machines=MACHINES) for request in requests]
    assert {rule.__name__ for rule in request_rules.RULES if not any(list(rule(view)) for view in views)} == set()


def test_no_rule_says_what_the_service_s_model_says_already():
    from smtrain import api_limits

    also = {
        name: [problem.what for problem in api_limits.problems("sagemaker.CreateTrainingJob", request)]
        for name, (request, *_) in BROKEN.items()
    }
    assert {name: found for name, found in also.items() if found} == {
        "address with a line break": also["address with a line break"],  # the pattern does not say what is wrong
    }


def test_spot_is_no_doubt_where_the_program_keeps_its_own_checkpoints():
    assert problems(changed(spot(), "CheckpointConfig", to=None), uploads_checkpoints=True) == []


def test_isolation_is_refused_where_something_inside_needs_the_network():
    problem = only(with_(("EnableNetworkIsolation", True)), calls_out="copying the model from S3")
    assert problem.key == "EnableNetworkIsolation"
    assert "needed for copying the model from S3" in problem.what


@pytest.mark.parametrize(
    "bucket",
    [
        "ab",
        "a" * 64,
        "Bucket",
        "my_bucket",
        "-bucket",
        "bucket-",
        ".bucket",
        "a..b",
        "192.168.5.4",
        "b ucket",
        "bücket",
        "buck\x1bet",
    ],
)
def test_name_that_no_bucket_can_have_is_refused_everywhere(bucket):
    uri = f"s3://{bucket}/key"
    request = with_channels(
        s3_channel("c", uri), CheckpointConfig={"S3Uri": uri}, OutputDataConfig={"S3OutputPath": uri}
    )
    found = problems(request)
    assert len(found) == 3
    assert all("cannot be the name of a bucket" in problem.what and problem.what.isprintable() for problem in found)


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "1.2.3", "my.bucket-1", "x--usw2-az1--x-s3", "ap-1234-s3alias"])
def test_name_that_a_bucket_can_have_is_let_through(bucket):
    assert problems(with_channels(s3_channel("c", f"s3://{bucket}/key"))) == []


@pytest.mark.parametrize(
    "name",
    [
        IMAGE,
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a/b-c_d:tag",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a",
        "123456789012.dkr-ecr.us-east-1.on.aws/a:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/a@sha256:" + "0" * 64,
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1@sha256:" + "0" * 64,
    ],
)
def test_image_in_ecr_is_let_through(name):
    assert problems(image(name)) == []


@pytest.mark.parametrize(
    "name",
    [
        "pytorch/pytorch:2.8.0",
        "docker.io/pytorch/pytorch",
        "https://123456789012.dkr.ecr.us-east-1.amazonaws.com/a",
        "12345678901.dkr.ecr.us-east-1.amazonaws.com/a",
        "123456789012.dkr.ecr.amazonaws.com/a",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/A",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1\n",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/a@sha256:0",
        "a." * 50_000,
    ],
)
def test_image_elsewhere_is_refused(name):
    problem = only(image(name))
    assert "is no image in ECR" in problem.what
    assert len(problem.what) < 200


@pytest.mark.parametrize("regex", ["(" * 500, "a{1,99999999999}()", "(?P<a>.)(?P<a>.)", "*", "(?i)(a", r"\p{L}()"])
def test_hostile_regular_expression_is_a_problem_and_no_exception(regex):
    assert "is none" in only(metrics(regex)).what


@pytest.mark.parametrize("regex", [r"(a+)+$", r"'loss': ([-+0-9.eE]+|nan)", "(?i)LOSS=(.*?);", "[[a](b)"])
def test_regular_expression_with_a_group_is_let_through_and_applied_to_nothing(regex):
    assert problems(metrics(regex)) == []


MEMBERS = [
    "ResourceConfig",
    "InputDataConfig",
    "StoppingCondition",
    "VpcConfig",
    "Environment",
    "Tags",
    "DataSource",
    "CheckpointConfig",
    "AlgorithmSpecification",
    "InstanceGroups",
    "S3Uri",
    "LocalPath",
    "ChannelName",
    "Key",
    "EnableManagedSpotTraining",
    "MaxRuntimeInSeconds",
    "MetricDefinitions",
    "Regex",
    "TrainingImage",
]
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=4), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(MEMBERS), HOSTILE))
def test_any_json_gives_problems_and_no_exception(request_):
    for problem in problems({**minimal(), **request_}, calls_out="x"):
        assert problem.what.isprintable()

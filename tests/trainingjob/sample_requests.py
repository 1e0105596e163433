"""CreateTrainingJob requests that smtrain may write, every option at least once, for tests that send or read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training_job_requests import IMAGE, KEY, ROLE, changed, file_system_channel, s3_channel

Request = dict[str, Any]

ENTRY = ["/bin/bash", "/opt/ml/input/data/program/launch.sh"]
STORE = "s3://bucket/team/store/5f2c1a9e0b7d4c33/"


def plain() -> Request:
    """One host, our own channels, our own entry point."""
    return {
        "TrainingJobName": "plain-0123456789",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(ENTRY),
            "MetricDefinitions": [{"Name": "loss", "Regex": r"'loss': '?([+-]?[0-9.]+(?:e[+-]?[0-9]+)?|nan)"}],
        },
        "InputDataConfig": [
            s3_channel("program", STORE, S3DataDistributionType="FullyReplicated"),
            s3_channel("agent", "s3://bucket/team/store/9e0b7d4c335f2c1a/", S3DataDistributionType="FullyReplicated"),
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/team"},
        "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 200},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
        "Environment": {"SMTRAIN_OUTPUT_URI": "s3://bucket/team/plain-0123456789"},
        "ProfilerConfig": {"DisableProfiler": True},
    }


def bare() -> Request:
    """Nothing that could be left out."""
    kept = ("TrainingJobName", "RoleArn", "AlgorithmSpecification", "OutputDataConfig", "ResourceConfig")
    request = {name: plain()[name] for name in (*kept, "StoppingCondition")}
    request["AlgorithmSpecification"] = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
    return request


def nodes() -> Request:
    """Several hosts, whose traffic is encrypted."""
    request = changed(plain(), "ResourceConfig", "InstanceCount", to=16)
    return request | {"EnableInterContainerTrafficEncryption": True}


def spot() -> Request:
    """Spare capacity, with SageMaker's own checkpoints."""
    return plain() | {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3_600, "MaxWaitTimeInSeconds": 90_000},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/a", "LocalPath": "/opt/ml/checkpoints"},
    }


def checkpoints_elsewhere() -> Request:
    """Checkpoints in a folder of one's own."""
    return plain() | {"CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/a", "LocalPath": "/opt/ml/kept here"}}


def checkpoints_by_default() -> Request:
    """Checkpoints without the folder's name."""
    return plain() | {"CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/a"}}


def pending() -> Request:
    """A limit of the time in the queue."""
    return changed(plain(), "StoppingCondition", "MaxPendingTimeInSeconds", to=7_200)


def warm_pool() -> Request:
    """Hosts that are kept for a next job."""
    return changed(plain(), "ResourceConfig", "KeepAlivePeriodInSeconds", to=1_800)


def training_plan() -> Request:
    """Reserved capacity."""
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/plan"
    return changed(plain(), "ResourceConfig", "TrainingPlanArn", to=arn)


def vpc() -> Request:
    """A VPC, and no network beyond it."""
    network = {"SecurityGroupIds": ["sg-0123456789abcdef0"], "Subnets": ["subnet-0a", "subnet-0b"]}
    return plain() | {"VpcConfig": network, "EnableNetworkIsolation": True}


def isolated() -> Request:
    """No network, and no VPC either."""
    return plain() | {"EnableNetworkIsolation": True}


def kms() -> Request:
    """Keys of one's own."""
    request = changed(plain(), "ResourceConfig", "VolumeKmsKeyId", to=KEY)
    return changed(request, "OutputDataConfig", "KmsKeyId", to=KEY)


def uncompressed() -> Request:
    """Results that are not packed."""
    return changed(plain(), "OutputDataConfig", "CompressionType", to="NONE")


def fsx() -> Request:
    """FSx for Lustre and EFS, which need a VPC."""
    efs = {
        "FileSystemId": "fs-0fedcba9",
        "FileSystemAccessMode": "rw",
        "FileSystemType": "EFS",
        "DirectoryPath": "/",
    }
    channels = [file_system_channel("fsx"), {"ChannelName": "efs", "DataSource": {"FileSystemDataSource": efs}}]
    return vpc() | {"InputDataConfig": [*plain()["InputDataConfig"], *channels]}


def channels() -> Request:
    """Every way in which S3 is read."""
    more = [
        s3_channel("sharded", InputMode="File", S3DataDistributionType="ShardedByS3Key", ContentType="text/csv"),
        s3_channel("fast", InputMode="FastFile", S3DataDistributionType="FullyReplicated"),
        s3_channel("pipe", InputMode="Pipe", CompressionType="Gzip", RecordWrapperType="RecordIO"),
        s3_channel("unpacked", CompressionType="None", RecordWrapperType="None"),
        s3_channel("shuffled", ShuffleConfig={"Seed": 17}),
        s3_channel("listed", "s3://bucket/a.manifest", S3DataType="ManifestFile"),
        s3_channel(
            "augmented",
            "s3://bucket/b.manifest",
            InputMode="Pipe",
            S3DataType="AugmentedManifestFile",
            AttributeNames=["source-ref", "label"],
        ),
    ]
    return plain() | {"InputDataConfig": [*plain()["InputDataConfig"], *more]}


def shuffled_from_zero() -> Request:
    """A seed that is zero, which a reader may take for none."""
    return plain() | {"InputDataConfig": [*plain()["InputDataConfig"], s3_channel("data", ShuffleConfig={"Seed": 0})]}


def heterogeneous() -> Request:
    """Hosts of several types, and a channel for some of them."""
    groups = [
        {"InstanceGroupName": "trainers", "InstanceType": "ml.p4d.24xlarge", "InstanceCount": 2},
        {"InstanceGroupName": "feeders", "InstanceType": "ml.c5.18xlarge", "InstanceCount": 1},
    ]
    names = ["trainers", "feeders"]
    ours = [s3_channel(each["ChannelName"], STORE, InstanceGroupNames=names) for each in plain()["InputDataConfig"]]
    return plain() | {
        "ResourceConfig": {"InstanceGroups": groups, "VolumeSizeInGB": 100},
        "InputDataConfig": [*ours, s3_channel("raw", InstanceGroupNames=["feeders"])],
    }


def tags() -> Request:
    """Tags, one of them empty."""
    named = [{"Key": "team", "Value": "Spra che + ключ"}, {"Key": "cost-center", "Value": "1/2=3"}]
    return plain() | {"Tags": named}


def empty_tag() -> Request:
    """A tag that says nothing but its name."""
    return plain() | {"Tags": [{"Key": "team", "Value": "nlp"}, {"Key": "keep", "Value": ""}]}


def experiment() -> Request:
    """An experiment to be filed under."""
    return plain() | {
        "ExperimentConfig": {
            "ExperimentName": "tuning",
            "TrialName": "lr",
            "TrialComponentDisplayName": "lr-1e-4",
            "RunName": "run-1",
        }
    }


def retries() -> Request:
    """Tried again after an internal error."""
    return plain() | {"RetryStrategy": {"MaximumRetryAttempts": 3}}


def remote_debug() -> Request:
    """A shell in the container."""
    return plain() | {"RemoteDebugConfig": {"EnableRemoteDebug": True}}


def no_remote_debug() -> Request:
    """The same refused, which is a member that says false."""
    return plain() | {"RemoteDebugConfig": {"EnableRemoteDebug": False}}


def profiled() -> Request:
    """SageMaker's profiler left on: the member is absent."""
    return changed(plain(), "ProfilerConfig", to=None)


def toolkit() -> Request:
    """Started by the training toolkit in the image, which finds the script by hyperparameters, each in JSON."""
    request = changed(plain(), "AlgorithmSpecification", "ContainerEntrypoint", to=None)
    return request | {
        "HyperParameters": {
            "sagemaker_program": '"launch.sh"',
            "sagemaker_submit_directory": '"/opt/ml/input/data/program"',
        }
    }


def hyperparameters() -> Request:
    """Values of every kind, all of them text."""
    return plain() | {
        "HyperParameters": {
            "learning_rate": "1e-4",
            "epochs": "3",
            "bf16": "true",
            "empty": "",
            "json": '{"a": [1, "it\'s"]}',
            "null": "null",
        }
    }


def hostile() -> Request:
    """Values that quoting would spoil."""
    values = {
        "SPACES": "  two  spaces ",
        "QUOTES": "it's \"quoted\" `so` '''twice''' \"\"\"",
        "SHELL": "$(touch /tmp/pwned) ${HOME} ; & | > < * ? ~ !",
        "BACKSLASH": "\\ \\n \\u0041 trailing\\",
        "LINES": "one\ntwo\r\nthree\ttab",
        "UNICODE": "naïve 模型 🚀 \u2028 \u200b \ufeff \x1b[31m \x7f",
        "BRACES": "{smtrain} %s {0} {{}} {not.a.token}",
        "LONG": "x" * 512,
        "EMPTY": "",
    }
    request = changed(plain(), "AlgorithmSpecification", "MetricDefinitions", 0, "Regex", to=r"""['"]a\\b['"]: (\S+)""")
    return request | {
        "Environment": values,
        "HyperParameters": {name: value for name, value in values.items() if len(value.splitlines()) < 2},
        "Tags": [{"Key": "a:/=+-@ b", "Value": "_.:/=+-@ é"}],
    }


def private_registry() -> Request:
    """An image from a registry in the VPC."""
    arn = "arn:aws:lambda:us-west-2:123456789012:function:credentials"
    access = {
        "TrainingRepositoryAccessMode": "Vpc",
        "TrainingRepositoryAuthConfig": {"TrainingRepositoryCredentialsProviderArn": arn},
    }
    request = changed(vpc(), "AlgorithmSpecification", "TrainingImageConfig", to=access)
    return changed(request, "AlgorithmSpecification", "TrainingImage", to="registry.example.com/team/image:1")


def arguments() -> Request:
    """An entry point with arguments, and another input mode for all channels."""
    request = changed(plain(), "AlgorithmSpecification", "ContainerArguments", to=["--a b", "$c", ""])
    request = changed(request, "AlgorithmSpecification", "EnableSageMakerMetricsTimeSeries", to=True)
    return changed(request, "AlgorithmSpecification", "TrainingInputMode", to="FastFile")


def checked_hosts() -> Request:
    """Health checks of the hosts, session tags, TensorBoard and Debugger: members that smtrain has no option for."""
    return plain() | {
        "InfraCheckConfig": {"EnableInfraCheck": True},
        "SessionChainingConfig": {"EnableSessionTagChaining": True},
        "TensorBoardOutputConfig": {"S3OutputPath": "s3://bucket/board", "LocalPath": "/board"},
        "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug"},
    }


def everything() -> Request:
    """All that goes together."""
    together = (nodes, spot, vpc, kms, tags, experiment, retries, remote_debug, hyperparameters, fsx)
    request: Request = {}
    for make in together:
        request = _merged(request, make())
    return request


def _merged(first: Request, second: Request) -> Request:
    both = {
        name: _merged(first[name], second[name]) for name in first.keys() & second if _mappings(first, second, name)
    }
    return first | second | both


def _mappings(first: Request, second: Request, name: str) -> bool:
    return isinstance(first[name], dict) and isinstance(second[name], dict)


SAMPLES: tuple[Callable[[], Request], ...] = (
    plain,
    bare,
    nodes,
    spot,
    checkpoints_elsewhere,
    checkpoints_by_default,
    pending,
    warm_pool,
    training_plan,
    vpc,
    isolated,
    kms,
    uncompressed,
    fsx,
    channels,
    shuffled_from_zero,
    heterogeneous,
    tags,
    empty_tag,
    experiment,
    retries,
    remote_debug,
    no_remote_debug,
    profiled,
    toolkit,
    hyperparameters,
    hostile,
    private_registry,
    arguments,
    checked_hosts,
    everything,
)


def samples() -> dict[str, Request]:
    """Returns every sample by its name, each with a job name of its own."""
    named = {make.__name__.replace("_", "-"): make() for make in SAMPLES}
    return {name: request | {"TrainingJobName": f"{name}-0123456789"} for name, request in named.items()}

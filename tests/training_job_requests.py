"""CreateTrainingJob requests to start a test from."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312-cu129-ubuntu22.04-sagemaker"
ROLE = "arn:aws:iam::123456789012:role/service-role/Training_Role-1"
KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def s3_channel(name: str, uri: str = "s3://bucket/data/", **more: Any) -> dict[str, Any]:
    """An input channel; `more` are members of the channel or, where they are its, of the S3 source."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri}
    for member in ("S3DataType", "S3DataDistributionType", "InstanceGroupNames", "AttributeNames"):
        if member in more:
            source[member] = more.pop(member)
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **more}


def file_system_channel(name: str) -> dict[str, Any]:
    """A channel on FSx for Lustre."""
    source = {
        "FileSystemId": "fs-0123456789abcdef0",
        "FileSystemAccessMode": "ro",
        "FileSystemType": "FSxLustre",
        "DirectoryPath": "/mount/data",
    }
    return {"ChannelName": name, "DataSource": {"FileSystemDataSource": source}}


def minimal() -> dict[str, Any]:
    """Nothing that could be left out."""
    return {
        "TrainingJobName": "a-job",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def maximal() -> dict[str, Any]:
    """Everything that goes together, each length, count and range at its limit."""
    channels = [s3_channel("c" * 61 + f"-{index:02}", ContentType="t" * 256) for index in range(16)]
    return {
        "TrainingJobName": "a" + "-b" * 31,
        "HyperParameters": {f"{index:03}" + "k" * 253: "v" * 2500 for index in range(100)},
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "FastFile",
            "MetricDefinitions": [
                {"Name": f"{index:02}" + "n" * 253, "Regex": "(" + "x" * 498 + ")"} for index in range(40)
            ],
            "EnableSageMakerMetricsTimeSeries": True,
            "ContainerEntrypoint": ["e" * 256] * 100,
            "ContainerArguments": ["é" * 256] * 100,
            "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Platform"},
        },
        "RoleArn": "arn:aws:iam::123456789012:role/" + "r" * 2017,
        "InputDataConfig": [
            *channels,
            s3_channel("pipe", InputMode="Pipe", CompressionType="Gzip", RecordWrapperType="RecordIO"),
            s3_channel("listed", "s3://bucket/a.manifest", InputMode="File", S3DataType="ManifestFile"),
            s3_channel("shuffled", ShuffleConfig={"Seed": 2**63 - 1}, S3DataDistributionType="ShardedByS3Key"),
            file_system_channel("fsx"),
        ],
        "OutputDataConfig": {
            "KmsKeyId": KEY,
            "S3OutputPath": "s3://bucket/" + "p" * 1012,
            "CompressionType": "NONE",
        },
        "ResourceConfig": {
            "InstanceType": "ml.c5.xlarge",
            "InstanceCount": 2**31 - 1,
            "VolumeSizeInGB": 2**31 - 1,
            "VolumeKmsKeyId": KEY,
            "TrainingPlanArn": "arn:aws:sagemaker:us-east-1:123456789012:training-plan/plan",
        },
        "VpcConfig": {
            "SecurityGroupIds": [f"sg-{index:029}" for index in range(5)],
            "Subnets": [f"subnet-{index:025}" for index in range(16)],
        },
        "StoppingCondition": {
            "MaxRuntimeInSeconds": 2_419_200,
            "MaxWaitTimeInSeconds": 2_419_200,
            "MaxPendingTimeInSeconds": 2_419_200,
        },
        "Tags": [{"Key": f"{index:02}" + "ключ é" * 21, "Value": "_.:/=+-@ é" * 25} for index in range(50)],
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug", "LocalPath": "/opt/ml/output/tensors"},
        "TensorBoardOutputConfig": {"S3OutputPath": "s3://bucket/board", "LocalPath": "/board"},
        "ExperimentConfig": {"ExperimentName": "e" * 120, "TrialName": "t", "RunName": "r"},
        "ProfilerConfig": {"DisableProfiler": True},
        "Environment": {"_" + f"{index:03}" + "K" * 508: "\n" * 512 for index in range(100)},
        "RetryStrategy": {"MaximumRetryAttempts": 30},
        "RemoteDebugConfig": {"EnableRemoteDebug": False},
        "InfraCheckConfig": {"EnableInfraCheck": True},
        "SessionChainingConfig": {"EnableSessionTagChaining": True},
    }


def changed(request: dict[str, Any], *path: str | int, to: Any) -> dict[str, Any]:
    """The request with one value set, or taken out with `to=None`; members on the way are made."""
    copy = deepcopy(request)
    *way, last = path
    inner: Any = copy
    for part in way:
        inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner[part]
    if to is None:
        del inner[last]
    else:
        inner[last] = to
    return copy

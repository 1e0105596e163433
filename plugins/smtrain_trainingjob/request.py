"""The CreateTrainingJob request, member by member; `request_keys` knows the configuration key behind each.

Source: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from smtrain.plugin import RUN_ID, Job, Json, MetricPattern
from smtrain_trainingjob.launch import CHANNELS
from smtrain_trainingjob.options import Channel, FileSystem, TrainingJobOptions

DAY_S = 86_400
ENTRY = ("/bin/bash", f"{CHANNELS}/program/launch.sh")
"""The entry point, which needs nothing of the image but bash and Python."""

TOOLKIT = {
    "sagemaker_program": "launch.sh",
    "sagemaker_submit_directory": f"{CHANNELS}/program",
}
"""Hyperparameters by which the training toolkit finds the same script (github.com/aws/sagemaker-training-toolkit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the request refers to.

    Attributes:
      image: URI.
      output: s3:// URI under which each run has its folder; no slash at the end.
      volume_gib: of each host.
      channels: our own channels, name → S3 URI.
      inputs: channels that bring inputs of the program from S3.
      metrics: to be read off the log.
    """

    image: str
    output: str
    volume_gib: int
    channels: Mapping[str, str]
    inputs: Mapping[str, Channel]
    metrics: tuple[MetricPattern, ...]


def build(job: Job, options: TrainingJobOptions, content: Content) -> dict[str, Json]:
    """Returns the request; members that say nothing are left out."""
    return _stated(
        {
            "TrainingJobName": RUN_ID,
            "RoleArn": options.role,
            "AlgorithmSpecification": _algorithm(options, content),
            "InputDataConfig": _channels(options, content),
            "OutputDataConfig": {"S3OutputPath": content.output, "KmsKeyId": options.kms.output},
            "ResourceConfig": _resources(job, options, content.volume_gib),
            "StoppingCondition": {
                "MaxRuntimeInSeconds": options.max_run_s,
                "MaxWaitTimeInSeconds": max_wait_s(options),
            },
            "Environment": _environment(options, content),
            "HyperParameters": _hyperparameters(options),
            "EnableManagedSpotTraining": options.spot,
            "EnableNetworkIsolation": options.network_isolation,
            "EnableInterContainerTrafficEncryption": options.encrypt_traffic,
            "VpcConfig": {"SecurityGroupIds": list(options.security_groups), "Subnets": list(options.subnets)},
            "CheckpointConfig": _checkpoints(options),
            "RetryStrategy": {"MaximumRetryAttempts": options.retries} if options.retries else None,
            "RemoteDebugConfig": {"EnableRemoteDebug": True} if options.remote_debug else None,
            "ProfilerConfig": None if options.profiler else {"DisableProfiler": True},
            "ExperimentConfig": {
                "ExperimentName": options.experiment.experiment,
                "TrialName": options.experiment.trial,
                "TrialComponentDisplayName": options.experiment.display_name,
                "RunName": options.experiment.run,
            },
            "Tags": [{"Key": key, "Value": str(value)} for key, value in sorted(options.tags.items())],
        }
    )


def max_wait_s(options: TrainingJobOptions) -> int | None:
    """Returns MaxWaitTimeInSeconds, which spot needs: running included, and a day's waiting unless said otherwise."""
    if options.max_wait_s is not None or not options.spot:
        return options.max_wait_s
    return options.max_run_s + DAY_S


def output_uri(options: TrainingJobOptions, output: str) -> str:
    """Returns where the agent keeps results: the run's folder in S3.

    Without a network it is the folder that SageMaker itself keeps in step with S3, or nowhere.
    """
    if not options.network_isolation:
        return f"{output}/{RUN_ID}"
    return options.checkpoints.local_path if options.checkpoints.uri else ""


def _algorithm(options: TrainingJobOptions, content: Content) -> dict[str, Json]:
    return {
        "TrainingImage": content.image,
        "TrainingInputMode": "File",
        "ContainerEntrypoint": list(ENTRY) if options.entry == "own" else None,
        "MetricDefinitions": [{"Name": metric.name, "Regex": metric.regex} for metric in content.metrics],
    }


def _channels(options: TrainingJobOptions, content: Content) -> list[Json]:
    # Where one channel names instance groups, all must; the SDK does the same for its own.
    some = any(channel.instance_groups for channel in options.channels.values())
    groups = tuple(options.instance_groups) if some else ()
    ours = {name: Channel(uri=uri) for name, uri in content.channels.items()}
    channels = ours | dict(content.inputs) | dict(options.channels)
    return [
        *(
            _channel(name, replace(channel, instance_groups=channel.instance_groups or groups))
            for name, channel in channels.items()
        ),
        *(_file_system(name, system) for name, system in options.file_systems.items()),
    ]


def _channel(name: str, channel: Channel) -> dict[str, Json]:
    return {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": channel.type,
                "S3Uri": channel.uri,
                "S3DataDistributionType": channel.distribution,
                "AttributeNames": list(channel.attributes),
                "InstanceGroupNames": list(channel.instance_groups),
            }
        },
        "ContentType": channel.content_type,
        "CompressionType": channel.compression,
        "RecordWrapperType": channel.record_wrapper,
        "InputMode": channel.mode,
        "ShuffleConfig": None if channel.shuffle_seed is None else {"Seed": channel.shuffle_seed},
    }


def _file_system(name: str, system: FileSystem) -> dict[str, Json]:
    return {
        "ChannelName": name,
        "DataSource": {
            "FileSystemDataSource": {
                "FileSystemId": system.id,
                "FileSystemAccessMode": system.access,
                "FileSystemType": system.type,
                "DirectoryPath": system.path,
            }
        },
    }


def _resources(job: Job, options: TrainingJobOptions, volume_gib: int) -> dict[str, Json]:
    groups: list[Json] = [
        {"InstanceGroupName": name, "InstanceType": group.instance_type, "InstanceCount": group.count}
        for name, group in options.instance_groups.items()
    ]
    return {
        "InstanceType": None if groups else job.run.compute.instance_type,
        "InstanceCount": None if groups else job.topology.nodes,
        "InstanceGroups": groups,
        "VolumeSizeInGB": volume_gib,
        "VolumeKmsKeyId": options.kms.volume,
        "KeepAlivePeriodInSeconds": options.keep_alive_s or None,
    }


def _environment(options: TrainingJobOptions, content: Content) -> dict[str, Json]:
    own = {str(name): str(value) for name, value in options.environment.items()}
    kept = output_uri(options, content.output)
    return dict(sorted((own | ({"SMTRAIN_OUTPUT_URI": kept} if kept else {})).items()))


def _hyperparameters(options: TrainingJobOptions) -> dict[str, Json]:
    given = {name: _text(value) for name, value in options.hyperparameters.items()}
    if options.entry == "toolkit":
        # The toolkit parses every value as JSON.
        given |= {name: f'"{value}"' for name, value in TOOLKIT.items()}
    return dict(sorted(given.items()))


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checkpoints(options: TrainingJobOptions) -> dict[str, Json] | None:
    uri = options.checkpoints.uri
    return None if uri is None else {"S3Uri": uri, "LocalPath": options.checkpoints.local_path}


def _stated(members: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the members that say something: neither None, nor False, nor empty."""
    stated: dict[str, Json] = {}
    for name, value in members.items():
        kept = _without_silence(value)
        if kept is not None and kept is not False and kept not in ([], {}):
            stated[name] = kept
    return stated


def _without_silence(value: Json) -> Json:
    match value:
        case dict():
            return _stated(value)
        case list():
            return [_without_silence(item) for item in value]
        case _:
            return value

"""`estimator.py` for the SageMaker Python SDK 2: a CreateTrainingJob request as the Estimator call that makes it.

It is the generic Estimator for every image: those of the frameworks (PyTorch, HuggingFace) upload a source folder of
their own and add hyperparameters about it, so that they make another job. What Estimator has no argument for is added
with a handler of boto3's event system, as in `estimator_v3`.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.plugin import Json
from smtrain_trainingjob.estimator import parts
from smtrain_trainingjob.estimator.python_source import Call, Source, Verbatim, statement

REQUIREMENT = "sagemaker>=2.257,<3"
"""The version that the tests send requests with, and the rest of its generation."""

_COMMENT = "What Estimator has no argument for."
_UNSAID_COMMENT = "What Estimator says, and this job does not."

_EVENTS = """\
# boto3's own way to complete a request: its guide "Extensibility".
boto_session = boto3.Session()
events = boto_session.events
events.register("provide-client-params.sagemaker.CreateTrainingJob", complete)"""

_ARGUMENTS: Mapping[tuple[str, ...], str] = {
    ("AlgorithmSpecification", "TrainingImage"): "image_uri",
    ("AlgorithmSpecification", "ContainerEntrypoint"): "container_entry_point",
    ("AlgorithmSpecification", "ContainerArguments"): "container_arguments",
    ("RoleArn",): "role",
    ("ResourceConfig", "InstanceType"): "instance_type",
    ("ResourceConfig", "InstanceCount"): "instance_count",
    ("ResourceConfig", "InstanceGroups"): "instance_groups",
    ("ResourceConfig", "VolumeSizeInGB"): "volume_size",
    ("ResourceConfig", "VolumeKmsKeyId"): "volume_kms_key",
    ("ResourceConfig", "KeepAlivePeriodInSeconds"): "keep_alive_period_in_seconds",
    ("ResourceConfig", "TrainingPlanArn"): "training_plan",
    ("StoppingCondition", "MaxRuntimeInSeconds"): "max_run",
    ("StoppingCondition", "MaxWaitTimeInSeconds"): "max_wait",
    ("EnableManagedSpotTraining",): "use_spot_instances",
    ("CheckpointConfig", "S3Uri"): "checkpoint_s3_uri",
    ("CheckpointConfig", "LocalPath"): "checkpoint_local_path",
    ("RetryStrategy", "MaximumRetryAttempts"): "max_retry_attempts",
    ("VpcConfig", "Subnets"): "subnets",
    ("VpcConfig", "SecurityGroupIds"): "security_group_ids",
    ("EnableNetworkIsolation",): "enable_network_isolation",
    ("EnableInterContainerTrafficEncryption",): "encrypt_inter_container_traffic",
    ("AlgorithmSpecification", "TrainingInputMode"): "input_mode",
    ("OutputDataConfig", "S3OutputPath"): "output_path",
    ("OutputDataConfig", "KmsKeyId"): "output_kms_key",
    ("AlgorithmSpecification", "MetricDefinitions"): "metric_definitions",
    ("AlgorithmSpecification", "EnableSageMakerMetricsTimeSeries"): "enable_sagemaker_metrics",
    ("Environment",): "environment",
    ("HyperParameters",): "hyperparameters",
    ("Tags",): "tags",
    ("RemoteDebugConfig", "EnableRemoteDebug"): "enable_remote_debug",
    ("InfraCheckConfig", "EnableInfraCheck"): "enable_infra_check",
    ("SessionChainingConfig", "EnableSessionTagChaining"): "enable_session_tag_chaining",
}
"""Place in the request → argument of Estimator, in the order in which they are written."""

_TAKEN = ("TrainingJobName", "InputDataConfig", "ExperimentConfig", "ProfilerConfig")
"""Members that `fit` takes, or that are looked at one by one."""

_INSTANCE_GROUP: Mapping[str, str] = {
    "InstanceGroupName": "instance_group_name",
    "InstanceType": "instance_type",
    "InstanceCount": "instance_count",
}
_S3_SOURCE: Mapping[str, str] = {
    "S3Uri": "s3_data",
    "S3DataType": "s3_data_type",
    "S3DataDistributionType": "distribution",
    "AttributeNames": "attribute_names",
    "InstanceGroupNames": "instance_groups",
}
_S3_CHANNEL: Mapping[str, str] = {
    "ContentType": "content_type",
    "CompressionType": "compression",
    "RecordWrapperType": "record_wrapping",
    "InputMode": "input_mode",
}
_FILE_SYSTEM: Mapping[str, str] = {
    "FileSystemId": "file_system_id",
    "FileSystemType": "file_system_type",
    "DirectoryPath": "directory_path",
    "FileSystemAccessMode": "file_system_access_mode",
}


def render(request: Mapping[str, Json], *, region: str = "") -> str:
    """Returns a script that makes this job with the SDK.

    Args:
      request: of CreateTrainingJob, with the members that every job needs, size of the volume and time limit included.
      region: of the job; "" leaves it to the environment.
    """
    arguments, more = _arguments(request)
    unsaid = () if request.get("ProfilerConfig") == {"DisableProfiler": True} else ("ProfilerConfig",)
    if unsaid and "ProfilerConfig" in request:
        more["ProfilerConfig"] = request["ProfilerConfig"]
    channels = _channels(request)
    if channels is None:
        more["InputDataConfig"] = request["InputDataConfig"]
    changed = bool(more or unsaid)
    estimator = {
        **arguments,
        **({} if unsaid else {"disable_profiler": True}),
        "debugger_hook_config": False,
        **({"sagemaker_session": _session()} if changed else {}),
    }
    return parts.script(
        title="Trains on SageMaker, by the SageMaker Python SDK 2.",
        requirement=REQUIREMENT,
        modules=_modules(arguments, channels or {}, changed=changed),
        region=region,
        values=(
            statement("JOB_NAME = ", request["TrainingJobName"]),
            *((parts.more(more, comment=_COMMENT),) if changed else ()),
            *((f"# {_UNSAID_COMMENT}\n{statement('UNSAID = ', list(unsaid))}",) if unsaid else ()),
        ),
        functions=(parts.complete(unsaid=bool(unsaid)),) if changed else (),
        body=(
            *((_EVENTS,) if changed else ()),
            statement("estimator = ", Call(name="Estimator", arguments=estimator)),
            f"upload()\n{statement('', _fit(request, channels))}",
        ),
    )


def _arguments(request: Mapping[str, Json]) -> tuple[dict[str, Source], dict[str, Json]]:
    """Returns the arguments of Estimator, and what is left of the request."""
    arguments: dict[str, Source] = {}
    more: dict[str, Json] = {}
    for member, value in request.items():
        if member in _TAKEN:
            continue
        if (member,) in _ARGUMENTS and value:
            arguments[_ARGUMENTS[member,]] = value
        elif isinstance(value, dict):
            said = {key: item for key, item in value.items() if (member, key) in _ARGUMENTS and item}
            arguments |= {_ARGUMENTS[member, key]: item for key, item in said.items()}
            if rest := {key: item for key, item in value.items() if key not in said}:
                more[member] = rest
        else:
            more[member] = value
    if more.get("OutputDataConfig") == {"CompressionType": "NONE"}:
        del more["OutputDataConfig"]
        arguments["disable_output_compression"] = True
    if "instance_groups" in arguments:
        groups = [_renamed(group, _INSTANCE_GROUP) for group in _items(arguments["instance_groups"])]
        arguments["instance_groups"] = [Call(name="InstanceGroup", arguments=group) for group in groups]
    order = [*_ARGUMENTS.values(), "disable_output_compression"]
    return {name: arguments[name] for name in order if name in arguments}, more


def _channels(request: Mapping[str, Json]) -> dict[str, Source] | None:
    """Returns the channels by name; None when the SDK would say something else of one of them."""
    found: dict[str, Source] = {}
    for channel in _items(request.get("InputDataConfig")):
        call = _channel(channel)
        if call is None:
            return None
        found[str(channel["ChannelName"])] = call
    return found


def _channel(channel: Mapping[str, Json]) -> Call | None:
    source = _mapping(channel["DataSource"])
    settings = {key: value for key, value in channel.items() if key not in {"ChannelName", "DataSource"}}
    if set(source) == {"FileSystemDataSource"} and not settings:
        return Call(name="FileSystemInput", arguments=_renamed(_mapping(source["FileSystemDataSource"]), _FILE_SYSTEM))
    shuffle = _mapping(settings.pop("ShuffleConfig", {}))
    where = _mapping(source.get("S3DataSource"))
    # The SDK puts in a distribution where there is none.
    if (
        "S3DataDistributionType" not in where
        or not set(where) <= set(_S3_SOURCE)
        or not set(settings) <= set(_S3_CHANNEL)
    ):
        return None
    seed: dict[str, Source] = (
        {"shuffle_config": Call(name="ShuffleConfig", arguments={"seed": shuffle["Seed"]})} if shuffle else {}
    )
    return Call(
        name="TrainingInput",
        arguments={**_renamed(where, _S3_SOURCE), **_renamed(settings, _S3_CHANNEL), **seed},
    )


def _fit(request: Mapping[str, Json], channels: Mapping[str, Source] | None) -> Call:
    experiment: dict[str, Source] = (
        {"experiment_config": request["ExperimentConfig"]} if request.get("ExperimentConfig") else {}
    )
    return Call(
        name="estimator.fit",
        arguments={
            **({"inputs": channels} if channels else {}),
            "job_name": Verbatim(text="JOB_NAME"),
            **experiment,
            "wait": Verbatim(text="wait"),
        },
    )


def _modules(arguments: Mapping[str, Source], channels: Mapping[str, Source], *, changed: bool) -> tuple[str, ...]:
    inputs = {channel.name for channel in channels.values() if isinstance(channel, Call)}
    if any(isinstance(channel, Call) and "shuffle_config" in channel.arguments for channel in channels.values()):
        inputs.add("ShuffleConfig")
    return (
        *(("from sagemaker import Session",) if changed else ()),
        "from sagemaker.estimator import Estimator",
        *((parts.import_names("sagemaker.inputs", inputs),) if inputs else ()),
        *(("from sagemaker.instance_group import InstanceGroup",) if "instance_groups" in arguments else ()),
    )


def _session() -> Call:
    return Call(name="Session", arguments={"boto_session": Verbatim(text="boto_session")})


def _renamed(members: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Source]:
    return {names[key]: members[key] for key in names if key in members}


def _mapping(value: Json | None) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _items(value: Source | None) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

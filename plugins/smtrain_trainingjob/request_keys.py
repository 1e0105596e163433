"""The configuration key behind each member of a CreateTrainingJob request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smtrain.plugin import Json
from smtrain_trainingjob.options import TrainingJobOptions

Path = tuple[str | int, ...]

INPUTS: Mapping[str, str] = {"model": "model.path", "adapter": "model.adapter"}
"""Input of a program → the key that names it."""

_LISTS: Mapping[str, str] = {
    "MetricDefinitions": "Name",
    "InputDataConfig": "ChannelName",
    "InstanceGroups": "InstanceGroupName",
    "Tags": "Key",
}
"""A list of the request that is a mapping in the configuration → the member that is its key there."""


def keys_of(request: Mapping[str, Json], options: TrainingJobOptions) -> Callable[[Path], str]:
    """Returns what tells the configuration key that a path in this request comes from; "" when none does."""

    def key_of(path: Path) -> str:
        if path[:1] == ("InputDataConfig",) and len(path) > 1:
            return _channel_key(_name_at(request, path[:2]), path[2:], options)
        for length in range(len(path), 0, -1):
            key = KEYS.get(tuple("*" if isinstance(part, int) else part for part in path[:length]))
            if key is not None:
                return ".".join((key, *_inside(request, path, length)))
        return ""

    return key_of


def _inside(request: Mapping[str, Json], path: Path, length: int) -> tuple[str, ...]:
    """Returns the rest of a key: the entry of a mapping, or of a list that the configuration has as a mapping."""
    if len(path) <= length:
        return ()
    if path[length - 1] in _LISTS:
        name = _name_at(request, path[: length + 1])
        return (name,) if name else ()
    return (str(path[length]),) if path[length - 1] in ("Environment", "HyperParameters") else ()


def _name_at(request: Mapping[str, Json], path: Path) -> str:
    found: Json = dict(request)
    for part in path:
        if isinstance(found, dict) and isinstance(part, str):
            found = found.get(part)
        elif isinstance(found, list) and isinstance(part, int):
            found = found[part]
    name = found.get(_LISTS[str(path[-2])]) if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _channel_key(name: str, rest: Path, options: TrainingJobOptions) -> str:
    member = next((part for part in reversed(rest) if isinstance(part, str)), "")
    if name in options.channels:
        return ".".join(filter(None, ("backend.channels", name, _CHANNEL_KEYS.get(member))))
    if name in options.file_systems:
        return ".".join(filter(None, ("backend.file_systems", name, _FILE_SYSTEM_KEYS.get(member))))
    if name in options.inputs or name in INPUTS:
        return INPUTS.get(name, f"backend.inputs.{name}")
    return "storage.output" if options.store is None else "backend.store"


_CHANNEL_KEYS: Mapping[str, str] = {
    "S3Uri": "uri",
    "S3DataType": "type",
    "S3DataDistributionType": "distribution",
    "AttributeNames": "attributes",
    "InstanceGroupNames": "instance_groups",
    "ContentType": "content_type",
    "CompressionType": "compression",
    "RecordWrapperType": "record_wrapper",
    "InputMode": "mode",
    "Seed": "shuffle_seed",
}
_FILE_SYSTEM_KEYS: Mapping[str, str] = {"FileSystemId": "id", "DirectoryPath": "path"}
KEYS: Mapping[tuple[str, ...], str] = {
    ("TrainingJobName",): "name",
    ("RoleArn",): "backend.role",
    ("AlgorithmSpecification", "TrainingImage"): "backend.image",
    ("AlgorithmSpecification", "MetricDefinitions"): "backend.metrics",
    ("InputDataConfig",): "backend.channels",
    ("OutputDataConfig", "S3OutputPath"): "storage.output",
    ("OutputDataConfig", "KmsKeyId"): "backend.kms.output",
    ("ResourceConfig", "InstanceType"): "compute.instance_type",
    ("ResourceConfig", "InstanceCount"): "compute.nodes",
    ("ResourceConfig", "InstanceGroups"): "backend.instance_groups",
    ("ResourceConfig", "VolumeSizeInGB"): "backend.volume_gib",
    ("ResourceConfig", "VolumeKmsKeyId"): "backend.kms.volume",
    ("ResourceConfig", "KeepAlivePeriodInSeconds"): "backend.keep_alive_s",
    ("StoppingCondition", "MaxRuntimeInSeconds"): "backend.max_run_s",
    ("StoppingCondition", "MaxWaitTimeInSeconds"): "backend.max_wait_s",
    ("Environment",): "backend.environment",
    ("HyperParameters",): "backend.hyperparameters",
    ("EnableManagedSpotTraining",): "backend.spot",
    ("EnableNetworkIsolation",): "backend.network_isolation",
    ("EnableInterContainerTrafficEncryption",): "backend.encrypt_traffic",
    ("VpcConfig", "Subnets"): "backend.subnets",
    ("VpcConfig", "SecurityGroupIds"): "backend.security_groups",
    ("VpcConfig",): "backend.subnets",
    ("CheckpointConfig", "LocalPath"): "backend.checkpoints.local_path",
    ("CheckpointConfig",): "backend.checkpoints.uri",
    ("RetryStrategy",): "backend.retries",
    ("RemoteDebugConfig",): "backend.remote_debug",
    ("ProfilerConfig",): "backend.profiler",
    ("ExperimentConfig", "ExperimentName"): "backend.experiment.experiment",
    ("ExperimentConfig", "TrialName"): "backend.experiment.trial",
    ("ExperimentConfig", "TrialComponentDisplayName"): "backend.experiment.display_name",
    ("ExperimentConfig", "RunName"): "backend.experiment.run",
    ("ExperimentConfig",): "backend.experiment",
    ("Tags",): "backend.tags",
}

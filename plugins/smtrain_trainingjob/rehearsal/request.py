"""Reads what the engine needs out of a CreateTrainingJob request, and says what it cannot rehearse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from smtrain.plugin import Json, Problem, SmtrainError, fail
from smtrain_trainingjob.rehearsal.channel import Channel

ML = "/opt/ml"

_HOMOGENEOUS = "homogeneousCluster"
"""The name that SageMaker gives the one group of a job without instance groups (seen in resourceconfig.json)."""

_LONGEST_RUN_S = 86400
"""SageMaker's default of MaxRuntimeInSeconds (API reference of StoppingCondition)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hosts of one type."""

    name: str
    instance_type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """The part of a request that decides what runs.

    Attributes:
      name: the job's name.
      image: the training image, "" for an algorithm of the marketplace.
      command: entrypoint and arguments.
      own_entrypoint: whether the request names the entrypoint; otherwise it is the image's, called with `train`.
      environment: what the request adds to the image's environment.
      hyperparameters: as they are, all text.
      groups: the hosts, in order.
      channels: as the request has them, not yet one host's.
      max_runtime_s: seconds from the start of the download until the job is stopped.
      checkpoint_path: local folder that is kept in step with S3, "" when none is.
      compress: whether results are packed into an archive.
    """

    name: str
    image: str
    command: tuple[str, ...]
    own_entrypoint: bool
    environment: Mapping[str, str]
    hyperparameters: Mapping[str, str]
    groups: tuple[Group, ...]
    channels: tuple[Channel, ...]
    max_runtime_s: float
    checkpoint_path: str
    compress: bool


def read(request: Mapping[str, Json]) -> JobRequest:
    """Returns what the request says, with SageMaker's defaults.

    Raises:
      SmtrainError: it is no such request, or asks for what cannot be rehearsed; all of it at once.
    """
    algorithm = _members(request, "AlgorithmSpecification")
    entrypoint = _texts(algorithm, "ContainerEntrypoint")
    arguments = _texts(algorithm, "ContainerArguments")
    checkpoints = _members(request, "CheckpointConfig")
    mode = _text(algorithm, "TrainingInputMode", "File")
    found = JobRequest(
        name=_text(request, "TrainingJobName"),
        image=_text(algorithm, "TrainingImage"),
        command=(*entrypoint, *arguments) if entrypoint or arguments else ("train",),
        own_entrypoint=bool(entrypoint),
        environment=_string_map(request, "Environment"),
        hyperparameters=_string_map(request, "HyperParameters"),
        groups=tuple(_groups(_members(request, "ResourceConfig"))),
        channels=tuple(_channel(each, mode) for each in _items(request, "InputDataConfig")),
        max_runtime_s=_number(_members(request, "StoppingCondition"), "MaxRuntimeInSeconds", _LONGEST_RUN_S),
        checkpoint_path=_text(checkpoints, "LocalPath", f"{ML}/checkpoints") if checkpoints else "",
        compress=_text(_members(request, "OutputDataConfig"), "CompressionType", "GZIP") == "GZIP",
    )
    problems = tuple(_problems(found, request))
    if problems:
        raise SmtrainError(problems)
    return found


def _groups(resources: Mapping[str, Json]) -> Iterator[Group]:
    for each in _items(resources, "InstanceGroups"):
        yield Group(
            name=_text(each, "InstanceGroupName"),
            instance_type=_text(each, "InstanceType"),
            count=int(_number(each, "InstanceCount", 1)),
        )
    if not resources.get("InstanceGroups"):
        yield Group(
            name=_HOMOGENEOUS,
            instance_type=_text(resources, "InstanceType"),
            count=int(_number(resources, "InstanceCount", 1)),
        )


def _channel(channel: Mapping[str, Json], mode: str) -> Channel:
    source = _members(channel, "DataSource")
    objects = _members(source, "S3DataSource")
    files = _members(source, "FileSystemDataSource")
    return Channel(
        name=_text(channel, "ChannelName"),
        data_type=_text(objects, "S3DataType") if objects else "FileSystem" if files else "",
        uri=_text(objects, "S3Uri") if objects else _text(files, "DirectoryPath"),
        input_mode=_text(channel, "InputMode", mode),
        distribution=_text(objects, "S3DataDistributionType", "FullyReplicated"),
        record_wrapper=_text(channel, "RecordWrapperType", "None"),
        content_type=_text(channel, "ContentType"),
        groups=_texts(objects, "InstanceGroupNames"),
        read_only=_text(files, "FileSystemAccessMode", "ro") == "ro",
    )


def _problems(job: JobRequest, request: Mapping[str, Json]) -> Iterator[Problem]:
    for channel, document in zip(job.channels, _items(request, "InputDataConfig"), strict=True):
        yield from _channel_problems(channel, document, {group.name for group in job.groups})
    if not job.own_entrypoint and job.command != ("train",):
        yield _problem(
            "AlgorithmSpecification.ContainerArguments",
            "There are arguments without an entrypoint, which go to the image's own; only the image knows it.",
            "Name the image's entrypoint in ContainerEntrypoint as well.",
        )
    path = PurePosixPath(job.checkpoint_path or f"{ML}/checkpoints")
    if not path.is_relative_to(ML) or path == PurePosixPath(ML) or ".." in path.parts:
        yield _problem(
            "CheckpointConfig.LocalPath",
            f"{path} is not below {ML}, the one folder of this machine that a rehearsal replaces.",
            f"Leave it out, which means {ML}/checkpoints, or name a folder below {ML}.",
        )


def _channel_problems(channel: Channel, document: Mapping[str, Json], groups: set[str]) -> Iterator[Problem]:
    key = f"InputDataConfig.{channel.name}"
    if channel.input_mode == "Pipe":
        yield _problem(f"{key}.InputMode", "A rehearsal has no Pipe mode.", "Rehearse with File or FastFile.")
    if channel.data_type not in {"S3Prefix", "FileSystem"}:
        what = channel.data_type or "a source that is neither in S3 nor on a file system"
        yield _problem(f"{key}.DataSource", f"A rehearsal cannot read {what}.", "Rehearse with an S3Prefix.")
    if channel.record_wrapper != "None":
        yield _problem(f"{key}.RecordWrapperType", "A rehearsal wraps no records.", "Leave it out.")
    if _text(document, "CompressionType", "None") != "None":
        yield _problem(f"{key}.CompressionType", "A rehearsal unpacks no channels.", "Upload the files as they are.")
    for name in sorted(set(channel.groups) - groups):
        yield _problem(
            f"{key}.DataSource.S3DataSource.InstanceGroupNames",
            f"There is no instance group {name!r}.",
            f"The groups are {', '.join(sorted(groups))}.",
        )


def _problem(key: str, what: str, fix: str) -> Problem:
    return Problem(key=f"request.json:{key}", what=what, fix=fix)


def _members(node: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = node.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(key, "an object")
    return value


def _items(node: Mapping[str, Json], key: str) -> Sequence[Mapping[str, Json]]:
    value = node.get(key) or ()
    items = [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []
    if isinstance(value, str) or len(items) != len(value if isinstance(value, Sequence) else (value,)):
        raise _wrong(key, "a list of objects")
    return items


def _texts(node: Mapping[str, Json], key: str) -> tuple[str, ...]:
    value = node.get(key) or ()
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise _wrong(key, "a list of texts")
    return tuple(str(each) for each in value)


def _string_map(node: Mapping[str, Json], key: str) -> Mapping[str, str]:
    found = _members(node, key)
    if not all(isinstance(value, str) for value in found.values()):
        raise _wrong(key, "an object whose values are all texts")
    return {name: str(value) for name, value in found.items()}


def _text(node: Mapping[str, Json], key: str, default: str = "") -> str:
    value = node.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "a text")
    return value


def _number(node: Mapping[str, Json], key: str, default: float) -> float:
    value = node.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, "a number")
    return value


def _wrong(key: str, expected: str) -> SmtrainError:
    return fail(f"{key} must be {expected}.", "See the CreateTrainingJob API reference.", key=f"request.json:{key}")

"""What the SageMaker service refuses: botocore's model with its lengths and patterns, and the rules between members."""

from __future__ import annotations

import functools
import math

INVALID = "ValidationException"


class ApiError(Exception):
    """What the service answers instead of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


def check(operation: str, request: dict) -> None:
    """Raises ApiError with everything that the model forbids."""
    found = list(_violations(_model().operation_model(operation).input_shape, request, ""))
    if found:
        noun = "error" if len(found) == 1 else "errors"
        raise ApiError(INVALID, f"{len(found)} validation {noun} detected: {'; '.join(found)}")


def output_members(operation: str) -> frozenset[str]:
    return frozenset(_model().operation_model(operation).output_shape.members)


@functools.cache
def _model():
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def _violations(shape, value, path):
    if value is None:
        yield f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
        return
    check_type = _TYPES.get(shape.type_name)
    if check_type is not None and not check_type(value):
        yield f"Value at '{path}' failed to satisfy constraint: Member must be of type {shape.type_name}"
        return
    yield from _own_violations(shape, value, path)
    if shape.type_name == "structure":
        yield from _member_violations(shape, value, path)
    elif shape.type_name == "list":
        for index, item in enumerate(value, start=1):
            yield from _violations(shape.member, item, f"{path}.{index}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _violations(shape.key, key, f"{path}.{key}.key")
            yield from _violations(shape.value, item, f"{path}.{key}.member")


def _member_violations(shape, value, path):
    for name in shape.required_members:
        if name not in value:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name in shape.members:
            yield from _violations(shape.members[name], member, _join(path, name))
        else:
            yield f"'{_join(path, name)}' is no member of {shape.name}"


def _own_violations(shape, value, path):
    limits = shape.metadata
    measured = value if shape.type_name in _NUMBERS else len(value) if hasattr(value, "__len__") else 0
    low, high = limits.get("min", -math.inf), limits.get("max", math.inf)
    if not low <= measured <= high:
        yield f"Value at '{path}' failed to satisfy constraint: Member must be between {low} and {high}: {measured}"
    if shape.type_name != "string":
        return
    if limits.get("enum") and value not in limits["enum"]:
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must satisfy enum value set"
    if "pattern" in limits and not _pattern(limits["pattern"]).fullmatch(value):
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {limits['pattern']}"
        )


@functools.cache
def _pattern(text):
    import regex  # some patterns name Unicode classes, which `re` has not

    return regex.compile(text)


def _join(path, name):
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


_NUMBERS = frozenset({"integer", "long", "float", "double"})
_TYPES = {
    "structure": lambda value: isinstance(value, dict),
    "map": lambda value: isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": _is_number,
    "double": _is_number,
    "timestamp": _is_number,
}


def check_training_job(request: dict) -> None:
    """Raises ApiError for the first rule between members of CreateTrainingJob that is broken."""
    for wrong, message in _broken_rules(request):
        if wrong:
            raise ApiError(INVALID, message)


def _broken_rules(request):
    algorithm, resources = request["AlgorithmSpecification"], request.get("ResourceConfig", {})
    stopping, channels = request.get("StoppingCondition", {}), request.get("InputDataConfig", [])
    spot = request.get("EnableManagedSpotTraining", False)
    groups = resources.get("InstanceGroups", [])
    group_names = {group["InstanceGroupName"] for group in groups}
    longest, longest_wait = stopping.get("MaxRuntimeInSeconds", 86400), stopping.get("MaxWaitTimeInSeconds")
    names = [channel["ChannelName"] for channel in channels]
    yield (
        ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm),
        "You must specify exactly one of TrainingImage and AlgorithmName.",
    )
    yield (
        bool(groups) == ("InstanceType" in resources),
        "You must specify exactly one of InstanceType and InstanceGroups in ResourceConfig.",
    )
    yield (
        bool(groups) == ("InstanceCount" in resources),
        "InstanceCount goes with InstanceType, and only with it.",
    )
    yield not groups and resources.get("InstanceCount", 1) < 1, "InstanceCount must be at least 1."
    yield "VolumeSizeInGB" not in resources, "VolumeSizeInGB must be specified."
    yield len(group_names) != len(groups), "Instance group names must be unique."
    yield len(set(names)) != len(names), "Channel names must be unique."
    yield longest > 28 * 86400, "MaxRuntimeInSeconds must not exceed 28 days."
    yield spot and longest_wait is None, "MaxWaitTimeInSeconds is required for managed spot training."
    yield not spot and longest_wait is not None, "MaxWaitTimeInSeconds is for managed spot training only."
    yield (
        longest_wait is not None and longest_wait < longest,
        "MaxWaitTimeInSeconds must be equal to or greater than MaxRuntimeInSeconds.",
    )
    yield (
        spot and resources.get("KeepAlivePeriodInSeconds", 0) > 0,
        "KeepAlivePeriodInSeconds is not supported with managed spot training.",
    )
    for channel in channels:
        source = channel["DataSource"]
        yield len(source) != 1, f"Channel {channel['ChannelName']} must have exactly one data source."
        yield (
            "FileSystemDataSource" in source and "VpcConfig" not in request,
            "VpcConfig must be specified to use a file system data source.",
        )
        wanted = set(source.get("S3DataSource", {}).get("InstanceGroupNames", []))
        yield not wanted <= group_names, f"Channel {channel['ChannelName']} names an unknown instance group."
    hyperparameters = request.get("HyperParameters", {})
    yield any("\n" in value for value in hyperparameters.values()), "Hyperparameters must not contain newlines."

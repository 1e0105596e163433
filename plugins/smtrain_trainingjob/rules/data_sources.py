"""Rules of channels, S3 addresses and paths that SageMaker's service model does not carry.

Pages are named as in `rules_compute`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Problem, bucket_names
from smtrain_trainingjob.rules.request_view import Path, RequestView, repeated, shown

_URI = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<key>.*)", re.DOTALL)
_LONGEST_KEY_BYTES = 1024
_MANIFESTS = ("ManifestFile", "AugmentedManifestFile")
_TAKEN = ("/opt/ml/input", "/opt/ml/model", "/opt/ml/output")
_TAKEN_FROM_TENSORBOARD = ("/opt/ml", "/tmp", "/usr/local/nvidia")


def one_source(view: RequestView) -> Iterator[Problem]:
    """A channel has one source; the model requires none and takes all: API_DataSource."""
    for channel in view.items("InputDataConfig"):
        count = len(view.mapping(*channel, "DataSource"))
        if count != 1:
            what = f"the channel {shown(_name(view, channel))} has {count} sources."
            yield view.error((*channel, "DataSource"), what, "Give it one: S3, or a file system.")


def channel_names(view: RequestView) -> Iterator[Problem]:
    """Each channel is a folder of its name in /opt/ml/input/data: dg/model-train-storage."""
    named = [((*channel, "ChannelName"), _name(view, channel)) for channel in view.items("InputDataConfig")]
    for path, name in repeated(iter(named)):
        yield view.error(path, f"two channels are named {shown(name)}.", "Rename one of them.")
    for path, name in named:
        if name in (".", ".."):
            yield view.error(path, f"{shown(name)} cannot be the name of a folder.", "Rename the channel.")


def file_systems(view: RequestView) -> Iterator[Problem]:
    """EFS and FSx for Lustre are reached through a VPC: dg/model-access-training-data."""
    for channel in view.items("InputDataConfig"):
        source: Path = (*channel, "DataSource", "FileSystemDataSource")
        if not view.mapping(*source):
            continue
        name = _name(view, channel)
        if not view.mapping("VpcConfig"):
            what = f"the channel {shown(name)} is a file system, which the job reaches through a VPC only."
            yield view.error(source, what, "Set the subnets and security groups of the file system.")
        folder = view.text(*source, "DirectoryPath")
        if folder and not folder.startswith("/"):
            what = f"the folder of the channel {shown(name)} is no full path."
            fix = "Begin it with /; on FSx for Lustre the first part is the mount name."
            yield view.error((*source, "DirectoryPath"), what, fix)


def input_modes(view: RequestView) -> Iterator[Problem]:
    """What goes with which input mode: API_Channel, API_S3DataSource, dg/model-access-training-data.

    The service's "File mode only supports NONE" is in https://github.com/aws/sagemaker-python-sdk/issues/716.
    """
    overall = view.text("AlgorithmSpecification", "TrainingInputMode")
    for channel in view.items("InputDataConfig"):
        mode, name = view.text(*channel, "InputMode") or overall, _name(view, channel)
        for member, value in (("CompressionType", "Gzip"), ("RecordWrapperType", "RecordIO")):
            if mode in ("File", "FastFile") and view.text(*channel, member) == value:
                what = f"the channel {shown(name)} cannot be {value} in {mode} mode."
                yield view.error((*channel, member), what, "Leave it out, or use Pipe mode.")
        kind_path: Path = (*channel, "DataSource", "S3DataSource", "S3DataType")
        kind = view.text(*kind_path)
        if mode == "FastFile" and kind in _MANIFESTS:
            what = f"the channel {shown(name)} is a {kind}, which FastFile mode cannot read."
            yield view.error(kind_path, what, "Name a prefix, or use another mode.")
        elif mode == "File" and kind == "AugmentedManifestFile":
            what = f"the channel {shown(name)} is an AugmentedManifestFile, which only Pipe mode reads."
            yield view.error(kind_path, what, "Name a prefix or a manifest, or use Pipe mode.")


def addresses(view: RequestView) -> Iterator[Problem]:
    """S3's own rules of names: AmazonS3/latest/userguide/bucketnamingrules and object-keys; the model has but `s3://`.

    A bucket by its access point's ARN is left alone.
    """
    for path in _s3_addresses(view):
        found = _URI.fullmatch(view.text(*path))
        if found is None or found["bucket"].startswith("arn:"):
            continue
        bucket, key = found["bucket"], found["key"]
        if not bucket_names.is_bucket(bucket):
            yield view.error(path, f"{shown(bucket)} cannot be the name of a bucket.", bucket_names.RULE)
        elif len(key.encode(errors="replace")) > _LONGEST_KEY_BYTES or not key.isprintable():
            what = "the part behind the bucket is longer than 1024 bytes, or has characters that do not print."
            yield view.error(path, what, "Rename it.")


def prefixes(view: RequestView) -> Iterator[Problem]:
    """Without a prefix SageMaker copies the whole bucket; a manifest is one object: API_S3DataSource.

    A prefix is compared letter by letter: a `*` in it stands for itself.
    """
    for channel in view.items("InputDataConfig"):
        source: Path = (*channel, "DataSource", "S3DataSource")
        found = _URI.fullmatch(view.text(*source, "S3Uri"))
        if found is None or found["bucket"].startswith("arn:"):
            continue
        kind = view.text(*source, "S3DataType")
        if kind in _MANIFESTS and (not found["key"] or found["key"].endswith("/")):
            what = f"the channel {shown(_name(view, channel))} is a {kind}, but its address is no object's."
            yield view.error((*source, "S3Uri"), what, "Name the manifest itself.")
        elif kind == "S3Prefix" and found["key"].endswith("*"):
            what = f"the channel {shown(_name(view, channel))} ends with `*`, which SageMaker takes as it stands."
            yield view.error((*source, "S3Uri"), what, "Leave the * out: a prefix brings all that begins with it.")
        elif not found["key"]:
            what = f"the channel {shown(_name(view, channel))} is all of the bucket {shown(found['bucket'])}."
            yield view.doubt((*source, "S3Uri"), what, "Name a prefix in it.")
    found = _URI.fullmatch(view.text("CheckpointConfig", "S3Uri"))
    if found is not None and not found["key"]:
        what = "the checkpoints share a whole bucket, all of which is copied to each machine at the start."
        yield view.doubt(("CheckpointConfig", "S3Uri"), what, "Name a prefix in it.")


def local_paths(view: RequestView) -> Iterator[Problem]:
    """Folders that SageMaker has taken: dg/model-train-storage.

    Those that it refuses for TensorBoard are in https://github.com/aws/amazon-sagemaker-examples/issues/3620.
    """
    for path, taken in (
        (("CheckpointConfig", "LocalPath"), _TAKEN),
        (("TensorBoardOutputConfig", "LocalPath"), _TAKEN_FROM_TENSORBOARD),
    ):
        folder = view.text(*path)
        if not folder:
            continue
        place = PurePosixPath(folder)
        if not place.is_absolute() or ".." in place.parts:
            yield view.error(path, f"{shown(folder)} is no plain full path.", "Begin it with /, and leave .. out.")
            continue
        for other in map(PurePosixPath, taken):
            if place.is_relative_to(other) or other.is_relative_to(place):
                fix = "Use /opt/ml/checkpoints." if taken is _TAKEN else "Use a folder of your own."
                yield view.error(path, f"{shown(folder)} overlaps with {other}, which SageMaker has taken.", fix)
                break


def _s3_addresses(view: RequestView) -> Iterator[Path]:
    yield ("OutputDataConfig", "S3OutputPath")
    yield ("CheckpointConfig", "S3Uri")
    for member in ("DebugHookConfig", "TensorBoardOutputConfig", "ProfilerConfig"):
        yield (member, "S3OutputPath")
    for channel in view.items("InputDataConfig"):
        yield (*channel, "DataSource", "S3DataSource", "S3Uri")


def _name(view: RequestView, channel: Path) -> str:
    return view.text(*channel, "ChannelName")


RULES = (one_source, channel_names, file_systems, input_modes, addresses, prefixes, local_paths)

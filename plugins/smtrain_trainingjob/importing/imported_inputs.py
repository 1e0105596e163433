"""The input channels of an imported request."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Json
from smtrain_trainingjob import inputs
from smtrain_trainingjob.importing import left_over
from smtrain_trainingjob.importing.experiment_text import Entry, Node, lost, said, section
from smtrain_trainingjob.importing.request_members import Members

_DEFAULT_MODE = "File"


def nodes(job: Members, mode: str | None) -> Iterator[Node]:
    """Yields `channels` and `file_systems`.

    Args:
      job: the request.
      mode: its TrainingInputMode, for channels that name none: smtrain's own are read in the default one.
    """
    mode = None if mode == _DEFAULT_MODE else mode
    channels: list[Node] = []
    systems: list[Node] = []
    for name, channel in job.by_name("InputDataConfig", "ChannelName").items():
        given = dict(channel.values)
        source = channel.inner("DataSource")
        if name in inputs.OURS:
            fix = "smtrain itself has a channel of this name. Rename it: backend.channels.NEW, /opt/ml/input/data/NEW."
            channels.append(_whole(name, given, channel, source, fix))
        elif source.values.get("S3DataSource"):
            channels.append(Entry(key=name, value=tuple(_s3(channel, source.inner("S3DataSource"), mode))))
        elif source.values.get("FileSystemDataSource"):
            systems.append(Entry(key=name, value=tuple(_system(channel, source.inner("FileSystemDataSource")))))
        else:
            channels.append(_whole(name, given, channel, source, "smtrain reads S3, FSx for Lustre and EFS."))
    if mode is not None and not any(isinstance(node, Entry) for node in channels):
        fix = "Say it of each channel: backend.channels.NAME.mode."
        yield lost("AlgorithmSpecification.TrainingInputMode", mode, fix)
    yield from section("channels", channels)
    yield from section("file_systems", systems)


def _whole(name: str, given: dict[str, Json], channel: Members, source: Members, fix: str) -> Node:
    channel.values.clear()
    source.values.clear()
    return lost(f"InputDataConfig.{name}", given, fix)


def _s3(channel: Members, source: Members, mode: str | None) -> Iterator[Node]:
    yield from said("uri", source.needed("S3Uri"))
    yield from said("type", source.text("S3DataType"))
    yield from said("distribution", source.text("S3DataDistributionType"))
    yield from said("mode", channel.text("InputMode") or mode)
    yield from said("content_type", channel.text("ContentType"))
    yield from said("compression", channel.text("CompressionType"))
    yield from said("record_wrapper", channel.text("RecordWrapperType"))
    yield from said("attributes", source.texts("AttributeNames"))
    yield from said("instance_groups", source.texts("InstanceGroupNames"))
    yield from said("shuffle_seed", channel.inner("ShuffleConfig").number("Seed"))
    yield from left_over.comments(source)
    yield from left_over.comments(channel)


def _system(channel: Members, source: Members) -> Iterator[Node]:
    yield from said("id", source.needed("FileSystemId"))
    yield from said("path", source.needed("DirectoryPath"))
    yield from said("type", source.text("FileSystemType"))
    yield from said("access", source.text("FileSystemAccessMode"))
    yield from left_over.comments(source)
    yield from left_over.comments(channel)

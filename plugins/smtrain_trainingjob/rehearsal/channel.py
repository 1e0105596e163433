"""An input channel, and which objects of its prefix a host gets under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


class TransferFailed(Exception):  # noqa: N818 - an event of the job, which its failure reason reports, not a fault here
    """A channel could not be read, or a result not be kept; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel as one host gets it.

    Attributes:
      name: the channel's name, and that of its folder below `/opt/ml/input/data`.
      data_type: `S3Prefix`, `ManifestFile`, `AugmentedManifestFile`, or `FileSystem`.
      uri: the S3 URI, or the directory path of a file system.
      input_mode: `File`, `FastFile` or `Pipe`.
      distribution: `FullyReplicated` or `ShardedByS3Key`.
      record_wrapper: `None` or `RecordIO`.
      content_type: MIME type, "" when none was said.
      groups: the instance groups that get it; empty means all of them.
      read_only: whether a file system is mounted read-only.
      shard: this host's place among those that share a sharded channel.
      shards: how many hosts share it.
    """

    name: str
    data_type: str
    uri: str
    input_mode: str = "File"
    distribution: str = "FullyReplicated"
    record_wrapper: str = "None"
    content_type: str = ""
    groups: tuple[str, ...] = ()
    read_only: bool = True
    shard: int = 0
    shards: int = 1

    def objects(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Returns those keys of the channel's S3 prefix that this host gets; markers of folders are none."""
        files = sorted(key for key in keys if not key.endswith("/"))
        return tuple(files[self.shard :: self.shards] if self.distribution == "ShardedByS3Key" else files)


Channels = Callable[[Channel, Path], None]
"""Puts the files of a channel, as one host gets it, into that host's folder of it; raises TransferFailed."""


def path_below(key: str, prefix: str) -> str:
    """Returns where in a channel's folder the object of this key lies.

    Args:
      key: the object's key; starts with the prefix.
      prefix: the key part of the channel's S3Uri: `data/`, or `data`, or the key of one object, or a part of a name.
    """
    if not prefix or prefix.endswith("/"):
        return key[len(prefix) :]
    if key.startswith(f"{prefix}/"):
        return key[len(prefix) + 1 :]
    return key[prefix.rfind("/") + 1 :]

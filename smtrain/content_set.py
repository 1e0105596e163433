"""Sets of a bundle's files that travel together, and are kept in S3 under a digest of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from smtrain.spec import BundleFile, Upload

DIGEST_LENGTH = 32
"""Hex digits: 128 bits, so that sets never clash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentSet:
    """Files that the target finds together.

    Attributes:
      channel: their name there; a training job finds them at /opt/ml/input/data/CHANNEL.
      folder: where they lie in the bundle; "" for its root.
      files: of the bundle, all in that folder.
    """

    channel: str
    folder: str
    files: tuple[BundleFile, ...]

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Path in the bundle and path in the set of each file."""
        start = len(self.folder) + 1 if self.folder else 0
        return tuple((file.path, file.path[start:]) for file in sorted(self.files, key=lambda file: file.path))

    def uri(self, store: str) -> str:
        """Returns where the set lies in a store, an s3:// URI without a slash at its end."""
        digests = {file.path: _sha256(file) for file in self.files}
        listing = json.dumps([(key, digests[path]) for path, key in self.keys])
        return f"{store}/{hashlib.sha256(listing.encode()).hexdigest()[:DIGEST_LENGTH]}/"

    def upload(self, store: str, *, region: str, kms_key: str) -> Upload:
        """Returns the action that puts it there."""
        return Upload(uri=self.uri(store), files=self.keys, region=region, kms_key=kms_key)


def moved(files: Iterable[BundleFile], folder: str) -> tuple[BundleFile, ...]:
    """Returns the files, in a folder of the bundle."""
    return tuple(
        BundleFile(path=f"{folder}/{file.path}", content=file.content, executable=file.executable) for file in files
    )


def _sha256(file: BundleFile) -> str:
    return hashlib.sha256(file.content).hexdigest() if isinstance(file.content, bytes) else file.content.sha256

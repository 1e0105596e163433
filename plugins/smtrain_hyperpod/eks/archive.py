"""Files as one archive, of the same bytes everywhere: a zip without compression, which libraries do differently."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from smtrain.plugin import BundleFile

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip knows."""

_UNIX = 3
DIGEST_LENGTH = 16
"""Hex digits: 64 bits, and names are those of one namespace."""


def archive(files: Iterable[BundleFile], *, folder: str) -> bytes:
    """Returns a zip of files that lie in a folder of the bundle, by their paths in it.

    Args:
      files: all in the folder; those of this machine are read.
      folder: their first path component, left out.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
        for file in sorted(files, key=lambda file: file.path):
            entry = zipfile.ZipInfo(file.path.removeprefix(f"{folder}/"), _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = (0o100755 if file.executable else 0o100644) << 16
            target.writestr(entry, content(file))
    return packed.getvalue()


def content(file: BundleFile) -> bytes:
    """Returns the bytes of a file of the bundle."""
    return file.content if isinstance(file.content, bytes) else Path(file.content.path).read_bytes()


def size(file: BundleFile) -> int:
    """Returns the bytes that a file of the bundle has."""
    return len(file.content) if isinstance(file.content, bytes) else file.content.size


def digest(data: bytes) -> str:
    """Returns what names content."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]

"""Opens files of rows, those too that are compressed, and tells by their names what they are."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import IO, BinaryIO, cast

GZIP = ".gz"

UNREADABLE = (gzip.BadGzipFile, EOFError, zlib.error)
"""What reading a damaged gzip file raises."""


def suffix_of(name: str) -> str:
    """Returns the suffix that says what is in a file: "jsonl" of `rows.jsonl` and of `rows.jsonl.gz`; "" for none."""
    return PurePath(name.removesuffix(GZIP)).suffix[1:]


def is_compressed(name: str) -> bool:
    """Whether a file is compressed, by its name."""
    return name.endswith(GZIP)


def open_bytes(path: Path) -> AbstractContextManager[BinaryIO]:
    """Opens a file for reading what is in it, unpacked."""
    return cast("BinaryIO", gzip.open(path)) if is_compressed(path.name) else path.open("rb")


def open_text(path: Path, *, encoding: str, newline: str | None = None) -> AbstractContextManager[IO[str]]:
    """Opens a file of text for reading, unpacked."""
    if not is_compressed(path.name):
        return path.open(encoding=encoding, newline=newline)
    return io.TextIOWrapper(cast("IO[bytes]", gzip.open(path)), encoding=encoding, newline=newline)


def read_bytes(path: Path) -> bytes:
    """Returns what is in a file, unpacked."""
    with open_bytes(path) as stream:
        return stream.read()

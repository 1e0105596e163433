"""Where a data set's rows come from: files, or a data set of the hub."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from smtrain_native.runtime import cache
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.rows import SUFFIXES, Chunk, chunks, is_rows, kind_of_file, table_chunks
from smtrain_native.runtime.settings import DataSet

_HUB = "hub:"
_LEAST_CHUNK, _MOST_CHUNK, _CHUNKS = 128 << 10, 16 << 20, 256
_TABLE_ROWS = 1024
_GZIPPED = 4  # how much smaller text is usually made


class Source(Protocol):
    """Rows in order."""

    def content(self, cache_folder: Path) -> object:
        """Returns plain data that differs where the rows differ."""

    def size(self) -> int:
        """Returns the bytes to be read."""

    def expected_chunks(self) -> int:
        """Returns about how many chunks there are."""

    def chunks(self) -> Iterator[Chunk]:
        """Yields the rows in chunks, the same ones every time."""


def sources(dataset: DataSet, directory: Path) -> tuple[Source, ...]:
    """Returns the sources of a data set, in order.

    Raises:
      DataError: a file is not there, its name tells no format that can be read, or a folder has no such file.
    """
    found: list[Source] = []
    for name in dataset.files:
        if name.startswith(_HUB):
            found.append(HubSource(name.removeprefix(_HUB), dataset.subset, dataset.split))
            continue
        found += map(FileSource, _files(dataset, directory / name))
    if not found:
        message = f"data set {dataset.name}: it has no files."
        raise DataError(message)
    return tuple(found)


def _files(dataset: DataSet, path: Path) -> list[Path]:
    """Returns a file itself; of a folder, the files that rows can be read from, by name."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if is_rows(each) and each.is_file())
        if not files:
            named = ", ".join(SUFFIXES)
            message = f"data set {dataset.name}: the folder {path} has no file of rows ({named}, each also with .gz)."
            raise DataError(message)
        return files
    if not path.is_file():
        message = f"data set {dataset.name}: there is no file {path}."
        raise DataError(message)
    kind_of_file(path)
    return [path]


class FileSource:
    """One file."""

    def __init__(self, path: Path) -> None:
        """Takes its path."""
        self._path = path

    def content(self, cache_folder: Path) -> object:
        """Returns the file's digest and format; its name does not matter."""
        gzipped = self._path.name.endswith(".gz")
        return [kind_of_file(self._path), gzipped, cache.file_digest(self._path, cache_folder)]

    def size(self) -> int:
        """Returns the bytes of the file."""
        return self._path.stat().st_size

    def expected_chunks(self) -> int:
        """Returns about how many chunks there are."""
        content = self.size() * (_GZIPPED if self._path.name.endswith(".gz") else 1)
        return -(-content // self._chunk_bytes())

    def chunks(self) -> Iterator[Chunk]:
        """Yields the rows; the file's size decides how many make a chunk."""
        return chunks(self._path, self._chunk_bytes())

    def _chunk_bytes(self) -> int:
        return min(max(self.size() // _CHUNKS, _LEAST_CHUNK), _MOST_CHUNK)


class _Table(Protocol):
    nbytes: int

    def combine_chunks(self) -> _Table: ...

    def to_batches(self) -> list[pa.RecordBatch]: ...


class _Dataset(Protocol):
    cache_files: list[dict[str, str]]
    data: _Table

    def with_format(self, kind: str) -> _Dataset: ...

    def iter(self, batch_size: int) -> Iterator[_Table]: ...


class HubSource:
    """A data set of the Hugging Face hub, through `datasets`."""

    def __init__(self, name: str, subset: str | None, split: str | None) -> None:
        """Takes its name, and which part of it."""
        self._name, self._subset, self._split = name, subset, split or "train"

    def content(self, cache_folder: Path) -> object:
        """Returns the digests of the Arrow files that `datasets` keeps."""
        files = [Path(each["filename"]) for each in self._dataset().cache_files]
        return ["hub", self._subset, self._split, [cache.file_digest(file, cache_folder) for file in files]]

    def size(self) -> int:
        """Returns the bytes of the table."""
        return int(self._dataset().data.nbytes)

    def expected_chunks(self) -> int:
        """Returns about how many chunks there are."""
        return -(-self.size() // _MOST_CHUNK)

    def chunks(self) -> Iterator[Chunk]:
        """Yields the rows."""
        tables = self._dataset().with_format("arrow").iter(batch_size=_TABLE_ROWS)
        batches = (batch for table in tables for batch in table.combine_chunks().to_batches())
        return iter(table_chunks(self._name, batches, _MOST_CHUNK))

    def _dataset(self) -> _Dataset:
        datasets = importlib.import_module("datasets")  # untyped, and needed for the hub alone
        try:
            loaded: _Dataset = datasets.load_dataset(self._name, self._subset, split=self._split)
        except (OSError, ValueError, RuntimeError, LookupError, datasets.exceptions.DatasetsError) as error:
            reason = str(error).strip().partition("\n")[0]
            message = f"{_HUB}{self._name}: `datasets` cannot load it: {reason}"
            raise DataError(message) from None
        return loaded

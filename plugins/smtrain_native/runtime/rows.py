"""Reads the rows of files in chunks, of which no more than a few are in memory.

A chunk is parsed where it is used: the one process that reads hands lines and tables on as they are. The chunks of a
set are the same on every machine, whatever the number of processes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

import pyarrow as pa

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.json_rows import Row, as_row, parse_lines, stream_rows

SUFFIXES = ("json", "jsonl", "csv", "parquet", "arrow", "pt")
_TABLE_ROWS = 1024
_BLANK = b"\xef\xbb\xbf \t\r\n"


class Chunk(Protocol):
    """Some rows that follow one another."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yields the place, such as "rows.jsonl line 7", and the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChunk:
    """Lines of JSON as they are in the file."""

    file: str
    first_line: int
    content: bytes

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yields places and rows."""
        return parse_lines(self.content, file=self.file, first_line=self.first_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChunk:
    """Rows that reading the file has parsed."""

    numbered: tuple[tuple[str, Row], ...]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yields places and rows."""
        return iter(self.numbered)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChunk:
    """Rows in Arrow's columns."""

    file: str
    first_row: int
    batches: tuple[pa.RecordBatch, ...]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yields places and rows."""
        every = (row for batch in self.batches for row in batch.to_pylist())
        return ((f"{self.file} row {number}", row) for number, row in enumerate(every, self.first_row))


def is_rows(path: Path) -> bool:
    """Whether a file in a folder of rows is one of them: not hidden, and of a format that can be read."""
    return not path.name.startswith(".") and _suffix(path) in SUFFIXES


def _suffix(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[2].lower()


def kind_of_file(path: Path) -> str:
    """Returns the format that the suffix tells, such as "jsonl"; raises DataError for one that cannot be read."""
    kind = _suffix(path)
    if kind in SUFFIXES:
        return kind
    message = f"{path}: cannot tell the format from the name. Readable: {', '.join(SUFFIXES)}, each also with .gz."
    raise DataError(message)


def chunks(path: Path, chunk_bytes: int) -> Iterator[Chunk]:
    """Yields a file's rows in chunks of about so many bytes.

    Raises:
      DataError: the file is broken; the text names it, and the line where there are lines.
    """
    kind = kind_of_file(path)
    with _readable(path), _opened(path) as stream:
        if kind in {"json", "jsonl"}:
            yield from _json_chunks(path, stream, chunk_bytes)
        elif kind == "csv":
            yield from row_chunks(_csv_rows(path.name, stream), chunk_bytes)
        elif kind == "pt":
            yield from row_chunks(_pt_rows(path.name, stream), chunk_bytes)
        else:
            batches = _parquet_batches(path, stream) if kind == "parquet" else _arrow_batches(stream)
            yield from table_chunks(path.name, batches, chunk_bytes)


def row_chunks(numbered: Iterable[tuple[str, Row]], chunk_bytes: int) -> Iterator[RowChunk]:
    """Yields parsed rows in chunks of about so many bytes of text."""
    held: list[tuple[str, Row]] = []
    weight = 0
    for place, row in numbered:
        held.append((place, row))
        weight += _text_length(row)
        if weight >= chunk_bytes:
            yield RowChunk(numbered=tuple(held))
            held, weight = [], 0
    if held:
        yield RowChunk(numbered=tuple(held))


def table_chunks(file: str, batches: Iterable[pa.RecordBatch], chunk_bytes: int) -> Iterator[TableChunk]:
    """Yields Arrow's batches, which should be small, in chunks of about so many bytes."""
    held: list[pa.RecordBatch] = []
    first, weight = 1, 0
    for batch in batches:
        held.append(batch)
        weight += batch.nbytes
        if weight >= chunk_bytes:
            yield TableChunk(file=file, first_row=first, batches=tuple(held))
            first += sum(each.num_rows for each in held)
            held, weight = [], 0
    if held:
        yield TableChunk(file=file, first_row=first, batches=tuple(held))


def _text_length(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_length, value.values()))
    return sum(map(_text_length, value)) if isinstance(value, list | tuple) else 8


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for a broken file into a sentence that names it."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        message = f"{path}: the gzip file is broken: {error}. Make it again."
    except pa.ArrowInvalid as error:
        message = f"{path}: not what its suffix says: {error}. Make it again."
    except OSError as error:
        message = f"{path}: {error.strerror or error}."
    else:
        return
    raise DataError(message)


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")


def _json_chunks(path: Path, stream: BinaryIO, chunk_bytes: int) -> Iterator[Chunk]:
    if _has_lines(stream, kind_of_file(path)):
        first = 1
        while content := stream.read(chunk_bytes):
            content += stream.readline()
            yield LineChunk(file=path.name, first_line=first, content=content)
            first += content.count(b"\n")
    else:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        numbered = ((f"{path.name} row {number}", row) for number, row in stream_rows(text, path.name))
        yield from row_chunks(numbered, chunk_bytes)


def _has_lines(stream: BinaryIO, kind: str) -> bool:
    """Whether the file has an object a line, whatever its suffix says; leaves the stream at its start."""
    start = b""
    while not start and (more := stream.read(64)):
        start = more.strip(_BLANK)
    stream.seek(0)
    if start.startswith(b"[") or kind == "jsonl":
        return not start.startswith(b"[")
    first = next((line for line in stream if line.strip(_BLANK)), b"")
    stream.seek(0)
    try:
        json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _csv_rows(file: str, stream: BinaryIO) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(1 << 40)
    reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
    try:
        names = next(reader, [])
        for cells in reader:
            place = f"{file} line {reader.line_num}"
            if len(cells) != len(names) and cells:
                message = f"{place}: {len(cells)} cells under a header of {len(names)}. Quote cells that hold commas."
                raise DataError(message)
            if cells:
                yield place, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        message = f"{file} line {reader.line_num}: {error}. Mend the quotes."
        raise DataError(message) from None
    except UnicodeDecodeError as error:
        message = f"{file}, after line {reader.line_num}: not UTF-8: {error.reason}. Convert the file."
        raise DataError(message) from None


def _pt_rows(file: str, stream: BinaryIO) -> Iterator[tuple[str, Row]]:
    """Yields the rows of a list, or of a dictionary of columns; the file is held whole."""
    import pickle

    import torch

    try:
        loaded = torch.load(io.BytesIO(stream.read()), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        message = f"{file}: torch cannot load it as plain data: {reason} Save a list of dictionaries of text."
        raise DataError(message) from None
    if isinstance(loaded, dict) and loaded and all(isinstance(column, list) for column in loaded.values()):
        lengths = {name: len(column) for name, column in loaded.items()}
        if len(set(lengths.values())) > 1:
            message = f"{file}: the columns differ in length: {lengths}."
            raise DataError(message)
        loaded = [dict(zip(loaded, cells, strict=True)) for cells in zip(*loaded.values(), strict=True)]
    if not isinstance(loaded, list | tuple):
        message = f"{file}: holds {type(loaded).__name__}; it must hold a list of rows."
        raise DataError(message)
    for number, row in enumerate(loaded, 1):
        yield f"{file} row {number}", as_row(row, f"{file} row {number}")


def _parquet_batches(path: Path, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    with tempfile.TemporaryFile() as spooled:
        yield from parquet.ParquetFile(_uncompressed(path, stream, spooled)).iter_batches(batch_size=_TABLE_ROWS)


def _uncompressed(path: Path, stream: BinaryIO, spooled: IO[bytes]) -> IO[bytes]:
    """Returns what is in a file: Parquet is read from its end."""
    if not path.name.endswith(".gz"):
        return stream
    shutil.copyfileobj(stream, spooled, 1 << 20)
    spooled.seek(0)
    return spooled


def _arrow_batches(stream: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Yields the batches of either of Arrow's two formats."""
    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(stream)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(stream))
    for batch in batches:
        yield from (batch.slice(start, _TABLE_ROWS) for start in range(0, batch.num_rows, _TABLE_ROWS))

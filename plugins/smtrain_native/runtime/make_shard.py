"""One chunk of rows becomes one shard; this is what the processes of the pool do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smtrain_native.runtime import cache
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.encode import Encoder, Encoding, encoder_for
from smtrain_native.runtime.joining import Encoded
from smtrain_native.runtime.row_shapes import Example, Flaw, RowReader
from smtrain_native.runtime.rows import Chunk
from smtrain_native.runtime.settings import DataSet
from smtrain_native.runtime.shards import ShardBuilder, write_shard

_BATCH_CHARACTERS = 1 << 16
_UNUSABLE = {Flaw.TURNS, Flaw.NO_RESPONSE, Flaw.EMPTY_RESPONSE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNote:
    """What is known of a finished shard; it lies beside it.

    Attributes:
      sha256: of the shard.
      size: in bytes.
      rows: that were read.
      samples: in the shard.
      tokens: in the shard.
      present: role → rows that have its column.
      columns: of the first row.
    """

    sha256: str
    size: int
    rows: int
    samples: int
    tokens: int
    present: dict[str, int]
    columns: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How the chunks of one data set become shards.

    Attributes:
      dataset: whose rows.
      encoding: how their text becomes tokens.
      folder: where the shards go.
    """

    dataset: DataSet
    encoding: Encoding
    folder: Path


def shard_path(folder: Path, number: int) -> Path:
    """Returns the file of a shard."""
    return folder / f"part-{number:05}.arrow"


def note_path(folder: Path, number: int) -> Path:
    """Returns the file of its note."""
    return folder / f"part-{number:05}.json"


def make_shard(work: Work, number: int, chunk: Chunk) -> ShardNote:
    """Encodes a chunk, and writes the shard and its note.

    Raises:
      DataError: a row cannot be read, or the disk is full.
    """
    reader = RowReader(work.dataset, work.encoding.kind)
    builder = ShardBuilder(responses=2 if work.encoding.kind == "preference" else 1)
    seen = _Seen(reader)
    encoder = encoder_for(work.encoding)
    tokens = 0
    for examples in _batches(seen.examples(chunk)):
        encoded = _encode(encoder, examples, builder.responses)
        builder.add(examples, encoded)
        tokens += sum(len(each.prompt) + sum(map(len, each.responses)) for each in encoded)
    seen.check(work.dataset)
    batch = builder.batch()
    with cache.writable(work.folder):
        digest, size = write_shard(shard_path(work.folder, number), batch)
        note = ShardNote(
            sha256=digest,
            size=size,
            rows=seen.rows,
            samples=batch.num_rows,
            tokens=tokens,
            present=dict(seen.present),
            columns=seen.columns,
        )
        # The note is written last: a shard without one was interrupted.
        cache.write_whole(note_path(work.folder, number), json.dumps(asdict(note)).encode())
    return note


class _Seen:
    """Counts rows, and those that have each mapped column."""

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self.rows = 0
        self.present: Counter[str] = Counter()
        self.columns: list[str] = []
        self._columns = reader.columns()
        self._first = ""

    def examples(self, chunk: Chunk) -> Iterator[Example]:
        for place, row in chunk.rows():
            if not self.rows:
                self._first, self.columns = place, list(row)
            self.rows += 1
            self.present.update(role for role, column in self._columns.items() if column in row)
            yield from self._reader.examples(row, place)

    def check(self, dataset: DataSet) -> None:
        """Raises DataError where no row has a column that none can do without: waiting for the others is no use."""
        for role in self._reader.needed():
            if self.rows and not self.present[role]:
                raise DataError(no_column(dataset, role, self._first, self.columns))


def no_column(dataset: DataSet, role: str, place: str, columns: Sequence[str]) -> str:
    """Returns what to say where rows lack the column of a role."""
    return (
        f"data set {dataset.name}: {place} has no column `{dataset.columns[role]}`, which is named for {role}, nor has "
        f"any row after it; it has {', '.join(f'`{column}`' for column in columns) or 'no columns'}. "
        f"Name the column in data.columns.{role}."
    )


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    """Yields examples in groups whose text is of moderate length; what a tokenizer returns is much larger."""
    held: list[Example] = []
    weight = 0
    for example in examples:
        held.append(example)
        messages = (*example.prompt, *(message for response in example.responses for message in response))
        weight += sum(len(str(message["content"])) for message in messages)
        if weight >= _BATCH_CHARACTERS:
            yield held
            held, weight = [], 0
    if held:
        yield held


def _encode(encoder: Encoder, examples: Sequence[Example], responses: int) -> list[Encoded]:
    """Returns the tokens of each example; none for those that have nothing to encode."""
    usable = iter(encoder.encode([example for example in examples if example.flaw not in _UNUSABLE]))
    empty = Encoded(prompt=[], responses=([],) * responses, masks=(None,) * responses)
    return [empty if example.flaw in _UNUSABLE else next(usable) for example in examples]

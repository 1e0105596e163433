"""The finished shards of one data set, as one row of samples."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from smtrain_native.runtime import cache
from smtrain_native.runtime.make_shard import ShardNote, shard_path
from smtrain_native.runtime.shards import Sample, Shard

_NAME = "store.json"


def finish(folder: Path, notes: Sequence[ShardNote]) -> None:
    """Marks a store as complete."""
    cache.write_whole(folder / _NAME, json.dumps([asdict(note) for note in notes]).encode())


def find(folder: Path) -> Store | None:
    """Returns a complete store; None where there is none, or shards are not as long as they were written."""
    try:
        notes = [ShardNote(**note) for note in json.loads((folder / _NAME).read_bytes())]
        sizes = [shard_path(folder, number).stat().st_size for number in range(len(notes))]
    except (OSError, ValueError, TypeError):
        return None
    return Store(folder, notes) if sizes == [note.size for note in notes] else None


class Store:
    """Samples by number; no more is read than is asked for."""

    def __init__(self, folder: Path, notes: Sequence[ShardNote]) -> None:
        """Takes the folder, and what is known of its shards."""
        self.folder = folder
        self._notes = tuple(notes)
        self._ends = np.cumsum([note.samples for note in notes], dtype=np.int64)
        self._shard = functools.cache(self._opened)  # a mapped file takes no descriptor

    def __len__(self) -> int:
        """Samples in all."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __reduce__(self) -> tuple[type[Store], tuple[Path, tuple[ShardNote, ...]]]:
        """Sends the path to another process, not the samples."""
        return Store, (self.folder, self._notes)

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return sum(note.rows for note in self._notes)

    @property
    def tokens(self) -> int:
        """Tokens of all samples."""
        return sum(note.tokens for note in self._notes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the first row."""
        return tuple(next((note.columns for note in self._notes if note.rows), ()))

    def present(self) -> Counter[str]:
        """Returns role → rows that have its column."""
        total: Counter[str] = Counter()
        for note in self._notes:
            total.update(note.present)
        return total

    def sample(self, number: int) -> Sample:
        """Returns a sample, untouched by any policy."""
        shard, row = self._locate(number)
        return shard.sample(row)

    def prompt_id(self, number: int) -> str:
        """Returns a sample's name."""
        shard, row = self._locate(number)
        return str(shard.column("prompt_id")[row])

    def place(self, number: int) -> str:
        """Returns where a sample's row is."""
        shard, row = self._locate(number)
        return str(shard.column("place")[row])

    def prompt_ids(self) -> pa.ChunkedArray:
        """Returns all names."""
        return pa.chunked_array([shard.column("prompt_id") for shard in self._shards()], pa.string())

    def flaws(self) -> np.ndarray:
        """Returns what is wrong with each sample; shape (N,), uint8."""
        return self._bytes("flaw")

    def unended(self) -> np.ndarray:
        """Returns whether the prompt of each completion lacks a newline at its end; shape (N,), bool."""
        unended: np.ndarray = self._bytes("unended").astype(np.bool_)
        return unended

    def lengths(self) -> np.ndarray:
        """Returns the tokens of each sample's prompt and responses; shape (N, 1 + responses), int32."""
        found = [shard.lengths() for shard in self._shards()]
        lengths: np.ndarray = np.concatenate(found) if found else np.empty((0, 2), np.int32)
        return lengths

    def _bytes(self, name: str) -> np.ndarray:
        found = [shard.column(name).to_numpy() for shard in self._shards()]
        values: np.ndarray = np.concatenate([*found, np.empty(0, np.uint8)])
        return values

    def _shards(self) -> list[Shard]:
        return [self._shard(number) for number in range(len(self._notes))]

    def _locate(self, number: int) -> tuple[Shard, int]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._shard(which), number - (int(self._ends[which - 1]) if which else 0)

    def _opened(self, number: int) -> Shard:
        return Shard(shard_path(self.folder, number))

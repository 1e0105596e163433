"""Tokens on disk: Arrow files of one record batch each, which are read where they lie."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from smtrain_native.runtime import cache
from smtrain_native.runtime.joining import Encoded
from smtrain_native.runtime.row_shapes import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample, in views on the file.

    Attributes:
      prompt_id: its name.
      prompt: token ids; shape (P,), int32.
      responses: token ids of the response, or of (chosen, rejected); shape (R,), int32.
      masks: for each response, True where a token is trained; shape (R,). None: all are.
    """

    prompt_id: str
    prompt: np.ndarray
    responses: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray | None, ...]


@dataclass(slots=True, kw_only=True)
class ShardBuilder:
    """Gathers samples, to be written at once.

    Attributes:
      responses: of each sample.
    """

    responses: int
    _ids: list[str] = field(default_factory=list)
    _places: list[str] = field(default_factory=list)
    _flaws: list[int] = field(default_factory=list)
    _unended: list[bool] = field(default_factory=list)
    _tokens: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _lengths: dict[str, list[int]] = field(default_factory=dict)

    def add(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> None:
        """Adds some samples."""
        self._ids += [example.prompt_id for example in examples]
        self._places += [example.place for example in examples]
        self._flaws += [example.flaw for example in examples]
        self._unended += [each.unended for each in encoded]
        self._extend("prompt", [each.prompt for each in encoded], np.int32)
        for number in range(self.responses):
            self._extend(f"response_{number}", [each.responses[number] for each in encoded], np.int32)
            self._extend(f"mask_{number}", [each.masks[number] for each in encoded], np.uint8)

    def _extend(self, name: str, lists: Sequence[Sequence[int] | None], kind: type) -> None:
        lengths = [-1 if each is None else len(each) for each in lists]
        flat = itertools.chain.from_iterable(each for each in lists if each is not None)
        self._tokens.setdefault(name, []).append(np.fromiter(flat, kind, sum(n for n in lengths if n > 0)))
        self._lengths.setdefault(name, []).extend(lengths)

    def batch(self) -> pa.RecordBatch:
        """Returns all samples."""
        columns = {
            "prompt_id": pa.array(self._ids, pa.string()),
            "place": pa.array(self._places, pa.string()),
            "flaw": pa.array(self._flaws, pa.uint8()),
            "unended": pa.array(self._unended).cast(pa.uint8()),
        }
        numbered = [f"{kind}_{number}" for number in range(self.responses) for kind in ("response", "mask")]
        for name in ("prompt", *numbered):
            kind = np.uint8 if name.startswith("mask") else np.int32
            columns[name] = self._lists(name, kind)
        return pa.RecordBatch.from_pydict(columns)

    def _lists(self, name: str, kind: type) -> pa.Array:
        lengths = np.array(self._lengths.get(name, ()), np.int64)
        offsets = np.concatenate(([0], np.cumsum(np.maximum(lengths, 0)))).astype(np.int32)
        values = np.concatenate([*self._tokens.get(name, ()), np.empty(0, kind)])
        absent = pa.array(lengths < 0) if name.startswith("mask") else None
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=absent)


def write_shard(path: Path, batch: pa.RecordBatch) -> tuple[str, int]:
    """Writes a shard, whole or not at all; returns its sha256 and its bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = memoryview(sink.getvalue())
    cache.write_whole(path, content)
    return hashlib.sha256(content).hexdigest(), len(content)


class Shard:
    """One file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Maps the file; nothing is read but its footer."""
        with pa.memory_map(str(path)) as source:
            self._batch = pa.ipc.open_file(source).get_batch(0)
        lists = [field.name for field in self._batch.schema if pa.types.is_list(field.type)]
        self.responses = sum(name.startswith("response_") for name in lists)
        self._lists = {name: _views(self._batch[name]) for name in lists}

    def __len__(self) -> int:
        """Samples in the file."""
        return int(self._batch.num_rows)

    def column(self, name: str) -> pa.Array:
        """Returns "prompt_id", "place", "flaw" or "unended"."""
        return self._batch[name]

    def lengths(self) -> np.ndarray:
        """Returns the tokens of the prompt and of each response; shape (N, 1 + responses), int32."""
        names = ("prompt", *(f"response_{number}" for number in range(self.responses)))
        lengths: np.ndarray = np.stack([np.diff(self._lists[name][1]) for name in names], axis=1).astype(np.int32)
        return lengths

    def tokens(self, name: str, row: int) -> np.ndarray:
        """Returns one sample's "prompt", "response_0", "mask_0" …."""
        values, offsets = self._lists[name]
        return values[offsets[row] : offsets[row + 1]]

    def sample(self, row: int) -> Sample:
        """Returns one sample."""
        masks: tuple[np.ndarray | None, ...] = tuple(
            self.tokens(f"mask_{number}", row).view(np.bool_) if self._batch[f"mask_{number}"][row].is_valid else None
            for number in range(self.responses)
        )
        responses = tuple(self.tokens(f"response_{number}", row) for number in range(self.responses))
        name = self._batch["prompt_id"][row].as_py()
        return Sample(prompt_id=name, prompt=self.tokens("prompt", row), responses=responses, masks=masks)


def _views(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    return column.values.to_numpy(), column.offsets.to_numpy()

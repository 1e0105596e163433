"""How far the tokenising is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from smtrain_native.runtime.make_shard import ShardNote
from smtrain_native.runtime.shard_pool import Watch

_EVERY_S = 10.0


class Progress:
    """Writes to one stream."""

    def __init__(self, out: TextIO | None) -> None:
        """Takes the stream; None writes nothing."""
        self._out = out

    def line(self, text: str) -> None:
        """Writes a line."""
        if self._out is not None:
            self._out.write(f"{text}\n")
            self._out.flush()

    @contextmanager
    def of(self, name: str, expected: int) -> Iterator[Watch]:
        """Gives what is to be called with each finished shard.

        Args:
          name: of the data set.
          expected: about how many shards there will be.
        """
        counts = _Counts()
        if self._out is None or not self._out.isatty():

            def write(note: ShardNote) -> None:
                if counts.add(note):
                    self.line(f"{name}: {min(counts.shards / expected, 1):.0%}, {counts.words()}")

            yield write
        else:
            from tqdm import tqdm

            with tqdm(total=expected, desc=name, unit="shard", file=self._out, dynamic_ncols=True) as bar:

                def draw(note: ShardNote) -> None:
                    counts.add(note)
                    bar.total = max(expected, counts.shards)
                    bar.set_postfix_str(counts.words(), refresh=False)
                    bar.update()

                yield draw
        if counts.shards:
            self.line(f"{name}: tokenised, {counts.words()}")


class _Counts:
    """What is done."""

    def __init__(self) -> None:
        self.shards = self._rows = self._tokens = 0
        self._start = self._written = time.monotonic()

    def add(self, note: ShardNote) -> bool:
        """Counts a shard; returns whether it is time for a line."""
        self.shards += 1
        self._rows += note.rows
        self._tokens += note.tokens
        due = time.monotonic() - self._written > _EVERY_S
        if due:
            self._written = time.monotonic()
        return due

    def words(self) -> str:
        """Returns rows, tokens and tokens per second."""
        rate = self._tokens / max(time.monotonic() - self._start, 1e-3)
        return f"{self._rows:,} rows, {self._tokens:,} tokens, {rate:,.0f} tokens/s"

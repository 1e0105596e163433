"""The record of a training: `metrics.jsonl`, one JSON object a line, each step once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast


class MetricsFile:
    """The file while the training writes it.

    What is no finite number becomes null: JSON has no NaN, and null says that there was a value and that it was none.
    """

    def __init__(self, path: Path, *, start_step: int, warn: Callable[[str], None]) -> None:
        """Opens the file, and cuts off what an interrupted run wrote beyond the step that is gone on from.

        Args:
          path: the file; its folder is made.
          start_step: optimizer steps done before; 0 begins the record anew.
          warn: is told why a row could not be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._start_step = start_step
        self._warn = warn
        self._warned = False
        self._half = False
        self._keep(lambda row: 0 < start_step >= _step(row))
        self._file = path.open("ab", buffering=0)

    def write(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Appends a row; a full disk is warned of once, and the training goes on.

        Args:
          step: optimizer steps done.
          total: of the whole training.
          values: name → number.
        """
        row = {"step": step, "total_steps": total, **{name: _number(value) for name, value in values.items()}}
        try:
            if step == self._start_step:
                self._replace(row)
            self._append(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n".encode())
        except OSError as error:
            if not self._warned:
                self._warn(f"{self._path}: {error.strerror or error}; the training goes on without this record.")
            self._warned = True

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        line = b"\n" + line if self._half else line
        written = self._file.write(line)
        self._half = written != len(line)

    def _replace(self, row: Mapping[str, float | int | None]) -> None:
        """Drops the row that says the same as this one: an evaluation at the very step that was gone on from."""
        self._file.close()
        try:
            self._keep(lambda other: _step(other) != row["step"] or other.keys() != row.keys())
        finally:
            self._file = self._path.open("ab", buffering=0)

    def _keep(self, wanted: Callable[[Mapping[str, object]], bool]) -> None:
        if not self._path.is_file():
            return
        kept = [json.dumps(row, ensure_ascii=False) for row in read(self._path) if wanted(row)]
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
        new.replace(self._path)


def read(path: Path) -> Iterator[Mapping[str, object]]:
    """Yields the rows of a metrics file; a line that a killed process left half written is passed over."""
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield cast("Mapping[str, object]", row)


def _step(row: Mapping[str, object]) -> float:
    step = row.get("step")
    return step if isinstance(step, int | float) else math.inf


def _number(value: float) -> float | int | None:
    if isinstance(value, int):
        return int(value)
    return float(value) if math.isfinite(value) else None

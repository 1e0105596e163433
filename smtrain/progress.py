"""Following a program's progress: the JSON-lines file that it appends to, and the metrics of the whole run in it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtrain.spec import Json, Progress


class Observer(Protocol):
    """Is shown what a workload does, while it does it."""

    def line(self, text: str) -> None:
        """Takes a line of the workload's output."""
        ...

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Takes the progress.

        Args:
          step: optimizer steps done.
          total: optimizer steps in all; 0 when unknown.
          metrics: the metrics of this step, by name.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a progress file; the attributes are those of `Observer.progress`."""

    step: int
    total: int
    metrics: Mapping[str, float]


class Metrics:
    """The metrics of a run, one row a step, in the order in which they were recorded."""

    def __init__(self) -> None:
        """Starts with none."""
        self.rows: list[dict[str, Json]] = []
        self._totals: list[int] = []

    def add(self, record: Record) -> None:
        """Adds a record.

        A run that went on from a checkpoint records some steps again: the later record counts. One with another total
        belongs to another phase, e.g. an evaluation at the end, and takes nothing back.
        """
        if not record.metrics:
            return
        if record.total in self._totals:
            while self.rows and self._totals[-1] == record.total and int(str(self.rows[-1]["step"])) > record.step:
                self.rows.pop()
                self._totals.pop()
        # JSON has no NaN; null says that there was a value and that it was no number.
        values: dict[str, Json] = {
            name: value if math.isfinite(value) else None for name, value in record.metrics.items()
        }
        if self.rows and self.rows[-1]["step"] == record.step and self._totals[-1] == record.total:
            self.rows[-1] |= values
        else:
            self.rows.append({"step": record.step, **values})
            self._totals.append(record.total)

    def write(self, path: Path) -> None:
        """Writes the rows as JSON lines, whole or not at all."""
        new = path.with_name(f".{path.name}.new")
        new.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows), encoding="utf-8")
        new.replace(path)


class Follower:
    """Reads a progress file as it grows; the file may not be there yet, end in half a line, or be replaced."""

    def __init__(self, path: Path, fields: Progress) -> None:
        """Starts at the file's beginning.

        Args:
          path: the file.
          fields: which of its fields mean what.
        """
        self.metrics = Metrics()
        self._path = path
        self._fields = fields
        self._inode = -1
        self._offset = 0
        self._rest = b""

    def poll(self) -> tuple[Record, ...]:
        """Returns the records since the last time."""
        try:
            with self._path.open("rb") as file:
                piece = self._piece(file.fileno())
        except OSError:
            return ()
        *lines, self._rest = (self._rest + piece).split(b"\n")
        records = tuple(record for line in lines if (record := _record(line, self._fields)))
        for record in records:
            self.metrics.add(record)
        return records

    def _piece(self, handle: int) -> bytes:
        status = os.fstat(handle)
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset, self._rest = status.st_ino, 0, b""
            self.metrics = Metrics()
        piece = os.pread(handle, max(status.st_size - self._offset, 0), self._offset)
        self._offset += len(piece)
        return piece


def as_json(fields: Progress) -> dict[str, Json]:
    """Returns the description of a progress file as JSON."""
    return {"path": fields.path, "step": fields.step, "total": fields.total, "metrics": dict(fields.metrics)}


def from_json(document: Json) -> Progress | None:
    """Returns the description that `as_json` wrote; None for anything else."""
    match document:
        case {"path": str(path), "step": str(step), "total": str(total), "metrics": dict(metrics)}:
            named = {name: str(field) for name, field in metrics.items()}
            return Progress(path=path, step=step, total=total, metrics=named)
        case _:
            return None


def read(path: Path) -> Iterator[dict[str, Json]]:
    """Yields the rows of a metrics file."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        row = _object(line)
        if row is not None:
            yield row


def _record(line: bytes, fields: Progress) -> Record | None:
    row = _object(line)
    step = None if row is None else _number(row.get(fields.step))
    if row is None or step is None or not math.isfinite(step):
        return None
    total = _number(row.get(fields.total))
    values = {name: _number(row.get(field)) for name, field in fields.metrics.items()}
    return Record(
        step=int(step),
        total=int(total) if total is not None and math.isfinite(total) else 0,
        metrics={name: value for name, value in values.items() if value is not None},
    )


def _object(line: str | bytes) -> dict[str, Json] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

"""Reads comma-separated rows; a cell has the type that pandas gives its column."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from smtrain.rows.agreement import sample_of_file
from smtrain.rows.encoding import scan_bytes
from smtrain.rows.opening import open_text
from smtrain.rows.sample import Row, RowProblem, Sample, doubt, failed
from smtrain.spec import Json

# `datasets` reads CSV this many rows at a time; the types of the first chunk hold for all.
_CHUNK_ROWS = 10_000
# What pandas takes for a missing value, and for a truth value, in a CSV cell.
_ARITHMETIC_MISSING = ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>")
_MISSING = frozenset((*_ARITHMETIC_MISSING, "", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
_TRUTH = MappingProxyType(
    dict.fromkeys(["True", "TRUE", "true"], True) | dict.fromkeys(["False", "FALSE", "false"], False)
)
_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity)\s*", re.IGNORECASE)
_END = "\x1eend"


def read_csv(path: Path, limit: int | None) -> Sample:
    """Looks at the rows under a header."""
    scan = scan_bytes(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with open_text(path, newline="", encoding="utf-8-sig") as stream, _long_fields():
        reader = csv.reader(itertools.chain(stream, [_END]))
        records = ((reader.line_num, record) for record in reader if not _is_blank(record))
        header = next(records)[1]
        if _END in header[-1]:
            return replace(failed(path.name, "there is no header."), total=0)
        return _csv_rows(path.name, header, records, limit)


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Lifts the csv module's limit of 128 KiB a field, which is a setting of the whole process."""
    before = csv.field_size_limit(1 << 40)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_blank(record: list[str]) -> bool:
    return not record or (len(record) == 1 and record[0].isspace())


def _csv_rows(name: str, header: list[str], records: Iterator[tuple[int, list[str]]], limit: int | None) -> Sample:
    names, problems = _column_names(name, header)
    rows: list[Row] = []
    places: list[str] = []
    cuts: list[int] = []
    ragged = _Ragged(name=name, width=len(names))
    total, last = 0, [""]
    while block := list(itertools.islice(records, _CHUNK_ROWS)):
        last = block[-1][1]
        if _END in last[-1]:
            block.pop()
        ragged.look(block, first=not total)
        if block and (limit is None or len(rows) < limit):
            cuts.append(len(rows))
            rows += _typed(names, [record for _, record in block])
            places += [f"{name} line {line}" for line, _ in block]
        total += len(block)
    problems += ragged.problems()
    if last != [_END]:
        what = "a quote is opened and never closed."
        problems.append(RowProblem(place=name, what=what, fix='Close it; write a quote inside a cell as "".'))
    cuts = [cut for cut in cuts if cut < (limit or total)] or [0]
    return sample_of_file(name, rows[:limit], places[:limit], total=total, problems=problems, cuts=cuts)


@dataclass(slots=True, kw_only=True)
class _Ragged:
    """Counts the records that do not have the header's number of cells, and keeps the first of each sort."""

    name: str
    width: int
    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def look(self, block: Iterable[tuple[int, list[str]]], *, first: bool) -> None:
        for line, record in block:
            if len(record) != self.width:
                # pandas takes the extra cells of the first row for an index, and shifts all others likewise.
                sort = "short" if len(record) < self.width else "shifting" if first else "long"
                self.counts[sort] += 1
                self.places.setdefault(sort, f"{self.name} line {line}")
            first = False

    def problems(self) -> Iterator[RowProblem]:
        quote = "Quote cells that contain commas, and end no line in one."
        for sort, place in self.places.items():
            such = f"({self.counts[sort]} such rows in all)"
            if sort == "shifting":
                what = "the first row has more cells than the header, which shifts every column."
                yield RowProblem(place=place, what=what, fix=quote)
            elif sort == "long":
                yield RowProblem(place=place, what=f"more cells than the header {such}.", fix=quote)
            else:
                yield doubt(place, f"fewer cells than the header {such}; the rest is left empty.")


def _column_names(name: str, header: list[str]) -> tuple[list[str], list[RowProblem]]:
    """Returns the names as pandas makes them unique, and what is doubtful about the header."""
    names: list[str] = []
    problems = []
    for index, column in enumerate(header):
        unique = column or f"Unnamed: {index}"
        if unique in names:
            unique = next(new for n in itertools.count(1) if (new := f"{column}.{n}") not in (*names, *header))
            problems.append(doubt(name, f"the header has `{column}` twice; the second becomes `{unique}`."))
        names.append(unique)
    if len(header) == 1 and (mark := next((mark for mark in ";\t|" if mark in header[0]), "")):
        what = f"the header is a single column, `{header[0]}`."
        fix = f"Separate the cells by commas; {'tabs' if mark == chr(9) else mark} are not taken for separators."
        problems.append(doubt(name, what, fix))
    return names, problems


def _typed(names: Sequence[str], records: Sequence[Sequence[str]]) -> Iterator[Row]:
    columns = [
        _typed_column(cells) for cells in itertools.islice(itertools.zip_longest(*records, fillvalue=""), len(names))
    ]
    return (dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True))


def _typed_column(cells: Sequence[str]) -> Sequence[Json]:
    known = [cell for cell in cells if cell not in _MISSING]
    parse: Callable[[str], Json] = str
    if all(cell in _TRUTH for cell in known):
        parse = _TRUTH.__getitem__
    elif all(map(_INTEGER.fullmatch, known)):
        parse = int if len(known) == len(cells) else float
    elif all(map(_NUMBER.fullmatch, known)):
        parse = float
    return [None if cell in _MISSING else parse(cell) for cell in cells]

"""Reads rows of local files the way the trainers' loader does, and says what that loader would trip over.

The loader is Hugging Face `datasets` 4.0, with pyarrow and pandas below it. What it takes and refuses differs from what
its documentation says; each rule here was found by trying, and tests/test_rows.py tries it again.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from smtrain.errors import Problem, Severity
from smtrain.spec import Json

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Json]

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {"arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet", "txt": "text"}
)
"""Suffix of a file → the loader that reads it (LLaMA-Factory's FILEEXT2TYPE)."""

# `datasets` reads JSON lines 10 MiB at a time and CSV 10,000 rows at a time; the types of the first chunk hold for all.
_JSON_CHUNK_BYTES = 10 << 20
_CSV_CHUNK_ROWS = 10_000
_SCAN_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """Something wrong with a file of rows.

    Attributes:
      place: the file's name, and the line or row (1-based) where one is at fault: "train.jsonl line 3".
      what: what was seen there; ends with a full stop.
      fix: what to do; may be empty.
      severity: a warning when the loader would take it all the same.
    """

    place: str
    what: str
    fix: str = ""
    severity: Severity = Severity.ERROR

    def problem(self, key: str) -> Problem:
        """Returns this as a problem of the configuration key that named the file."""
        return Problem(key=key, what=f"{self.place}: {self.what}", fix=self.fix, severity=self.severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of one or several files, looked at.

    Attributes:
      rows: the rows looked at. Values are JSON, except that parquet and arrow may hold bytes, dates and decimals.
      places: for each of them where it stands, e.g. "train.jsonl line 3".
      total: all rows of the files; None when they could not be counted.
      columns: the columns of the rows looked at, in the order in which they first appear.
      problems: what is wrong with the files.
    """

    rows: tuple[Row, ...] = ()
    places: tuple[str, ...] = ()
    total: int | None = None
    columns: tuple[str, ...] = ()
    problems: tuple[RowProblem, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every row was looked at."""
        return self.total == len(self.rows)


def read(path: Path, *, limit: int | None) -> Sample:
    """Looks at the first rows of a file, and counts them all.

    Args:
      path: an existing file.
      limit: how many rows to look at; None looks at, and keeps in memory, every row.
    """
    kind = SUFFIXES.get(path.suffix[1:])
    if kind is None:
        allowed = ", ".join(f".{suffix}" for suffix in SUFFIXES)
        found = f"its suffix is `{path.suffix}`" if path.suffix else "it has no suffix"
        return _failed(path.name, f"{found}, which no loader reads.", f"Allowed: {allowed}.")
    if not path.stat().st_size:
        return replace(_failed(path.name, "the file is empty."), total=0)
    return _READERS[kind](path, limit)


def read_files(paths: Sequence[Path], *, limit: int | None) -> Sample:
    """Looks at the files of one data set together; they must be of one type and agree on their columns.

    Args:
      paths: at least one existing file.
      limit: how many rows of each file to look at; None for all.
    """
    samples = [read(path, limit=limit) for path in paths]
    totals = [sample.total for sample in samples]
    return Sample(
        rows=tuple(row for sample in samples for row in sample.rows),
        places=tuple(place for sample in samples for place in sample.places),
        total=None if None in totals else sum(total or 0 for total in totals),
        columns=tuple(dict.fromkeys(name for sample in samples for name in sample.columns)),
        problems=(
            *_mixed_suffixes(paths),
            *(problem for sample in samples for problem in sample.problems),
            *_disagreements([path.name for path in paths], samples),
        ),
    )


def _failed(place: str, what: str, fix: str = "") -> Sample:
    return Sample(problems=(RowProblem(place=place, what=what, fix=fix),))


def _doubt(place: str, what: str, fix: str = "") -> RowProblem:
    return RowProblem(place=place, what=what, fix=fix, severity=Severity.WARNING)


# --------------------------------------------------------------------------------------------------------------- types

_KINDS: Mapping[type, str] = MappingProxyType(
    {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "an object"}
)


def kind_of(value: object) -> str:
    """Returns what a value is, in words for messages: "a string", "a list", "null", ..."""
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


@dataclass(slots=True)
class _Type:
    """What the values of a column, or of a nested field, have been so far; the loader wants one type for each."""

    kind: str = "null"
    place: str = ""
    parts: dict[str, _Type] = field(default_factory=dict)

    def learn(self, value: object, place: str, path: str) -> RowProblem | None:
        """Takes one more value in, or returns why the loader could not."""
        kind = kind_of(value)
        if kind == "null":
            return None
        if self.kind == "null" or {self.kind, kind} == {"an integer", "a number"}:
            self.kind, self.place = ("a number" if self.kind == "an integer" else kind), self.place or place
        elif kind != self.kind:
            what = f"`{path}` is {kind}, but {self.kind} at {self.place}."
            return RowProblem(place=place, what=what, fix="Let a column hold one type of value in all rows.")
        for name, part in _parts(value):
            inner = f"{path}{name}" if name == "[]" else f"{path}.{name}"
            if problem := self.parts.setdefault(name, _Type()).learn(part, place, inner):
                return problem
        return None

    def misfit(self, later: _Type, path: str) -> str:
        """Returns what of a later table cannot be cast to this type, "" when all can."""
        if later.kind == "null":
            return ""
        to_text = self.kind == "a string" and later.kind not in {"a list", "an object"}
        if self.kind != later.kind and not to_text and (self.kind, later.kind) != ("a number", "an integer"):
            return f"`{path}` is {later.kind}, but {self.kind} in"
        for name, part in later.parts.items():
            inner = f"{path}{name}" if name == "[]" else f"{path}.{name}"
            if self.kind == "an object" and name not in self.parts:
                return f"`{inner}` is new, and absent from"
            if name in self.parts and (found := self.parts[name].misfit(part, inner)):
                return found
        return ""


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from (("[]", item) for item in value)


def _types(rows: Sequence[Row], places: Sequence[str]) -> tuple[dict[str, _Type], list[RowProblem]]:
    """Returns the type of each column, and the first conflict in each."""
    types: dict[str, _Type] = {}
    conflicts: dict[str, RowProblem] = {}
    for row, place in zip(rows, places, strict=True):
        for name, value in row.items():
            if name not in conflicts and (problem := types.setdefault(name, _Type()).learn(value, place, name)):
                conflicts[name] = problem
    return types, list(conflicts.values())


def _misfits(first: Mapping[str, _Type], later: Mapping[str, _Type]) -> Iterator[tuple[str, str]]:
    for name, kind in later.items():
        if name not in first:
            yield name, f"column `{name}` is new, and absent from"
        elif found := first[name].misfit(kind, name):
            yield name, found


def _one_file(
    name: str,
    rows: Sequence[Row],
    places: Sequence[str],
    *,
    total: int,
    problems: Iterable[RowProblem] = (),
    cuts: Sequence[int] = (0,),
) -> Sample:
    """Returns the sample of a file whose loader starts a new chunk at each row index of `cuts`."""
    found = list(problems)
    first: dict[str, _Type] = {}
    for start, end in itertools.pairwise((*cuts, len(rows))):
        types, conflicts = _types(rows[start:end], places[start:end])
        found += conflicts
        if start:
            fix = "The loader takes columns and types from its first chunk; let the first rows have them all."
            whole = f"the first {cuts[1]} rows, which the loader reads first."
            found += [RowProblem(place=places[start], what=f"{w} {whole}", fix=fix) for _, w in _misfits(first, types)]
        first = first or types
    if not total and not found:
        found.append(RowProblem(place=name, what="there are no rows."))
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    return Sample(rows=tuple(rows), places=tuple(places), total=total, columns=columns, problems=tuple(found))


def _mixed_suffixes(paths: Sequence[Path]) -> Iterator[RowProblem]:
    kinds = {SUFFIXES[path.suffix[1:]]: path for path in reversed(paths) if path.suffix[1:] in SUFFIXES}
    if len(kinds) > 1:
        names = ", ".join(sorted(path.name for path in kinds.values()))
        what = f"the files of one data set are of different types: {names}."
        yield RowProblem(place=paths[0].parent.name, what=what, fix="Make each type a data set of its own.")


def _disagreements(names: Sequence[str], samples: Sequence[Sample]) -> Iterator[RowProblem]:
    """Yields where a file does not fit the first one; both ways, since LLaMA-Factory lists a folder in any order."""
    filled = [(name, sample) for name, sample in zip(names, samples, strict=True) if sample.rows]
    first_name, first = filled[0] if filled else ("", Sample())
    base, _ = _types(first.rows, first.places)
    for name, sample in filled[1:]:
        types, _ = _types(sample.rows, sample.places)
        found = {column: (name, what, first_name) for column, what in _misfits(base, types)}
        found |= {column: (first_name, what, name) for column, what in _misfits(types, base) if column not in found}
        sure = first.complete and sample.complete
        for place, what, other in found.values():
            severity = Severity.ERROR if sure else Severity.WARNING
            fix = "Let all files of a data set have the same columns and types."
            yield RowProblem(place=place, what=f"{what} {other}.", fix=fix, severity=severity)


# ------------------------------------------------------------------------------------------------------- text, encoding


@dataclass(frozen=True, slots=True)
class _Scan:
    """One pass over a text file's bytes: its lines, those that are not blank, and its first flaw."""

    lines: int
    filled: int
    flaw: RowProblem | None = None


def _scan(path: Path) -> _Scan:
    lines = filled = offset = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_SCAN_BYTES):
            chunk += stream.readline()
            if (at := _first_flaw(chunk)) is not None:
                line = lines + chunk.count(b"\n", 0, at) + 1
                place = f"{path.name} line {line}"
                return _Scan(lines, filled, _flaw(path.name, place, chunk, at, offset))
            # Universal newlines; the chunk ends with one or with the file, so that no \r\n is cut in two.
            lines += chunk.count(b"\n") + (chunk.count(b"\r") - chunk.count(b"\r\n") if b"\r" in chunk else 0)
            lines += not chunk.endswith((b"\n", b"\r"))
            filled += _filled_lines(chunk)
            offset += len(chunk)
    return _Scan(lines, filled)


def _filled_lines(chunk: bytes) -> int:
    newlines = chunk.count(b"\n")
    # Splitting is cheap for long lines, searching for blank ones cheaper for short lines.
    long_lines = newlines * 64 < len(chunk)
    if long_lines or chunk[:1].isspace() or any(blank in chunk for blank in (b"\n\n", b"\n\r", b"\n ", b"\n\t")):
        return sum(1 for line in chunk.split(b"\n") if line and not line.isspace())
    return newlines + (not chunk.endswith(b"\n"))


def _first_flaw(chunk: bytes) -> int | None:
    """Returns the index of the first byte that is NUL or not UTF-8."""
    nul = chunk.find(0)
    if not chunk.isascii():
        try:
            chunk.decode()
        except UnicodeDecodeError as error:
            return error.start if nul < 0 else min(nul, error.start)
    return None if nul < 0 else nul


def _flaw(name: str, place: str, chunk: bytes, at: int, offset: int) -> RowProblem:
    start = chunk[:64] if not offset else b""
    near = chunk[max(0, at - 1) : at + 63]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or near.count(0) > len(near) // 4:
        encoding = "UTF-16"
    elif not chunk[at]:
        return RowProblem(place=place, what=f"a NUL byte at offset {offset + at}.", fix="Remove it from the file.")
    else:
        encoding = "GB18030" if _looks_chinese(chunk[at : at + 64]) else "Windows-1252"
    what = f"the file is not UTF-8: byte 0x{chunk[at]:02x} at offset {offset + at}; it looks like {encoding}."
    return RowProblem(place=place, what=what, fix=f"Convert it: iconv -f {encoding} -t UTF-8 {name} > NEW")


def _looks_chinese(near: bytes) -> bool:
    """Whether bytes come in runs of two and more that GB18030 can read; accents in Latin text stand alone."""
    run = re.match(rb"(?:[\x81-\xfe][\x40-\x7e\x80-\xfe]){2,}", near)
    return run is not None and len(re.findall(rb"[\x80-\xfe]", run[0])) > 0.7 * len(run[0])


def _read_text(path: Path, limit: int | None) -> Sample:
    scan = _scan(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with path.open(encoding="utf-8") as stream:
        rows: list[Row] = [{"text": line.rstrip("\n")} for line in itertools.islice(stream, limit)]
    places = [f"{path.name} line {number}" for number in range(1, len(rows) + 1)]
    marked = rows and str(rows[0]["text"]).startswith("\ufeff")
    fix = "Save the file without it."
    problems = [_doubt(places[0], "a byte order mark, which becomes part of the text.", fix)] if marked else []
    return _one_file(path.name, rows, places, total=scan.lines, problems=problems)


# ---------------------------------------------------------------------------------------------------------------- JSON


def _read_json(path: Path, limit: int | None) -> Sample:
    """Reads an array of objects, or objects one after the other; the suffix says nothing about which it is."""
    scan = _scan(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with path.open("rb") as stream:
        first = next((text for line in stream if (text := line.removeprefix(_BOM).strip())), b"")
    if first.startswith(b"["):
        return _read_array(path, limit)
    return (None if _is_json(first) else _read_concatenated(path, limit)) or _read_lines(path, limit, scan.filled)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _read_array(path: Path, limit: int | None) -> Sample:
    text = path.read_bytes().decode()
    if text.startswith("\ufeff"):
        what = "a byte order mark before a JSON array, which the loader refuses."
        return _failed(path.name, what, "Save the file without it.")
    try:
        # The loader reads an array with ujson, which takes raw control characters; pandas makes NaN a missing value.
        found = json.loads(text, strict=False, parse_constant=lambda name: None if name == "NaN" else float(name))
    except json.JSONDecodeError as error:
        return Sample(problems=(_not_json(f"{path.name} line {error.lineno}", error),))
    if found and all(isinstance(item, str) for item in found):
        found = [{"text": item} for item in found]
    strays = [index for index, item in enumerate(found) if not isinstance(item, dict)]
    if strays:
        return replace(
            _not_objects(f"{path.name} row {strays[0] + 1}", found[strays[0]], len(strays)), total=len(found)
        )
    rows = found[:limit]
    places = [f"{path.name} row {number}" for number in range(1, len(rows) + 1)]
    problems = []
    if "\\u" in text and (lone := _lone_surrogates(rows, places)):
        problems = [replace(lone[0], severity=Severity.WARNING)]
    return _one_file(path.name, rows, places, total=len(found), problems=problems)


def _read_lines(path: Path, limit: int | None, total: int) -> Sample:
    rows: list[Row] = []
    places: list[str] = []
    flaws: dict[str, list[RowProblem]] = {}
    cuts, chunk_start, offset = [0], 0, 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if limit is not None and len(rows) + sum(map(len, flaws.values())) >= limit:
                break
            if offset > chunk_start + _JSON_CHUNK_BYTES:
                chunk_start = offset
                cuts.append(len(rows))
            offset += len(line)
            text = (line.removeprefix(_BOM) if number == 1 else line).decode().strip(" \t\r\n")
            if not text:
                continue
            place = f"{path.name} line {number}"
            row, problem = _parse_line(text, place)
            if problem:
                flaws.setdefault(problem.what.partition(":")[0], []).append(problem)
            elif row is not None:
                rows.append(row)
                places.append(place)
    problems = [_counted(same) for same in flaws.values()]
    return _one_file(path.name, rows, places, total=total, problems=problems, cuts=sorted(set(cuts)))


def _parse_line(text: str, place: str) -> tuple[Row | None, RowProblem | None]:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice.append(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return found

    try:
        row = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        return None, _not_json(place, error)
    if not isinstance(row, dict):
        return None, _not_objects(place, row, 1).problems[0]
    if twice:
        # pyarrow refuses this in a row, and below it quietly loses the object.
        return None, RowProblem(place=place, what=f"the name `{twice[0]}` appears twice in one object.")
    lone = _lone_surrogates([row], [place]) if "\\u" in text else []
    return (None, lone[0]) if lone else (row, None)


def _read_concatenated(path: Path, limit: int | None) -> Sample | None:
    """Reads objects that span lines or share one; None when the file is not a run of objects either."""
    text = path.read_bytes().decode("utf-8-sig")
    decoder, at, found = json.JSONDecoder(), 0, list[Row]()
    while at := _skip_space(text, at):
        try:
            row, at = decoder.raw_decode(text, at - 1)
        except json.JSONDecodeError:
            return None
        if not isinstance(row, dict):
            return None
        found.append(row)
    rows = found[:limit]
    places = [f"{path.name} row {number}" for number in range(1, len(rows) + 1)]
    return _one_file(path.name, rows, places, total=len(found))


def _skip_space(text: str, at: int) -> int:
    """Returns one more than the index of the next character that is no white space; 0 at the end."""
    found = re.compile(r"[^ \t\r\n]").search(text, at)
    return found.end() if found else 0


def _lone_surrogates(rows: Sequence[Row], places: Sequence[str]) -> list[RowProblem]:
    what = "a lone surrogate (half of a \\ud800-\\udfff pair): this is no character."
    pairs = zip(rows, places, strict=True)
    found = (place for row, place in pairs if _SURROGATE.search(json.dumps(row, ensure_ascii=False)))
    return [RowProblem(place=place, what=what, fix="Write the pair whole, or remove it.") for place in found]


def _not_json(place: str, error: json.JSONDecodeError) -> RowProblem:
    after = error.doc[error.pos : error.pos + 1]
    before = error.doc[: error.pos].rstrip()[-1:]
    fix = ""
    if not after:
        fix = "The text ends too early: the file may be cut off."
    elif after == "'":
        fix = "JSON puts strings and names in double quotes."
    elif "," in (after, before) and not error.doc[error.pos :].strip(", \t\r\n]}"):
        fix = "Remove the comma after the last item."
    return RowProblem(place=place, what=f"not valid JSON: {error.msg}, column {error.colno}.", fix=fix)


def _not_objects(place: str, value: object, count: int) -> Sample:
    more = f" ({count} such rows in all)" if count > 1 else ""
    return _failed(place, f"the row is {kind_of(value)}, not an object{more}.", "Make each row an object of columns.")


def _counted(same: Sequence[RowProblem]) -> RowProblem:
    more = f" ({len(same)} such lines in all)." if len(same) > 1 else "."
    return replace(same[0], what=same[0].what.removesuffix(".") + more)


# ----------------------------------------------------------------------------------------------------------------- CSV

# What pandas takes for a missing value, and for a truth value, in a CSV cell.
_ARITHMETIC_MISSING = ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>")
_MISSING = frozenset((*_ARITHMETIC_MISSING, "", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
_TRUTH = MappingProxyType(
    dict.fromkeys(["True", "TRUE", "true"], True) | dict.fromkeys(["False", "FALSE", "false"], False)
)
_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity)\s*", re.IGNORECASE)
_END = "\x1eend"


def _read_csv(path: Path, limit: int | None) -> Sample:
    """Reads comma-separated rows under a header; a cell has the type that pandas gives its column."""
    scan = _scan(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with path.open(newline="", encoding="utf-8-sig") as stream, _long_fields():
        reader = csv.reader(itertools.chain(stream, [_END]))
        records = ((reader.line_num, record) for record in reader if not _is_blank(record))
        header = next(records)[1]
        if _END in header[-1]:
            return replace(_failed(path.name, "there is no header."), total=0)
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
    while block := list(itertools.islice(records, _CSV_CHUNK_ROWS)):
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
    return _one_file(name, rows[:limit], places[:limit], total=total, problems=problems, cuts=cuts)


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
                yield _doubt(place, f"fewer cells than the header {such}; the rest is left empty.")


def _column_names(name: str, header: list[str]) -> tuple[list[str], list[RowProblem]]:
    """Returns the names as pandas makes them unique, and what is doubtful about the header."""
    names: list[str] = []
    problems = []
    for index, column in enumerate(header):
        unique = column or f"Unnamed: {index}"
        if unique in names:
            unique = next(new for n in itertools.count(1) if (new := f"{column}.{n}") not in (*names, *header))
            problems.append(_doubt(name, f"the header has `{column}` twice; the second becomes `{unique}`."))
        names.append(unique)
    if len(header) == 1 and (mark := next((mark for mark in ";\t|" if mark in header[0]), "")):
        what = f"the header is a single column, `{header[0]}`."
        fix = f"Separate the cells by commas; {'tabs' if mark == chr(9) else mark} are not taken for separators."
        problems.append(_doubt(name, what, fix))
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


# ------------------------------------------------------------------------------------------------------ parquet, arrow


def _read_parquet(path: Path, limit: int | None) -> Sample:
    try:
        from pyarrow import parquet
    except ImportError:
        return _not_looked_at(path)
    import pyarrow

    try:
        with parquet.ParquetFile(path) as file:
            batches = file.iter_batches(batch_size=min(limit or 1024, 1024))
            rows = _first_rows(batches, limit)
            return _binary(path, file.schema_arrow.names, rows, file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        return _failed(path.name, f"not a readable parquet file: {_sentence(error)}")


def _read_arrow(path: Path, limit: int | None) -> Sample:
    """Reads the stream format, which `datasets` writes, or the file format (Feather 2)."""
    try:
        import pyarrow
    except ImportError:
        return _not_looked_at(path)
    try:
        with pyarrow.memory_map(str(path)) as stream:
            try:
                batches = iter(reader := pyarrow.ipc.open_stream(stream))
            except (pyarrow.ArrowInvalid, OSError):
                reader = pyarrow.ipc.open_file(stream)
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            names, rows, total = reader.schema.names, list[Row](), 0
            for batch in batches:
                rows += _first_rows([batch], None if limit is None else limit - len(rows))
                total += batch.num_rows
            return _binary(path, names, rows, total)
    except (pyarrow.ArrowException, OSError) as error:
        return _failed(path.name, f"not a readable arrow file: {_sentence(error)}")


def _first_rows(batches: Iterable[pyarrow.RecordBatch], limit: int | None) -> list[Row]:
    rows: list[Row] = []
    for batch in batches:
        if limit is not None and len(rows) >= limit:
            break
        rows += cast("list[Row]", batch.slice(0, None if limit is None else limit - len(rows)).to_pylist())
    return rows


def _binary(path: Path, names: Sequence[str], rows: Sequence[Row], total: int) -> Sample:
    places = tuple(f"{path.name} row {number}" for number in range(1, len(rows) + 1))
    twice = [name for name, count in Counter(names).items() if count > 1]
    problems = [RowProblem(place=path.name, what=f"there are two columns `{name}`.") for name in twice]
    if not total:
        problems.append(RowProblem(place=path.name, what="there are no rows."))
    return Sample(
        rows=tuple(rows), places=places, total=total, columns=tuple(dict.fromkeys(names)), problems=tuple(problems)
    )


def _not_looked_at(path: Path) -> Sample:
    what = f"the rows were not looked at, since reading {path.suffix} takes pyarrow, which is not installed here."
    return Sample(problems=(_doubt(path.name, what, "pip install pyarrow"),))


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") + "."


_READERS: Mapping[str, Callable[[Path, int | None], Sample]] = MappingProxyType(
    {"arrow": _read_arrow, "csv": _read_csv, "json": _read_json, "parquet": _read_parquet, "text": _read_text}
)

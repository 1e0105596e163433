"""Reads JSON: an array of objects, an object a line, or objects one after the other."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smtrain.errors import Severity
from smtrain.rows.agreement import sample_of_file
from smtrain.rows.encoding import scan_bytes
from smtrain.rows.opening import open_bytes, read_bytes
from smtrain.rows.sample import Row, RowProblem, Sample, failed
from smtrain.rows.value_types import kind_of
from smtrain.spec import Json

# `datasets` reads JSON lines this many bytes at a time; the types of the first chunk hold for all.
_CHUNK_BYTES = 10 << 20
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(path: Path, limit: int | None) -> Sample:
    """Reads an array of objects, or objects one after the other; the suffix says nothing about which it is."""
    scan = scan_bytes(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with open_bytes(path) as stream:
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
    text = read_bytes(path).decode()
    if text.startswith("\ufeff"):
        what = "a byte order mark before a JSON array, which the loader refuses."
        return failed(path.name, what, "Save the file without it.")
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
    return sample_of_file(path.name, rows, places, total=len(found), problems=problems)


def _read_lines(path: Path, limit: int | None, total: int) -> Sample:
    rows: list[Row] = []
    places: list[str] = []
    flaws: dict[str, list[RowProblem]] = {}
    cuts, chunk_start, offset = [0], 0, 0
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            if limit is not None and len(rows) + sum(map(len, flaws.values())) >= limit:
                break
            if offset > chunk_start + _CHUNK_BYTES:
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
    return sample_of_file(path.name, rows, places, total=total, problems=problems, cuts=sorted(set(cuts)))


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
    text = read_bytes(path).decode("utf-8-sig")
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
    return sample_of_file(path.name, rows, places, total=len(found))


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
    return failed(place, f"the row is {kind_of(value)}, not an object{more}.", "Make each row an object of columns.")


def _counted(same: Sequence[RowProblem]) -> RowProblem:
    more = f" ({len(same)} such lines in all)." if len(same) > 1 else "."
    return replace(same[0], what=same[0].what.removesuffix(".") + more)

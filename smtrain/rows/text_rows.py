"""Reads a text file: every line is a row of one column, `text`."""

from __future__ import annotations

import itertools
from pathlib import Path

from smtrain.rows.agreement import sample_of_file
from smtrain.rows.encoding import scan_bytes
from smtrain.rows.opening import open_text
from smtrain.rows.sample import Row, Sample, doubt


def read_text(path: Path, limit: int | None) -> Sample:
    """Looks at the first lines; blank ones are rows too."""
    scan = scan_bytes(path)
    if scan.flaw:
        return Sample(problems=(scan.flaw,))
    with open_text(path, encoding="utf-8") as stream:
        rows: list[Row] = [{"text": line.rstrip("\n")} for line in itertools.islice(stream, limit)]
    places = [f"{path.name} line {number}" for number in range(1, len(rows) + 1)]
    marked = rows and str(rows[0]["text"]).startswith("\ufeff")
    fix = "Save the file without it."
    problems = [doubt(places[0], "a byte order mark, which becomes part of the text.", fix)] if marked else []
    return sample_of_file(path.name, rows, places, total=scan.lines, problems=problems)
